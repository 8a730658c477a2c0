"""Hide-and-Seek, as in KMN: hides random cells of a grid over the image. Masks do not change."""

import tensorflow as tf
from ml_collections import ConfigDict

from data.clips.draws import Draws, Topic


def hidden_pixels(config: ConfigDict, draws: Draws) -> tf.Tensor:
    """Returns which pixels of each frame are hidden, bool [t,H,W].

    Each cell is hidden with the probability `config.hide.probability`.
    """
    (height, width), (rows, columns) = config.size, config.hide.grid
    if not config.hide.probability:
        return tf.zeros([config.frames, height, width], tf.bool)
    cells = draws.uniform(Topic.HIDE, config.frames, rows, columns) < config.hide.probability
    lines = tf.range(height) * rows // height
    return tf.gather(tf.gather(cells, lines, axis=1), tf.range(width) * columns // width, axis=2)
