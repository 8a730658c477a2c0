"""Plots the curves of one or more training runs, without TensorBoard.

    python -m hmmn_jax.cli.curves RUN [RUN ...] --out curves.png

The upper plot shows the loss. The lower plot shows the J&F score of each validation, if any run was validated. The data is read
from `RUN/metrics.jsonl`.
"""

from collections.abc import Sequence
from pathlib import Path

from hmmn_jax.cli.arguments import ArgumentParser, anywhere, local
from hmmn_jax.cli.program import leave, run_program
from hmmn_jax.errors import ConfigError, DataError
from hmmn_jax.io.buckets import AnyPath
from hmmn_jax.io.files import reason
from hmmn_jax.io.record import replace_own
from hmmn_jax.training.metrics import METRICS_FILE, read_metrics

SCORE = "validation/jf"
_LAST_STEP = 10**15  # maximum step; larger numbers, for example from a damaged file, cannot be plotted


def draw_curves(workdirs: Sequence[AnyPath], out: Path) -> None:
    """Plots the curves of training runs to a PNG file.

    Raises:
      ConfigError: matplotlib is missing.
      DataError: a folder has no metrics, or the existing file `out` was not written by this program.
    """
    try:
        import matplotlib

        matplotlib.use("agg")  # a backend that does not need a display
        from matplotlib import pyplot as plt
    except ImportError as error:
        raise ConfigError(f"{reason(error)}. Install matplotlib: pip install 'hmmn-jax[train]'") from error
    named = {"loss": "loss, summed over frames", SCORE: "J&F"}
    runs = {}
    distinct = len({workdir.name for workdir in workdirs}) == len(workdirs)
    for workdir in workdirs:
        lines = [line for line in read_metrics(workdir) if abs(line["step"]) <= _LAST_STEP]
        lines = [line for line in lines if any(_is_number(line.get(key)) for key in named)]
        if not lines:
            raise DataError(f"{workdir / METRICS_FILE} contains no metrics. Pass the workdir of a training run.")
        runs[workdir.name if distinct else str(workdir)] = lines
    shown = [key for key in named if any(_is_number(line.get(key)) for lines in runs.values() for line in lines)]
    figure, all_axes = plt.subplots(len(shown), sharex=True, squeeze=False, figsize=(8, 3 * len(shown)), layout="constrained")
    for key, axes in zip(shown, all_axes[:, 0], strict=True):
        for lines in runs.values():
            points = [(line["step"], float(line[key])) for line in lines if _is_number(line.get(key))]
            axes.plot(*(zip(*points, strict=True) if points else ((), ())), marker="o" if key == SCORE else None)
        axes.set_ylabel(named[key])
        axes.grid(alpha=0.3)
    legend = all_axes[0, 0].legend(all_axes[0, 0].get_lines(), ["?"] * len(runs))
    for text, name in zip(legend.get_texts(), runs, strict=True):  # matplotlib would interpret $ and a leading _ in names
        text.set_parse_math(False)
        text.set_text("".join(c if c.isprintable() else "?" for c in name))
    all_axes[-1, 0].set_xlabel("step")
    try:
        with replace_own(out) as path:
            figure.savefig(path, format="png", dpi=120)
    finally:
        plt.close(figure)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""

    def run() -> None:
        parser = ArgumentParser(description=__doc__, prog="curves")
        parser.add_argument("workdirs", nargs="+", type=anywhere, metavar="RUN")
        parser.add_argument("--out", type=local, required=True, help="PNG file to write")
        parsed = parser.parse_args(arguments)
        draw_curves(parsed.workdirs, parsed.out)

    return run_program("curves", run)


if __name__ == "__main__":
    leave(main())
