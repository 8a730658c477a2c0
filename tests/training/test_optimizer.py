"""Compares the optimizers with their formulas in NumPy, and tests separate learning rates for parts of the model."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hmmn_jax.errors import ConfigError
from hmmn_jax.training.optimizer import make_optimizer, part_factors


def draw(seed, scale=1.0):
    rng = np.random.default_rng(seed)
    return {"conv": {"kernel": scale * rng.normal(size=(3, 3, 2, 4)), "bias": scale * rng.normal(size=4)}}


def run(optimizer, gradients, params):
    params = jax.tree.map(jnp.asarray, params)
    state = optimizer.init(params)
    for gradient in gradients:
        updates, state = optimizer.update(jax.tree.map(jnp.asarray, gradient), state, params)
        params = optax.apply_updates(params, updates)
    return params


def adam(gradients, params, rate, clip=np.inf, decay=0.0):
    """Returns the parameters after training with Adam (algorithm 1 of Kingma and Ba).

    Gradients are clipped by global norm. Weight decay is decoupled from the gradients (Loshchilov and Hutter).
    """
    mean, square = (jax.tree.map(np.zeros_like, params) for _ in range(2))
    for t, gradient in enumerate(gradients, 1):
        norm = np.sqrt(sum((leaf**2).sum() for leaf in jax.tree.leaves(gradient)))
        gradient = jax.tree.map(lambda g, norm=norm: g * min(1, clip / norm), gradient)
        mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, gradient)
        square = jax.tree.map(lambda s, g: 0.999 * s + 0.001 * g**2, square, gradient)

        def update(p, m, s, t=t):
            step = m / (1 - 0.9**t) / (np.sqrt(s / (1 - 0.999**t)) + 1e-8)
            return p - rate * (step + (decay * p if p.ndim > 1 else 0))

        params = jax.tree.map(update, params, mean, square)
    return params


@pytest.mark.parametrize(
    ("name", "clip", "decay"), [("adam", 0.0, 0.0), ("adam", 3.0, 0.0), ("adamw", 0.0, 0.1), ("adamw", 3.0, 0.1)]
)
def test_equals_the_formulas(x64, name, clip, decay):
    # With `clip` = 3.0, the first gradient is not clipped, and the second and third gradients are clipped.
    gradients = [draw(seed, scale) for seed, scale in ((1, 0.1), (2, 5.0), (3, 1.0))]
    found = run(make_optimizer(name, 0.01, clip_norm=clip, weight_decay=decay), gradients, draw(0))
    expected = adam(gradients, draw(0), 0.01, clip or np.inf, decay)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-9), found, expected)


def draw_network(seed, scale=1.0):
    """Returns random parameters, with the paths of a model and one layer in each part."""
    encoder = {"backbone": draw(seed, scale), "key_s16": draw(seed + 100, scale)}
    return {
        "memory_encoder": encoder,
        "query_encoder": {"backbone": draw(seed + 200, scale)},
        "decoder": draw(seed + 300, scale),
    }


def test_parts_have_learning_rates_of_their_own(x64):
    parts = {"backbone": 0.1, "decoder": 0.0, "memory_encoder/backbone": 0.5}
    gradients = [draw_network(seed, scale) for seed, scale in ((1, 0.1), (2, 5.0), (3, 1.0))]
    optimizer = make_optimizer("adamw", 0.01, clip_norm=5.0, weight_decay=0.1, parts=parts)
    found = run(optimizer, gradients, draw_network(0))
    np.testing.assert_array_equal(found["decoder"]["conv"]["kernel"], draw_network(0)["decoder"]["conv"]["kernel"])

    def without_decoder(params):
        return {name: params[name] for name in ("memory_encoder", "query_encoder")}

    for rate, encoder, part in (
        (0.005, "memory_encoder", "backbone"),
        (0.01, "memory_encoder", "key_s16"),
        (0.001, "query_encoder", "backbone"),
    ):
        trained = adam([without_decoder(gradient) for gradient in gradients], without_decoder(draw_network(0)), rate, 5.0, 0.1)
        compare = functools.partial(np.testing.assert_allclose, rtol=1e-9)
        jax.tree.map(compare, found[encoder][part], trained[encoder][part])


def test_what_is_frozen_takes_no_memory():
    params = jax.tree.map(jnp.asarray, draw_network(0))
    whole, half = (
        sum(leaf.size for leaf in jax.tree.leaves(make_optimizer("adam", 0.1, parts=parts).init(params)))
        for parts in ({"decoder": 1.0}, {"backbone": 0.0})
    )
    of_a_layer = 3 * 3 * 2 * 4 + 4
    assert whole - half == 2 * 2 * of_a_layer  # Adam stores mean and square; two backbones are frozen


def test_the_deepest_name_counts():
    parts = {"memory_encoder": 2.0, "backbone": 0.1, "backbone/conv": 0.2, "memory_encoder/backbone/conv": 0.3, "kernel": 4.0}
    found = part_factors(draw_network(0), parts)
    assert found["memory_encoder"] == {
        "backbone": {"conv": {"kernel": 4.0, "bias": 0.3}},
        "key_s16": {"conv": {"kernel": 4.0, "bias": 2.0}},
    }
    assert found["query_encoder"] == {"backbone": {"conv": {"kernel": 4.0, "bias": 0.2}}}
    assert found["decoder"] == {"conv": {"kernel": 4.0, "bias": 1.0}}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"bone": 0.1},
            "'bone', which matches no parameter. Use names in the paths of parameters, such as backbone, conv, decoder",
        ),
        ({"backbone/key_s16": 0.1}, "'backbone/key_s16', which"),
        ({"conv": 0.0}, "freezes all parameters"),
    ],
)
def test_parts_that_cannot_be_are_reported(parts, message):
    with pytest.raises(ConfigError, match=message):
        make_optimizer("adam", 0.1, parts=parts).init(draw_network(0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "sgd"}, "'sgd', expected one of adam, adamw"),
        ({"name": "adam", "weight_decay": 0.1}, "adam has no weight decay"),
        ({"name": "adamw", "clip_norm": -1.0}, "clip_norm is -1.0"),
    ],
)
def test_invalid_values_are_reported(arguments, message):
    with pytest.raises(ConfigError, match=message):
        make_optimizer(learning_rate=0.1, **arguments)
