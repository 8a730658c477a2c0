"""Folds BatchNorm into the preceding convolutions for inference, to reduce memory traffic.

Except for rounding, the results of the network do not change.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax
import numpy as np

from hmmn_jax.model.layers import NORM_EPSILON

Path = tuple[str, ...]


def fold_norms(
    variables: dict[str, Any], convolutions: Mapping[Path, Sequence[Path]], epsilon: float = NORM_EPSILON
) -> dict[str, Any]:
    """Folds BatchNorm layers into convolutions. With stored statistics, BatchNorm is an affine map of each channel.

    Args:
      variables: variables of a module, by collection.
      convolutions: a dict from the path of each BatchNorm to the paths of the convolutions whose sum is the input of this
        BatchNorm. The kernels of the convolutions are scaled, and the first convolution gets a bias.
      epsilon: epsilon of the BatchNorm layers.

    Returns:
      The variables without the folded BatchNorm layers, as NumPy arrays of the same dtype. Variables of other layers are
      unchanged.
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
