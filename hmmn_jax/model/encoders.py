"""Defines the memory encoder and the query encoder."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Float, Int

from hmmn_jax.model.backbones import Features
from hmmn_jax.model.config import HMMNConfig
from hmmn_jax.model.layers import Conv, Key


class Memory(struct.PyTreeNode):
    """Keys and values of t memory frames for o objects, each of shape `[b,o,t,h,w,c]`, where h and w depend on the stride.

    In a model without the top-k read, the keys and values at strides 8 and 4 are None.
    """

    key_s16: Float[Array, "b o t h16 w16 k16"]
    value_s16: Float[Array, "b o t h16 w16 v16"]
    key_s8: Float[Array, "b o t h8 w8 k8"] | None = None
    value_s8: Float[Array, "b o t h8 w8 v8"] | None = None
    key_s4: Float[Array, "b o t h4 w4 k4"] | None = None
    value_s4: Float[Array, "b o t h4 w4 v4"] | None = None


class QueryFeatures(NamedTuple):
    """The query encoder's output for a frame: keys, the stride-16 value and the backbone's features, all of shape `[b,h,w,c]`.

    In a model without the top-k read, the keys at strides 8 and 4 are None.
    """

    key_s16: jax.Array
    key_s8: jax.Array | None
    key_s4: jax.Array | None
    value_s16: jax.Array
    features: Features


def make_head(config: HMMNConfig, name: str) -> Conv:
    """Makes the convolution that computes keys or values from the features of the backbone.

    `name` is the name of the convolution in the variables of an encoder, such as "key_s16" or "value_s4".
    """
    kind, stride = name.split("_")
    features = getattr(config, f"{kind}_dim_{stride}")
    return Key(features, config.compute, normalise=config.normalise_keys) if kind == "key" else Conv(features, config.compute)


class MemoryEncoder(nn.Module):
    """Encodes a frame with the mask of one object and the union of the other masks. Objects are part of the batch axis.

    The memory is `heads(backbone(first_layer(...)))`.
    """

    config: HMMNConfig

    def setup(self) -> None:  # noqa: D102
        config = self.config
        self.backbone = config.backbone.make(config.compute, with_masks=True)
        self.key_s16, self.value_s16 = make_head(config, "key_s16"), make_head(config, "value_s16")
        if config.use_topk_read:
            self.key_s8, self.value_s8 = make_head(config, "key_s8"), make_head(config, "value_s8")
            self.key_s4, self.value_s4 = make_head(config, "key_s4"), make_head(config, "value_s4")

    def stem(self, frame: Float[Array, "b H W 3"]) -> Float[Array, "b h2 w2 c"]:
        """Computes the frame's contribution to the first layer, once for all objects.

        The frame is RGB in [0, 1], and its sides are multiples of 16.
        """
        return self.backbone.frame(frame)

    def first_layer(
        self, stem: Float[Array, "b h2 w2 c"], mask: Float[Array, "b o H W"], others: Float[Array, "b o H W"]
    ) -> Float[Array, "bo h2 w2 c"]:
        """Computes the first layer of the backbone.

        Args:
            stem: the result of the method `stem` for the frame.
            mask: the probability of each object.
            others: for each object, the probability of all other objects together.
        """
        b, o = mask.shape[:2]
        masks = jnp.stack([mask, others], axis=-1).astype(jnp.float32)  # float64 masks become float32, as in the published code
        x = self.backbone.masks(masks.reshape(b * o, *masks.shape[2:]))
        x = x.reshape(b, o, *x.shape[1:]) + stem[:, None]
        return x.reshape(b * o, *x.shape[2:])

    def heads(self, features: Features, objects: int) -> Memory:
        """Computes a `Memory` of one frame from the features of o = `objects` objects, `[b*o,h,w,c]`."""

        def head(conv: nn.Module, x: jax.Array) -> jax.Array:  # [b*o,h,w,c] -> [b,o,1,h,w,c]
            x = conv(x)
            return x.reshape(-1, objects, 1, *x.shape[1:])

        memory = Memory(head(self.key_s16, features.s16), head(self.value_s16, features.s16))
        if self.config.use_topk_read:
            memory = memory.replace(
                key_s8=head(self.key_s8, features.s8),
                value_s8=head(self.value_s8, features.s8),
                key_s4=head(self.key_s4, features.s4),
                value_s4=head(self.value_s4, features.s4),
            )
        return memory


class QueryEncoder(nn.Module):
    """Encodes the frame to be segmented. The only input of the query encoder is the RGB frame.

    The result is `heads(backbone(first_layer(frame)))`.
    """

    config: HMMNConfig

    def setup(self) -> None:  # noqa: D102
        config = self.config
        self.backbone = config.backbone.make(config.compute, with_masks=False)
        self.key_s16, self.value_s16 = make_head(config, "key_s16"), make_head(config, "value_s16")
        if config.use_topk_read:
            self.key_s8, self.key_s4 = make_head(config, "key_s8"), make_head(config, "key_s4")

    def first_layer(self, frame: Float[Array, "b H W 3"]) -> Float[Array, "b h2 w2 c"]:
        """Computes the first layer of the backbone. The frame is RGB in [0, 1], with sides that are multiples of 16."""
        return self.backbone.frame(frame)

    def heads(self, features: Features) -> QueryFeatures:
        """Computes the keys and the value of a frame from the features of the backbone."""
        fine = self.config.use_topk_read
        return QueryFeatures(
            key_s16=self.key_s16(features.s16),
            key_s8=self.key_s8(features.s8) if fine else None,
            key_s4=self.key_s4(features.s4) if fine else None,
            value_s16=self.value_s16(features.s16),
            features=features,
        )


def split_objects(probs: Float[Array, "b o1 h w"]) -> tuple[Float[Array, "b o h w"], Float[Array, "b o h w"]]:
    """Returns the probabilities of each object, and the clipped sum of the probabilities of all other objects.

    Objects that are padding have probability 0, so they do not contribute to the sum.
    """
    return split_range(probs, sum_objects(probs), 0, probs.shape[1] - 1)


def sum_objects(probs: Float[Array, "b o1 h w"]) -> Float[Array, "b 1 h w"]:
    """Returns the sum of all objects' probabilities, for `split_range`."""
    return probs[:, 1:].sum(1, keepdims=True)


def split_range(
    probs: Float[Array, "b o1 h w"], union: Float[Array, "b 1 h w"], start: int | Int[Array, ""], size: int
) -> tuple[Float[Array, "b o h w"], Float[Array, "b o h w"]]:
    """Computes the result of `split_objects` for `size` objects only, starting at index `start`.

    `union` is the result of `sum_objects`.
    """
    mask = jax.lax.dynamic_slice_in_dim(probs, start + 1, size, axis=1)
    return mask, jnp.clip(union - mask, 0, 1)
