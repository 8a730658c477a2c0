"""Defines `MemoryBank`, a memory with a fixed capacity for objects whose first masks are in the same frame."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

from hmmn_jax.model.encoders import Memory
from hmmn_jax.model.matching import to_blocks


class FineMemory(struct.PyTreeNode):
    """Memory of the first and the previous frame at strides 8 and 4, as one block of fine cells for each stride-16 cell.

    If a frame has n stride-16 cells, there are m = 2 * n blocks, or m = n in a bank that `bank_of` makes from a single frame.
    """

    key_s8: Float[Array | np.ndarray, "b o m 4 c8"]
    value_s8: Float[Array | np.ndarray, "b o m 4 v8"]
    key_s4: Float[Array | np.ndarray, "b o m 16 c4"]
    value_s4: Float[Array | np.ndarray, "b o m 16 v4"]


class MemoryBank(struct.PyTreeNode):
    """The memory of o objects. The caller keeps track of the number of filled slots; empty slots are never read.

    key_s16, value_s16: T slots in chronological order. Slot 0 is the first frame; the last filled slot is the previous frame.
    centres: the kernel centre of each cell; see `kernel_guided_read`.
    fine: the memory at strides 8 and 4; None in a model without the top-k read.
    """

    key_s16: Float[Array | np.ndarray, "b o T h w c"]
    value_s16: Float[Array | np.ndarray, "b o T h w v"]
    centres: Int[Array | np.ndarray, "b o T n"]
    fine: FineMemory | None

    @property
    def capacity(self) -> int:
        """The number of slots, T."""
        return self.key_s16.shape[2]


def bank_of(memory: Memory, centres: Int[Array, "b o t n"] | None = None) -> MemoryBank:
    """Makes a bank whose slots are the t frames of `memory`.

    `centres` are the kernel centres after the last read, or None for a new video.
    """
    b, o, t, h, w, _ = memory.key_s16.shape
    if centres is None:
        centres = jnp.zeros((b, o, t, h * w), jnp.int32)

    def ends(x: Array, size: int) -> Array:  # the first and the last frame, or the only frame
        blocks = to_blocks(x if t == 1 else jnp.stack([x[:, :, 0], x[:, :, -1]], axis=2), size)
        return blocks.reshape(*blocks.shape[:2], -1, *blocks.shape[4:])

    return MemoryBank(memory.key_s16, memory.value_s16, centres, _fine(memory, ends))


def open_bank(memory: Memory, capacity: int) -> MemoryBank:
    """Makes a bank with the single frame of `memory` in slot 0, as both the first and the previous frame."""

    def slots(x: Array | np.ndarray) -> Array:
        return jnp.pad(x, [(0, capacity - 1 if axis == 2 else 0) for axis in range(x.ndim)])

    bank = bank_of(memory)
    return MemoryBank(
        slots(bank.key_s16),
        slots(bank.value_s16),
        slots(bank.centres),
        jax.tree.map(lambda blocks: jnp.concatenate([blocks, blocks], axis=2), bank.fine),
    )


def write_previous(bank: MemoryBank, memory: Memory, slot: int | Int[Array, ""]) -> MemoryBank:
    """Writes the single frame of `memory` to `slot` > 0 as the previous frame."""

    def put(buffer: Array | np.ndarray, value: Array | np.ndarray, index: int | Array) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(buffer, value.astype(buffer.dtype), index, axis=2)

    new = bank_of(memory)
    return bank.replace(
        key_s16=put(bank.key_s16, new.key_s16, slot),
        value_s16=put(bank.value_s16, new.value_s16, slot),
        fine=jax.tree.map(lambda buffer, blocks: put(buffer, blocks, blocks.shape[2]), bank.fine, new.fine),
    )


def append_previous(bank: MemoryBank, memory: Memory) -> MemoryBank:
    """Adds a slot with the single frame of `memory` as the previous frame.

    This function is for training, where all slots are filled.
    """
    new = bank_of(memory)
    cells = new.centres.shape[3]
    return MemoryBank(
        jnp.concatenate([bank.key_s16, new.key_s16], axis=2),
        jnp.concatenate([bank.value_s16, new.value_s16], axis=2),
        jnp.concatenate([bank.centres, new.centres], axis=2),
        jax.tree.map(lambda blocks, last: jnp.concatenate([blocks[:, :, :cells], last], axis=2), bank.fine, new.fine),
    )


def grow(bank: MemoryBank) -> MemoryBank:
    """Doubles the number of slots."""

    def double(x: Array | np.ndarray) -> Array:
        return jnp.concatenate([x, jnp.zeros_like(x)], axis=2)

    return bank.replace(key_s16=double(bank.key_s16), value_s16=double(bank.value_s16), centres=double(bank.centres))


def drop_oldest(bank: MemoryBank) -> MemoryBank:
    """Removes the frame in slot 1, which is the oldest frame except the first frame. Later slots are shifted by one."""

    def shift(x: Array | np.ndarray) -> Array:
        return jnp.concatenate([x[:, :, :1], x[:, :, 2:], x[:, :, :1]], axis=2)

    return bank.replace(key_s16=shift(bank.key_s16), value_s16=shift(bank.value_s16), centres=shift(bank.centres))


def _fine(memory: Memory, blocks: Callable[[Any, int], Array]) -> FineMemory | None:
    if memory.key_s8 is None:
        return None
    return FineMemory(
        blocks(memory.key_s8, 2), blocks(memory.value_s8, 2), blocks(memory.key_s4, 4), blocks(memory.value_s4, 4)
    )
