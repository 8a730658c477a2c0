"""Writes small folders in the layouts of the data sets. Frames are grey-green, and masks consist of squares."""

import json

import numpy as np
from PIL import Image

from hmmn_jax.io.palette import davis_palette

SIZE = (24, 32)


def jpeg(path, shade=0, size=SIZE):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((*size, 3), (80, 120, 90), np.uint8) + np.uint8(shade)
    Image.fromarray(pixels).save(path, quality=90)


def squares(*ids, size=SIZE):
    """Returns a mask with a 4x4 square for each id, side by side from the left."""
    mask = np.zeros(size, np.uint8)
    for place, i in enumerate(ids):
        mask[4:8, 6 * place : 6 * place + 4] = i
    return mask


def png(path, mask, palette=True):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(mask)
    if palette:
        image.putpalette(davis_palette().tobytes())
    image.save(path)


def davis(root, sequences, year="2017", split="train", resolution="480p"):
    """Writes a DAVIS folder.

    `sequences` maps each name to a list with one entry per frame: the ids in the mask, or None for a frame without a mask.
    """
    lists = root / "ImageSets" / year / f"{split}.txt"
    lists.parent.mkdir(parents=True, exist_ok=True)
    lists.write_text("".join(f"{name}\n" for name in sequences))
    for name, frames in sequences.items():
        for t, ids in enumerate(frames):
            jpeg(root / "JPEGImages" / resolution / name / f"{t:05d}.jpg", shade=t)
            if ids is not None:
                png(root / "Annotations" / resolution / name / f"{t:05d}.png", squares(*ids), palette=255 not in ids)
    return root


def youtube_vos(root, videos, split="train", step=5, all_frames=False):
    """Writes a YouTube-VOS folder, in which meta.json lists the frames of each object.

    `videos` maps each name to a list with one entry per frame: the ids in the mask, or None for a frame without a mask. Frame
    numbers are multiples of `step`. With `all_frames`, a second folder contains a frame for every number.
    """
    meta = {"videos": {}}
    for name, frames in videos.items():
        objects = {}
        for t, ids in enumerate(frames):
            stem = f"{step * t:05d}"
            jpeg(root / split / "JPEGImages" / name / f"{stem}.jpg", shade=t)
            if ids is not None:
                png(root / split / "Annotations" / name / f"{stem}.png", squares(*ids))
            for i in ids or ():
                objects.setdefault(str(i), {"category": "square", "frames": []})["frames"].append(stem)
        if all_frames:
            for t in range(step * (len(frames) - 1) + 1):
                jpeg(root / f"{split}_all_frames" / "JPEGImages" / name / f"{t:05d}.jpg", shade=t)
        meta["videos"][name] = {"objects": objects}
    (root / split / "meta.json").write_text(json.dumps(meta))
    return root
