"""Compares layers, the padding and scaling of frames, and the folding of BatchNorm with loops, formulas and known values."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from hmmn_jax.model import HMMN, fold_batch_norm
from hmmn_jax.model.backbones import ResNet
from hmmn_jax.model.frames import crop_from_stride, pad_to_stride, stride_padding, to_unit_range
from hmmn_jax.model.layers import Compute, Conv, FrozenBatchNorm, Key, make_norm
from tests import oracles
from tests.small import SMALL, one_hot, rectangles, variables, with_backbone


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def test_convolution_adds_its_bias_and_keeps_to_its_dtype():
    x = jnp.asarray(draw(1, 6, 6, 3), jnp.float32)
    parameters = {"params": {"kernel": jnp.zeros((3, 3, 3, 2)), "bias": jnp.array([1.5, -2.0])}}
    assert Conv(2, Compute()).apply(parameters, x)[0, 0, 0].tolist() == [1.5, -2.0]
    assert Conv(2, Compute()).apply(parameters, x).dtype == jnp.float32
    assert Conv(2, Compute("bfloat16")).apply(parameters, x).dtype == jnp.bfloat16


def test_normalised_keys_have_the_size_of_their_scale(x64):
    x, kernel, bias, scale = draw(2, 4, 5, 3), draw(3, 3, 3, 6, seed=1), draw(6, seed=2), draw(6, seed=3)
    plain, normalised = Key(6, Compute()), Key(6, Compute(), normalise=True)
    key = np.stack([oracles.conv(image, kernel, 1) for image in x]) + bias
    parameters = {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}
    np.testing.assert_allclose(plain.apply({"params": parameters}, jnp.asarray(x)), key, rtol=0, atol=1e-12)
    found = normalised.apply({"params": parameters | {"scale": jnp.asarray(scale)}}, jnp.asarray(x))
    key -= key.mean((1, 2), keepdims=True)
    np.testing.assert_allclose(found, key / np.sqrt((key**2).mean(-1, keepdims=True) + 1e-5) * scale, rtol=0, atol=1e-12)


def test_normalised_keys_start_with_an_affinity_of_sixteen_for_what_is_alike(x64):
    """For any number of channels c, the initial affinity of a key with itself (its squared norm divided by sqrt(c)) is 16."""
    for features in (16, 48):
        layer = Key(features, Compute(), normalise=True)
        key, _ = layer.init_with_output(jax.random.key(0), jnp.asarray(draw(1, 6, 8, 3)))
        np.testing.assert_allclose((key**2).sum(-1) / np.sqrt(features), 16, rtol=1e-3)


def test_max_pool_pads_one_on_each_side(x64):
    """The first block is the identity, so the output at stride 4 is the 3x3 maximum around every second pixel, after ReLU."""
    module = ResNet(stem_width=16, blocks=(1, 1, 1), widths=(16, 32, 32), norm="none").make(Compute(), with_masks=False)
    stem = draw(1, 12, 16, 16)
    shapes = jax.eval_shape(module.init, jax.random.key(0), stem)
    parameters = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes)
    parameters["params"]["res2_0"]["conv_project"]["kernel"] = jnp.eye(16)[None, None]
    res2, *_ = jax.jit(module.apply)(parameters, stem)
    for i, j in np.ndindex(6, 8):
        window = stem[0, max(2 * i - 1, 0) : 2 * i + 2, max(2 * j - 1, 0) : 2 * j + 2]
        np.testing.assert_array_equal(res2[0, i, j], np.maximum(window.max((0, 1)), 0))


def test_batch_norm_uses_its_stored_statistics(x64):
    x = draw(2, 4, 5, 3)
    scale, bias, mean, var = draw(3, seed=1), draw(3, seed=2), draw(3, seed=3), draw(3, seed=4) ** 2
    layer = {
        "params": {"scale": scale, "bias": bias},
        "batch_stats": {"mean": mean, "var": var, "count": np.int64(3)},
    }
    found, changed = FrozenBatchNorm().apply(layer, jnp.asarray(x), mutable=True)
    np.testing.assert_allclose(found, (x - mean) / np.sqrt(var + 1e-5) * scale + bias, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(changed["batch_stats"]["mean"], mean)


@pytest.mark.parametrize(
    ("size", "padding"),
    [
        ((84, 123), ((6, 6), (2, 3))),  # padded to 96 x 128
        ((480, 854), ((0, 0), (5, 5))),  # padded to 480 x 864
        ((81, 95), ((7, 8), (0, 1))),
        ((96, 16), ((0, 0), (0, 0))),
        ((1, 1), ((7, 8), (7, 8))),
    ],
)
def test_padding_is_centred_with_the_smaller_half_first(size, padding):
    assert stride_padding(*size) == padding
    x = jnp.ones((1, *size))
    padded = pad_to_stride(x, (1, 2))
    np.testing.assert_array_equal(padded, np.pad(x, ((0, 0), *padding)))
    np.testing.assert_array_equal(crop_from_stride(padded, *size), x)


def test_each_8_bit_value_is_truly_divided():
    values = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    expected = values.astype(np.float32) / np.float32(255)
    for convert in (to_unit_range, jax.jit(to_unit_range)):
        found = np.asarray(convert(jnp.asarray(values)))
        assert found.dtype == np.float32 and found.tobytes() == expected.tobytes()
    np.testing.assert_array_equal(to_unit_range(jnp.asarray(expected)), expected)


def test_folding_batch_norm_changes_nothing(x64):
    given = variables(SMALL, "float64")
    folded, config = fold_batch_norm(given, SMALL)
    assert config == with_backbone(SMALL, norm="none") and "batch_stats" not in folded
    shapes = jax.eval_shape(HMMN(config).init, jax.random.key(0), np.zeros((1, 3, 16, 16, 3)), np.zeros((1, 2, 16, 16)))
    assert jax.tree.map(np.shape, folded) == jax.tree.map(np.shape, nn.unbox(shapes))
    frames = np.random.default_rng(0).random((2, 1, 48, 64, 3))
    probs = one_hot(rectangles((1, 2), 48, 64), (1, 2))

    @functools.partial(jax.jit, static_argnums=0)
    def encode(config, values, frames, probs):
        memory = HMMN(config).apply(values, frames[0], probs, method="memorize")
        return memory, HMMN(config).apply(values, frames[1], method="encode_query")

    plain, fast = encode(SMALL, given, frames, probs), encode(config, folded, frames, probs)
    for one, other in zip(jax.tree.leaves(fast), jax.tree.leaves(plain), strict=True):
        assert np.ptp(other) > 0.1
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("change", [{"norm": "group", "norm_groups": 4}, {"norm": "layer"}])
def test_folding_leaves_other_norms_alone(change):
    config = with_backbone(SMALL, **change)
    given = variables(config)
    folded, same = fold_batch_norm(given, config)
    assert same == config
    jax.tree.map(np.testing.assert_array_equal, folded, given)


def test_layer_norm_is_of_each_cell_by_itself():
    x = np.random.default_rng(0).normal(2, 3, (1, 3, 4, 8)).astype(np.float32)
    layer = make_norm("layer", 8, Compute(), "norm")
    found = layer.apply({"params": {"scale": np.arange(8.0), "bias": np.ones(8)}}, x)
    deviation = np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(found, (x - x.mean(-1, keepdims=True)) / deviation * np.arange(8) + 1, rtol=0, atol=1e-5)
