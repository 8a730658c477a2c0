"""Measures the resident memory while segmenting a long video, with and without a limit on the number of memory frames.

    python benchmarks/long_video.py --out docs/long_video.png

Runs `evaluate.py --config configs/evaluate/custom.py` on a folder of rendered 480x854 frames in two concurrent processes, one
with `--config.max_memory_frames` and one without. Once per second, the script reads the resident memory (VmRSS) of each
process and the number of masks written so far. If there are several readings for a frame, the maximum is used. The script
prints a table, and plots the measured memory and a prediction for the process without a limit. The prediction is the memory of
the process with a limit, minus the size of its memory bank, plus the size of a bank without a limit. Each slot of a bank holds
keys, values and centres at stride 16. The number of slots doubles when all slots are used. The network is small and has random
weights, so its masks are meaningless. The script takes hours, mostly for the process without a limit, because its memory bank
keeps growing. If the script is interrupted (Ctrl-C), the results so far are printed.
"""

import argparse
import contextlib
import math
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import matplotlib

matplotlib.use("agg")  # this backend needs no display
from matplotlib import pyplot as plt

sys.path.insert(0, str(ROOT := Path(__file__).parents[1]))
from data.moving_shapes import MovingShapes
from hmmn_jax import HMMN, HMMNConfig
from hmmn_jax.checkpoints.store import save_checkpoint
from hmmn_jax.inference.segmenter import FIRST_CAPACITY
from hmmn_jax.model.backbones import ResNet

HEIGHT, WIDTH, MEM_EVERY = 480, 854, 5
SCENE = 40  # number of rendered frames; the video plays them forwards and backwards
MARKS = (100, 200, 300, 500, 1000, 1500, 2000)  # frames in the table
BACKBONE = ResNet(stem_width=8, blocks=(1, 1, 1), widths=(16, 16, 16), norm="none")
KEYS = {"key_dim_s16": 32, "key_dim_s8": 8, "key_dim_s4": 8}
VALUES = {"value_dim_s16": 128, "value_dim_s8": 8, "value_dim_s4": 8}
CONFIG = HMMNConfig(BACKBONE, **KEYS, **VALUES, decoder_dim=8, k_s8=4, k_s4=2)
SLOT = math.ceil(HEIGHT / 16) * math.ceil(WIDTH / 16) * 4 * (CONFIG.key_dim_s16 + CONFIG.value_dim_s16 + 1) / 1e6  # in MB


def make_inputs(folder: Path, frames: int) -> None:
    """Writes a folder of frames, the mask of the first frame, and a checkpoint."""
    jpegs, masks = MovingShapes(clips=1, frames=SCENE, height=HEIGHT, width=WIDTH, max_objects=1).fetch(range(SCENE))
    for kind in ("scene", "frames"):
        (folder / kind).mkdir()
    for t, jpeg in enumerate(jpegs):
        (folder / "scene" / f"{t}.jpg").write_bytes(jpeg)
    (folder / "first.png").write_bytes(masks[0])
    for t in range(frames):
        shown = SCENE - 1 - abs(SCENE - 1 - t % (2 * SCENE - 2))
        (folder / "frames" / f"{t:05d}.jpg").symlink_to(folder / "scene" / f"{shown}.jpg")
    save_checkpoint(folder / "model", jax.jit(HMMN(CONFIG).init_variables)(jax.random.key(0)), CONFIG)


def start(folder: Path, bound: int) -> subprocess.Popen:
    """Starts a process that segments the frames and writes its output to `folder/run{bound}`."""
    command = [sys.executable, "evaluate.py", "--config", "configs/evaluate/custom.py", f"--config.mem_every={MEM_EVERY}"]
    command += [f"--config.max_memory_frames={bound}", "--checkpoint", folder / "model", "--output", folder / f"run{bound}"]
    command += ["--frames", folder / "frames", "--mask", folder / "first.png"]
    with open(folder / f"{bound}.log", "w") as log:
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)


def sample(process: subprocess.Popen, run: Path) -> tuple[int, float] | None:
    """Returns the number of masks written and the resident memory in MB.

    Returns None before the first mask is written, and after the video is complete.
    """
    done = len(list(run.glob("record/unfinished/*/masks/frames/*.png")))
    with contextlib.suppress(OSError, StopIteration):
        status = Path(f"/proc/{process.pid}/status").read_text().splitlines() if done else []
        return done, int(next(line for line in status if line.startswith("VmRSS")).split()[1]) * 1024 / 1e6
    return None


def slots(frame: int, bound: int = 0) -> int:
    """Returns the number of slots in the bank when a frame is segmented.

    The bank needs a slot for each memory frame and a slot for the previous frame. The number of slots is doubled as needed.
    """
    kept = math.ceil((frame - 1) / MEM_EVERY)
    filled = (min(kept, bound) if bound else kept) + 1
    return FIRST_CAPACITY * 2 ** max(0, math.ceil(math.log2(filled / FIRST_CAPACITY)))


def report(curves: dict[str, dict[int, float]], bound: int, out: Path) -> None:
    """Prints the table and writes the plot."""
    rest = {frame: resident - SLOT * slots(frame, bound) for frame, resident in next(iter(curves.values())).items()}
    curves = curves | {"no limit, predicted": {frame: rest[frame] + SLOT * slots(frame) for frame in rest}}
    print(
        f"All values are resident memory in MB. A slot takes {SLOT:.3f} MB.\n"
        f"| frame | {' | '.join(curves)} |\n|{'---|' * (1 + len(curves))}"
    )
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    for mark in MARKS:
        near = [min(curve, key=lambda frame: abs(frame - mark)) for curve in curves.values()]
        cells = [f"{c[i]:.0f}" if abs(i - mark) < 10 else "" for c, i in zip(curves.values(), near, strict=True)]
        print(f"| {mark} | {' | '.join(cells)} |")
    for (name, curve), style in zip(curves.items(), ("-", "-", "k:"), strict=True):
        axes.plot(*zip(*sorted(curve.items()), strict=True), style, label=name)
    axes.set(xlabel="segmented frames", ylabel="resident memory, MB", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(out, dpi=100)


def main() -> None:
    """Runs both processes, measures their memory, and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--bound", type=int, default=6, help="max_memory_frames of the process with a limit")
    parser.add_argument("--out", type=Path, required=True, help="PNG to write")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as temporary:
        make_inputs(folder := Path(temporary), args.frames)
        running = {bound: start(folder, bound) for bound in (args.bound, 0)}
        curves: dict[int, dict[int, float]] = {bound: {} for bound in running}
        with contextlib.suppress(KeyboardInterrupt):
            while any(process.poll() is None for process in running.values()):
                time.sleep(1)
                for bound, process in running.items():
                    if found := sample(process, folder / f"run{bound}"):
                        curves[bound][found[0]] = max(found[1], curves[bound].get(found[0], 0))
        for bound, process in running.items():
            process.terminate()
            if process.wait() > 0:
                print((folder / f"{bound}.log").read_text()[-2000:], file=sys.stderr)
        report({f"max_memory_frames = {args.bound}": curves[args.bound], "no limit": curves[0]}, args.bound, args.out)


if __name__ == "__main__":
    main()
