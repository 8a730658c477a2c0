"""Tests that smoothed masks are distinguished from masks of ids. The masks of both kinds are generated."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from hmmn_jax.io.levels import looks_like_levels

RESAMPLING = Image.Resampling


def draw(*shapes, scale=1, height=64, width=96):
    """Draws shapes, given as tuples (kind, box, value). The kind is the name of a method of `ImageDraw`."""
    image = Image.new("L", (width * scale, height * scale))
    pen = ImageDraw.Draw(image)
    for kind, box, value in shapes:
        getattr(pen, kind)([scale * side for side in box], fill=value)
    return image


DISC = ("ellipse", (20.3, 12.1, 52.6, 46.7))
RECTANGLE = ("rectangle", (10.5, 10.25, 40.75, 50.5))


def jpeg(image):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return Image.open(buffer)


@pytest.mark.parametrize("top", [255, 200])
@pytest.mark.parametrize("shape", [DISC, RECTANGLE], ids=["disc", "rectangle"])
@pytest.mark.parametrize(
    "smooth",
    [
        lambda fine: fine.resize((96, 64), RESAMPLING.BOX),
        lambda fine: fine.resize((96, 64), RESAMPLING.BILINEAR),
        lambda fine: fine.resize((96, 64), RESAMPLING.LANCZOS),
        lambda fine: fine.resize((96, 64), RESAMPLING.NEAREST).resize((300, 200), RESAMPLING.BICUBIC),
        lambda fine: fine.resize((96, 64), RESAMPLING.NEAREST).filter(ImageFilter.GaussianBlur(2)),
        lambda fine: jpeg(fine.resize((96, 64), RESAMPLING.NEAREST)),
    ],
    ids=["box", "bilinear", "lanczos", "enlarged", "blurred", "jpeg"],
)
def test_smoothed_masks(top, shape, smooth):
    assert looks_like_levels(np.asarray(smooth(draw((*shape, top), scale=8))))


def test_two_smoothed_objects_whose_plateaus_are_most_of_the_pixels():
    fine = draw(("ellipse", (4, 8, 44, 52), 128), ("rectangle", (50, 6, 90, 56), 255), scale=8)
    assert looks_like_levels(np.asarray(fine.resize((96, 64), RESAMPLING.BILINEAR)))


def test_ids_that_were_resized_as_if_they_were_levels():
    fine = draw(("rectangle", (10, 10, 40, 50), 3), ("rectangle", (55, 20, 85, 60), 6), scale=4)
    assert looks_like_levels(np.asarray(fine.resize((96, 64), RESAMPLING.BILINEAR)))


def grid(count, columns, cell):
    ids = np.zeros((-(-count // columns), columns), np.uint8)
    ids.flat[:count] = 1 + np.arange(count)
    return np.pad(np.kron(ids, np.ones((cell, cell), np.uint8)), 5)


def lines(width):
    image = Image.new("L", (96, 64))
    pen = ImageDraw.Draw(image)
    for i, ends in enumerate([(3, 3, 90, 50), (5, 60, 80, 10), (50, 0, 50, 63), (0, 30, 95, 30)], start=1):
        pen.line(ends, fill=i, width=width)
    return np.asarray(image)


def ringed(ids):
    """Adds a one-pixel border of void (255) around the objects."""
    padded = np.pad(ids > 0, 1)
    near = padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    return np.where(near & (ids == 0), np.uint8(255), ids)


def dots(count):
    ids = np.zeros((64, 96), np.uint8)
    ids.flat[np.random.default_rng(0).permutation(ids.size)[:count]] = 1 + np.arange(count)
    return ids


NESTED = [("ellipse", (10 + 4 * i, 4 + 4 * i, 80 - 4 * i, 60 - 4 * i), i + 1) for i in range(5)]
TWO = (("ellipse", (10, 10, 50, 50), 1), ("rectangle", (40, 20, 80, 60), 38))


@pytest.mark.parametrize(
    "ids",
    [
        grid(30, 6, 8),
        grid(30, 6, 2),
        grid(124, 12, 5),
        grid(124, 12, 3),
        lines(1),
        lines(3),
        ringed(lines(1)),
        ringed(np.asarray(draw(*TWO))),
        dots(30),
        np.asarray(draw(*NESTED)),
        np.asarray(draw((*DISC, 1))),
        np.asarray(draw((*DISC, 255))),
        np.asarray(draw((*DISC, 128))),
        np.asarray(draw(*TWO)),
        np.zeros((4, 4), np.uint8),
    ],
    ids=lambda ids: f"{len(np.unique(ids))}-values",
)
def test_masks_of_ids(ids):
    assert not looks_like_levels(ids)
