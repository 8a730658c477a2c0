"""The two encoders: what is remembered of a frame, and what is asked of the memory."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Float

from hmmn_jax.model.config import HMMNConfig
from hmmn_jax.model.layers import Conv, Kernel, Key
from hmmn_jax.model.resnet import Trunk
from hmmn_jax.ops.conv2d import conv2d

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@struct.dataclass
class Memory:
    """Keys and values of t memory frames for o objects, each `[b,o,t,h,w,c]`; h, w are those of its stride.

    A model without the top-k read has None at strides 8 and 4.
    """

    key_s16: Float[Array, "b o t h16 w16 k16"]
    value_s16: Float[Array, "b o t h16 w16 v16"]
    key_s8: Float[Array, "b o t h8 w8 k8"] | None = None
    value_s8: Float[Array, "b o t h8 w8 v8"] | None = None
    key_s4: Float[Array, "b o t h4 w4 k4"] | None = None
    value_s4: Float[Array, "b o t h4 w4 v4"] | None = None


class QueryFeatures(NamedTuple):
    """What the query encoder sees in a frame, `[b,h,w,c]`: keys, the stride-16 value, and trunk features for the decoder.

    The keys of strides 8 and 4 are None in a model without the top-k read.
    """

    key_s16: jax.Array
    key_s8: jax.Array | None
    key_s4: jax.Array | None
    value_s16: jax.Array
    res3: jax.Array
    res2: jax.Array


class Normalise(nn.Module):
    """Subtracts ImageNet's mean and divides by its deviation; both are constants that travel with a checkpoint."""

    @nn.compact
    def __call__(self, frame: Float[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
        """RGB in [0, 1], zero-padded *before*, as the released weights expect."""
        mean = self.variable("constants", "mean", jnp.array, IMAGENET_MEAN).value
        std = self.variable("constants", "std", jnp.array, IMAGENET_STD).value
        return (frame - mean) / std


class MemoryEncoder(nn.Module):
    """Encodes a frame together with one object's mask and the union of the others'; one batch entry per object."""

    config: HMMNConfig

    def setup(self):  # noqa: D102
        config = self.config
        self.normalise = Normalise()
        self.conv_frame = Conv(config.stem_width, config, 7, 2, use_bias=config.norm == "none")
        self.conv_mask = Kernel((7, 7, 1, config.stem_width))
        # Zero, so that a model that has only been shown one object at a time takes no notice of others.
        self.conv_others = Kernel((7, 7, 1, config.stem_width), nn.initializers.zeros)
        self.trunk = Trunk(config)
        self.key_s16, self.value_s16 = Key(config.key_dim_s16, config), Conv(config.value_dim_s16, config)
        if config.use_topk_read:
            self.key_s8, self.value_s8 = Key(config.key_dim_s8, config), Conv(config.value_dim_s8, config)
            self.key_s4, self.value_s4 = Key(config.key_dim_s4, config), Conv(config.value_dim_s4, config)

    def stem(self, frame: Float[Array, "b H W 3"]) -> Float[Array, "b h2 w2 c"]:
        """The frame's share of the first layer, once for all objects; RGB in [0, 1], sides multiples of 16."""
        return self.conv_frame(self.normalise(frame))

    def __call__(
        self, stem: Float[Array, "b h2 w2 c"], mask: Float[Array, "b o H W"], others: Float[Array, "b o H W"]
    ) -> Memory:
        """The frame's `stem` and, for each object, its own and the others' probabilities -> a `Memory` of one frame."""
        b, o = mask.shape[:2]

        # Two convolutions and their sum are one, of both inputs; masks are rounded to float32, as the published code does.
        kernel = jnp.concatenate([self.conv_mask(), self.conv_others()], axis=2)
        masks = jnp.stack([mask, others], axis=-1).astype(jnp.float32).astype(stem.dtype)
        x = conv2d(masks.reshape(b * o, *masks.shape[2:]), kernel.astype(stem.dtype), 2)
        x = x.reshape(b, o, *x.shape[1:]) + stem[:, None]
        res2, res3, res4 = self.trunk(x.reshape(b * o, *x.shape[2:]))

        def head(conv, x):  # [b*o,h,w,c] -> [b,o,1,h,w,c]
            x = conv(x)
            return x.reshape(b, o, 1, *x.shape[1:])

        memory = Memory(head(self.key_s16, res4), head(self.value_s16, res4))
        if self.config.use_topk_read:
            memory = memory.replace(
                key_s8=head(self.key_s8, res3),
                value_s8=head(self.value_s8, res3),
                key_s4=head(self.key_s4, res2),
                value_s4=head(self.value_s4, res2),
            )
        return memory


class QueryEncoder(nn.Module):
    """Encodes the frame to be segmented, from RGB alone."""

    config: HMMNConfig

    @nn.compact
    def __call__(self, frame: Float[Array, "b H W 3"]) -> QueryFeatures:
        """RGB in [0, 1], sides multiples of 16."""
        config = self.config
        stem = Conv(config.stem_width, config, 7, 2, config.norm == "none", name="conv_frame")
        res2, res3, res4 = Trunk(config, name="trunk")(stem(Normalise(name="normalise")(frame)))

        def head(kind: type[Conv], name: str, x: jax.Array, features: int) -> jax.Array:
            return kind(features, config, name=name)(x)

        fine = config.use_topk_read
        return QueryFeatures(
            key_s16=head(Key, "key_s16", res4, config.key_dim_s16),
            key_s8=head(Key, "key_s8", res3, config.key_dim_s8) if fine else None,
            key_s4=head(Key, "key_s4", res2, config.key_dim_s4) if fine else None,
            value_s16=head(Conv, "value_s16", res4, config.value_dim_s16),
            res3=res3,
            res2=res2,
        )


def split_objects(probs: Float[Array, "b o1 h w"]) -> tuple[Float[Array, "b o h w"], Float[Array, "b o h w"]]:
    """Probabilities of background and objects -> each object's mask, and the clipped sum of the other objects'.

    Absent (padded) objects have probability 0, so they are left out by themselves.
    """
    mask = probs[:, 1:]
    others = jnp.clip(mask.sum(1, keepdims=True) - mask, 0, 1)
    return mask, others
