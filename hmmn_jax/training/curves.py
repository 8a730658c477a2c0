"""A picture of a run, or of several side by side, for people without TensorBoard.

    python -m hmmn_jax.training.curves RUN [RUN ...] --out curves.png

Above, the loss; below, J&F of each validation, for runs that have some. Numbers are those of `RUN/metrics.jsonl`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("agg")  # no window
from matplotlib import pyplot as plt

from hmmn_jax.errors import DataError, HMMNError
from hmmn_jax.layouts import atomic_path
from hmmn_jax.training.writer import METRICS_FILE, read_metrics

SCORE = "validation/jf"


def draw_curves(workdirs: Sequence[Path], out: Path) -> None:
    """Writes a PNG with the curves of these runs. Raises DataError for a folder without numbers."""
    runs = {}
    for workdir in workdirs:
        runs[workdir.name] = read_metrics(workdir)
        if not runs[workdir.name]:
            raise DataError(f"{workdir / METRICS_FILE}: no numbers in it; expected the workdir of a training run")
    named = {"loss": "loss of frames 1 and 2", SCORE: "J&F"}
    shown = [key for key in named if any(key in line for lines in runs.values() for line in lines)]
    figure, all_axes = plt.subplots(len(shown), sharex=True, squeeze=False, figsize=(8, 3 * len(shown)), layout="constrained")
    for key, axes in zip(shown, all_axes[:, 0], strict=True):
        for name, lines in runs.items():
            points = [(line["step"], line[key]) for line in lines if key in line]
            axes.plot(*zip(*points, strict=True), marker="o" if key == SCORE else None, label=name)
        axes.set_ylabel(named[key])
        axes.grid(alpha=0.3)
    all_axes[0, 0].legend()
    all_axes[-1, 0].set_xlabel("step")
    with atomic_path(out) as path:
        figure.savefig(path, format="png", dpi=120)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    """Does what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workdirs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--out", type=Path, required=True, help="PNG to write")
    parsed = parser.parse_args(arguments)
    try:
        draw_curves(parsed.workdirs, parsed.out)
    except HMMNError as error:
        print(f"curves: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
