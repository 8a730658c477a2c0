"""What one frame costs on a TPU, as the TPU's own compiler sees it; no TPU is needed.

    pip install libtpu==0.0.42.1  # goes with jax 0.10.2; holds the compiler
    python benchmarks/tpu_compile.py
    python benchmarks/tpu_compile.py --topology v4:4x4x4 --objects 3 --memory 20 --dump /tmp/hlo

Compiles one whole step of inference as one program for one chip: memorise the previous frame, write it to the bank, read for the
next frame at three strides, decode, aggregate, label. The released model with BatchNorm folded, the bank's buffers donated.

Printed for each topology and number of objects (MB and GB are powers of ten):
- memory, flops and bytes accessed: the compiler's (`memory_analysis`, `cost_analysis`). The latter count the body of a loop once;
  the passes left out are added here, counted as below. Bytes accessed include the chip's vector memory (VMEM).
- HBM bytes and the tables: counted here over the optimised HLO. Each instruction reads its operands and writes its results, of a
  slice only what is taken, tiles padded as laid out, times the trip counts of the loops around it; what lives in VMEM is free.
  A loop without a known trip count is the one over the memory frames between the first and the previous.
- roofline: the longest of flops / peak and bytes / bandwidth, with the chip's public peaks; a bound from below, not a time.
- cycles: the compiler's own estimate for each fusion, times trip counts; it gives none for copies, sorts and the like.
"""

import argparse
import collections
import dataclasses
import importlib.util
import math
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

libtpu = importlib.util.find_spec("libtpu")
if libtpu is None:
    raise SystemExit("libtpu is not installed: pip install libtpu==0.0.42.1 (for jax 0.10.2)")
os.environ |= {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1"}
os.environ["TPU_LIBRARY_PATH"] = str(Path(libtpu.submodule_search_locations[0]) / "libtpu.so")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax.experimental import topologies  # noqa: E402

from hmmn_jax import HMMNConfig  # noqa: E402
from hmmn_jax.inference import memory as banks  # noqa: E402
from hmmn_jax.inference import segmenter as parts  # noqa: E402
from hmmn_jax.model.folding import fold_batch_norm  # noqa: E402
from hmmn_jax.torch_weights import abstract_variables  # noqa: E402

# Public figures: bfloat16 flop/s, HBM bytes/s, HBM bytes; and the clock that the first implies (128 x 128 products a cycle and
# matrix unit: 4 on v5e, 8 on v4).
CHIPS = {"v4": (275e12, 1228e9, 32e9, 1.05e9), "v5e": (197e12, 819e9, 16e9, 1.5e9)}
FREE = {"parameter", "constant", "bitcast", "tuple", "get-tuple-element", "after-all"}
KINDS = ("sort", "scatter", "gather", "convolution", "reduce-window", "reduce")  # what an instruction is called after
PARTS = {
    r"_encode_query.*decoder": "decoder, query's share",
    r"_encode_query|variables.*query_encoder": "query encoder",
    r"_memor|_split|variables.*memory_encoder": "memory encoder",
    r"top_k": "top-k selection",
    r"_match": "stride-16 read",
    r"_decode.*refine_s4|variables.*refine_s4": "decoder, stride 4",
    r"_decode.*decoder|variables.*decoder": "decoder, strides 16, 8, 1",
    r"_decode": "top-k reads",
    r"_aggregate|_decide": "aggregation, labels",
    r"bank|dynamic_update_slice": "bank",
}


def compile_step(config: HMMNConfig, topology: str, objects: int, memory: int, height: int, width: int) -> jax.stages.Compiled:
    """One step of inference with `memory` frames in the bank, the previous one included, on the first chip of a topology."""
    variables = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), abstract_variables(config))
    variables, config = fold_batch_norm(variables, config)
    capacity = parts.FIRST_CAPACITY
    while capacity < memory:
        capacity *= 2

    def memorise(variables, frame, probs):
        stem = parts._memory_stem(config, variables, frame)
        return parts._memorize(config, variables, stem, *parts._split_objects(probs))

    def step(variables, bank, previous, probs, ids, kept, frame):
        bank = banks.write_previous(bank, memorise(variables, previous, probs), kept)
        query = parts._encode_query(config, variables, frame)
        *read, centres = parts._match(config, bank, query.key_s16, kept + 1)
        fine = (bank.key_s8, bank.value_s8, bank.key_s4, bank.value_s4)
        p = parts._decode(config, variables, query, *read, fine, (height, width))
        logits = parts._aggregate([p])
        return bank.replace(centres=centres), logits, *parts._decide(logits, ids)

    struct = jax.ShapeDtypeStruct
    frame, probs = struct((1, height, width, 3), jnp.uint8), struct((1, objects + 1, height, width), jnp.float32)
    bank = jax.eval_shape(lambda *args: banks.open_bank(memorise(*args), capacity), variables, frame, probs)
    chip = jax.sharding.SingleDeviceSharding(topologies.get_topology_desc(platform="tpu", topology_name=topology).devices[0])
    arguments = (variables, bank, frame, probs, struct((objects + 1,), jnp.uint8), struct((), jnp.int32), frame)
    arguments = jax.tree.map(lambda x: struct(x.shape, x.dtype, sharding=chip), arguments)
    return jax.jit(step, donate_argnums=1).lower(*arguments).compile()


@dataclasses.dataclass
class Instruction:
    """A line of HLO text: its name, opcode, operands, the shape of its results, and all that follows."""

    name: str
    opcode: str
    shape: str
    operands: list[str]
    text: str

    def __post_init__(self):
        sizes = list(array_sizes(self.shape))
        self.size, self.hbm = sum(size for size, _ in sizes), sum(size for size, in_hbm in sizes if in_hbm)
        found = re.search(r'op_name="([^"]*)"', self.text)
        self.source = found[1] if found else ""  # the JAX operation it comes from; none if the compiler made it up

    @property
    def dims(self) -> list[int]:
        """Of its result, an array."""
        return [int(size) for size in re.search(r"\[([\d,]*)\]", self.shape)[1].split(",") if size]

    def called(self, attribute: str) -> str:
        """The computation that an attribute names."""
        return re.search(rf"{attribute}=%([\w.\-]+)", self.text)[1]


def array_sizes(shape: str) -> Iterator[tuple[int, bool]]:
    """Bytes of each array in a shape, padded to whole tiles as its layout says, and whether it lives in HBM."""
    layout = r"(?:\{([\d,]*)(?::(?:T\(([\d,]+)\)[()\d,]*)?(S\(\d+\))?)?[^}]*\})?"
    for dtype, dims, order, tile, space in re.findall(r"(\w+)\[([\d,]*)\]" + layout, shape):
        sizes = [int(size) for size in dims.split(",") if size]
        minor_first = [sizes[int(axis)] for axis in order.split(",") if axis]
        for i, side in enumerate([int(side) for side in reversed(tile.split(",")) if side][: len(sizes)]):
            minor_first[i] = -(-minor_first[i] // side) * side
        bits = 8 if dtype == "pred" else int((re.findall(r"\d+", dtype) or ["0"])[0])
        yield math.prod(minor_first) * bits // 8, not space


@dataclasses.dataclass
class Cost:
    """What an instruction costs in one pass, and how many passes there are; `accessed` are bytes anywhere, `hbm` those in HBM."""

    instruction: Instruction
    source: str
    kind: str
    passes: int
    accessed: int
    hbm: int
    flops: int
    cycles: int


class Program:
    """The computations of an optimised HLO text, each a dict of instructions by name."""

    def __init__(self, text: str, middle: int):
        """`middle`: passes through a loop whose trip count is not in the text."""
        self.middle, self.entry, self.computations = middle, "", {}
        for line in text.splitlines():
            if header := re.match(r"(ENTRY )?%([\w.\-]+) \(.*\{$", line):
                self.computations[header[2]] = current = {}
                self.entry = header[2] if header[1] else self.entry
            elif match := re.match(r"\s+(?:ROOT )?%([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*)$", line):
                name, shape, opcode, rest = match.groups()
                operands = re.findall(r"%([\w.\-]+)", re.split(r"\)(?:, |$)", rest)[0])
                current[name] = Instruction(name, opcode, shape, operands, rest)

    def costs(self, name: str = "", passes: int = 1, source: str = "") -> Iterator[Cost]:
        """All instructions of a computation (the entry, if not named) and of the loops in it."""
        body, origins = self.computations[name or self.entry], {}
        for op in body.values():
            origin = op.source or next((origins[x] for x in op.operands if origins.get(x)), source)
            origins[op.name] = origin
            if op.opcode == "while":
                yield from self.costs(op.called("body"), passes * self.trips(op), origin)
            elif op.opcode in ("call", "conditional"):
                for callee in re.findall(r"(?:to_apply|computation)=%([\w.\-]+)", op.text):
                    yield from self.costs(callee, passes, origin)
            elif op.opcode not in FREE:
                inner = list(self.inside(op, body))
                opcodes = {x.opcode for x, _ in inner}
                kind = next((kind for kind in KINDS if kind in opcodes), "copy" if "copy" in op.opcode else "elementwise")
                cycles = re.search(r'estimated_cycles":"(\d+)"', op.text)
                flops = sum(convolution_flops(x, scope) for x, scope in inner)
                traffic = self.traffic(op, body, False), self.traffic(op, body, True)
                yield Cost(op, origin, kind, passes, *traffic, flops, int(cycles[1]) if cycles else 0)

    def trips(self, loop: Instruction) -> int:
        """Passes through a loop: known if its condition compares with a constant."""
        condition = self.computations[loop.called("condition")]
        bound = [condition[x] for x in list(condition.values())[-1].operands]
        constant = bound[-1].opcode == "constant" and re.match(r"(\d+)\)", bound[-1].text)
        return int(constant[1]) if constant else self.middle

    def inside(self, op: Instruction, scope: dict[str, Instruction]) -> Iterator[tuple[Instruction, dict[str, Instruction]]]:
        """The instructions that a fusion is made of, each with its computation; else the instruction itself."""
        if op.opcode != "fusion":
            yield op, scope
            return
        fused = self.computations[op.called("calls")]
        for inner in fused.values():
            yield from self.inside(inner, fused)

    def traffic(self, op: Instruction, body: dict[str, Instruction], hbm_only: bool) -> int:
        """Bytes that an instruction reads and writes; an asynchronous copy is counted where it is done."""

        def size(x: Instruction) -> int:
            return x.hbm if hbm_only else x.size

        if op.opcode.endswith("-start"):
            return 0
        if op.opcode in ("copy-done", "slice-done"):
            source = body[body[op.operands[0]].operands[0]]
            return size(op) + (op.size if size(source) else 0)
        fused = self.computations[op.called("calls")] if op.opcode == "fusion" else body
        total, written = 0, size(op)
        for i, operand in enumerate(op.operands):
            whole = size(body[operand]) if operand in body else 0
            read = 0
            for use, position in self.uses(fused, i) if op.opcode == "fusion" else [(op, i)]:
                if position == 0 and use.opcode in ("dynamic-slice", "slice", "gather"):
                    read += use.size  # only what is taken
                elif position == 0 and use.opcode == "dynamic-update-slice":  # in place
                    written -= max(0, min(written, whole) - fused[use.operands[1]].size)
                else:
                    read += whole
            total += min(read, whole)
        return total + written

    def uses(self, fused: dict[str, Instruction], index: int) -> Iterator[tuple[Instruction, int]]:
        """Who uses a parameter inside a fusion, and as which operand, looking through bitcasts."""
        names = {x.name for x in fused.values() if x.opcode == "parameter" and x.text.startswith(f"{index})")}
        for op in fused.values():
            for position, operand in enumerate(op.operands):
                if operand in names:
                    if op.opcode == "bitcast":
                        names.add(op.name)
                    else:
                        yield op, position


def convolution_flops(op: Instruction, scope: dict[str, Instruction]) -> int:
    """Two for each product of a convolution, those with padding left out; a matrix product is one too, on a TPU."""
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", op.text)
    if op.opcode != "convolution" or not labels:
        return 0
    inputs, kernel, outputs = (
        dict(zip(axes, dims, strict=True))
        for axes, dims in zip(labels.groups(), (*(scope[x].dims for x in op.operands), op.dims), strict=True)
    )
    window = {
        key: value.split("x")
        for key, value in re.findall(r"(\w+)=([\w\-]+)", (re.search(r"window=\{([^}]*)", op.text) or ["", ""])[1])
    }
    products = 2 * outputs["b"] * outputs["f"] * kernel["i"]
    for axis in (axis for axis in outputs if axis.isdigit()):

        def along(name: str, default: str, axis: int = int(axis)) -> int:
            return int(window[name][axis].split("_")[0] if name in window else default)

        positions = np.add.outer(
            np.arange(outputs[axis]) * along("stride", "1"), np.arange(kernel[axis]) * along("rhs_dilate", "1")
        )
        positions -= along("pad", "0")
        step = along("lhs_dilate", "1")
        inside = (positions >= 0) & (positions <= (inputs[axis] - 1) * step) & (positions % step == 0)
        products *= int(inside.sum())
    return products


def part_of(source: str) -> str:
    """Which part of the network a JAX operation belongs to, by its name."""
    return next((part for pattern, part in PARTS.items() if re.search(pattern, source)), "other")


def report(config: HMMNConfig, topology: str, objects: int, args: argparse.Namespace) -> None:
    """Compiles and prints the figures of one program."""
    start = time.perf_counter()
    compiled = compile_step(config, topology, objects, args.memory, args.height, args.width)
    title = f"{topology}, {objects} object{'s' * (objects > 1)}, {args.dtype}, {args.height}x{args.width}, T = {args.memory}"
    print(f"\n### {title}\n\nCompiled in {time.perf_counter() - start:.0f} s.", flush=True)
    if args.dump:
        args.dump.mkdir(parents=True, exist_ok=True)
        (args.dump / (re.sub(r"\W+", "_", title) + ".txt")).write_text(compiled.as_text())
    print_tables(compiled.as_text(), compiled.memory_analysis(), compiled.cost_analysis(), topology.split(":")[0], args)


def print_tables(text: str, memory, cost: dict[str, float], chip: str, args: argparse.Namespace) -> None:
    """The figures of a compiled program, and its most expensive operations."""
    found = list(Program(text, max(0, args.memory - 2)).costs())
    peak_flops, bandwidth, capacity, clock = CHIPS[chip]
    names = ("argument", "output", "temp", "alias")
    sizes = {name: getattr(memory, f"{name}_size_in_bytes") for name in names}
    used = sum(sizes.values()) - 2 * sizes["alias"]
    flops = cost["flops"] + sum(x.flops * (x.passes - 1) for x in found)
    accessed = cost["bytes accessed"] + sum(x.accessed * (x.passes - 1) for x in found)
    hbm = sum(x.hbm * x.passes for x in found)
    cycles = sum(x.cycles * x.passes for x in found)
    bounds = {"flops": flops / peak_flops, "bytes accessed": accessed / bandwidth, "HBM bytes": hbm / bandwidth}
    by = {name: f"{1e3 * seconds:.2f} ms" for name, seconds in bounds.items()}
    print("\n| figure | value | whose |\n|---|---|---|")
    for name, size in sizes.items():
        print(f"| memory: {name} | {size / 1e6:.0f} MB | compiler |")
    print(f"| memory: total, of {capacity / 1e9:.0f} GB | {used / 1e6:.0f} MB | sum, alias once |")
    print(f"| flops, bodies of loops once | {cost['flops'] / 1e9:.0f} G | compiler |")
    print(f"| flops, all passes | {flops / 1e9:.0f} G: {by['flops']} | derived |")
    print(f"| bytes accessed, bodies of loops once | {cost['bytes accessed'] / 1e9:.2f} GB | compiler |")
    print(f"| bytes accessed, all passes | {accessed / 1e9:.2f} GB: {by['bytes accessed']} | derived |")
    print(f"| HBM bytes, all passes | {hbm / 1e9:.2f} GB: {by['HBM bytes']} | counted |")
    for names in (("flops", "bytes accessed"), ("flops", "HBM bytes")):
        longest = max(names, key=bounds.get)
        print(f"| roofline by {' and '.join(names)} | {by[longest]}, bound by {longest} | derived |")
    print(f"| estimated cycles | {cycles / 1e6:.2f} M: {1e3 * cycles / clock:.2f} ms | compiler, summed |")
    groupings = {
        "part": lambda x: part_of(x.source),
        "part, kind of operation, source": lambda x: f"{part_of(x.source)}, {x.kind}, {'/'.join(x.source.split('/')[-3:])}",
    }
    for title, group in groupings.items():
        rows = collections.defaultdict(lambda: np.zeros(5))
        for x in found:
            rows[group(x)] += np.array(
                [x.passes, x.accessed * x.passes, x.hbm * x.passes, x.cycles * x.passes, x.flops * x.passes]
            )
        print(f"\n| {title} | runs | MB accessed | MB of HBM | k cycles | GFLOP |\n|---|---|---|---|---|---|")
        for name, row in sorted(rows.items(), key=lambda item: -item[1][args.sort])[: args.top]:
            values = row / (1, 1e6, 1e6, 1e3, 1e9)
            print(f"| {name} | " + " | ".join(f"{value:.0f}" for value in values) + " |")


def main() -> None:
    """Compiles for each topology and number of objects."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--topology", nargs="+", default=["v5e:16x16", "v4:4x4x4"], help=f"of a {' or '.join(CHIPS)}; one chip is used"
    )
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=864)
    parser.add_argument("--memory", type=int, default=2, help="memory frames, the previous one included (2 or more)")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"], help="compute dtype")
    parser.add_argument("--dump", type=Path, default=None, metavar="DIR", help="write the optimised HLO text here")
    parser.add_argument("--sort", type=int, default=2, help=argparse.SUPPRESS)
    parser.add_argument("--top", type=int, default=25, help="rows of a table")
    args = parser.parse_args()
    config = HMMNConfig(dtype=args.dtype)
    for topology in args.topology:
        for objects in args.objects:
            report(config, topology, objects, args)


if __name__ == "__main__":
    main()
