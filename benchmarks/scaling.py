"""Prints the tables in docs/scaling.md: the predicted cost of training the full model on TPU pods.

    python benchmarks/scaling.py

The predictions are based on peak rates of the chips and on the compiler's figures in the output of `benchmarks/tpu_train.py`.
Nothing is measured. docs/scaling.md lists the assumptions. MB and GB are powers of ten.
"""

import argparse
import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

HOP = 2e-6  # assumed time for a message to a neighbouring chip, in seconds
INPUT = {"stills": 75.8, "480p videos": 70.1}  # clips per second on one core; see docs/results.md
SHARES = (0.005, 0.01, 0.02, 0.05, 0.1)  # assumed fractions of clips that need the branch with the most object slots
SAMPLES = 260 * 3771  # number of samples in configs/train/main.py


@dataclasses.dataclass(frozen=True)
class Chip:
    """Published figures of a TPU type.

    Attributes:
        peak: bfloat16 flop/s.
        bandwidth: HBM bandwidth in bytes/s.
        egress: bytes/s that a chip can send to its neighbours over all links.
        wraps: an axis forms a ring if its length is a multiple of this number.
    """

    peak: float
    bandwidth: float
    egress: float
    wraps: int


CHIPS = {"v5e": Chip(197e12, 819e9, 200e9, 16), "v4": Chip(275e12, 1228e9, 1.1e15 / 4096, 4)}


def all_reduce_seconds(record: dict) -> float:
    """Returns the time to sum the gradients over all chips, in seconds, if the all-reduces run one after the other.

    Assumes that all links are used, or half of the links if an axis of the slice is not a ring.
    """
    chip, count = kind(record), record["chips"]
    axes = [int(axis) for axis in record["topology"].partition(":")[2].split("x")]
    sizes = [1e6 * size for size in record["collectives_mb"]["all-reduce"]]
    rings = all(axis % chip.wraps == 0 for axis in axes)
    sending = 2 * (count - 1) / count * sum(sizes) / (chip.egress if rings else chip.egress / 2)
    hops = 2 * sum(axis // 2 if rings else axis - 1 for axis in axes)
    return sending + len(sizes) * hops * HOP


def bounds(chip: Chip, work: dict) -> dict[str, float]:
    """Returns the times in seconds that a chip needs for the arithmetic, HBM accesses and all memory accesses at peak rates."""
    return {
        "arithmetic": work["tflop"] * 1e12 / chip.peak,
        "HBM": work["gb_hbm"] * 1e9 / chip.bandwidth,
        "accessed": work["gb_accessed"] * 1e9 / chip.bandwidth,
    }


def fast_and_slow(chip: Chip, work: dict) -> tuple[float, float]:
    """Returns a fast and a slow bound for the computation time per step, in seconds.

    The fast bound is the larger of the times for arithmetic and for HBM accesses. The slow bound is the larger of the times for
    arithmetic and for all memory accesses.
    """
    limits = bounds(chip, work)
    return max(limits["arithmetic"], limits["HBM"]), max(limits.values())


def table(header: Sequence[str], rows: Iterator[Sequence]) -> str:
    """Formats a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def name(record: dict) -> str:
    """Returns the name of a compiled program, as used in the tables."""
    other = "" if record["dtype"] == "bfloat16" else f", {record['dtype']}"
    return f"{record['topology']}, {record['clips']}{other}{', remat' if record['remat'] else ''}"


def kind(record: dict) -> Chip:
    """Returns the type of chip that a program is compiled for."""
    return CHIPS[record["topology"].split(":")[0]]


def memory_rows(records: list[dict]) -> Iterator[Sequence]:
    """Yields a row for each program: the numbers of chips, processes and clips, and the memory needed on one chip."""
    for record in records:
        shape = (name(record), record["chips"], record["processes"], record["clips"] * record["chips"])
        if "out_of_memory" in record:
            wanted, room = (f"{record[f'{part}_mb'] / 1e3:.2f}" for part in ("wanted", "room"))
            yield *shape, "", "", f"**{wanted}** does not fit in {room}"
        else:
            yield *shape, *(f"{record[f'{part}_mb'] / 1e3:.2f}" for part in ("argument", "temp", "total"))


def work_rows(records: list[dict]) -> Iterator[Sequence]:
    """Yields a row for each program and number of slots: the work of a chip, and the time for each part at peak rate."""
    for record in records:
        for slots, work in record["work"].items():
            counts = (f"{work['tflop']:.2f}", *(f"{work[key]:.1f}" for key in ("gb_hbm", "gb_accessed")))
            times = bounds(kind(record), work)
            yield name(record), slots, *counts, *(f"{1e3 * times[part]:.1f}" for part in ("arithmetic", "HBM", "accessed"))


def step_rows(records: list[dict]) -> Iterator[Sequence]:
    """Yields the predicted time per step, clips per second and hours of the main training, for the fast and the slow bound.

    Assumes that all-reduces do not overlap with computation.
    """
    for record in records:
        reduce = all_reduce_seconds(record)
        for slots, work in record["work"].items():
            row = [name(record), slots, f"{1e3 * reduce:.2f}"]
            for compute in fast_and_slow(kind(record), work):
                rate = record["chips"] * record["clips"] / (compute + reduce)
                row += [f"{1e3 * (compute + reduce):.1f}", f"{rate:.0f}", f"{SAMPLES / rate / 3600:.2f}"]
            yield row


def mixture_rows(records: list[dict]) -> Iterator[Sequence]:
    """Yields the probability that a step contains at least one clip with many objects, for several fractions of such clips."""
    for batch in sorted({record["clips"] * record["chips"] for record in records}):
        yield batch, *(f"{100 * (1 - (1 - share) ** batch):.1f} %" for share in SHARES)


def input_rows(records: list[dict]) -> Iterator[Sequence]:
    """Yields the clips per second that a process must supply to its chips, for the fewest and for the most object slots."""
    for record in records:
        for slots in (min(record["work"], key=int), max(record["work"], key=int)):
            for bound, seconds in zip(("fast", "slow"), fast_and_slow(kind(record), record["work"][slots]), strict=True):
                chips = record["chips"] // record["processes"]
                rate = chips * record["clips"] / (seconds + all_reduce_seconds(record))
                megabytes = 3 * math.prod(record["size"]) * (3 + 1) / 1e6
                cores = [f"{rate / speed:.1f}" for speed in INPUT.values()]
                yield name(record), chips, slots, bound, f"{rate:.0f}", *cores, f"{rate * megabytes / 1e3:.2f}"


def main() -> None:
    """Prints the tables of docs/scaling.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).parents[1] / "docs" / "tpu_train.jsonl"
    parser.add_argument("--figures", type=Path, default=default, metavar="FILE", help="output of benchmarks/tpu_train.py")
    records = [json.loads(line) for line in parser.parse_args().figures.read_text().splitlines()]
    fitting = [record for record in records if "out_of_memory" not in record]
    print("### Memory per chip, GB\n")
    columns = ["program", "chips", "processes", "clips per step", "arguments, GB", "temporaries, GB", "total, GB"]
    print(table(columns, memory_rows(records)))
    print("### Work per chip and step\n")
    columns = ["program", "slots", "TFLOP", "GB in HBM", "GB accessed", "arithmetic, ms", "HBM, ms", "accessed, ms"]
    print(table(columns, work_rows(fitting)))
    print("### Time\n")
    columns = ["program", "slots", "all-reduce, ms"]
    for bound in ("fast", "slow"):
        columns += [f"{bound}: step, ms", "clips/s", "hours"]
    print(table(columns, step_rows(fitting)))
    print("### Share of steps that contain a clip with many objects\n")
    print(table(["clips per step", *(f"{100 * share:g} % of clips" for share in SHARES)], mixture_rows(records)))
    print("### Input per process\n")
    cores = [f"cores, {source}" for source in INPUT]
    columns = ["program", "chips per process", "slots", "bound", "clips/s", *cores, "GB/s to the chips"]
    print(table(columns, input_rows(fitting)))


if __name__ == "__main__":
    main()
