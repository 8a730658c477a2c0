"""Creates segmenters for videos of any size and length, by limiting the input size and the number of memory frames."""

import math
from typing import Any

from hmmn_jax.evaluation.fit import SIDE, cell_bytes, largest_bound
from hmmn_jax.inference import Segmenter
from hmmn_jax.inference.augmentation import Augmentation
from hmmn_jax.inference.free_memory import free_bytes
from hmmn_jax.io.notes import note
from hmmn_jax.io.video import Video
from hmmn_jax.model import HMMNConfig
from hmmn_jax.model.frames import STRIDE

OBJECTS = 4  # assumed number of objects, because the actual number is not known in advance
MEM_EVERY = 5


def fitted_size(size: int | None, video: Video) -> int:
    """The shorter side of the network's input for a video, in pixels, or 0 for the size of its frames.

    `size` is the user's choice. If `size` is None, a shorter side above 480 pixels is scaled down to 480.
    `hmmn-jax segment` has the same default.
    """
    return (SIDE if min(video.size) > SIDE else 0) if size is None else size


def fitted_segmenter(variables: dict[str, Any], config: HMMNConfig, video: Video, size: int | None = None) -> Segmenter:
    """Creates a segmenter with as many memory frames as fit into the free memory, but not more than the video needs.

    A note is printed if the frames are scaled down, or if the network's input is larger than 480p.

    Args:
        variables: the variables of the model.
        config: the config of the model.
        video: the frames.
        size: the size of the network's input; see `fitted_size`.

    Raises:
        DataError: the frames cannot be counted.
    """
    (view,) = Augmentation(fitted_size(size, video)).views(*video.size)
    found = f"frames of {video.size[1]}x{video.size[0]} pixels are segmented at {view.width}x{view.height}"
    if min(view.height, view.width) > SIDE:
        times = view.height * view.width / (SIDE * SIDE * 16 / 9)
        note(
            f"{found}. Segmentation takes at least {times:.0f} times as long as at 480p, and needs a lot of memory. "
            "Pass --size 480 for a faster run."
        )
    elif view.height < video.size[0]:
        note(
            f"{found}, and masks are scaled up. Pass --size N to set the shorter side in pixels, or --size 0 for the full size."
        )
    slot = OBJECTS * -(-view.height // STRIDE) * -(-view.width // STRIDE) * cell_bytes(config)
    bound = largest_bound(slot, math.ceil((len(video) - 1) / MEM_EVERY), free_bytes())
    return Segmenter(variables, config, mem_every=MEM_EVERY, max_memory_frames=bound)
