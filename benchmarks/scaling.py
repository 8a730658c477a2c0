"""Tables of docs/scaling.md: what training the full model on TPU pods would take, from the compiler's figures and public peaks.

    python benchmarks/scaling.py

Reads the lines that `benchmarks/tpu_train.py` printed; measures nothing. docs/scaling.md lists the assumptions. MB and GB are
powers of ten.
"""

import argparse
import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

HOP = 2e-6  # seconds for a message to the next chip; assumed
DATA_CENTRE = 100e-6  # seconds for a message to another pod; assumed
INPUT = {"stills": 75.8, "480p videos": 70.1}  # clips per second of one core, docs/results.md


@dataclasses.dataclass(frozen=True)
class Chip:
    """Public figures of a kind of TPU, and its slices.

    peak: flop/s in bfloat16. bandwidth, memory: of HBM, bytes/s and bytes. egress: bytes/s that a chip can send to its
    neighbours, all links together. wraps: an axis of a multiple of this length is a ring. host: chips. pod: chips.
    network: bytes/s that a pod can send over the data centre network.
    """

    peak: float
    bandwidth: float
    memory: float
    egress: float
    wraps: int
    host: int
    vcpus: int
    pod: int
    network: float
    slices: tuple[tuple[int, ...], ...]


CHIPS = {
    "v5e": Chip(197e12, 819e9, 16e9, 200e9, 16, 8, 224, 256, 6.4e12 / 8, ((2, 4), (4, 4), (8, 8), (16, 16), (4, 16, 16))),
    "v4": Chip(
        275e12, 1228e9, 32e9, 1.1e15 / 4096, 4, 4, 240, 4096, math.inf, ((2, 2, 2), (2, 2, 4), (4, 4, 4), (4, 8, 8), (8, 8, 16))
    ),
}


def all_reduce_seconds(chip: Chip, slice_: Sequence[int], sizes: Sequence[float]) -> float:
    """To sum arrays of these bytes over all chips, one after the other.

    All links are busy, half of them where the slice has edges. Pods sum among themselves what each has summed.
    """
    pods, axes = (slice_[0], slice_[1:]) if math.prod(slice_) > chip.pod else (1, slice_)
    count, rings = math.prod(axes), all(axis % chip.wraps == 0 for axis in axes)
    inside = 2 * (count - 1) / count * sum(sizes) / (chip.egress if rings else chip.egress / 2)
    between = 2 * (pods - 1) / pods * sum(sizes) / chip.network
    hops = 2 * sum(axis // 2 if rings else axis - 1 for axis in axes)
    return inside + between + len(sizes) * (hops * HOP + 2 * (pods - 1) * DATA_CENTRE)


def bounds(chip: Chip, record: dict) -> dict[str, float]:
    """Lower bounds in seconds for the step of a record on one chip, by each count."""
    return {
        "arithmetic": record["tflop"] * 1e12 / chip.peak,
        "HBM": record["gb_hbm"] * 1e9 / chip.bandwidth,
        "accessed": record["gb_accessed"] * 1e9 / chip.bandwidth,
    }


def fast_and_slow(chip: Chip, record: dict) -> tuple[float, float]:
    """Seconds of a step's computation: as if only HBM cost time in addition to arithmetic, and as if every access did."""
    limits = bounds(chip, record)
    return max(limits["arithmetic"], limits["HBM"]), max(limits.values())


def table(header: Sequence[str], rows: Iterator[Sequence]) -> str:
    """Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def name(record: dict) -> str:
    """The name of a record's program in tables."""
    return f"{record['topology']}, {record['clips']}{', remat' if record['remat'] else ''}"


def kind(record: dict) -> Chip:
    """The chip of a record."""
    return CHIPS[record["topology"].split(":")[0]]


def scaled(records: list[dict]) -> list[dict]:
    """The programs with the fewest and the most clips, not rematerialised, of each kind of chip on its first topology."""
    chosen = []
    for chip in CHIPS:
        found = [record for record in records if record["topology"].startswith(f"{chip}:") and not record["remat"]]
        found = sorted((record for record in found if record["topology"] == found[0]["topology"]), key=lambda x: x["clips"])
        chosen += found[:1] + found[1:][-1:]
    return chosen


def memory_rows(records: list[dict]) -> Iterator[Sequence]:
    """Memory of one chip."""
    for record in records:
        room = f"{kind(record).memory / 1e9:.0f}"
        if "out_of_memory" in record:
            yield name(record), "", "", f"**{record['wanted_mb'] / 1e3:.2f}**: does not fit", room
        else:
            yield name(record), *(f"{record[f'{part}_mb'] / 1e3:.2f}" for part in ("argument", "temp", "total")), room


def work_rows(records: list[dict]) -> Iterator[Sequence]:
    """Work of one chip, and the times that follow."""
    for record in records:
        work = (f"{record['tflop']:.2f}", *(f"{record[key]:.1f}" for key in ("gb_accessed", "gb_hbm")))
        yield name(record), *work, *(f"{1e3 * seconds:.1f}" for seconds in bounds(kind(record), record).values())


def collective_rows(records: list[dict]) -> Iterator[Sequence]:
    """Collectives of each program."""
    for record in records:
        for kind, sizes in record["collectives_mb"].items():
            yield (
                name(record),
                kind,
                len(sizes),
                ", ".join(f"{size:.3g}" for size in sorted(sizes, reverse=True)),
                f"{sum(sizes):.1f}",
            )


def scaling_rows(record: dict) -> Iterator[Sequence]:
    """Predicted steps from 8 to 1024 chips, by both bounds, all-reduces not overlapped."""
    chip = kind(record)
    for slice_ in chip.slices:
        count = math.prod(slice_)
        reduce = all_reduce_seconds(chip, slice_, [1e6 * size for size in record["collectives_mb"]["all-reduce"]])
        row = [count, "x".join(map(str, slice_)), f"{1e3 * reduce:.2f}"]
        for compute in fast_and_slow(chip, record):
            step = compute + reduce
            row += [f"{1e3 * step:.1f}", f"{count * record['clips'] / step:.0f}", f"{100 * compute / step:.1f} %"]
        yield row


def input_rows(records: list[dict]) -> Iterator[Sequence]:
    """The input that a host must deliver."""
    for record in records:
        chip = kind(record)
        for bound, seconds in zip(("fast", "slow"), fast_and_slow(chip, record), strict=True):
            rate = chip.host * record["clips"] / seconds
            megabytes = 3 * record["side"] ** 2 * (3 + 1) / 1e6
            cores = [f"{rate / speed:.1f}" for speed in INPUT.values()]
            yield name(record), bound, f"{rate:.0f}", *cores, chip.vcpus, f"{rate * megabytes / 1e3:.2f}"


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).parents[1] / "docs" / "tpu_train.jsonl"
    parser.add_argument("--figures", type=Path, default=default, metavar="FILE", help="output of benchmarks/tpu_train.py")
    records = [json.loads(line) for line in parser.parse_args().figures.read_text().splitlines()]
    fitting = [record for record in records if "out_of_memory" not in record]
    print("### Memory of a chip, GB\n")
    print(table(["program", "arguments", "temporaries", "total", "memory of a chip"], memory_rows(records)))
    print("### Work of a chip and step\n")
    columns = ["program", "TFLOP", "GB accessed", "GB in HBM", "arithmetic, ms", "HBM, ms", "accessed, ms"]
    print(table(columns, work_rows(fitting)))
    print("### Collectives of a step\n")
    print(table(["program", "kind", "number", "MB each", "MB"], collective_rows(fitting)))
    for record in scaled(fitting):
        print(f"### Scaling: {name(record)}\n")
        columns = ["chips", "slice", "all-reduce, ms"]
        for bound in ("fast", "slow"):
            columns += [f"{bound}: step, ms", "clips/s", "efficiency"]
        print(table(columns, scaling_rows(record)))
    print("### Input of a host\n")
    columns = ["program", "bound", "clips/s", *(f"cores, {source}" for source in INPUT), "vCPUs", "GB/s to the chips"]
    print(table(columns, input_rows(scaled(fitting))))


if __name__ == "__main__":
    main()
