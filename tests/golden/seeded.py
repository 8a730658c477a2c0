"""Generates a substitute for the released checkpoint. The name and shape of each tensor determine its values.

Therefore, no weights have to be stored. Names, shapes and layouts (OIHW) are those of the official PyTorch state dict.
"""

import math
import zlib

import numpy as np


def seeded_tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the tensor for an official name without the prefix `module.`. All tensors except counters are float32."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "num_batches_tracked":
        return np.asarray(1000, np.int64)
    if leaf == "mean":
        return np.asarray([0.485, 0.456, 0.406], np.float32).reshape(shape)
    if leaf == "std":
        return np.asarray([0.229, 0.224, 0.225], np.float32).reshape(shape)
    if leaf == "running_mean":
        return (0.1 * rng.standard_normal(shape)).astype(np.float32)
    if leaf == "running_var":
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    if leaf == "weight" and len(shape) == 1:  # scale of BatchNorm; smaller in the last BatchNorm of a block
        low, high = (0.2, 0.4) if ".bn3." in name else (0.5, 1.0)
        return rng.uniform(low, high, shape).astype(np.float32)
    if leaf == "weight":
        gain = 2.0
        if name.startswith("Decoder.pred2"):
            gain = 6.0
        elif ".Key." in name:
            gain = 1.0
        fan_in = math.prod(shape[1:])
        return (math.sqrt(gain / fan_in) * rng.standard_normal(shape)).astype(np.float32)
    return (0.05 * rng.standard_normal(shape)).astype(np.float32)  # biases, including those of BatchNorm
