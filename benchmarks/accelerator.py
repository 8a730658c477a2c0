"""Measures the speed and memory of the published network on a GPU or TPU.

One run takes ten minutes. The results can be compared between machines.

    PYTHONPATH=. python benchmarks/accelerator.py --output accelerator.jsonl
    PYTHONPATH=. python benchmarks/accelerator.py --table OTHER.jsonl accelerator.jsonl

The script needs JAX with support for the device, the dependencies of the package, and optax. TensorFlow, data and a network
connection are not needed. If packages are missing on a machine without a network connection, download wheels for its platform
on another machine, unpack them, and copy the folder:

    pip download --no-deps -d wheels --only-binary :all: --python-version 3.12 --platform manylinux2014_x86_64 PACKAGES
    for wheel in wheels/*.whl; do python -m zipfile -e $wheel site; done
    PYTHONPATH=.:site python benchmarks/accelerator.py --minutes 9 --output $OUT/accelerator.jsonl

If flax, optax, Orbax and Pillow are already installed, replace PACKAGES by `jaxtyping wadler-lindig safetensors absl-py`.

The script runs the steps in benchmarks/accelerator_steps.py, and each step measures one or more cases. As soon as a case has
been measured, the result is appended to the output file as a line of JSON. A table is printed at the end. A step that exceeds
its time limit stops after the current case. If a case hangs, its process is killed, and the next step starts in a new process.
Earlier measurements remain in the output file. `--quick` runs all steps with tiny models and shapes to test the script, even on
a CPU. The results of `--quick` are meaningless.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

# Time limit of each step in seconds, for a run of ten minutes. The most informative steps run first.
STEPS = {
    "device": 20,
    "selection": 40,
    "values": 30,
    "fine read": 70,
    "frame": 170,
    "quality": 70,
    "training": 110,
    "deterministic": 40,
    "single programs": 50,
}
GRACE, MOST_GRACE = 1.25, 30.0  # a step is killed after GRACE times its limit, but at most MOST_GRACE s after the limit


class Output:
    """The results file, to which lines are appended."""

    def __init__(self, path: Path):
        self.path = path

    def write(self, step: str, **figures: Any) -> None:
        """Appends a line and prints it."""
        line = json.dumps({"step": step, **figures})
        with self.path.open("a") as file:
            file.write(line + "\n")
        print(line, flush=True)

    def started(self) -> set[str]:
        """Returns the names of the steps that have been started."""
        return {record["step"] for record in read(self.path) if record.get("started")}


def read(path: Path) -> list[dict[str, Any]]:
    """Reads the lines of a results file. Returns an empty list if the file does not exist."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def work(names: list[str], seconds: dict[str, float], quick: bool, output: Output) -> None:
    """Runs steps in this process, one after the other. If a step hangs, the process exits."""
    from accelerator_steps import FUNCTIONS, QUICK, RELEASED  # imports JAX

    for name in names:
        output.write(name, started=True)
        begin = time.monotonic()

        def end(name: str = name) -> None:
            output.write(
                name, error=f"the step was ended after {seconds[name]:.0f} s and a grace period, because a case took too long"
            )
            os._exit(3)

        watch = threading.Timer(seconds[name] + min(seconds[name] * (GRACE - 1), MOST_GRACE), end)
        watch.daemon = True
        watch.start()
        try:
            for figures in FUNCTIONS[name](QUICK if quick else RELEASED):
                output.write(name, **figures)
                if time.monotonic() - begin > seconds[name]:
                    output.write(
                        name, error=f"the step was stopped after {seconds[name]:.0f} s, and later cases were not measured"
                    )
                    break
        except Exception as error:  # other steps may still succeed, for example if this step ran out of memory
            output.write(name, error=f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}")
        watch.cancel()
        output.write(name, took_s=round(time.monotonic() - begin, 1))


def table(paths: list[Path]) -> str:
    """Returns a Markdown table with one column of values for each results file."""
    columns = []
    for path in paths:
        cells: dict[tuple[str, str, str], str] = {}
        for record in read(path):
            step, case = record.pop("step"), record.pop("case", "")
            for figure, value in record.items():
                if figure != "started":
                    cells[step, case, figure] = f"{value:.4g}" if isinstance(value, float) else str(value)
        columns.append(cells)
    keys = dict.fromkeys(key for cells in columns for key in cells)
    rows = [("step", "case", "figure", *(path.stem for path in paths)), ("---",) * (3 + len(paths))]
    rows += [(*key, *(cells.get(key, "") for cells in columns)) for key in keys]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    """Runs the steps and prints the table. If a step is killed, a new process runs the remaining steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("accelerator.jsonl"), help="results file, which must not exist")
    parser.add_argument("--minutes", type=float, default=10.0, help="total time in minutes; scales all time limits")
    parser.add_argument("--steps", default=",".join(STEPS), help="steps to run, separated by commas (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="use tiny models and shapes to test the script")
    parser.add_argument("--table", type=Path, nargs="+", metavar="FILE", help="only print a table of these results files")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.table:
        print(table(given.table))
        return
    names = given.steps.split(",")
    if unknown := [name for name in names if name not in STEPS]:
        parser.error(f"--steps contains {unknown[0]!r}, expected one or more of {', '.join(STEPS)}")
    output = Output(given.output)
    if given.worker:
        work(names, {name: STEPS[name] * given.minutes / 10 for name in names}, given.quick, output)
        return
    if given.output.exists():
        parser.error(f"{given.output} already exists. Choose another --output, or remove the file.")
    deadline = time.monotonic() + 60 * given.minutes
    while names and (left := deadline - time.monotonic()) > 0:
        command = [sys.executable, __file__, "--worker", f"--steps={','.join(names)}", f"--minutes={given.minutes}"]
        command += [f"--output={given.output}", *(["--quick"] if given.quick else [])]
        try:
            done = subprocess.run(command, timeout=left)
        except subprocess.TimeoutExpired:
            break
        if not (begun := output.started() & set(names)):
            sys.exit(f"accelerator: the first step did not start (exit code {done.returncode}). See the messages above.")
        names = [name for name in names if name not in begun]
    for name in names:
        if name not in output.started():
            output.write(name, error="the step was not started, because no time was left")
    print(table([given.output]))


if __name__ == "__main__":
    main()
