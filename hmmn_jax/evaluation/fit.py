"""Chooses the settings of `hmmn-jax segment` that the user does not set, based on the video and the available memory."""

import math
from collections.abc import Collection, Mapping

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from hmmn_jax.evaluation.clips import Clip
from hmmn_jax.inference.augmentation import Augmentation, Given
from hmmn_jax.inference.free_memory import free_bytes
from hmmn_jax.inference.segmenter import FIRST_CAPACITY
from hmmn_jax.model import HMMNConfig
from hmmn_jax.model.frames import STRIDE

SIZE, BOUND = "size", "max_memory_frames"  # the fields that can be chosen
SIDE = 480  # maximum shorter side of the network's input, in pixels; DAVIS videos are evaluated at this size
SHARE = 0.5  # fraction of the free memory that memory frames may use
CAPACITY_IF_UNKNOWN = 64  # number of slots in a memory bank if the free memory is unknown


def fit_settings(
    config: ConfigDict, chosen: Collection[str], clip: Clip, model: HMMNConfig, earlier: int | None = None
) -> tuple[ConfigDict, list[str]]:
    """Chooses settings for a video.

    Args:
        config: settings of the evaluation.
        chosen: the fields to choose, a subset of `SIZE` and `BOUND`.
        clip: the video.
        model: the config of the model that segments the video.
        earlier: the value of `max_memory_frames` to keep when a run is resumed; None for a new run.

    Returns:
        A copy of the config, and one line for each chosen field. The line states the choice and the flag that changes it.
    """
    config, lines = config.copy_and_resolve_references(), []
    height, width = clip.size
    if SIZE in chosen:
        config.size = SIDE if min(height, width) > SIDE else 0
        view = Augmentation(config.size).views(height, width)[0]
        seen = f"{view.width}x{view.height}, scaled down from {width}x{height}" if config.size else f"{width}x{height}"
        lines.append(
            f"The size of the network input is {seen}. To change the shorter side in pixels, pass --size N (0: full size)."
        )
    if BOUND in chosen:
        slot = slot_bytes(config, model, clip)
        needed = math.ceil((len(clip) - 1) / config.mem_every) if len(clip) else None
        free = free_bytes()
        config.max_memory_frames = largest_bound(slot, needed, free) if earlier is None else earlier
        lines.append(_tell_bound(config, slot, needed, free, earlier))
    return config, lines


def largest_bound(slot: int, needed: int | None, free: int | None) -> int:
    """Returns the largest `max_memory_frames` that fits into memory, limited to the capacity that the video needs.

    Args:
        slot: bytes per memory frame.
        needed: number of memory frames for the whole video; None if the length of the video is unknown.
        free: free memory in bytes; None if unknown.

    Returns:
        The capacity of a memory bank minus one, because the bank also contains the previous frame. When a bank is full, its
        capacity doubles.
    """
    if free is None:
        most = CAPACITY_IF_UNKNOWN
    else:  # while a bank grows, the old bank of half the size is also in memory
        slots = SHARE * free / (1.5 * slot)
        most = FIRST_CAPACITY * 2 ** max(math.floor(math.log2(max(slots, 1) / FIRST_CAPACITY)), 0)
    if needed is not None:
        most = min(most, FIRST_CAPACITY * 2 ** max(math.ceil(math.log2((needed + 1) / FIRST_CAPACITY)), 0))
    return most - 1


def slot_bytes(config: ConfigDict, model: HMMNConfig, clip: Clip) -> int:
    """Returns the number of bytes per memory frame, for all objects and all views of a video."""
    views = Augmentation(config.size, tuple(config.scales), config.flip).views(*clip.size)
    cells = sum(-(-view.height // STRIDE) * -(-view.width // STRIDE) for view in views)
    if clip.direction:  # each propagation pass segments the objects of one given mask
        objects = max(map(_count_objects, clip.read_complete(*clip.size).values()))
    else:
        objects = sum(map(_count_objects, clip.read_given(*clip.size).values()))
    return max(objects, 1) * cells * cell_bytes(model, config.dtype)


def cell_bytes(model: HMMNConfig, dtype: str | None = None) -> int:
    """Returns the number of bytes per memory frame, object and stride-16 cell. `dtype` replaces the dtype of the model."""
    number = jnp.dtype(dtype or model.dtype or jnp.float32).itemsize
    centre = jnp.dtype(jnp.int32).itemsize
    return (model.key_dim_s16 + model.value_dim_s16) * number + centre


def _count_objects(given: Given) -> int:
    return len(given) if isinstance(given, Mapping) else int(np.count_nonzero(np.unique(given)))


def _tell_bound(config: ConfigDict, slot: int, needed: int | None, free: int | None, earlier: int | None) -> str:
    bound = config.max_memory_frames
    if earlier is not None:
        found = f"{bound or 'unlimited'}, as in the earlier run in the output folder"
    elif needed is not None and bound >= needed:
        found = f"{bound}, which is enough for the whole video"
    elif free is None:
        found = f"{bound}, because the free memory is unknown"
    else:
        whole = "" if needed is None else f" (the whole video needs {needed})"
        found = f"{bound}{whole}, because {free / 1e9:.1f} GB are free and each frame takes {slot / 1e6:.1f} MB"
    return f"The maximum number of memory frames is {found}. To change this number, pass --max-memory-frames N (0: no limit)."
