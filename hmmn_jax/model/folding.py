"""BatchNorm folded into the convolutions before it: the same function with fewer passes over memory, for inference."""

from typing import Any

import flax
import numpy as np

from hmmn_jax.model.config import HMMNConfig
from hmmn_jax.model.layers import NORM_EPSILON

_STEMS = ("conv_frame", "conv_mask", "conv_others")


def fold_batch_norm(variables: dict[str, Any], config: HMMNConfig) -> tuple[dict[str, Any], HMMNConfig]:
    """Variables and config of the same network without normalisation (`norm="none"`), as NumPy arrays of the same dtype.

    Stored statistics make BatchNorm an affine map of each channel, which scales the kernel and becomes a bias. Other norms
    depend on their input: such a model is returned as it is.
    """
    if config.norm != "batch":
        return variables, config
    flat = {path: np.asarray(leaf) for path, leaf in flax.traverse_util.flatten_dict(variables).items()}
    folded = {path: leaf for path, leaf in flat.items() if path[0] != "batch_stats" and not path[-2].startswith("norm")}
    folded |= {path: leaf for path, leaf in flat.items() if path[0] == "constants"}
    for path in flat:
        if path[0] != "batch_stats" or path[-1] != "mean":
            continue
        *parent, norm = path[1:-1]
        scale, bias = (flat["params", *parent, norm, leaf].astype(np.float64) for leaf in ("scale", "bias"))
        mean, var = (flat["batch_stats", *parent, norm, leaf].astype(np.float64) for leaf in ("mean", "var"))
        factor = scale / np.sqrt(var + NORM_EPSILON)
        if parent[-1] == "trunk":  # the stem's convolutions are summed before their norm
            convs = [(*parent[:-1], stem) for stem in _STEMS if ("params", *parent[:-1], stem, "kernel") in flat]
        else:
            convs = [(*parent, norm.replace("norm", "conv"))]
        for conv in convs:
            kernel = flat["params", *conv, "kernel"]
            folded["params", *conv, "kernel"] = (kernel * factor).astype(kernel.dtype)
        folded["params", *convs[0], "bias"] = (bias - mean * factor).astype(kernel.dtype)
    return flax.traverse_util.unflatten_dict(folded), config.replace(norm="none")
