"""Renders the clip in `data/sample`: two textured objects that move, turn, change size and cross, on a panning background.

    python data/make_sample.py data/sample

Everything is drawn here, so the clip carries this project's licence. The folder has DAVIS's layout.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH, FRAMES = 192, 336, 24


def noise(rng: np.random.Generator, height: int, width: int, cells: int) -> np.ndarray:
    """Smooth noise in [0, 1], `[height, width, 3]`: octaves of random colours, interpolated."""
    octaves = []
    for octave in range(4):
        grid = rng.random((cells * 2**octave, cells * 2**octave * width // height, 3), np.float32)
        channels = [Image.fromarray(grid[..., c]).resize((width, height), Image.Resampling.BICUBIC) for c in range(3)]
        octaves.append(np.stack([np.asarray(channel) for channel in channels], -1) / 2**octave)
    total = sum(octaves)
    return np.clip((total - total.min()) / (total.max() - total.min()), 0, 1)


def blob(y: np.ndarray, x: np.ndarray, lobes: int, depth: float) -> np.ndarray:
    """True inside a rounded star of radius 1 around the origin."""
    return np.hypot(y, x) < 1 + depth * np.cos(lobes * np.arctan2(y, x))


def render() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Frames uint8 `[H,W,3]` and ids uint8 `[H,W]`; object 2 passes in front of object 1."""
    rng = np.random.default_rng(7)
    background = 0.25 + 0.5 * noise(rng, HEIGHT, WIDTH * 2, 6) * np.array([0.7, 1.0, 0.75], np.float32)
    textures = [noise(rng, 128, 128, 5) * colour for colour in (np.array([1.0, 0.55, 0.3]), np.array([0.45, 0.6, 1.0]))]
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    frames, masks = [], []
    for t in np.linspace(0, 1, FRAMES):
        pan = int(60 * t)
        frame = background[:, pan : pan + WIDTH].copy()
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        paths = (
            (0.55 + 0.08 * np.sin(5 * t), 0.25 + 0.42 * t, 38 * (1 + 0.35 * t), 0.8 * t, 5, 0.18),
            (0.45 + 0.12 * np.cos(4 * t), 0.80 - 0.55 * t, 30 * (1.15 - 0.3 * t), -1.4 * t, 3, 0.25),
        )
        for object_id, (texture, (y, x, radius, angle, lobes, depth)) in enumerate(zip(textures, paths, strict=True), 1):
            dy, dx = (rows - y * HEIGHT) / radius, (columns - x * WIDTH) / radius
            v, u = dy * np.cos(angle) - dx * np.sin(angle), dy * np.sin(angle) + dx * np.cos(angle)
            inside = blob(v, u, lobes, depth)
            shade = np.clip(1.15 - 0.25 * np.hypot(dy, dx), 0.6, 1.2)[..., None]
            sampled = texture[np.clip(64 + v * 45, 0, 127).astype(int), np.clip(64 + u * 45, 0, 127).astype(int)]
            frame = np.where(inside[..., None], sampled * shade, frame)
            mask[inside] = object_id
        frame += rng.normal(0, 0.012, frame.shape)
        frames.append((np.clip(frame, 0, 1) * 255).round().astype(np.uint8))
        masks.append(mask)
    return frames, masks


def main() -> None:
    """Writes the clip as JPEGs and indexed PNGs."""
    from hmmn_jax.layouts.images import write_mask

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    root = parser.parse_args().output
    images, annotations = root / "JPEGImages" / "192p" / "crossing", root / "Annotations" / "192p" / "crossing"
    images.mkdir(parents=True, exist_ok=True)
    annotations.mkdir(parents=True, exist_ok=True)
    (root / "ImageSets" / "2017").mkdir(parents=True, exist_ok=True)
    (root / "ImageSets" / "2017" / "val.txt").write_text("crossing\n")
    for index, (frame, mask) in enumerate(zip(*render(), strict=True)):
        Image.fromarray(frame).save(images / f"{index:05d}.jpg", quality=88)
        write_mask(annotations / f"{index:05d}.png", mask)


if __name__ == "__main__":
    main()
