"""Reads photos and writes videos for the tools that render training videos."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

Video = tuple[Sequence[np.ndarray], Sequence[np.ndarray]]  # frames uint8 [h,w,3] and masks uint8 [h,w]


def list_photos(folders: Sequence[Path]) -> list[Path]:
    """Returns the .jpg files in folders and their subfolders."""
    return [file for folder in folders for file in sorted(folder.rglob("*.jpg"))]


def open_photo(photos: Sequence[Path], rng: np.random.Generator) -> Image.Image:
    """Returns a random photo as an RGB image."""
    return Image.open(photos[rng.integers(len(photos))]).convert("RGB")


def window(image: Image.Image, shape: tuple[int, int], at: np.ndarray) -> np.ndarray:
    """Returns a part of an image as `uint8 [h,w,3]`.

    Args:
        image: the source image.
        shape: width and height of the result in pixels.
        at: x and y of the centre of the part, and the size of the part, as fractions of the image.
    """
    zoom = min(image.size[0] / shape[0], image.size[1] / shape[1]) * np.clip(at[2], 0.3, 1)
    extent = np.array(shape) * zoom
    corner = np.clip(at[:2] * image.size - extent / 2, 0, image.size - extent)
    return np.asarray(image.resize(shape, Image.Resampling.BILINEAR, (*corner, *(corner + extent))))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that the tools for rendering training videos share."""
    parser.add_argument("output", type=Path, help="folder to write")
    parser.add_argument("--photos", type=Path, nargs="+", required=True, help="folders to search recursively for .jpg files")
    parser.add_argument("--videos", type=int, default=300)
    parser.add_argument("--first", type=int, default=0, help="number of the first video, to split the work between processes")


def write_videos(output: Path, name: str, numbers: range, seed: int, render: Callable[[np.random.Generator], Video]) -> None:
    """Renders videos and writes them in the layout of DAVIS. A video depends only on `seed` and its number."""
    for number in tqdm(numbers):
        frames, masks = render(np.random.default_rng([seed, number]))
        for kind, images, suffix in (("JPEGImages", frames, "jpg"), ("Annotations", masks, "png")):
            folder = output / kind / "Full-Resolution" / f"{name}{number:04}"
            folder.mkdir(parents=True)
            for time, image in enumerate(images):
                Image.fromarray(image).save(folder / f"{time:05}.{suffix}", quality=92)
