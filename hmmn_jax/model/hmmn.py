"""Defines `HMMN`, the network that encodes frames and their masks as memory and reads this memory to segment the next frame."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int, Num

from hmmn_jax.model.config import HMMNConfig
from hmmn_jax.model.decoder import Decoder, Query, soft_aggregation
from hmmn_jax.model.encoders import Memory, MemoryEncoder, QueryEncoder, split_objects
from hmmn_jax.model.frames import STRIDE, crop_from_stride, pad_to_stride, to_unit_range
from hmmn_jax.model.memory import FineMemory, MemoryBank, append_previous, bank_of
from hmmn_jax.model.step import Match, match, read_fine


class Segmentation(NamedTuple):
    """The result of `HMMN.segment`.

    Attributes:
        logits: soft-aggregated logits at the size of the frame, `[b,o+1,H,W]`; channel 0 is the background.
        match: the result of the stride-16 read, including the selected cells.
        centres: the kernel centre of each memory cell after this frame, `[b,o,T,n]`.
    """

    logits: jax.Array
    match: Match
    centres: jax.Array


class HMMN(nn.Module):
    """Hierarchical Memory Matching Network (Seong et al., ICCV 2021).

    Methods are pure functions of the variables: `model.apply(variables, ..., method="memorize")`. Frames are RGB images of any
    size, either uint8 or float in [0, 1]. In probabilities, channel 0 is the background. Probabilities, not their arg-max, are
    passed from frame to frame. The variables in the collection "params" are trained. The collections "batch_stats" and
    "constants" are not trained but are part of a checkpoint.
    """

    config: HMMNConfig = HMMNConfig()

    def setup(self) -> None:  # noqa: D102
        self.memory_encoder = MemoryEncoder(self.config)
        self.query_encoder = QueryEncoder(self.config)
        self.decoder = Decoder(self.config)

    def init_variables(self, key: jax.Array) -> dict[str, Any]:
        """Initialises the variables at random. The shapes of the variables do not depend on the size of frames.

        Layers that exist in both encoders get the same values. In the paper, both encoders get the same ImageNet weights. With
        equal values, keys of similar patches match from the first training step. With different values, these keys would not
        match.

        Args:
            key: a random key, for example from `jax.random.key`.
        """
        variables = self.init(key, jnp.zeros((1, 2, STRIDE, STRIDE, 3)), jnp.zeros((1, 2, STRIDE, STRIDE)))
        params = flax.traverse_util.flatten_dict(variables["params"])
        alike = {path: params.get(("query_encoder", *path[1:]), leaf) for path, leaf in params.items()}
        params = {path: alike[path] if path[0] == "memory_encoder" else leaf for path, leaf in params.items()}
        return {**variables, "params": flax.traverse_util.unflatten_dict(params)}

    def memorize(self, frame: Num[Array, "b H W 3"], probs: Float[Array, "b o1 H W"]) -> Memory:
        """Encodes a frame and the probabilities of its o = o1 - 1 objects as a `Memory` of one frame."""
        return self.memorize_objects(self.memory_stem(frame), *split_objects(probs))

    def memory_stem(self, frame: Num[Array, "b H W 3"]) -> Float[Array, "b h2 w2 c"]:
        """Computes the part of the memory encoder's first layer that depends only on the frame, once for all objects."""
        return self.memory_encoder.stem(pad_to_stride(to_unit_range(frame), (1, 2)))

    def memorize_objects(
        self, stem: Float[Array, "b h2 w2 c"], mask: Float[Array, "b o H W"], others: Float[Array, "b o H W"]
    ) -> Memory:
        """Computes the result of `memorize` for a subset of the objects.

        `stem` is the result of `memory_stem` for the frame; `mask` and `others` are results of `split_objects`.
        """
        features = self.memory_encoder.backbone(self.memory_first_layer(stem, mask, others))
        return self.memory_encoder.heads(features, mask.shape[1])

    def memory_first_layer(
        self, stem: Float[Array, "b h2 w2 c"], mask: Float[Array, "b o H W"], others: Float[Array, "b o H W"]
    ) -> Float[Array, "bo h2 w2 c"]:
        """Computes the first layer of the memory encoder, for `memorize_objects`."""
        return self.memory_encoder.first_layer(stem, pad_to_stride(mask, (2, 3)), pad_to_stride(others, (2, 3)))

    def encode_query(self, frame: Num[Array, "b H W 3"]) -> Query:
        """Encodes the frame to be segmented, once for all objects."""
        features = self.query_encoder.backbone(self.query_first_layer(frame))
        return self.decoder.share(self.query_encoder.heads(features))

    def query_first_layer(self, frame: Num[Array, "b H W 3"]) -> Float[Array, "b h2 w2 c"]:
        """Computes the first layer of the query encoder, for `encode_query`."""
        return self.query_encoder.first_layer(pad_to_stride(to_unit_range(frame), (1, 2)))

    def decode(
        self,
        query: Query,
        found: Match,
        fine: FineMemory | None,
        size: tuple[int, int],
        keep: Bool[Array, "b 2"] | None = None,
    ) -> Float[Array, "b o H W"]:
        """Runs the top-k reads and the decoder, and returns the probability of each object, cropped to `size`.

        See `segment` for `keep`.
        """
        p = self.decoder(query, read_fine(self.config, fine, query, found), keep)
        return crop_from_stride(p, *size)

    def segment(
        self,
        frame: Num[Array, "b H W 3"],
        bank: MemoryBank,
        count: int | Int[Array, ""] | None = None,
        *,
        valid: Bool[Array, "b o"] | None = None,
        keep: Bool[Array, "b 2"] | None = None,
        use_kernel: bool | None = None,
        return_affinity: bool = False,
    ) -> Segmentation:
        """Segments a frame, given a memory bank whose last frame is the previous frame.

        Each call is one step of the algorithm in the paper.

        Args:
            frame: RGB image, uint8 or float in [0, 1].
            bank: the memory bank, such as `bank_of(memory)`.
            count: number of filled slots. None means that all slots are filled.
            valid: whether each object exists. Objects that do not exist are padding and are ignored.
            keep: in training, whether each sample uses its fine memory at strides 8 and 4.
            use_kernel: whether the stride-16 read uses the kernel. None means the value of `use_kernel` in the config.
            return_affinity: whether to also return the normalised stride-16 affinity, `[b,o,q,T,n]`.
        """
        query = self.encode_query(frame)
        found, centres = match(self.config, bank, query, count, use_kernel=use_kernel, return_affinity=return_affinity)
        _, height, width, _ = frame.shape
        p = self.decode(query, found, bank.fine, (height, width), keep)
        return Segmentation(soft_aggregation(p, valid), found, centres)

    def __call__(
        self,
        frames: Num[Array, "b T H W 3"],
        first_mask: Num[Array, "b o1 H W"],
        *,
        valid: Bool[Array, "b o"] | None = None,
        keep: Bool[Array, "b t 2"] | None = None,
    ) -> Float[Array, "b t o1 H W"]:
        """Computes the training logits of the t = T - 1 frames after the first.

        Each frame is segmented with the memory of all earlier frames. As in inference, the memory contains the first and the
        previous frame at all strides, and the frames between these two at stride 16. The soft prediction of each frame is
        encoded into the memory, and gradients flow through the prediction. The kernel is not used unless `kernel_in_training`
        is set, because the arg-max of the kernel has no gradient and the frames are not adjacent.

        Args:
          frames: RGB images, uint8 or float in [0, 1]; T is at least 2 (3 in the paper).
          first_mask: one-hot mask of frame 0; channel 0 is the background, and objects that are padding are 0 everywhere.
          valid: whether each object exists. Objects that do not exist are padding.
          keep: whether the fine memory is used, for each sample, frame (1, 2, ...) and stride (8, 4). Unlike in standard
            dropout, the remaining activations are not rescaled.
        """
        use_kernel = self.config.use_kernel and self.config.kernel_in_training
        bank = bank_of(self.memorize(frames[:, 0], first_mask))
        outputs: list[jax.Array] = []
        for t in range(1, frames.shape[1]):
            if t > 1:
                memory = self.memorize(frames[:, t - 1], jax.nn.softmax(outputs[-1], axis=1))
                bank = append_previous(bank, memory)
            coins = None if keep is None else keep[:, t - 1]
            logits, _, centres = self.segment(frames[:, t], bank, valid=valid, keep=coins, use_kernel=use_kernel)
            bank = bank.replace(centres=centres)
            outputs.append(logits)
        return jnp.stack(outputs, axis=1)


def abstract_variables(config: HMMNConfig) -> dict[str, Any]:
    """Returns the shapes and dtypes of the variables of `HMMN(config)` without computing the variables."""
    return flax.traverse_util.unflatten_dict(_abstract_variables(config))


@functools.cache  # cached, because tracing the network takes about a second
def _abstract_variables(config: HMMNConfig) -> Mapping[tuple[str, ...], jax.ShapeDtypeStruct]:
    return flax.traverse_util.flatten_dict(jax.eval_shape(HMMN(config).init_variables, jax.random.key(0)))


def fold_batch_norm(variables: dict[str, Any], config: HMMNConfig) -> tuple[dict[str, Any], HMMNConfig]:
    """Folds BatchNorm into the convolutions of the backbones. Returns the variables and the config of an equivalent model.

    Backbones without BatchNorm are not changed.
    """
    flat, backbone = flax.traverse_util.flatten_dict(variables), config.backbone
    folded = {path: leaf for path, leaf in flat.items() if path[2] != "backbone"}
    for encoder in ("memory_encoder", "query_encoder"):
        part = {(path[0], *path[3:]): leaf for path, leaf in flat.items() if path[1:3] == (encoder, "backbone")}
        inner, backbone = config.backbone.fold(flax.traverse_util.unflatten_dict(part))
        part = flax.traverse_util.flatten_dict(inner)
        folded |= {(path[0], encoder, "backbone", *path[1:]): leaf for path, leaf in part.items()}
    return flax.traverse_util.unflatten_dict(folded), config.replace(backbone=backbone)
