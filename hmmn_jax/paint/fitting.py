"""The segmenter for a video of any length: the free memory limits the number of memory frames."""

import math
from typing import Any

from hmmn_jax.evaluation.fit import SIDE, cell_bytes, largest_bound
from hmmn_jax.inference import Segmenter
from hmmn_jax.inference.free_memory import free_bytes
from hmmn_jax.io.notes import note
from hmmn_jax.io.video import Video
from hmmn_jax.model import HMMNConfig
from hmmn_jax.model.frames import STRIDE

OBJECTS = 4  # assumed number of objects, because the actual number is unknown
MEM_EVERY = 5


def fitted_segmenter(variables: dict[str, Any], config: HMMNConfig, video: Video) -> Segmenter:
    """Creates a segmenter with as many memory frames as the free memory allows, but not more than the video needs.

    Frames are segmented at their full size. A note is printed if the size is large.

    Args:
        variables: variables of the model.
        config: config of the model.
        video: the frames.

    Raises:
        DataError: the frames cannot be counted.
    """
    height, width = video.size
    if min(height, width) > SIDE:
        times = height * width / (SIDE * SIDE * 16 / 9)
        found = (
            f"frames of {width}x{height} pixels are segmented at full size, which takes about {times:.0f} times as long as 480p"
        )
        note(f"{found}; if that is too slow, scale the video down before")
    slot = OBJECTS * -(-height // STRIDE) * -(-width // STRIDE) * cell_bytes(config)
    bound = largest_bound(slot, math.ceil((len(video) - 1) / MEM_EVERY), free_bytes())
    return Segmenter(variables, config, mem_every=MEM_EVERY, max_memory_frames=bound)
