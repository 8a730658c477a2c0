"""Measures training clips per second from a bucket with a latency of 40 ms, with sequential and with parallel reads.

    python benchmarks/bucket_input.py

Starts an emulator of Cloud Storage on this machine, and a proxy that delays each request. Builds a small data set, and measures
sequential and parallel reads alternately. Sequential reading uses one worker per core, and each worker reads its records one
after another. Prints the clips per second of each round, and the medians and their ratio as JSON.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from configs.train import data as configs
from data import source
from data.build import build, make_config
from data.clips import make_batches
from hmmn_jax.io.buckets import as_path
from hmmn_jax.io.objects import upload
from hmmn_jax.io.palette import davis_palette
from tools.cloud_storage import BUCKET, delayed, emulator

BATCH = 8
VIDEOS, FRAMES, SIDES = 12, 12, (96, 128)


def draw(root: Path) -> Path:
    """Creates a folder in the layout of DAVIS. The videos show noise and one moving square."""
    names = [f"video{v:02d}" for v in range(VIDEOS)]
    for folder in ("ImageSets/2017", *(f"{kind}/480p/{name}" for kind in ("JPEGImages", "Annotations") for name in names)):
        (root / folder).mkdir(parents=True)
    (root / "ImageSets/2017/train.txt").write_text("".join(f"{name}\n" for name in names))
    rng = np.random.default_rng(0)
    for name in names:
        for t in range(FRAMES):
            mask = np.zeros(SIDES, np.uint8)
            mask[20:60, 10 + 3 * t : 50 + 3 * t] = 1
            picture = rng.integers(0, 256, (*SIDES, 3), np.uint8) // (1 + mask[..., None])
            Image.fromarray(picture).save(root / f"JPEGImages/480p/{name}/{t:05d}.jpg")
            ids = Image.fromarray(mask)
            ids.putpalette(davis_palette().tobytes())
            ids.save(root / f"Annotations/480p/{name}/{t:05d}.png")
    return root


def settings(data_dir: str) -> ConfigDict:
    """Returns settings for 64x64 clips, so that computation takes little time compared with the requests."""
    config = configs.videos({"set": configs.source("davis/2017", still=False)}, ((0, 5),))
    config.size, config.resize, config.min_area, config.data_dir = (64, 64), 64, 16, data_dir
    return config


class OneByOne(source.RecordSource):
    """Reads records sequentially, as from a local disk: each core has a worker that reads its records one after another."""

    def __init__(self, name: str, directory: object, split: str):
        super().__init__(name, directory, split)
        self.in_bucket, self._reads = False, None


def clips_per_second(config: ConfigDict, kind: type[source.RecordSource], clips: int) -> float:
    """Measures the clips per second after a warm-up, which also consumes the prefetched clips."""
    with mock.patch.object(source, "RecordSource", kind):
        batches = make_batches(config, batch=BATCH, first_step=0)
    next(batches)
    for _ in range(source.READS // BATCH if kind is source.RecordSource else 1):
        next(batches)
    start = time.perf_counter()
    for _ in range(clips // BATCH):
        next(batches)
    seconds = time.perf_counter() - start
    batches.close()
    return clips // BATCH * BATCH / seconds


def main() -> None:
    """Prints a line per measurement, and the medians and their ratio as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--delay", type=float, default=0.04, help="delay of each request in seconds")
    parser.add_argument("--turns", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, emulator() as url:
        built, remote = Path(folder) / "built", as_path(f"gs://{BUCKET}/built")
        build("davis", make_config("davis", "2017", None, []), draw(Path(folder) / "in"), built)
        upload({remote / path.relative_to(built).as_posix(): path for path in built.rglob("*") if path.is_file()})
        found: dict[str, list[float]] = {"one_by_one": [], "at_once": []}
        with delayed(url, args.delay):
            for turn in range(args.turns):
                for name, kind, clips in (("one_by_one", OneByOne, 48), ("at_once", source.RecordSource, 320)):
                    found[name].append(clips_per_second(settings(str(remote)), kind, clips))
                    print(f"round {turn + 1}, {name}: {found[name][-1]:.1f} clips/s", flush=True)
    medians = {name: statistics.median(values) for name, values in found.items()}
    about = {"cores": os.cpu_count(), "delay": args.delay, "clips_per_second": medians}
    print(json.dumps(about | {"ratio": medians["at_once"] / medians["one_by_one"]}))


if __name__ == "__main__":
    main()
