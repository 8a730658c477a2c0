"""Generates images, masks and folders, most of which are valid."""

import io
import os
import string
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from tests.evaluation.harness import discs

FRAMES, MASKS = discs(4, 32, 48, 2)


def encoded(picture: Image.Image, kind: str, **how) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **how)
    return buffer.getvalue()


def exif(orientation: int) -> Image.Exif:
    data = Image.Exif()
    data[274] = orientation
    return data


@st.composite
def images(draw) -> bytes:
    """Generates image files of various modes, bit depths, formats and sizes. Some files are damaged or have several pages."""
    frame = FRAMES[draw(st.integers(0, 3))]
    height, width = draw(st.sampled_from([(32, 48)] * 8 + [(48, 32), (32, 47), (1, 1), (16, 16)]))
    picture = Image.fromarray(frame).resize((width, height))
    mode = draw(st.sampled_from(["RGB"] * 6 + ["L", "P", "1", "RGBA", "LA", "I;16", "I", "F", "CMYK"]))
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * draw(st.sampled_from([1, 16, 257])))
    else:
        picture = picture.convert(mode)
    kinds = {"RGB": ["JPEG"] * 6 + ["PNG", "BMP", "WEBP", "TIFF", "GIF"], "CMYK": ["JPEG", "TIFF"], "F": ["TIFF"]}
    kind = draw(st.sampled_from(kinds.get(mode, {"I;16": ["PNG", "TIFF"], "I": ["TIFF"]}.get(mode, ["PNG"]))))
    how = {"exif": exif(draw(st.integers(1, 8)))} if kind == "JPEG" and draw(st.booleans()) else {}
    if kind in ("TIFF", "WEBP", "GIF") and draw(st.booleans()):
        how |= {"save_all": True, "append_images": [picture] * draw(st.integers(1, 3))}
    return draw(damage(encoded(picture, kind, **how)))


@st.composite
def masks(draw) -> bytes:
    """Generates mask files with arbitrary ids: indexed with various palettes, grey, 1-bit, colour or 16-bit.

    Some files are not valid masks: they are smoothed, noisy or damaged.
    """
    ids = MASKS[draw(st.integers(0, 3))]
    ids = np.asarray(draw(st.lists(st.integers(0, 255), min_size=3, max_size=3)), np.uint8)[ids]
    size = draw(st.sampled_from([(48, 32)] * 8 + [(32, 48), (47, 32), (1, 1), (96, 64)]))
    how = draw(st.sampled_from(["ids", "ids", "grey", "smooth", "noise", "bit", "rgb", "rgba", "wide"]))
    picture = Image.fromarray(ids).resize(size, Image.Resampling.NEAREST)
    if how == "ids":
        palette = draw(st.sampled_from([range(768), range(767, -1, -1), [0] * 768, [255, 255, 255, 0, 0, 0, 9, 9, 9]]))
        picture.putpalette([value % 256 for value in palette])
    elif how == "smooth":
        picture = picture.resize((8, 8)).resize(size, Image.Resampling.BILINEAR)
    elif how == "noise":
        picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, size[::-1], np.uint8))
    elif how == "wide":
        picture = Image.fromarray(np.asarray(picture).astype(np.uint16) * draw(st.sampled_from([1, 300])))
    elif how != "grey":
        picture = picture.convert({"bit": "1", "rgb": "RGB", "rgba": "RGBA"}[how])
    return draw(damage(encoded(picture, draw(st.sampled_from(["PNG"] * 9 + ["TIFF"])))))


@st.composite
def damage(draw, data: bytes, often: bool = False) -> bytes:
    """Truncates, changes, empties or replaces the content of a file. Most files stay unchanged unless `often` is set."""
    how = draw(st.sampled_from(["none"] * (1 if often else 12) + ["cut", "flip", "empty", "text"]))
    if how == "cut":
        return data[: draw(st.integers(0, len(data)))]
    if how == "flip":
        changed = bytearray(data)
        for place in draw(st.lists(st.integers(0, len(data) - 1), min_size=1, max_size=4)):
            changed[place] ^= draw(st.integers(1, 255))
        return bytes(changed)
    return {"none": data, "empty": b"", "text": b"this is no image\n"}[how]


def indexed(ids: np.ndarray) -> bytes:
    picture = Image.fromarray(ids)
    picture.putpalette(list(range(256)) * 3)
    return encoded(picture, "PNG")


GOOD_MASKS = [indexed(ids) for ids in MASKS]
NUMBERED = st.builds("{}{}".format, st.sampled_from(["", "", "frame", "frame_", "-", "+", "0.", "IMG ("]), st.integers(0, 12))
ODD = st.text(st.sampled_from(string.ascii_letters + " .-_#%é中\n\t\\'\"<>&$`"), min_size=1, max_size=12)
STEMS = st.one_of(NUMBERED, NUMBERED, NUMBERED, NUMBERED, ODD)
SUFFIXES = st.sampled_from(
    [".jpg"] * 8 + [".png", ".JPG", ".jpeg", ".tif", ".webp", ".gif", ".heic", ".txt", ".db", "", ".mp4"]
)
KINDS = st.sampled_from(["image"] * 14 + ["mask", "link", "dangling", "folder", "fifo"])

GOOD_FRAMES = [encoded(Image.fromarray(frame), "JPEG") for frame in FRAMES]


@st.composite
def folders(draw) -> list[tuple[str, str, bytes]]:
    """Generates the entries of a folder as (name, kind, content). Most entries are valid frames. A few are other files."""
    odd = draw(st.lists(st.tuples(st.builds("{}{}".format, STEMS, SUFFIXES), KINDS, images()), max_size=3))
    if draw(st.integers(0, 3)):
        good = [(f"{t:05d}.jpg", "image", content) for t, content in enumerate(GOOD_FRAMES)]
        odd = draw(st.sampled_from([[], [], odd[:1], odd]))
        return [*good[: draw(st.integers(1, 4))], *odd]
    return odd


def make(folder: Path, entries: list[tuple[str, str, bytes]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, kind, content in entries:
        path = folder / name
        if len(name.encode()) > 200 or name in (".", "..") or os.path.lexists(path):
            continue
        if kind == "folder":
            path.mkdir()
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind == "dangling":
            path.symlink_to(folder / "not there")
        elif kind == "link":
            target = folder.parent / f"target of {len(list(folder.parent.iterdir()))}"
            target.write_bytes(content)
            path.symlink_to(target)
        else:
            path.write_bytes(content)
