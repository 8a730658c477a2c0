"""Defines the state of a video between two frames, and the result for a frame."""

from typing import NamedTuple

import jax
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Integer, Num

from hmmn_jax.model.memory import MemoryBank


class ObjectGroup(struct.PyTreeNode):
    """Objects that share a memory bank. The objects start in the same frame and have consecutive channels."""

    start: int  # index of the frame for which the masks of the objects were given
    first: int  # channel of the first object; the background is channel 0
    size: int  # number of objects
    kept: int  # number of memory frames in `bank`; the last frame in `bank` is counted only if it is a memory frame
    bank: MemoryBank | None  # None until the frame after `start` is segmented


class State(struct.PyTreeNode):
    """The state of a video between two steps.

    A state is a pytree whose counters are Python integers. States can be stored, copied and pickled. The arrays of a state are
    on the device; a saved state may contain NumPy arrays instead.

    Attributes:
        index: index of the last frame.
        frame: the last frame, `[V,H,W,3]`. V is 1, or the number of videos in `Segmenter.run_together`.
        probs: probabilities for the last frame, `[V,K+1,H,W]`; channel 0 is the background.
        ids: the id that each channel has in the caller's masks; 0 is the background. The shape of `ids` is `[K+1]`, or
            `[V,1,1,K+1]` for several videos.
        groups: the objects with their memory banks.
    """

    index: int
    frame: Num[Array | np.ndarray, "V H W 3"]
    probs: Float[Array | np.ndarray, "V o1 H W"]
    ids: Integer[np.ndarray, "*V1 o1"]
    groups: tuple[ObjectGroup, ...]


class Result(NamedTuple):
    """A segmented frame with K objects. Arrays stay on the device until they are read.

    In results of `Segmenter.run_together`, arrays have an additional first axis for the videos.

    Attributes:
        mask: the id of each pixel, uint8 `[H,W]`, or uint16 if an id is above 255. For independent objects, `mask` contains
            bool masks `[K,H,W]` in the order of `ids[1:]`.
        probs: probabilities of the background and the objects, `[K+1,H,W]`, after applying any mask given for this frame.
        logits: output of the network, `[K+1,H,W]`; -inf for objects that are new in this frame. For independent objects,
            `logits` contains the sigmoid logits of each object, and 0 for the background.
        ids: the id of each channel, `[K+1]`.
    """

    mask: jax.Array
    probs: jax.Array
    logits: jax.Array
    ids: np.ndarray
