"""Draws masks on frames, with a colour for each object."""

import os

import numpy as np
from jaxtyping import Bool, Integer, UInt8
from PIL import Image

from hmmn_jax.io.files import atomic_path
from hmmn_jax.io.palette import davis_palette, palette_index


def overlay(
    frame: UInt8[np.ndarray, "h w 3"],
    ids: Integer[np.ndarray, "h w"],
    opacity: float | int = 0.5,
    palette: UInt8[np.ndarray, "256 3"] | None = None,
) -> UInt8[np.ndarray, "h w 3"]:
    """Overlays the colour of each object on an RGB frame, and draws a line along the inside of the object's edge.

    The line has the colour of the object at full brightness, and is one pixel wide for every 320 pixels of the frame's shorter
    side. `opacity` is between 0 (only the frame and the lines) and 1. Background pixels are unchanged.
    """
    palette = davis_palette() if palette is None else palette
    colours, bright, index = palette.astype(np.float32), brightened(palette), palette_index(ids)
    picture = frame.copy()
    inside = ids > 0
    picture[inside] = np.rint((1 - opacity) * frame[inside] + opacity * colours[index[inside]]).astype(np.uint8)
    edge = inside & _edges(ids, width=max(1, round(min(ids.shape) / 320)))
    picture[edge] = bright[index[edge]]
    return picture


def outline(picture: UInt8[np.ndarray, "h w 3"], ids: Integer[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Draws a white line inside and a black line outside each object's border. The border is visible on any background."""
    picture = picture.copy()
    edges = _edges(ids, width=1)
    picture[edges & (ids == 0)] = 0
    picture[edges & (ids > 0)] = 255
    return picture


def bright_palette() -> UInt8[np.ndarray, "256 3"]:
    """Returns the colour of every object id at full brightness, that is, scaled so that its largest channel is 255."""
    return brightened(davis_palette())


def brightened(palette: UInt8[np.ndarray, "n 3"]) -> UInt8[np.ndarray, "n 3"]:
    """Scales each colour so that its largest channel is 255. Black stays black."""
    colours = palette.astype(np.float32)
    return np.rint(colours * (255 / np.maximum(colours.max(axis=1, keepdims=True), 1))).astype(np.uint8)


def write_image(path: str | os.PathLike, rgb: UInt8[np.ndarray, "h w c"]) -> None:
    """Atomically writes an RGB or RGBA image to a PNG. Raises DataError on failure."""
    image = Image.fromarray(rgb)
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG")


def _edges(ids: Integer[np.ndarray, "h w"], width: int) -> Bool[np.ndarray, "h w"]:
    """Finds each pixel that has a neighbour with a different id, up to `width` pixels above, below, left or right.

    The border of the frame is not an edge.
    """
    edges = np.zeros(ids.shape, bool)
    for axis in (0, 1):
        along, marked = np.moveaxis(ids, axis, 0), np.moveaxis(edges, axis, 0)  # views of `ids` and `edges`
        for distance in range(1, min(width, len(along) - 1) + 1):
            differs = along[distance:] != along[:-distance]
            marked[distance:] |= differs
            marked[:-distance] |= differs
    return edges
