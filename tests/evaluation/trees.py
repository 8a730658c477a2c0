"""Writes folders in the layouts of the newer benchmarks, from masks as arrays.

    python -m tests.evaluation.trees DIR  # a small tree of each layout, in DIR/NAME

Frames are blank: what is tested is which masks are given, written and scored.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from hmmn_jax.io.images import write_mask


def save_frames(folder, names, size):
    """Blank JPEGs of `size`, height and width."""
    folder.mkdir(parents=True)
    for name in names:
        Image.new("L", size[::-1], 90).convert("RGB").save(folder / f"{name}.jpg")


def save_ids(folder, masks):
    """Indexed PNGs of ids by name of the frame."""
    for name, ids in masks.items():
        write_mask(folder / f"{name}.png", ids)


def save_video(root, video, masks, frames=None, images="JPEGImages"):
    """`IMAGES/VIDEO` and `Annotations/VIDEO`; `frames` names those that exist, by default those with masks."""
    size = next(iter(masks.values())).shape
    save_frames(root / images / video, frames or masks, size)
    save_ids(root / "Annotations" / video, masks)


def save_json(path, content):
    """A JSON file."""
    path.write_text(json.dumps(content))


def lvos_meta(videos):
    """The content of valid_meta.json: of each video the objects, by id start, end and frame_nums; values are texts."""

    def entry(start, end, frame_nums):
        return {"frame_range": {"start": str(start), "end": str(end), "frame_nums": str(frame_nums)}}

    return {
        "videos": {
            video: {"objects": {str(i): entry(*values) for i, values in objects.items()}} for video, objects in videos.items()
        }
    }


def save_objects(folder, masks):
    """`OBJECT/FRAME.png`: binary masks by object and frame."""
    for name, frames in masks.items():
        for frame, mask in frames.items():
            write_mask(folder / name / f"{frame}.png", mask.astype(np.uint8))


def boxes(frames, objects, height=60, width=80):
    """Ids `[T,H,W]` of boxes that move: `objects` has by id the frames that show it, such as "110011"."""
    ids = np.zeros((frames, height, width), np.uint8 if max(objects) < 256 else np.uint16)
    for place, (i, seen) in enumerate(objects.items()):
        top, left = 8 * (place % 4) + 2, 12 * (place // 4) + 2
        for t in range(frames):
            if seen[t] == "1":
                ids[t, top : top + 6, left + t % 4 : left + t % 4 + 7] = i
    return ids


def named(masks, step=1, start=0, digits=5):
    """By the name of the frame."""
    return {f"{start + step * t:0{digits}d}": mask for t, mask in enumerate(masks)}


def mose(root):
    """Two videos with gaps in the ids, 255, and an object that vanishes and returns; annotated throughout."""
    save_video(root, "crowd", named(boxes(6, {2: "110011", 255: "111111", 7: "101110"})))
    save_video(root, "street", named(boxes(5, {1: "11111"})))


def lvos(root):
    """Names in steps of 5 from 1; object 9 starts late, 4 is in no list."""
    masks = named(boxes(8, {3: "11111111", 9: "00111011", 4: "11111111"}), 5, 1, 8)
    save_video(root, "walk", masks)
    save_video(root, "zoo", named(boxes(5, {255: "11111"}), 5, 1, 8))
    save_json(root / "valid_meta.json", lvos_meta({"walk": {9: (11, 37, 6), 3: (1, 36, 8)}, "zoo": {255: (1, 22, 5)}}))
    (root / "unseen_videos.txt").write_text("zoo\n")


def vost(root):
    """Ten frames per second, every second one annotated; part of the truth is 255, ignored."""
    masks = boxes(7, {1: "1111111", 3: "1111101"})
    masks[:, -3:] = 255
    annotated = named(masks, 12, 12)
    save_frames(root / "JPEGImages_10fps" / "cut", named(range(13), 6, 12), masks.shape[1:])
    save_frames(root / "JPEGImages" / "cut", annotated, masks.shape[1:])
    save_ids(root / "Annotations" / "cut", annotated)
    (root / "ImageSets").mkdir()
    (root / "ImageSets" / "val.txt").write_text("cut\n")


def long_video(root):
    """Twelve frames, five of them annotated."""
    masks = named(boxes(12, {1: "1" * 12, 2: "1" * 12}))
    save_video(root, "rat", {name: mask for name, mask in masks.items() if int(name) in (0, 3, 6, 9, 11)}, masks)
    (root / "val.txt").write_text("rat\n")


def sav(root):
    """Objects that overlap; one has fewer annotations, another is hidden in some frames."""
    frames = named(range(17))
    save_frames(root / "JPEGImages_24fps" / "dance", frames, (40, 60))
    one, other, hidden = np.zeros((3, 5, 40, 60), bool)
    one[:, 4:24, 4:34], other[:, 14:34, 14:54], hidden[[0, 2, 3, 4], 30:, 40:] = True, True, True
    objects = {"000": named(one, 4), "001": named(other, 4), "002": named(hidden, 4)}
    objects["001"] = {name: mask for name, mask in objects["001"].items() if name != "00000"}
    save_objects(root / "Annotations_6fps" / "dance", objects)
    (root / "sav_val.txt").write_text("dance\n")


LAYOUTS = {"mose1_val": mose, "mose2_val": mose, "lvos_val": lvos, "vost_val": vost, "long_video": long_video, "sav_val": sav}

if __name__ == "__main__":
    for layout, write in LAYOUTS.items():
        write(Path(sys.argv[1]) / layout)
