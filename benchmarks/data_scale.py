"""Builds and reads a data set with as many videos as YouTube-VOS: 3,471 generated videos with 27 frames of 64x36 pixels.

    python benchmarks/data_scale.py --folder SCRATCH
    python benchmarks/data_scale.py --folder SCRATCH --padding 60000  # records of a realistic size, 6 GB in total

Prints the time and peak memory of the build command, and of a process that opens the result and reads random clips from it. The
benchmark takes a few minutes.
"""

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

VIDEOS, FRAMES, STEP, SIZE = 3471, 27, 5, (36, 64)


def encode(pixels: np.ndarray, kind: str) -> bytes:
    """Encodes an image."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def generate(root: Path, padding: int) -> None:
    """Creates the folder `train` of a data set from hard links to a few files.

    The JPEGs contain comments of `padding` bytes.
    """
    rng = np.random.default_rng(0)
    comment = b"\xff\xfe" + (padding + 2).to_bytes(2, "big") + bytes(padding)
    files = {".jpg": [], ".png": []}
    for i in range(32):
        jpeg = encode(rng.integers(0, 256, (*SIZE, 3), np.uint8), "JPEG")
        mask = encode(np.repeat(np.repeat(rng.integers(0, 4, (4, 8), np.uint8), 9, 0), 8, 1), "PNG")
        for suffix, content in ((".jpg", jpeg[:2] + comment + jpeg[2:]), (".png", mask)):
            files[suffix].append(root / f"{i}{suffix}")
            files[suffix][-1].write_bytes(content)
    objects = {str(i): {"frames": [f"{STEP * t:05d}" for t in range(FRAMES)]} for i in (1, 2, 3)}
    for video in tqdm(range(VIDEOS), desc="generating", unit="video"):
        for folder, suffix in (("JPEGImages", ".jpg"), ("Annotations", ".png")):
            home = root / "train" / folder / f"{video:010x}"
            home.mkdir(parents=True)
            for t in range(FRAMES):
                os.link(files[suffix][(video + t) % 32], home / f"{STEP * t:05d}{suffix}")
    meta = {"videos": {f"{video:010x}": {"objects": objects} for video in range(VIDEOS)}}
    (root / "train" / "meta.json").write_text(json.dumps(meta))


def read(data_dir: Path, clips: int) -> None:
    """Opens the data set, fetches random clips of three frames, and prints the times and the peak memory."""
    from data.source import open_source

    imported, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    source = open_source("youtube_vos/2019", data_dir)
    opened, index, rng = time.perf_counter(), source.index, np.random.default_rng(0)
    for video in rng.integers(0, len(index.videos), clips):
        source.fetch(index.starts[video] + np.sort(rng.choice(FRAMES, 3, replace=False)))
    seconds, peak = time.perf_counter() - opened, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    size = sum(array.nbytes for array in vars(index).values())
    print(f"read: videos: {len(index.videos)}, frames: {len(index.names)}, size of the index: {size / 1e6:.1f} MB")
    print(f"read: opening took {opened - start:.2f} s; a clip took {1e6 * seconds / clips:.0f} us, averaged over {clips} clips")
    print(f"read: peak memory is {peak / 1024:.0f} MB, of which imports take {imported / 1024:.0f} MB")


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="folder for the data; existing files are reused")
    parser.add_argument("--padding", type=int, default=0, help="bytes to add to each JPEG, up to 65000")
    parser.add_argument("--clips", type=int, default=20000)
    parser.add_argument("--read", action="store_true", help="only measure reading, in this process")
    args = parser.parse_args()
    if args.read:
        return read(args.folder / "built", args.clips)
    args.folder.mkdir(parents=True, exist_ok=True)
    if not (args.folder / "train" / "meta.json").exists():
        generate(args.folder, args.padding)
    flags = [
        "youtube_vos",
        "--config",
        "2019",
        "--source",
        str(args.folder),
        "--data_dir",
        str(args.folder / "built"),
        "--overwrite",
    ]
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "data.build", *flags], check=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(f"build: the command took {time.perf_counter() - start:.1f} s, with a peak memory of {peak / 1024:.0f} MB")
    subprocess.run([sys.executable, __file__, "--folder", str(args.folder), "--clips", str(args.clips), "--read"], check=True)
    return None


if __name__ == "__main__":
    main()
