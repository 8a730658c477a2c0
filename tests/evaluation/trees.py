"""Writes small data folders in the layouts of several benchmarks.

    python -m tests.evaluation.trees DIR  # writes a folder of each layout to DIR/NAME

Objects are boxes in the colours of their ids on a grey background.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from hmmn_jax.exports.rle import encode
from hmmn_jax.io.images import write_mask


def save_frames(folder, names, size, masks=None):
    """Writes JPEGs of `size` (height, width) that show ids as colours. Frames without a mask repeat the previous picture."""
    folder.mkdir(parents=True)
    picture = np.full((*size, 3), 90, np.uint8)
    for name in names:
        if masks and name in masks:
            ids = masks[name][..., None].astype(int)
            picture = np.where(ids > 0, (ids * (67, 131, 29) + (200, 40, 120)) % 256, 90).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{name}.jpg", quality=95)


def save_ids(folder, masks):
    """Writes masks as indexed PNGs. `masks` maps frame names to arrays of ids."""
    for name, ids in masks.items():
        write_mask(folder / f"{name}.png", ids)


def save_video(root, video, masks, frames=None, images="JPEGImages"):
    """Writes `IMAGES/VIDEO` and `Annotations/VIDEO`. `frames` lists the names of all frames (default: the keys of `masks`)."""
    size = next(iter(masks.values())).shape
    save_frames(root / images / video, frames or masks, size, masks)
    save_ids(root / "Annotations" / video, masks)


def save_json(path, content):
    """Writes a JSON file."""
    path.write_text(json.dumps(content))


def lvos_meta(videos):
    """Returns the content of valid_meta.json. `videos` contains (start, end, frame_nums) by video and object."""

    def entry(start, end, frame_nums):
        return {"frame_range": {"start": str(start), "end": str(end), "frame_nums": str(frame_nums)}}

    return {
        "videos": {
            video: {"objects": {str(i): entry(*values) for i, values in objects.items()}} for video, objects in videos.items()
        }
    }


def save_objects(folder, masks):
    """Writes `OBJECT/FRAME.png`. `masks` contains binary masks by object and frame."""
    for name, frames in masks.items():
        for frame, mask in frames.items():
            write_mask(folder / name / f"{frame}.png", mask.astype(np.uint8))


def boxes(frames, objects, height=60, width=80):
    """Returns ids `[T,H,W]` of moving boxes. `objects` maps ids to strings such as "110011", where 1 means a visible box."""
    ids = np.zeros((frames, height, width), np.uint8 if max(objects) < 256 else np.uint16)
    for place, (i, seen) in enumerate(objects.items()):
        top, left = 8 * (place % 4) + 2, 12 * (place // 4) + 2
        for t in range(frames):
            if seen[t] == "1":
                ids[t, top : top + 6, left + t % 4 : left + t % 4 + 7] = i
    return ids


def named(masks, step=1, start=0, digits=5):
    """Returns a dict from frame names to masks. Consecutive names differ by `step`."""
    return {f"{start + step * t:0{digits}d}": mask for t, mask in enumerate(masks)}


def mose(root):
    """Writes two videos with annotations of all frames. In `crowd`, one id is 255, and two objects disappear and return."""
    save_video(root, "crowd", named(boxes(6, {2: "110011", 255: "111111", 7: "101110"})))
    save_video(root, "street", named(boxes(5, {1: "11111"})))


def lvos(root):
    """Writes two videos with frames 00000001, 00000006, ... In `walk`, object 9 starts late. valid_meta.json omits object 4."""
    masks = named(boxes(8, {3: "11111111", 9: "00111011", 4: "11111111"}), 5, 1, 8)
    save_video(root, "walk", masks)
    save_video(root, "zoo", named(boxes(5, {255: "11111"}), 5, 1, 8))
    save_json(root / "valid_meta.json", lvos_meta({"walk": {9: (11, 37, 6), 3: (1, 36, 8)}, "zoo": {255: (1, 22, 5)}}))
    (root / "unseen_videos.txt").write_text("zoo\n")


def vost(root):
    """Writes a video with 10 frames per second. Every second frame is annotated. The value 255 is background."""
    masks = boxes(7, {1: "1111111", 3: "1111101"})
    masks[:, -3:] = 255
    annotated = named(masks, 12, 12)
    save_frames(root / "JPEGImages_10fps" / "cut", named(range(13), 6, 12), masks.shape[1:], annotated)
    save_frames(root / "JPEGImages" / "cut", annotated, masks.shape[1:], annotated)
    save_ids(root / "Annotations" / "cut", annotated)
    (root / "ImageSets").mkdir()
    (root / "ImageSets" / "val.txt").write_text("cut\n")


def long_video(root):
    """Writes a video of twelve frames, five of which are annotated."""
    masks = named(boxes(12, {1: "1" * 12, 2: "1" * 12}))
    save_video(root, "rat", {name: mask for name, mask in masks.items() if int(name) in (0, 3, 6, 9, 11)}, masks)
    (root / "val.txt").write_text("rat\n")


def sav(root):
    """Writes a video of overlapping objects. Object 001 has no annotation of frame 0, and object 002 is hidden on frame 4."""
    one, other, hidden = np.zeros((3, 5, 40, 60), bool)
    one[:, 4:24, 4:34], other[:, 14:34, 14:54], hidden[[0, 2, 3, 4], 30:, 40:] = True, True, True
    ids = np.maximum.reduce([one * 1, other * 2, hidden * 3])
    save_frames(root / "JPEGImages_24fps" / "dance", named(range(17)), (40, 60), named(ids, 4))
    objects = {"000": named(one, 4), "001": named(other, 4), "002": named(hidden, 4)}
    objects["001"] = {name: mask for name, mask in objects["001"].items() if name != "00000"}
    save_objects(root / "Annotations_6fps" / "dance", objects)
    (root / "sav_val.txt").write_text("dance\n")


def youtube_vos(root):
    """Writes two videos in which every fifth frame is annotated. Object 7 of `park` starts late, disappears and returns."""
    objects = {"park": {2: "1" * 21, 7: "0" * 5 + "1" * 5 + "0" * 5 + "1" * 6}, "sea": {1: "1" * 11}}
    categories, meta = {"park": {2: "dog", 7: "kite"}, "sea": {1: "dog"}}, {}
    for video, seen in objects.items():
        masks = named(boxes(len(next(iter(seen.values()))), seen))
        annotated = {name: ids for name, ids in masks.items() if int(name) % 5 == 0}
        size = next(iter(masks.values())).shape
        save_frames(root / "valid_all_frames/JPEGImages" / video, masks, size, masks)
        save_video(root / "valid", video, annotated)
        listed = {i: [name for name, ids in annotated.items() if (ids == i).any()] for i in seen}
        meta[video] = {"objects": {str(i): {"category": categories[video][i], "frames": names} for i, names in listed.items()}}
    save_json(root / "valid/meta.json", {"videos": meta})
    (root / "unseen_categories.txt").write_text("kite\n")


def burst(root):
    """Writes two sequences with annotations of every second frame. Track 300 starts late, overlaps track 7 and disappears."""
    sequences = []
    for number, key in enumerate((("YFCC100M", "v_1"), ("AVA", "clip_0"))):
        one, other = np.zeros((2, 8, 40, 60), bool)
        one[:, 4:24, 4:34], other[3:7, 14:34, 14:54] = True, True
        names = [f"frame{t:04d}" for t in range(8)]
        ids = np.where(one, 7, np.where(other, 300, 0))
        save_frames(root / "images/val" / "/".join(key), names, (40, 60), dict(zip(names, ids, strict=True)))
        first, late = (
            {str(i): {"rle": encode(mask)["counts"], "is_gt": True, "score": 1.0}} for i, mask in ((7, one[1]), (300, other[3]))
        )
        sequences.append(
            {
                "id": number,
                "width": 60,
                "height": 40,
                "seq_name": key[1],
                "dataset": key[0],
                "fps": 30,
                "all_image_paths": [f"{name}.jpg" for name in names],
                "annotated_image_paths": [f"{name}.jpg" for name in names[1::2]],
                "neg_category_ids": [],
                "not_exhaustive_category_ids": [],
                "track_category_ids": {"7": 1, "300": 1},
                "segmentations": [first, late, {}, {}],
            }
        )
    (root / "annotations/val").mkdir(parents=True)
    content = {"sequences": sequences, "categories": [{"id": 1, "name": "cat"}], "split": "val"}
    save_json(root / "annotations/val/first_frame_annotations.json", content)


def flock(root, objects=300, height=120, width=160, frames=3):
    """Writes a video of many objects with the ids 1, 3, 5, ..."""
    columns = 20
    side = min(width // columns, height * columns // max(objects, columns))
    places = np.arange(objects)
    ids = np.zeros((frames, height, width), np.uint16)
    for place, y, x in zip(places, places // columns * side, places % columns * side, strict=True):
        ids[:, y : y + side - 2, x : x + side - 2] = 2 * place + 1
    save_video(root, "flock", named(ids))


LAYOUTS = {
    "mose1_val": mose,
    "mose2_val": mose,
    "lvos_val": lvos,
    "vost_val": vost,
    "long_video": long_video,
    "sav_val": sav,
    "youtube_vos_2019": youtube_vos,
    "burst_val": burst,
    "custom": flock,
}

if __name__ == "__main__":
    for layout, write in LAYOUTS.items():
        write(Path(sys.argv[1]) / layout)
