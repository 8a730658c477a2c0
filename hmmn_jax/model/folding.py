"""Folds BatchNorm into the convolutions before it: for inference, the same function with less memory traffic."""

from collections.abc import Mapping, Sequence
from typing import Any

import flax
import numpy as np

from hmmn_jax.model.layers import NORM_EPSILON

Path = tuple[str, ...]


def fold_norms(
    variables: dict[str, Any], convolutions: Mapping[Path, Sequence[Path]], epsilon: float = NORM_EPSILON
) -> dict[str, Any]:
    """Folds norms with stored statistics, which are affine maps of each channel.

    Args:
      variables: variables of a module, by collection.
      convolutions: maps the path of each norm to the paths of the convolutions whose sum it normalises. Their kernels are
          scaled, and a bias is added to the first.
      epsilon: epsilon of the norms.

    Returns:
      The variables without these norms, as NumPy arrays of the same dtype; all others are unchanged.
    """
    flat = {path: np.asarray(leaf) for path, leaf in flax.traverse_util.flatten_dict(variables).items()}
    folded = {path: leaf for path, leaf in flat.items() if path[1:-1] not in convolutions}
    for norm, convs in convolutions.items():
        scale, bias = (flat["params", *norm, leaf].astype(np.float64) for leaf in ("scale", "bias"))
        mean, var = (flat["batch_stats", *norm, leaf].astype(np.float64) for leaf in ("mean", "var"))
        factor = scale / np.sqrt(var + epsilon)
        for conv in convs:
            kernel = flat["params", *conv, "kernel"]
            folded["params", *conv, "kernel"] = (kernel * factor).astype(kernel.dtype)
        folded["params", *convs[0], "bias"] = (bias - mean * factor).astype(kernel.dtype)
    return flax.traverse_util.unflatten_dict(folded)
