"""The memory bank: what is remembered of some objects that share a clock, in buffers of fixed capacity."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

from hmmn_jax.model.encoders import Memory
from hmmn_jax.model.matching import to_blocks


@struct.dataclass
class MemoryBank:
    """Memory of o objects. The caller knows how many slots are filled; what lies in the others is never read.

    Stride 16 has T slots, in order of time: slot 0 is the first frame, the last filled one the previous frame. Strides 8 and 4
    hold the first and the previous frame, cut into the p cells under each stride-16 cell: m = 2 * n blocks (None in a model
    without the top-k read).
    """

    key_s16: Float[Array | np.ndarray, "b o T h w c"]
    value_s16: Float[Array | np.ndarray, "b o T h w v"]
    centres: Int[Array | np.ndarray, "b o T n"]
    key_s8: Float[Array | np.ndarray, "b o m 4 c8"] | None
    value_s8: Float[Array | np.ndarray, "b o m 4 v8"] | None
    key_s4: Float[Array | np.ndarray, "b o m 16 c4"] | None
    value_s4: Float[Array | np.ndarray, "b o m 16 v4"] | None

    @property
    def capacity(self) -> int:
        """The number of slots, T."""
        return self.key_s16.shape[2]


def open_bank(memory: Memory, capacity: int) -> MemoryBank:
    """A bank whose slot 0 is `memory`, of one frame: it is both the first and the previous frame."""

    def slots(x):
        return jnp.pad(x, [(0, capacity - 1 if axis == 2 else 0) for axis in range(x.ndim)])

    b, o, _, h, w, _ = memory.key_s16.shape
    return MemoryBank(
        slots(memory.key_s16),
        slots(memory.value_s16),
        jnp.zeros((b, o, capacity, h * w), jnp.int32),
        **jax.tree.map(lambda blocks: jnp.concatenate([blocks, blocks], axis=2), _fine_blocks(memory)),
    )


def write_previous(bank: MemoryBank, memory: Memory, slot: int | Int[Array, ""]) -> MemoryBank:
    """The bank with `memory`, of one frame, in `slot` > 0 as the previous frame."""

    def put(buffer, value, index):
        return jax.lax.dynamic_update_slice_in_dim(buffer, value.astype(buffer.dtype), index, axis=2)

    fine = _fine_blocks(memory)
    buffers = {name: getattr(bank, name) for name in fine}
    return bank.replace(
        key_s16=put(bank.key_s16, memory.key_s16, slot),
        value_s16=put(bank.value_s16, memory.value_s16, slot),
        **jax.tree.map(lambda buffer, blocks: put(buffer, blocks, blocks.shape[2]), buffers, fine),
    )


def grow(bank: MemoryBank) -> MemoryBank:
    """The bank with twice the slots."""

    def double(x):
        return jnp.concatenate([x, jnp.zeros_like(x)], axis=2)

    return bank.replace(key_s16=double(bank.key_s16), value_s16=double(bank.value_s16), centres=double(bank.centres))


def drop_oldest(bank: MemoryBank) -> MemoryBank:
    """The bank without slot 1, the oldest frame but the first; later slots move up by one."""

    def shift(x):
        return jnp.concatenate([x[:, :, :1], x[:, :, 2:], x[:, :, :1]], axis=2)

    return bank.replace(key_s16=shift(bank.key_s16), value_s16=shift(bank.value_s16), centres=shift(bank.centres))


def _fine_blocks(memory: Memory) -> dict[str, jax.Array | None]:
    def blocks(x, size):  # [b,o,1,H,W,c] -> [b,o,n,p,c]
        return None if x is None else to_blocks(x[:, :, 0], size)

    return {
        "key_s8": blocks(memory.key_s8, 2),
        "value_s8": blocks(memory.value_s8, 2),
        "key_s4": blocks(memory.key_s4, 4),
        "value_s4": blocks(memory.value_s4, 4),
    }
