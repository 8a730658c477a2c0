"""The trunks: ResNet-50 v1.5 (stride on the 3x3), cut after the third stage."""

import jax
from flax import linen as nn
from jaxtyping import Array, Float

from hmmn_jax.model.config import HMMNConfig
from hmmn_jax.model.layers import Conv, make_norm
from hmmn_jax.ops.pooling import max_pool


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 and a shortcut, which is a projection in the first block of a stage."""

    features: int
    config: HMMNConfig
    stride: int = 1
    project: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """`[b,h,w,c] -> [b,h/stride,w/stride,features]`."""

        def conv_norm(x, name, features, kernel_size, stride=1):
            suffix = name.removeprefix("conv")
            x = Conv(features, self.config, kernel_size, stride, self.config.norm == "none", name=name)(x)
            return x if self.config.norm == "none" else make_norm(self.config, f"norm{suffix}")(x)

        width = self.features // 4
        y = nn.relu(conv_norm(x, "conv1", width, 1))
        y = nn.relu(conv_norm(y, "conv2", width, 3, self.stride))
        y = conv_norm(y, "conv3", self.features, 1)
        shortcut = conv_norm(x, "conv_project", self.features, 1, self.stride) if self.project else x
        return nn.relu(y + shortcut)


class Trunk(nn.Module):
    """From the sum of the stem's convolutions to features at strides 4, 8 and 16."""

    config: HMMNConfig

    @nn.compact
    def __call__(self, stem: Float[Array, "b h w c"]) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Stem at stride 2 `[b,H/2,W/2,stem_width]` -> res2 `[b,H/4,W/4,..]`, res3 (stride 8), res4 (stride 16)."""
        config = self.config
        x = stem if config.norm == "none" else make_norm(config, "norm1")(stem)
        x = max_pool(nn.relu(x))
        block, outputs = nn.remat(Bottleneck) if config.remat else Bottleneck, []
        for stage, (blocks, width) in enumerate(zip(config.blocks, config.widths, strict=True), 2):
            for i in range(blocks):
                stride = 2 if i == 0 and stage > 2 else 1
                x = block(width, config, stride, project=i == 0, name=f"res{stage}_{i}")(x)
            outputs.append(x)
        return tuple(outputs)
