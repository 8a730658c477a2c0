"""The optimizer, against its formulas in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hmmn_jax.errors import ConfigError
from hmmn_jax.training.optimizer import make_optimizer


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
    """Kingma and Ba's algorithm 1, with the norm over all leaves clipped first and Loshchilov and Hutter's decay of kernels."""
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
    gradients = [draw(seed, scale) for seed, scale in ((1, 0.1), (2, 5.0), (3, 1.0))]  # norms below and above the clip
    found = run(make_optimizer(name, 0.01, clip_norm=clip, weight_decay=decay), gradients, draw(0))
    expected = adam(gradients, draw(0), 0.01, clip or np.inf, decay)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-9), found, expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "sgd"}, "'sgd', expected one of adam, adamw"),
        ({"name": "adam", "weight_decay": 0.1}, "adam has none"),
        ({"name": "adamw", "clip_norm": -1.0}, "clip_norm is -1.0"),
    ],
)
def test_what_cannot_be_is_told(arguments, message):
    with pytest.raises(ConfigError, match=message):
        make_optimizer(learning_rate=0.1, **arguments)
