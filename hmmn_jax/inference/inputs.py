"""Checks and converts the inputs of a `Segmenter`: frames and masks from any library."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Integer, Num, UInt8, UInt16

from hmmn_jax.io.files import reason

Ids = UInt8[Array | np.ndarray, "H W"] | UInt16[Array | np.ndarray, "H W"]
Mask = Ids | Bool[Array | np.ndarray, "H W"] | Mapping[int, Bool[Array | np.ndarray, "H W"]]


RANGE_SLACK = 1e-3  # values may be outside [0, 1] by this amount, for example after interpolation


def as_frame(frame: Num[Array | np.ndarray, "H W 3"]) -> Num[Array, "1 H W 3"]:
    """Converts a frame to a JAX array. Raises ValueError if the frame does not match the description in `Segmenter`."""
    frame = _as_array(frame, "a frame")
    is_float = jnp.issubdtype(frame.dtype, jnp.floating)
    if frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape or not (is_float or frame.dtype == np.uint8):
        raise ValueError(f"a frame is {_describe(frame)}, expected an RGB image [H, W, 3], uint8 or float in [0, 1]")
    if is_float:
        low, high = (frame.min(), frame.max()) if isinstance(frame, np.ndarray) else _extremes(frame)
        if not (low >= -RANGE_SLACK and high <= 1 + RANGE_SLACK):  # this check also rejects NaN
            finite = np.isfinite(float(low)) and np.isfinite(float(high))
            found = f"values from {float(low):.4g} to {float(high):.4g}" if finite else "values that are not finite"
            way_out = (
                "Divide the values by 255, or undo a normalisation by mean and standard deviation"
                if finite
                else "Check the frame for NaN and inf"
            )
            raise ValueError(f"a frame is {_describe(frame)} with {found}, expected float in [0, 1]. {way_out}")
    return jnp.asarray(frame[None])


def as_mask(mask: Mask, size: tuple[int, int]) -> np.ndarray:
    """Converts a mask to ids on the host. Raises ValueError if the size or type of the mask is wrong."""
    if isinstance(mask, Mapping):
        raise ValueError(
            "the masks are a dict of overlapping objects. Pass ids [H, W], or create the Segmenter with independent=True"
        )
    mask = np.asarray(_as_array(mask, "the mask"))
    if mask.shape != size or mask.dtype not in (np.uint8, np.uint16, np.bool_):
        expected = f"ids (uint8 or uint16) or a mask of object 1 (bool) with the shape {list(size)} of its frame"
        raise ValueError(f"the mask is {_describe(mask)}, expected {expected}")
    return mask.astype(np.uint8, copy=False) if mask.dtype == np.bool_ else mask


def as_masks(masks: Mask, size: tuple[int, int]) -> dict[int, np.ndarray]:
    """Copies the masks of independent objects to the host. Raises ValueError unless the masks are `{id: bool [H,W]}`."""
    if not isinstance(masks, Mapping):
        raise ValueError(f"the masks have type {type(masks).__name__}, expected {{id: bool [H, W]}} for independent objects")
    found = {}
    for i, mask in masks.items():
        mask = np.asarray(_as_array(mask, f"the mask of object {i}"))
        if not (isinstance(i, int | np.integer) and 0 < i < 2**16) or mask.shape != size or mask.dtype != np.bool_:
            expected = f"an id from 1 to {2**16 - 1}, and a bool mask with the shape {list(size)} of its frame"
            raise ValueError(f"the mask of object {i!r} is {_describe(mask)}, expected {expected}")
        found[int(i)] = mask
    return found


def join_ids(ids: Integer[np.ndarray, " o1"], given: Integer[np.ndarray, " k"]) -> Integer[np.ndarray, " o2"]:
    """Appends the ids in `given` that are not in `ids`. The result is uint8, or uint16 if an id is above 255."""
    return narrow(np.concatenate([ids, np.setdiff1d(given, ids)]))


def narrow(ids: Integer[np.ndarray, "*shape"]) -> Integer[np.ndarray, "*shape"]:
    """Converts ids to uint8, or to uint16 if an id is above 255."""
    return ids.astype(np.uint8 if ids.max() <= np.iinfo(np.uint8).max else np.uint16)


def _as_array(given: Any, what: str) -> Array | np.ndarray:
    """Returns JAX and NumPy arrays unchanged, and converts other objects to NumPy arrays."""
    if isinstance(given, jax.Array | np.ndarray):
        return given
    try:
        return np.asarray(given)
    except Exception as error:  # libraries raise different errors, for example PyTorch for a tensor on a GPU
        raise ValueError(f"{what} is a {type(given).__name__} that NumPy cannot read: {reason(error)}") from error


def _describe(x: Array | np.ndarray) -> str:
    return f"{x.dtype} {list(x.shape)}"


@jax.jit
def _extremes(frame: jax.Array) -> tuple[jax.Array, jax.Array]:
    return frame.min(), frame.max()
