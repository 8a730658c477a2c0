"""Measures seconds per frame and memory use as functions of the numbers of memory frames, objects, pixels and frames.

    python benchmarks/growth.py --points growth.jsonl --out docs/growth.png

The model is hmmn-lite. A point on the axes of memory frames, objects and pixels consists of the median time of a few frames and
the peak memory of the process. For objects and pixels, each point is measured in a new process. For memory frames, one process
measures all points. For the axis of frames, `hmmn-jax segment` segments a long 426x240 video with at most BOUND memory frames.
A point on this axis consists of the mean time per frame since the previous point, and the resident memory when the point is
reached.

Each point is appended to the file --points as soon as it has been measured. Points in this file are not measured again, so the
command can be interrupted and rerun. Points that are predicted to need more than --limit GiB of memory are not measured. After
--minutes minutes, no new process is started, except for an axis with fewer than two measured points. Missing points are
predicted from the two largest measured points of their axis. Prints a table with the local exponent of each curve, which is 1
for linear growth. Run the script on an otherwise idle machine.
"""

import argparse
import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from inference import run

HEIGHT, WIDTH, OBJECTS, MEMORY = 480, 864, 1, 2
AXES = {
    "memory": (2, 5, 10, 20, 50, 100, 200),  # number of memory frames
    "objects": (1, 2, 3, 5, 10, 20, 50),
    "pixels": (240, 360, 480, 720, 1080, 1440, 2160),  # height of a frame with an aspect ratio of 16:9
    "frames": (100, 1000, 2500, 5000, 10_000),
}
LABELS = {"memory": "memory frames", "objects": "objects", "pixels": "pixels, in millions", "frames": "segmented frames"}
TOGETHER = ("memory", "frames")  # axes whose points are all measured in one process
RUNS = 2  # number of measured frames per point
BOUND = 10  # maximum number of memory frames on the axis `frames`


def amount(axis: str, value: int) -> float:
    """Returns the position of a value on its axis. For the axis `pixels`, a height is converted to millions of pixels."""
    return value * width_of(value) / 1e6 if axis == "pixels" else value


def width_of(height: int) -> int:
    """Returns the width of a frame with an aspect ratio of 16:9, rounded to a multiple of 16."""
    return round(height * 16 / 9 / 16) * 16


def measure(axis: str, values: list[int]) -> Iterator[dict]:
    """Measures an axis and yields a point for each value. All values of an axis in `TOGETHER` are measured in one process."""
    if axis == "frames":
        yield from measure_film(values)
        return
    height = values[0] if axis == "pixels" else HEIGHT
    width = width_of(height) if axis == "pixels" else WIDTH
    memory = values if axis == "memory" else [MEMORY]
    command = [sys.executable, str(Path(__file__).with_name("inference.py")), "--worker", "--checkpoint", "lite"]
    command += ["--height", str(height), "--width", str(width), "--runs", str(RUNS), "--memory", *map(str, memory)]
    command += ["--objects", str(values[0] if axis == "objects" else OBJECTS)]
    for frames, line in run(command).items():
        value = frames if axis == "memory" else values[0]
        yield {"axis": axis, "value": value, "seconds": line["seconds_per_frame"], "mb": line["peak_mb"], "measured": True}


def measure_film(values: list[int]) -> Iterator[dict]:
    """Segments a long video, and yields a point at each number of frames in `values`."""
    from hmmn_jax.io.bundled import DEMO_CLIP
    from hmmn_jax.io.images import read_image
    from hmmn_jax.io.movies import MovieWriter

    clip = [read_image(path) for path in sorted((DEMO_CLIP / "JPEGImages/240p/koi").iterdir())]
    clip += clip[-2:0:-1]  # plays the clip forwards, then backwards, so that the video has no cuts
    with tempfile.TemporaryDirectory() as folder:
        film, masks = Path(folder, "film.mp4"), Path(folder, "out/record/unfinished")
        with MovieWriter(film, 25) as movie:
            for frame in itertools.islice(itertools.cycle(clip), values[-1] + 50):
                movie.write(frame)
        command = [str(Path(sys.executable).with_name("hmmn-jax")), "segment", str(film), "--output", str(Path(folder, "out"))]
        command += ["--mask", str(DEMO_CLIP / "Annotations/240p/koi/00000.png"), "--movie", "none"]
        command += ["--max-memory-frames", str(BOUND)]
        with subprocess.Popen(command) as process:
            last = _wait(process, masks, 1)  # compilation is not measured
            begun = time.perf_counter()
            for value in values:
                done = _wait(process, masks, value)
                now = time.perf_counter()
                status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
                resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
                seconds = (now - begun) / (done - last)
                yield {"axis": "frames", "value": value, "seconds": seconds, "mb": resident // 1024, "measured": True}
                begun, last = now, done
            process.terminate()


def _wait(process: subprocess.Popen, masks: Path, count: int) -> int:
    """Waits until an unfinished run has written at least `count` masks. Returns the number of masks written so far."""
    while (done := sum(len(os.listdir(folder)) for folder in masks.glob("*/masks/*"))) < count:
        if process.poll() is not None:
            raise RuntimeError(f"the process ended after {done} of {count} frames")
        time.sleep(0.2)
    return done


def predict(axis: str, value: int, points: list[dict]) -> dict:
    """Predicts a point from the line through the two largest measured points: log-log for time, linear for memory."""
    first, last = sorted((p for p in points if p["axis"] == axis and p["measured"]), key=lambda point: point["value"])[-2:]
    x, a, b = (amount(axis, v) for v in (value, first["value"], last["value"]))
    exponent = math.log(last["seconds"] / first["seconds"]) / math.log(b / a)
    mb = last["mb"] + (last["mb"] - first["mb"]) * (x - b) / (b - a)
    return {"axis": axis, "value": value, "seconds": last["seconds"] * (x / b) ** exponent, "mb": mb, "measured": False}


def collect(file: Path, limit: float, minutes: float) -> list[dict]:
    """Measures the points that are not in the file. Returns all points, some of which may be predicted."""
    points = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    end = time.monotonic() + 60 * minutes
    for axis, values in AXES.items():
        known = {point["value"] for point in points if point["axis"] == axis}
        missing = [value for value in values if value not in known]
        for group in [missing] if axis in TOGETHER and missing else [[value] for value in missing]:
            enough = sum(point["axis"] == axis and point["measured"] for point in points) >= 2
            guess = predict(axis, group[-1], points) if enough else None
            if guess and (guess["mb"] > 1024 * limit or time.monotonic() > end):
                points += [predict(axis, value, points) for value in group]
                continue
            print(f"{axis} {group}", file=sys.stderr, flush=True)
            for point in measure(axis, group):
                points.append(point)
                with open(file, "a", encoding="utf-8") as lines:
                    lines.write(json.dumps(point) + "\n")
    return points


def table(points: list[dict]) -> str:
    """Returns a Markdown table of the points, with the exponents between neighbouring points."""
    lines = ["| axis | value | s per frame | exponent of time | peak MB | exponent of memory |", "|---|---|---|---|---|---|"]
    for axis in AXES:
        curve = sorted((point for point in points if point["axis"] == axis), key=lambda point: point["value"])
        for before, point in itertools.pairwise([None, *curve]):
            cells = []
            for key, form in (("seconds", ".2f"), ("mb", ".0f")):
                cells.append(f"{point[key]:{form}}")
                step = math.log(amount(axis, point["value"]) / amount(axis, before["value"])) if before else 0
                cells.append(f"{math.log(point[key] / before[key]) / step:.2f}" if before else "")
            note = "" if point["measured"] else " (predicted)"
            lines.append(f"| {axis} | {point['value']}{'p' * (axis == 'pixels')}{note} | {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(points: list[dict], out: Path) -> None:
    """Plots time in the first row and memory in the second. A dotted line shows linear growth from the first point."""
    import matplotlib

    matplotlib.use("agg")  # works without a display
    from matplotlib import pyplot as plt

    figure, rows = plt.subplots(2, len(AXES), figsize=(12, 6), layout="constrained", sharex="col")
    for row, (key, label) in zip(rows, (("seconds", "seconds per frame"), ("mb", "peak memory, MB")), strict=True):
        for axes, axis in zip(row, AXES, strict=True):
            curve = sorted((point for point in points if point["axis"] == axis), key=lambda point: point["value"])
            x, y = [amount(axis, point["value"]) for point in curve], [point[key] for point in curve]
            axes.loglog(x, y, "-", color="tab:blue")
            for measured, marker in ((True, "o"), (False, "x")):
                chosen = [i for i, point in enumerate(curve) if point["measured"] == measured]
                axes.plot([x[i] for i in chosen], [y[i] for i in chosen], marker, color="tab:blue" if measured else "tab:red")
            axes.plot([x[0], x[-1]], [y[0], y[0] * x[-1] / x[0]], "k:", lw=1)
            axes.grid(alpha=0.3)
            axes.set_ylabel(label if axis == "memory" else "")
            axes.set_xlabel(LABELS[axis] if key == "mb" else "")
    figure.savefig(out, dpi=100)


def main() -> None:
    """Measures the points, prints the table, and writes the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=Path, required=True, help="JSON lines file to which measured points are added")
    parser.add_argument("--out", type=Path, required=True, help="PNG to write")
    parser.add_argument("--limit", type=float, default=20.0, help="memory limit in GiB; points that need more are predicted")
    parser.add_argument("--minutes", type=float, default=60.0, help="minutes after which no new process is started")
    given = parser.parse_args()
    points = collect(given.points, given.limit, given.minutes)
    print(table(points))
    plot(points, given.out)


if __name__ == "__main__":
    main()
