"""Creates masks for training from pictures without masks. Each object is a region of one colour or texture.

    pip install scikit-image
    python -m tools.make_parts OUTPUT FOLDER [FOLDER ...]

Writes `JPEGImages` and `Annotations` to OUTPUT, as input for `python -m data.build image_masks --config ids`. Training on
regions teaches the model to track any given mask, and not only people and cars.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.segmentation import felzenszwalb
from tqdm import tqdm

SHORT_SIDE = 288  # maximum shorter side of a picture, in pixels
SHARE = (0.01, 0.3)  # minimum and maximum area of a region, as a fraction of the picture
MOST = 250  # maximum number of regions in a picture


def regions(image: np.ndarray, scale: float) -> np.ndarray:
    """Segments an image, `uint8 [h,w,3]`, into regions.

    Uses the method of Felzenszwalb and Huttenlocher, Efficient Graph-Based Image Segmentation, IJCV 2004.

    Returns:
        The region id of each pixel, `uint8 [h,w]`; 0 for regions that are too small or too large.
    """
    area = image.shape[0] * image.shape[1]
    labels = felzenszwalb(image, scale=scale, sigma=0.8, min_size=int(SHARE[0] * area))
    sizes = np.bincount(labels.ravel())
    kept = np.flatnonzero((sizes >= SHARE[0] * area) & (sizes <= SHARE[1] * area))[:MOST]
    table = np.zeros(len(sizes), np.uint8)
    table[kept] = 1 + np.arange(len(kept))
    return table[labels]


def main(arguments: Sequence[str] | None = None) -> None:
    """Segments the pictures into regions, and writes the images and masks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="folder to write, which must not exist")
    parser.add_argument("folders", type=Path, nargs="+", help="folders to search recursively for .jpg files")
    parser.add_argument("--every", type=int, default=1, help="use only every n-th picture in a folder")
    options = parser.parse_args(arguments)
    for name in ("JPEGImages", "Annotations"):
        (options.output / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    files = [file for folder in options.folders for file in sorted(folder.rglob("*.jpg"))[:: options.every]]
    for number, file in enumerate(tqdm(files)):
        image = Image.open(file).convert("RGB")
        zoom = SHORT_SIDE / min(image.size)
        image = image.resize([round(side * zoom) for side in image.size], Image.Resampling.LANCZOS) if zoom < 1 else image
        ids = regions(np.asarray(image), scale=float(rng.choice([150, 400, 1000])))
        if ids.any():
            image.save(options.output / "JPEGImages" / f"{number:05}.jpg", quality=92)
            Image.fromarray(ids).save(options.output / "Annotations" / f"{number:05}.png")


if __name__ == "__main__":
    main()
