"""Reads the memory for a query. The functions in this module have no trained parameters.

`match` reads the whole memory at stride 16. `read_fine` reads the first and the previous frame at strides 8 and 4.
`HMMN.decode` uses the results of `match` and `read_fine`.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from hmmn_jax.model.config import HMMNConfig
from hmmn_jax.model.decoder import Query, Readout
from hmmn_jax.model.matching import from_blocks, kernel_guided_read, select_topk, to_blocks, topk_guided_read
from hmmn_jax.model.memory import FineMemory, MemoryBank


class Match(struct.PyTreeNode):
    """The result of `match`.

    readout: the values that were read at stride 16.
    indices: the memory cells that were selected for each stride-16 query cell, best first, as flat indices into the first and
      the previous frame; None if `config.use_topk_read` is False.
    present: whether each selected cell exists; False for cells in empty slots.
    affinity: normalised affinity to each memory cell; None unless `return_affinity` is set.
    """

    readout: Float[Array, "b o h w v"]
    indices: Int[Array, "b o q k"] | None
    present: Bool[Array, "b o q k"] | None
    affinity: Float[Array, "b o q T n"] | None = None


@jax.named_scope("match")
def match(
    config: HMMNConfig,
    bank: MemoryBank,
    query: Query,
    count: int | Int[Array, ""] | None = None,
    *,
    use_kernel: bool | None = None,
    turns: int | None = None,
    return_affinity: bool = False,
) -> tuple[Match, Int[Array, "b o T n"]]:
    """Runs the kernel-guided read of the first `count` slots of a bank, and selects cells for the top-k reads.

    If `count` is None, all slots are read. If given, `use_kernel` overrides the config. See `kernel_guided_read` for
    `turns`. The second result contains the kernel centres of the bank after this frame.
    """
    read = kernel_guided_read(
        jnp.asarray(bank.key_s16),
        jnp.asarray(bank.value_s16),
        query.key_s16,
        jnp.asarray(bank.centres),
        count,
        use_kernel=config.use_kernel if use_kernel is None else use_kernel,
        window=config.window,
        sigma=config.sigma,
        sigma_growth=config.sigma_growth,
        turns=turns,
        return_affinity=return_affinity,
    )
    indices, present = select_topk(read.log_affinity, config.k_s8) if config.use_topk_read else (None, None)
    return Match(read.readout, indices, present, read.affinity), read.centres


@jax.named_scope("read_fine")
def read_fine(config: HMMNConfig, fine: FineMemory | None, query: Query, found: Match) -> Readout:
    """Runs the top-k guided reads of the cells that `match` selected. Returns the readouts at all strides."""
    if not config.use_topk_read:
        return Readout(found.readout)
    indices, present = found.indices, found.present
    assert fine is not None and indices is not None and present is not None  # not None, because use_topk_read is set

    def read(key: Array | np.ndarray, value: Array | np.ndarray, query_key: Array | None, k: int) -> Array:
        assert query_key is not None  # not None, because use_topk_read is set
        key, value = jnp.asarray(key), jnp.asarray(value)
        blocks = to_blocks(query_key, math.isqrt(key.shape[3]))
        readout = topk_guided_read(key, value, blocks, indices[..., :k], present[..., :k])
        return from_blocks(readout, *query_key.shape[1:3])

    return Readout(
        found.readout,
        read(fine.key_s8, fine.value_s8, query.key_s8, config.k_s8),
        read(fine.key_s4, fine.value_s4, query.key_s4, config.k_s4),
    )
