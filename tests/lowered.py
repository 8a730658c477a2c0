"""Lowers functions to StableHLO for a platform that does not need to be available. Nothing is compiled."""

import re

import jax
import jax.numpy as jnp


def lower(function, *arguments, platform="cuda"):
    """Returns the StableHLO of a function as text. The arguments are pytrees of arrays or results of `shape`."""
    return jax.jit(function).trace(*arguments).lower(lowering_platforms=(platform,)).as_text()


def shape(*dims, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(dims, dtype)


def turns(text):
    """Returns the trip count of each loop in a StableHLO text, or None for a loop whose trip count is not constant."""
    bounds = re.findall(r"cond \{\s+(?:%\S+ = stablehlo.constant dense<(\d+)> : tensor<i32>\s+)?%\S+ = stablehlo.compare", text)
    assert len(bounds) == text.count("stablehlo.while")
    return [int(bound) if bound else None for bound in bounds]


def products(text):
    """Returns a tuple for each matrix product: the precision, and `(dims, dtype)` of the left and the right operand."""
    found = re.findall(r"dot_general .*precision = \[(\w+), \w+\] : \(tensor<(\S+)>, tensor<(\S+)>\)", text)
    assert len(found) == text.count("stablehlo.dot_general")
    return [(precision, _typed(left), _typed(right)) for precision, left, right in found]


def _typed(text):
    *dims, dtype = text.split("x")
    return tuple(map(int, dims)), dtype
