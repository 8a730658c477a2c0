"""Packed ids and probabilities of a frame, with functions to rename objects and to combine two passes."""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Integer

from hmmn_jax.io.packed import ArrayPool, PackedArray

LEVELS = 255  # probabilities are stored in steps of 1/255, so the error is at most 1/510


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """The mask of a frame and the probabilities of its objects; immutable.

    The name of each channel is the current id of its object. Renaming an object therefore does not change the arrays.

    Attributes:
        names: the name of each stored channel, or 0 if its object was removed. Two channels with the same name belong to one
            object.
        channel: the channel of each pixel, counted from 1, or 0 for background, [H,W].
        levels: the probability of each channel in steps of 1/255, uint8 [K,H,W].
    """

    names: tuple[int, ...]
    channel: PackedArray
    levels: PackedArray

    @classmethod
    def pack(
        cls,
        pool: ArrayPool,
        ids: Sequence[int],
        mask: Integer[np.ndarray, "H W"],
        p: Float[np.ndarray, "k H W"] | Bool[np.ndarray, "k H W"],
    ) -> "Picture":
        """Packs a mask and the probabilities of objects.

        Args:
            pool: the pool that stores the arrays of the picture.
            ids: the ids of the objects, which must be positive and unique.
            mask: the id of each pixel: 0 or one of `ids`.
            p: the probability of each object, in the order of `ids`. True means 1, and False means 0.
        """
        channel = np.zeros(mask.shape, np.uint8 if len(ids) < 256 else np.uint16)
        for i, k in enumerate(ids, 1):
            channel[mask == k] = i
        levels = p * np.uint8(LEVELS) if p.dtype == np.bool_ else np.rint(np.clip(p, 0, 1) * LEVELS).astype(np.uint8)
        return cls(tuple(map(int, ids)), pool.pack(channel), pool.pack(levels))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.channel.shape

    @property
    def ids(self) -> tuple[int, ...]:
        """The ids of the objects, in ascending order."""
        return tuple(sorted({*self.names} - {0}))

    @property
    def mask(self) -> Integer[np.ndarray, "H W"]:
        """The id of each pixel, as uint8, or as uint16 if an id is above 255."""
        table = np.array((0, *self.names), np.uint8 if max(self.names, default=0) < 256 else np.uint16)
        return table[self.channel.unpack()]

    @functools.cached_property
    def areas(self) -> dict[int, int]:
        """The number of pixels of each object in the mask, by id."""
        pixels = np.bincount(self.mask.ravel(), minlength=max(self.ids, default=0) + 1)
        return {k: int(pixels[k]) for k in self.ids}

    def objects(self) -> Float32[np.ndarray, "k H W"]:
        """The probability of each object, in the order of `ids`."""
        levels = self.levels.unpack()
        p = np.zeros((len(self.ids), *self.size), np.float32)
        for i, k in enumerate(self.ids):
            for name, level in zip(self.names, levels, strict=True):
                if name == k:
                    p[i] += level
        return np.minimum(p / LEVELS, 1)

    @property
    def is_certain(self) -> bool:
        """Whether every pixel belongs to one object or the background with probability 1."""
        ids = np.array(self.ids, np.uint16)[:, None, None]
        return bool((self.objects() == (self.mask == ids)).all())

    def renamed(self, old: int, new: int) -> "Picture":
        """Returns the picture with object `old` renamed to `new`. If `new` is 0, the object becomes background."""
        return dataclasses.replace(self, names=tuple(new if name == old else name for name in self.names))

    @functools.cached_property
    def digest(self) -> str:
        """A digest of the mask, the probabilities and the ids, independent of how they are stored."""
        levels = np.rint(self.objects() * LEVELS).astype(np.uint8)
        digest = hashlib.sha256(f"{self.ids} {self.size} ".encode())
        digest.update(np.ascontiguousarray(self.mask, np.dtype("<u2")).data)
        digest.update(levels)
        return digest.hexdigest()

    @functools.cached_property
    def content(self) -> str:
        """A digest of the stored arrays, independent of the current names of the objects."""
        return hashlib.sha256(f"{self.channel.digest}{self.levels.digest}".encode()).hexdigest()


def ids_of(mask: Integer[np.ndarray, "..."]) -> list[int]:
    """Returns the distinct values of a mask (uint8 or uint16), sorted. The function is several times as fast as `np.unique`."""
    return np.flatnonzero(np.bincount(mask.ravel())).tolist()


def with_background(p: Float[np.ndarray, "k H W"]) -> Float[np.ndarray, "k1 H W"]:
    """Adds a channel for the background, max(0, 1 - sum p), to the probabilities of objects, and normalises the result."""
    total = p.sum(axis=0)
    background = np.maximum(1 - total, 0)
    return np.concatenate([background[None], p]) / (background + total)


class Pass(NamedTuple):
    """The result of a pass for a frame.

    Attributes:
        ids: the ids of the objects in the annotated frame.
        p: the probability of each object.
        weights: the weights of the objects in the blend, by id; missing objects have weight 0.
    """

    ids: tuple[int, ...]
    p: Float[np.ndarray, "k H W"]
    weights: Mapping[int, float]


def blend(u: float, forward: Pass, backward: Pass) -> tuple[tuple[int, ...], Float[np.ndarray, "k1 H W"]]:
    """Blends the two passes for a frame that is between two annotated frames.

    Args:
        u: relative position of the frame, from 0 at the previous annotated frame to 1 at the next annotated frame.
        forward: the pass from the previous annotated frame.
        backward: the pass from the next annotated frame.

    Returns:
        The ids of the objects in either pass, in ascending order, and the probabilities of the background and the objects. For
        an object in both passes, the result is the weighted mean of the object's probabilities in the passes. The weights are
        (1 - u) f and u b, where f and b are the object's weights in the forward and the backward pass. If both weights are 0,
        `1 - u` and u are used instead. An object in only one pass keeps its probability from that pass.
    """
    ids = tuple(sorted({*forward.ids, *backward.ids}))
    p = np.zeros((len(ids), *forward.p.shape[1:]), np.float32)
    for i, k in enumerate(ids):
        if k in forward.ids and k in backward.ids:
            before, after = ((1 - u) * forward.weights.get(k, 0.0), u * backward.weights.get(k, 0.0))
            share = after / (before + after) if before + after > 0 else u
            p[i] = (
                np.float32(1 - share) * forward.p[forward.ids.index(k)] + np.float32(share) * backward.p[backward.ids.index(k)]
            )
        else:
            of = forward if k in forward.ids else backward
            p[i] = of.p[of.ids.index(k)]
    return ids, with_background(p)


def winners(ids: Sequence[int], probs: Float[np.ndarray, "k1 H W"]) -> Integer[np.ndarray, "H W"]:
    """The most probable id of each pixel, as uint8, or as uint16 if an id is above 255. The first channel is the background."""
    table = np.array((0, *ids), np.uint8 if max(ids, default=0) < 256 else np.uint16)
    return table[np.argmax(probs, axis=0)]


def complete(
    pool: ArrayPool,
    mask: Integer[np.ndarray, "H W"],
    unknown: Bool[np.ndarray, "H W"] | None = None,
    present: Picture | None = None,
) -> Picture:
    """Replaces the unknown pixels in the mask of an annotated frame, and packs the mask.

    Args:
        pool: the pool that stores the arrays of the picture.
        mask: the object id of each pixel.
        unknown: pixels whose ids in `mask` are ignored. Unknown pixels get the probabilities from `present`, or become
            background if `present` is None.
        present: the current result for the frame.

    Returns:
        A picture of the objects that have at least one pixel in the completed mask. Other objects of `present` are dropped,
        and the probabilities of the unknown pixels are renormalised.
    """
    found = mask
    if unknown is not None:
        found = np.where(unknown, mask.dtype.type(0) if present is None else present.mask, mask)
    ids = [k for k in ids_of(found) if k]
    p = found == np.array(ids, found.dtype)[:, None, None]
    if present is not None and unknown is not None and unknown.any():
        background, *others = with_background(present.objects())
        known = dict(zip(present.ids, others, strict=True))
        soft = np.stack([known.get(k, np.zeros(mask.shape, np.float32)) for k in ids]) if ids else p
        total = background + soft.sum(axis=0)
        p = np.where(unknown, soft / np.where(total > 0, total, 1), p)
    return Picture.pack(pool, ids, found, p)
