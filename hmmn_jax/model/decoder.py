"""Decodes the readouts into the probability of each object, and combines all objects by soft aggregation."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Bool, Float

from hmmn_jax.model.config import HMMNConfig
from hmmn_jax.model.encoders import QueryFeatures
from hmmn_jax.model.layers import Conv
from hmmn_jax.ops.conv2d import conv2d
from hmmn_jax.ops.precision import at_least_float32
from hmmn_jax.ops.resize import upsample

PROBABILITY_MARGIN = 1e-7


class Query(struct.PyTreeNode):
    """The keys of a frame and its contributions to the decoder, each of shape `[b,h,w,c]`. All objects share these arrays."""

    key_s16: Float[Array, "b h16 w16 k16"]
    key_s8: Float[Array, "b h8 w8 k8"] | None
    key_s4: Float[Array, "b h4 w4 k4"] | None
    shared_s16: Float[Array, "b h16 w16 c"]
    shared_s8: Float[Array, "b h8 w8 c"]
    shared_s4: Float[Array, "b h4 w4 c"]


class Readout(struct.PyTreeNode):
    """The readouts of the memory for each object. In a model without the top-k read, `s8` and `s4` are None."""

    s16: Float[Array, "b o h16 w16 v16"]
    s8: Float[Array, "b o h8 w8 v8"] | None = None
    s4: Float[Array, "b o h4 w4 v4"] | None = None


class ResBlock(nn.Module):
    """Computes x + conv(relu(conv(relu(x))))."""

    config: HMMNConfig

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Applies the block, which does not change the shape."""
        features = x.shape[-1]
        y = Conv(features, self.config.compute, name="conv1")(x, relu=True)
        # The residual branch is initialised to zero. Otherwise, activations would grow over five consecutive sums, because the
        # decoder has no normalisation.
        return Conv(features, self.config.compute, kernel_init=nn.initializers.zeros, name="conv2")(y, add=x, relu=True)


def res_block(config: HMMNConfig) -> nn.Module:
    """Makes a residual block. All residual blocks of the decoder have the same structure."""
    return config.compute.block(ResBlock)(config)


class ReadoutConv(nn.Module):
    """The layer convFM in the paper: a 3x3 convolution of [readout, query value], computed as the sum of two convolutions.

    Convolution is linear, so the contribution of the query value, including the bias, is computed once for all objects.
    """

    config: HMMNConfig

    def setup(self) -> None:  # noqa: D102
        dim, value = self.config.decoder_dim, self.config.value_dim_s16
        self.kernel = self.param("kernel", nn.initializers.he_normal(), (3, 3, 2 * value, dim))
        self.bias = self.param("bias", nn.initializers.zeros, (dim,))

    def query(self, value: Float[Array, "b h w v"]) -> Float[Array, "b h w c"]:
        """Computes the contribution of the query value."""
        return self._share(value, slice(value.shape[-1], None)) + self.bias.astype(self.config.compute.dtype_of(self.bias))

    def __call__(self, readout: Float[Array, "b h w v"]) -> Float[Array, "b h w c"]:
        """Computes the contribution of the readout."""
        return self._share(readout, slice(readout.shape[-1]))

    def _share(self, x: jax.Array, channels: slice) -> jax.Array:
        dtype = self.config.compute.dtype_of(self.kernel)
        return conv2d(x.astype(dtype), self.kernel[:, :, channels].astype(dtype), winograd=self.config.winograd)


class Refine(nn.Module):
    """A block that doubles the resolution, and adds the query's features and the fine memory's readout at the new stride.

    Objects are part of the batch axis: bo = b * o.
    """

    config: HMMNConfig

    def setup(self) -> None:  # noqa: D102
        dim = self.config.decoder_dim
        self.conv_skip = Conv(dim, self.config.compute)
        if self.config.use_topk_read:
            self.conv_memory = Conv(dim, self.config.compute, use_bias=False)
        self.res_skip, self.res_out = res_block(self.config), res_block(self.config)

    def __call__(
        self,
        x: Float[Array, "bo h w c"],
        skip: Float[Array, "b h2 w2 c"],
        readout: Float[Array, "b o h2 w2 v"] | None,
        keep: Bool[Array, " b"] | None,
    ) -> Float[Array, "bo h2 w2 c"]:
        """Applies the block.

        Args:
            x: the map of each object at the previous stride.
            skip: the result of the method `skip`.
            readout: the readout of the fine memory, or None if there is no fine memory.
            keep: whether each sample uses its fine memory. None means that all samples use their fine memories.
        """
        s = self.res_skip(self.add_readout(skip, x, readout, keep))
        return self.res_out(self.add_coarse(s, x))

    def skip(self, features: Float[Array, "b h2 w2 c2"]) -> Float[Array, "b h2 w2 c"]:
        """Computes the contribution of the query's features, once for all objects."""
        return self.conv_skip(features)

    def add_readout(
        self,
        skip: Float[Array, "b h2 w2 c"],
        x: Float[Array, "bo h w c"],
        readout: Float[Array, "b o h2 w2 v"] | None,
        keep: Bool[Array, " b"] | None = None,
    ) -> Float[Array, "bo h2 w2 c"]:
        """Computes the input of `res_skip` from the arguments of the block. Only the shape of `x` is used."""
        objects = x.shape[0] // skip.shape[0]
        s = skip[:, None]
        if readout is not None:
            m = self.conv_memory(_merge_objects(readout))
            m = m.reshape(-1, objects, *m.shape[1:])
            s = s + (m if keep is None else jnp.where(keep[:, None, None, None, None], m, 0))
        return _merge_objects(jnp.broadcast_to(s, (s.shape[0], objects, *s.shape[2:])))

    def add_coarse(self, s: Float[Array, "bo h2 w2 c"], x: Float[Array, "bo h w c"]) -> Float[Array, "bo h2 w2 c"]:
        """Computes the input of `res_out` from the output of `res_skip` and the map at the previous stride."""
        return s + upsample(x, 2)


class Decoder(nn.Module):
    """Decodes each object separately, from coarse to fine."""

    config: HMMNConfig

    def setup(self) -> None:  # noqa: D102
        self.conv_readout = ReadoutConv(self.config)
        self.res_s16 = res_block(self.config)
        self.refine_s8, self.refine_s4 = Refine(self.config), Refine(self.config)
        # The initial weights are small, so that training starts near p = 0.5. Near p = 0 and p = 1, the gradient is almost 0.
        self.conv_predict = Conv(2, self.config.compute, kernel_init=nn.initializers.variance_scaling(0.01, "fan_in", "normal"))

    def share(self, features: QueryFeatures) -> Query:
        """Computes the query's contribution to the decoder's convolutions, including biases, once for all objects."""
        return Query(
            key_s16=features.key_s16,
            key_s8=features.key_s8,
            key_s4=features.key_s4,
            shared_s16=self.conv_readout.query(features.value_s16),
            shared_s8=self.refine_s8.skip(features.features.s8),
            shared_s4=self.refine_s4.skip(features.features.s4),
        )

    def __call__(self, query: Query, readout: Readout, keep: Bool[Array, "b 2"] | None = None) -> Float[Array, "b o H W"]:
        """Computes the probability of each object separately, in at least float32.

        The two columns of `keep` indicate which samples use the fine memory at stride 8 and at stride 4. If `keep` is None, all
        samples use the fine memory at both strides.
        """
        keep_s8, keep_s4 = (None, None) if keep is None else (keep[:, 0], keep[:, 1])
        x = self.res_s16(self.add_shared(query.shared_s16, readout.s16))
        x = self.refine_s8(x, query.shared_s8, readout.s8, keep_s8)
        x = self.refine_s4(x, query.shared_s4, readout.s4, keep_s4)
        return self.predict(x, readout.s16.shape[1])

    def add_shared(self, shared: Float[Array, "b h w c"], readout: Float[Array, "b o h w v"]) -> Float[Array, "bo h w c"]:
        """Computes the input of `res_s16`: the sum of the contributions of the query and the readout to `conv_readout`."""
        x = self.conv_readout(_merge_objects(readout))
        return _merge_objects(x.reshape(*readout.shape[:2], *x.shape[1:]) + shared[:, None])

    def predict(self, x: Float[Array, "bo h4 w4 c"], objects: int) -> Float[Array, "b o H W"]:
        """Computes the probability of each object from the map at stride 4."""
        x = self.conv_predict(nn.relu(x))
        x = x.astype(at_least_float32(x))
        # The softmax of two logits is the sigmoid of their difference, so one map is upsampled instead of two.
        difference = x[..., 1:] - x[..., :1]
        p = jax.nn.sigmoid(upsample(difference, 4))
        return p.reshape(-1, objects, *p.shape[1:3])


def _merge_objects(x: Float[Array, "b o h w c"]) -> Float[Array, "bo h w c"]:
    return x.reshape(-1, *x.shape[2:])


def soft_aggregation(p: Float[Array, "b o h w"], valid: Bool[Array, "b o"] | None = None) -> Float[Array, "b o1 h w"]:
    """Converts the separate probabilities of objects to logits of the background (channel 0) and the objects, for a softmax.

    The probability of the background is the product of all 1 - p. Objects that are not `valid` (padding) are excluded: their
    logits are -inf.
    """
    if valid is not None:
        valid = valid[:, :, None, None]
        p = jnp.where(valid, p, 0)
    background = jnp.prod(1 - p, axis=1, keepdims=True)
    p = jnp.clip(jnp.concatenate([background, p], axis=1), PROBABILITY_MARGIN, 1 - PROBABILITY_MARGIN)
    logits = jnp.log(p / (1 - p))
    if valid is not None:
        logits = logits.at[:, 1:].set(jnp.where(valid, logits[:, 1:], -jnp.inf))
    return logits
