"""Creates training objects from pictures without masks. The objects are regions of one colour or texture.

    pip install scikit-image
    python -m tools.make_parts OUTPUT FOLDER [FOLDER ...]

Writes `JPEGImages` and `Annotations` to OUTPUT, for `python -m data.build image_masks --config ids`. With such objects, the
model learns to track any given mask, not only people and cars.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.segmentation import felzenszwalb
from tqdm import tqdm

SHORT_SIDE = 288  # pixels
SHARE = (0.01, 0.3)  # range of the fraction of the picture that a region covers
MOST = 250  # regions of a picture


def regions(image: np.ndarray, scale: float) -> np.ndarray:
    """Returns the ids of the regions of an image `uint8 [h,w,3]` as `uint8 [h,w]`; 0 if a region is too small or too large.

    Regions are those of Felzenszwalb and Huttenlocher, Efficient Graph-Based Image Segmentation, IJCV 2004.
    """
    area = image.shape[0] * image.shape[1]
    labels = felzenszwalb(image, scale=scale, sigma=0.8, min_size=int(SHARE[0] * area))
    sizes = np.bincount(labels.ravel())
    kept = np.flatnonzero((sizes >= SHARE[0] * area) & (sizes <= SHARE[1] * area))[:MOST]
    table = np.zeros(len(sizes), np.uint8)
    table[kept] = 1 + np.arange(len(kept))
    return table[labels]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="folder to write; it must not exist")
    parser.add_argument("folders", type=Path, nargs="+", help="folders with .jpg files, also in subfolders")
    parser.add_argument("--every", type=int, default=1, help="take every n-th picture of a folder")
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
