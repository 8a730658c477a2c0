"""A cache of encoded frames, so that a second pass over a frame does not encode it again."""

import collections
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from hmmn_jax.inference.free_memory import free_bytes

MOST = 1 << 30  # maximum budget in bytes; enough for 113 frames at 480p with the bundled model
SHARE = 0.25  # maximum budget as a fraction of the free memory


def default_budget() -> int:
    """Returns the memory budget for encoded frames, in bytes: a quarter of the free memory, at most 1 GiB."""
    free = free_bytes()
    return MOST if free is None else min(MOST, int(SHARE * free))


class Queries:
    """A cache for the encoded frames of one video. When the cache is full, the least recently used frames are removed."""

    def __init__(self, encode: Callable[[UInt8[np.ndarray, "H W 3"]], Any], budget: int):
        """`encode` is `Segmenter.encode`; `budget` is in bytes."""
        self.encode, self.budget = encode, budget
        self.used = 0  # size of the cached encodings, in bytes
        self._kept: collections.OrderedDict[int, tuple[Any, int]] = collections.OrderedDict()

    def of(self, t: int, frame: UInt8[np.ndarray, "H W 3"]) -> Any:
        """Returns the encoding of `frame`, the frame with index `t`."""
        if t in self._kept:
            self._kept.move_to_end(t)
            return self._kept[t][0]
        query = self.encode(frame)
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(query))
        if size <= self.budget:
            self._kept[t] = query, size
            self.used += size
        while self.used > self.budget:
            _, (_, freed) = self._kept.popitem(last=False)
            self.used -= freed
        return query
