"""Tables of docs/scaling.md: what training the full model on TPU pods would take, from the compiler's figures and public peaks.

    python benchmarks/scaling.py

Reads the lines that `benchmarks/tpu_train.py` printed; measures nothing. The document says what is assumed. MB and GB are
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
INPUT = {"stills": 75.8, "480p videos": 70.1}  # clips a second of one core, measured: benchmarks/input_pipeline.py, README.md


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


def all_reduce_seconds(chip: Chip, slice_: Sequence[int], size: float) -> float:
    """To sum `size` bytes over all chips: all links busy; half of them where the slice has edges; pods one after the other."""
    pods, axes = (slice_[0], slice_[1:]) if math.prod(slice_) > chip.pod else (1, slice_)
    count, rings = math.prod(axes), all(axis % chip.wraps == 0 for axis in axes)
    inside = 2 * (count - 1) / count * size / (chip.egress if rings else chip.egress / 2)
    hops = 2 * sum(axis // 2 if rings else axis - 1 for axis in axes)
    between = 2 * (pods - 1) / pods * size / chip.network + (2 * (pods - 1) * DATA_CENTRE)
    return inside + hops * HOP + between


def bounds(chip: Chip, record: dict) -> dict[str, float]:
    """Seconds that the chip needs at least for the step of a record, by each count."""
    return {
        "arithmetic": record["tflop"] * 1e12 / chip.peak,
        "HBM": record["gb_hbm"] * 1e9 / chip.bandwidth,
        "accessed": record["gb_accessed"] * 1e9 / chip.bandwidth,
    }


def table(header: Sequence[str], rows: Iterator[Sequence]) -> str:
    """Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def name(record: dict) -> str:
    """How a table calls a record's program."""
    return f"{record['topology']}, {record['clips']}{', remat' if record['remat'] else ''}"


def kind(record: dict) -> Chip:
    """The chip of a record."""
    return CHIPS[record["topology"].split(":")[0]]


def memory_rows(records: list[dict]) -> Iterator[Sequence]:
    """Memory of one chip."""
    for record in records:
        room = kind(record).memory / 1e9
        if "out_of_memory" in record:
            yield name(record), "", "", "", f"**{record['wanted_mb'] / 1e3:.1f}**, does not fit", f"{room:.0f}"
        else:
            parts = (f"{record[f'{part}_mb'] / 1e3:.2f}" for part in ("argument", "output", "temp"))
            yield name(record), *parts, f"{record['total_mb'] / 1e3:.2f}", f"{room:.0f}"


def work_rows(records: list[dict]) -> Iterator[Sequence]:
    """Work of one chip, and the times that follow."""
    for record in records:
        work = (
            f"{record['tflop']:.2f}",
            f"{record['gb_accessed']:.1f}",
            f"{record['gb_hbm']:.1f}",
            f"{record['cycles_m']:.0f}",
        )
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
    """Predicted steps from 8 to 1024 chips; between the two bounds, all-reduce not overlapped and overlapped."""
    chip = kind(record)
    size = 1e6 * sum(record["collectives_mb"]["all-reduce"])
    limits = bounds(chip, record)
    fast, slow = max(limits["arithmetic"], limits["HBM"]), max(limits.values())
    for slice_ in chip.slices:
        count, reduce = math.prod(slice_), all_reduce_seconds(chip, slice_, size)
        row = [count, "x".join(map(str, slice_)), f"{1e3 * reduce:.2f}"]
        for compute in (fast, slow):
            step = compute + reduce
            row += [f"{1e3 * step:.1f}", f"{count * record['clips'] / step:.0f}", f"{100 * compute / step:.1f} %"]
        yield [*row, f"{100 * min(1, fast / max(fast, reduce)):.0f} %"]


def input_rows(records: list[dict]) -> Iterator[Sequence]:
    """What a host must deliver."""
    for record in records:
        chip, limits = kind(record), bounds(kind(record), record)
        for bound, seconds in (("fast", max(limits["arithmetic"], limits["HBM"])), ("slow", max(limits.values()))):
            rate = chip.host * record["clips"] / seconds
            megabytes = 3 * record["side"] ** 2 * (3 + 1) / 1e6
            cores = [f"{rate / speed:.1f}" for speed in INPUT.values()]
            yield name(record), bound, f"{rate:.0f}", *cores, chip.vcpus, f"{rate * megabytes / 1e3:.2f}"


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).parents[1] / "docs" / "tpu_train.jsonl"
    parser.add_argument("--figures", type=Path, default=default, metavar="FILE", help="lines of benchmarks/tpu_train.py")
    records = [json.loads(line) for line in parser.parse_args().figures.read_text().splitlines()]
    fitting = [record for record in records if "out_of_memory" not in record]
    print("### Memory of a chip, GB\n")
    print(table(["program", "arguments", "outputs", "temporaries", "total", "there is"], memory_rows(records)))
    print("### Work of a chip and step\n")
    columns = ["program", "TFLOP", "GB accessed", "GB in HBM", "M cycles", "arithmetic, ms", "HBM, ms", "accessed, ms"]
    print(table(columns, work_rows(fitting)))
    print("### Collectives of a step\n")
    print(table(["program", "kind", "number", "MB each", "MB"], collective_rows(fitting)))
    for record in fitting:
        print(f"### Scaling: {name(record)}\n")
        columns = ["chips", "slice", "all-reduce, ms"]
        columns += [f"{bound}: {figure}" for bound in ("fast", "slow") for figure in ("step, ms", "clips/s", "efficiency")]
        print(table([*columns, "fast, overlapped"], scaling_rows(record)))
    print("### Input of a host\n")
    columns = ["program", "bound", "clips/s", *(f"cores, {source}" for source in INPUT), "vCPUs", "GB/s to the chips"]
    print(table(columns, input_rows(fitting)))


if __name__ == "__main__":
    main()
