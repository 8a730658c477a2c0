"""Small models with random variables, and small videos. A model has less than 1 % of the parameters of the published model."""

import contextlib
import dataclasses
import functools

import flax
import jax
import jaxtyping
import numpy as np

from hmmn_jax import HMMN, HMMNConfig
from hmmn_jax.model.backbones import ResNet
from hmmn_jax.model.backbones.base import IMAGENET_MEAN, IMAGENET_STD

SMALL = HMMNConfig(
    backbone=ResNet(stem_width=8, blocks=(1, 1, 1), widths=(16, 32, 32)),
    key_dim_s16=16,
    key_dim_s8=16,
    key_dim_s4=8,
    value_dim_s16=16,
    value_dim_s8=16,
    value_dim_s4=8,
    decoder_dim=16,
    k_s8=8,
    k_s4=4,
)
# TINY is smaller than SMALL, so that it compiles faster.
TINY = SMALL.replace(
    backbone=ResNet(stem_width=8, blocks=(1, 1, 1), widths=(8, 8, 8), norm="none"),
    key_dim_s16=8,
    key_dim_s8=8,
    key_dim_s4=8,
    value_dim_s16=8,
    value_dim_s8=8,
    value_dim_s4=8,
    decoder_dim=8,
)


def with_backbone(config, **changes):
    """Returns the config with changes to the dimensions of its backbone."""
    return config.replace(backbone=dataclasses.replace(config.backbone, **changes))


@contextlib.contextmanager
def untyped():
    """Disables the run-time type checks of the tests, so that the package itself must report errors."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


@functools.cache
def shapes(config):
    """Returns the shape and dtype of each variable."""
    clip, mask = np.zeros((1, 3, 32, 32, 3), np.float32), np.zeros((1, 2, 32, 32), np.float32)
    return jax.eval_shape(HMMN(config).init, jax.random.key(0), clip, mask)


@functools.cache
def variables(config=SMALL, dtype="float32", seed=0):
    """Returns random variables as NumPy arrays."""
    rng = np.random.default_rng(seed)
    flat = flax.traverse_util.flatten_dict(shapes(config))

    def draw(path, shape):
        if path[0] == "constants":
            return np.array(IMAGENET_MEAN if path[-1] == "mean" else IMAGENET_STD)
        if path[-1] == "kernel":
            gain = 0.05 if path[-2] == "conv_predict" else 2  # small, so that some probabilities are between 0 and 1
            return rng.normal(0, np.sqrt(gain / np.prod(shape[:-1])), shape)
        if path[-1] in ("scale", "var"):
            return rng.uniform(0.5, 1.5, shape)
        return rng.normal(0, 0.1, shape)

    values = {path: np.int64(0) if path[-1] == "count" else draw(path, leaf.shape).astype(dtype) for path, leaf in flat.items()}
    return flax.traverse_util.unflatten_dict(values)


def video(length, height=90, width=100, seed=0):
    """Returns frames of moving noise, `uint8 [T,H,W,3]`."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8 + length + 1, width // 8 + length + 1, 3), np.uint8)
    big = coarse.repeat(8, 0).repeat(8, 1)
    noise = rng.integers(0, 40, (length, height, width, 3), np.uint8)
    return np.stack([big[4 * t : 4 * t + height, 3 * t : 3 * t + width] // 2 + noise[t] for t in range(length)])


def rectangles(ids, height=90, width=100):
    """Returns a mask with a rectangle for each id, side by side."""
    mask = np.zeros((height, width), np.uint8)
    for i, one in enumerate(ids):
        left = 5 + i * (width - 10) // len(ids)
        mask[20 + 3 * i : 60 + 5 * i, left : left + (width - 10) // len(ids) - 3] = one
    return mask


def one_hot(mask, ids):
    """Converts a mask to `[1,o+1,H,W]` in float64, background first."""
    return np.stack([mask == k for k in (0, *ids)])[None].astype(np.float64)
