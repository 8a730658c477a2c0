"""HMMN: memorise frames with their masks, segment the next frame from what is remembered."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int, Num

from hmmn_jax.model.config import HMMNConfig
from hmmn_jax.model.decoder import Decoder, Query, soft_aggregation
from hmmn_jax.model.encoders import Memory, MemoryEncoder, QueryEncoder, split_objects
from hmmn_jax.model.frames import STRIDE, crop_from_stride, pad_to_stride, to_unit_range
from hmmn_jax.model.matching import KernelRead, from_blocks, kernel_guided_read, select_topk, to_blocks, topk_guided_read


class Segmentation(NamedTuple):
    """What `HMMN.segment` returns.

    logits: soft-aggregated, background first, `[b,o+1,H,W]`, in the frame's own size.
    read: the stride-16 read, with its centres (`KernelRead`).
    indices: the selected memory cells of each stride-16 query cell, best first, `[b,o,q,k]`, flat in the first and the
      previous frame; None without the top-k read.
    """

    logits: jax.Array
    read: KernelRead
    indices: jax.Array | None


class HMMN(nn.Module):
    """Hierarchical Memory Matching Network (Seong et al., ICCV 2021).

    A pure function of its variables: `model.apply(variables, ..., method="memorize")`. Frames are RGB, uint8 or float in
    [0, 1], of any size; probabilities have the background first and are never arg-maxed on the way. Collections: "params"
    (trained), "batch_stats" and "constants" (not trained, but part of a checkpoint).
    """

    config: HMMNConfig = HMMNConfig()

    def setup(self):  # noqa: D102
        self.memory_encoder = MemoryEncoder(self.config)
        self.query_encoder = QueryEncoder(self.config)
        self.decoder = Decoder(self.config)

    def init_variables(self, key: jax.Array) -> dict[str, Any]:
        """Random variables, seeded by `key`; their shapes do not depend on any frame's.

        The encoders start alike in all layers that both have, as they do from ImageNet's weights in the paper: so keys of like
        patches match from the first step on, where two random networks would have to find a common language first.
        """
        variables = self.init(key, jnp.zeros((1, 3, STRIDE, STRIDE, 3)), jnp.zeros((1, 2, STRIDE, STRIDE)))
        params = variables["params"]
        memory_encoder = {name: params["query_encoder"].get(name, part) for name, part in params["memory_encoder"].items()}
        return variables | {"params": params | {"memory_encoder": memory_encoder}}

    def memorize(self, frame: Num[Array, "b H W 3"], probs: Float[Array, "b o1 H W"]) -> Memory:
        """What is remembered of a frame, given the probabilities of its o = o1 - 1 objects: a `Memory` of one frame."""
        return self.memorize_objects(self.memory_stem(frame), *split_objects(probs))

    def memory_stem(self, frame: Num[Array, "b H W 3"]) -> Float[Array, "b h2 w2 c"]:
        """The frame's share of the memory encoder's first layer, once for all objects."""
        return self.memory_encoder.stem(pad_to_stride(to_unit_range(frame), (1, 2)))

    def memorize_objects(
        self, stem: Float[Array, "b h2 w2 c"], mask: Float[Array, "b o H W"], others: Float[Array, "b o H W"]
    ) -> Memory:
        """`memorize` for some of the objects only: the frame's `memory_stem` and what `split_objects` says of them."""
        return self.memory_encoder(stem, pad_to_stride(mask, (2, 3)), pad_to_stride(others, (2, 3)))

    def encode_query(self, frame: Num[Array, "b H W 3"]) -> Query:
        """What the frame to be segmented gives, once for all objects."""
        return self.decoder.share(self.query_encoder(pad_to_stride(to_unit_range(frame), (1, 2))))

    def decode(
        self,
        query: Query,
        readout_s16: Float[Array, "b o h16 w16 v16"],
        readout_s8: Float[Array, "b o h8 w8 v8"] | None = None,
        readout_s4: Float[Array, "b o h4 w4 v4"] | None = None,
        keep: Bool[Array, "b 2"] | None = None,
    ) -> Float[Array, "b o H W"]:
        """Probability of each object by itself, in the padded size; `keep` as in `segment`."""
        return self.decoder(query, readout_s16, readout_s8, readout_s4, keep)

    def segment(
        self,
        frame: Num[Array, "b H W 3"],
        memory: Memory,
        centres: Int[Array, "b o t n"] | None = None,
        *,
        valid: Bool[Array, "b o"] | None = None,
        keep: Bool[Array, "b 2"] | None = None,
        use_kernel: bool | None = None,
        return_affinity: bool = False,
    ) -> Segmentation:
        """Segments a frame from a memory whose last frame is the previous frame.

        Args:
          frame: RGB, uint8 or float in [0, 1].
          memory: t frames; at strides 8 and 4 only the first and the last are read.
          centres: `read.centres` of the last call, for the slots that are still there (None: a new video).
          valid: which objects exist; the others are padding and take no part.
          keep: coins of training, per sample, for strides 8 and 4: False drops that memory branch.
          use_kernel: overrides the switch of the config.
          return_affinity: also return the normalised stride-16 affinity, `[b,o,q,t,n]`.
        """
        query = self.encode_query(frame)
        read = read_coarse(
            self.config,
            memory.key_s16,
            memory.value_s16,
            query.key_s16,
            centres,
            use_kernel=use_kernel,
            return_affinity=return_affinity,
        )
        readout_s8 = readout_s4 = indices = None
        if self.config.use_topk_read:
            indices, present = select_topk(read.scores, self.config.k_s8)
            k = self.config.k_s4
            key, value = first_and_last_blocks(memory.key_s8, 2), first_and_last_blocks(memory.value_s8, 2)
            readout_s8 = read_fine(key, value, query.key_s8, indices, present)
            key, value = first_and_last_blocks(memory.key_s4, 4), first_and_last_blocks(memory.value_s4, 4)
            readout_s4 = read_fine(key, value, query.key_s4, indices[..., :k], present[..., :k])
        p = self.decode(query, read.readout, readout_s8, readout_s4, keep)
        logits = soft_aggregation(crop_from_stride(p, *frame.shape[1:3]), valid)
        return Segmentation(logits, read, indices)

    def __call__(
        self,
        frames: Num[Array, "b 3 H W 3"],
        first_mask: Num[Array, "b o1 H W"],
        *,
        valid: Bool[Array, "b o"] | None = None,
        keep: Bool[Array, "b 2 2"] | None = None,
    ) -> Float[Array, "b 2 o1 H W"]:
        """Training form: logits of frames 1 and 2 of three-frame clips, 0 -> 1 and then {0, 1} -> 2.

        The soft prediction of frame 1 is memorised, and the gradient flows through it. The kernel is off, as its arg-max has
        no gradient and the frames are not adjacent, unless the config's `kernel_in_training` says otherwise.

        Args:
          frames: RGB, uint8 or float in [0, 1].
          first_mask: frame 0, one-hot with the background first; padded objects are 0 everywhere.
          valid: which objects exist.
          keep: coins per sample, frame (1, 2) and stride (8, 4): False drops that memory branch, without rescaling.
        """
        probs, memory, centres, outputs = first_mask, None, None, []
        use_kernel = self.config.use_kernel and self.config.kernel_in_training
        for t in (1, 2):
            new = self.memorize(frames[:, t - 1], probs)
            memory = new if memory is None else jax.tree.map(lambda *xs: jnp.concatenate(xs, 2), memory, new)
            coins = None if keep is None else keep[:, t - 1]
            logits, read, _ = self.segment(frames[:, t], memory, centres, valid=valid, keep=coins, use_kernel=use_kernel)
            probs = jax.nn.softmax(logits, axis=1)
            centres = jnp.concatenate([read.centres, jnp.zeros_like(read.centres)], axis=2)  # and those of the next slot
            outputs.append(logits)
        return jnp.stack(outputs, axis=1)


def read_coarse(
    config: HMMNConfig,
    keys: Float[Array, "b o t h w c"],
    values: Float[Array, "b o t h w v"],
    query_key: Float[Array, "b h w c"],
    centres: Int[Array, "b o t n"] | None = None,
    count: int | Int[Array, ""] | None = None,
    *,
    use_kernel: bool | None = None,
    return_affinity: bool = False,
) -> KernelRead:
    """`kernel_guided_read` with the sizes and switches of `config`; `use_kernel` overrides its switch."""
    return kernel_guided_read(
        keys,
        values,
        query_key,
        centres,
        count,
        use_kernel=config.use_kernel if use_kernel is None else use_kernel,
        window=config.window,
        sigma=config.sigma,
        sigma_growth=config.sigma_growth,
        return_affinity=return_affinity,
    )


def read_fine(
    key: Float[Array, "b o m p c"],
    value: Float[Array, "b o m p v"],
    query_key: Float[Array, "b h w c"],
    indices: Int[Array, "b o q k"],
    present: Bool[Array, "b o q k"],
) -> Float[Array, "b o h w v"]:
    """`topk_guided_read` of a memory in blocks (`to_blocks`) for a query that is a map; returns a map."""
    size = math.isqrt(key.shape[3])
    readout = topk_guided_read(key, value, to_blocks(query_key, size), indices, present)
    return from_blocks(readout, *query_key.shape[1:3])


def first_and_last_blocks(x: Float[Array, "b o t h w c"], size: int) -> Float[Array, "b o m p c"]:
    """The first and the last frame of a fine memory (one, if there is one) as blocks of `size` x `size` cells."""
    ends = x if x.shape[2] == 1 else jnp.stack([x[:, :, 0], x[:, :, -1]], axis=2)
    blocks = to_blocks(ends, size)
    return blocks.reshape(*blocks.shape[:2], -1, *blocks.shape[4:])


def abstract_variables(config: HMMNConfig) -> dict[str, Any]:
    """Shapes and dtypes of the variables of `HMMN(config)`, without computing any."""
    return jax.eval_shape(HMMN(config).init_variables, jax.random.key(0))
