"""Renders the clip in `hmmn_jax/demo_clip`: two koi in a pond. One koi swims below the other and below a lily pad.

    python -m tools.make_sample OUTPUT

This script and `tools/pond.py` draw the entire clip, so the clip is under the licence of this project. OUTPUT has the layout of
DAVIS. If an output file already exists, nothing is written.
"""

import argparse
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from hmmn_jax.cli.program import leave, run_program
from hmmn_jax.errors import DataError
from hmmn_jax.io.files import user_path, writing_errors
from hmmn_jax.io.images import write_mask
from hmmn_jax.io.record import move, staging_folder
from tools.pond import FINE, GOLD, HEIGHT, WIDTH, bend_koi, blur, columns, lily_pad, mix, paint_koi, pebbles, rows, sunlight

NAME, RESOLUTION, FRAMES = "koi", "240p", 40
PAN = np.array([46.0, 10.0])  # motion of the camera over the pond in x and y, in pixels
LIGHT = np.array([5.0, 8.0])  # offset of the shadow in pixels per unit of height
RED, WATER = np.array([[0.93, 0.27, 0.08], [0.10, 0.42, 0.40]])


def curve(*points: tuple[float, float]) -> np.ndarray:
    """Returns points on a Bezier curve with four control points, `[200,2]`."""
    t = np.linspace(0, 1, 200)[:, None]
    return sum(c * (1 - t) ** (3 - i) * t**i * np.array(p) for i, (c, p) in enumerate(zip((1, 3, 3, 1), points, strict=True)))


def render(indices: Iterable[int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Draws frames, uint8 `[H,W,3]`, and their ids, uint8 `[H,W]`. Object 1 is above object 2, and lily pads are above both."""
    rng = np.random.default_rng(7)
    ground = pebbles(rng, *((np.array([HEIGHT, WIDTH]) + PAN[::-1] + 2) * FINE).astype(int))
    red, gold = paint_koi(rng, RED, 0.1), paint_koi(rng, GOLD, 9)
    red_way, gold_way = curve((4, 46), (140, 10), (200, 150), (450, 180)), curve((422, 62), (270, 10), (200, 250), (20, 60))
    for index in indices:
        t = index / (FRAMES - 1)
        left, top = (PAN * t * FINE).round().astype(int)
        x, y = columns + left / FINE, rows + top / FINE  # positions in the pond
        ax, ay = 1.25 * PAN * t  # objects closer to the camera move more
        layers = (  # from bottom to top: id, height above the ground, picture
            (2, 1.0, bend_koi(gold, gold_way, t, 3.6 * t, 138 - 16 * t)),
            (1, 1.8, bend_koi(red, red_way, t, 3.1 * t, 128 + 58 * t**1.5)),
            (0, 2.2, lily_pad(140 - ax, 172 - ay, 56, 0.5 + 0.3 * t, flower=True)),
            (0, 2.2, lily_pad(352 - ax, 228 - ay, 44, 3.0 - 0.3 * t, flower=False)),
        )
        frame = ground[top : top + HEIGHT * FINE, left : left + WIDTH * FINE]
        frame = mix(frame, WATER, 0.4) * sunlight(x, y, t)[..., None]
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        for object_id, height, picture in layers:
            colour, alpha = picture[..., :3], picture[..., 3]
            dx, dy = (LIGHT * height * FINE).astype(int)
            shadow = np.pad(alpha, ((dy, 0), (dx, 0)))[: HEIGHT * FINE, : WIDTH * FINE]
            frame = frame * (1 - 0.5 * blur(shadow, 3.5 * FINE))[..., None]
            if object_id:  # under water
                colour = mix(colour, WATER, 0.1) * sunlight(x - 8, y - 12, t)[..., None]
            frame = mix(frame, colour, alpha)
            mask[alpha.reshape(HEIGHT, FINE, WIDTH, FINE).mean((1, 3)) >= 0.45] = object_id  # fins have a transparency of 0.15
        frame = frame.reshape(HEIGHT, FINE, WIDTH, FINE, 3).mean((1, 3))
        frame += np.random.default_rng(index).normal(0, 0.008, frame.shape)
        yield (np.clip(frame, 0, 1) * 255).round().astype(np.uint8), mask


def write_clip(root: Path, frames: Iterable[tuple[np.ndarray, np.ndarray]]) -> None:
    """Writes frames as JPEGs and masks as indexed PNGs. Raises DataError before writing if one of the files already exists."""
    images, annotations = (f"{kind}/{RESOLUTION}/{NAME}" for kind in ("JPEGImages", "Annotations"))
    names = [f"{folder}/{i:05d}{suffix}" for folder, suffix in ((images, ".jpg"), (annotations, ".png")) for i in range(FRAMES)]
    names.append("ImageSets/2017/val.txt")
    if there := [root / name for name in names if os.path.lexists(root / name)]:
        raise DataError(
            f"{there[0]} and {len(there) - 1} more files already exist. Choose another folder, or remove these files."
        )
    with staging_folder(root / ".sample.part") as staged, writing_errors(root):
        for name in names:
            (staged / name).parent.mkdir(parents=True, exist_ok=True)
        for index, (frame, mask) in enumerate(frames):
            Image.fromarray(frame).save(staged / images / f"{index:05d}.jpg", quality=75, optimize=True)
            write_mask(staged / annotations / f"{index:05d}.png", mask)
        (staged / names[-1]).write_text(f"{NAME}\n")
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            move(staged / name, root / name)


def main() -> int:
    """Runs the command and returns its exit code."""

    def run() -> None:
        parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("output", type=user_path)
        write_clip(parser.parse_args().output, render(range(FRAMES)))

    return run_program("tools.make_sample", run)


if __name__ == "__main__":
    leave(main())
