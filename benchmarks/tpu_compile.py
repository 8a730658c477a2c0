"""What one frame costs on a TPU, as the TPU's own compiler sees it; no TPU is needed.

    pip install libtpu==0.0.42.1  # holds the compiler; goes with jax 0.10.2
    python benchmarks/tpu_compile.py
    python benchmarks/tpu_compile.py --topology v5e:16x16 --objects 1 --memory 20 --dump hlo

Compiles one step of inference as one program for one chip: memorise the previous frame, write it to the bank, read for the next
frame at three strides, decode, aggregate, label; the released model as `Segmenter` holds it, the bank's buffers donated. Takes
minutes a program; docs/tpu.md says what came of it. MB and GB are powers of ten. Figures are

- the compiler's: memory, flops, bytes accessed (`cost_analysis`; what vector memory, VMEM, delivers is in there), cycles (its
  estimate for each fusion; gathers, sorts and asynchronous copies have none);
- derived: flops and bytes accessed of all passes through loops, whose bodies the compiler counts once. The other passes are counted
  over the optimised HLO: an instruction reads its operands, of a slice what is taken, and writes its results, all padded to whole
  tiles; what is multiplied in a loop are matrices. A loop of unknown length is the one over the frames between the first and
  the previous. The roofline is the longer of flops / peak and bytes / bandwidth of the chip: a bound from below, not a time;
- counted: the same over all instructions, for HBM without what lives in VMEM, and in the tables.
"""

import argparse
import collections
import dataclasses
import importlib.util
import itertools
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

from hmmn_jax import HMMNConfig, Segmenter  # noqa: E402
from hmmn_jax.inference import memory as banks  # noqa: E402
from hmmn_jax.inference import segmenter as parts  # noqa: E402
from hmmn_jax.torch_weights import abstract_variables  # noqa: E402

# Public figures: bfloat16 flop/s, HBM bytes/s, HBM bytes; the clock follows from the first (4 and 8 units of 128 x 128 products).
CHIPS = {"v5e": (197e12, 819e9, 16e9, 1.5e9), "v4": (275e12, 1228e9, 32e9, 1.05e9)}
FREE = {"parameter", "constant", "bitcast", "tuple", "get-tuple-element", "after-all"}
KINDS = ("sort", "scatter", "gather", "convolution", "reduce-window", "reduce")  # a fusion is called after the first it has
PARTS = {
    r"_encode_query.*decoder": "decoder, query's share",
    r"_encode_query|variables.*query_encoder": "query encoder",
    r"_memorize|_memory_stem|_split|variables.*memory_encoder": "memory encoder",
    r"top_k": "top-k selection",
    r"_match": "stride-16 read",
    r"_decode.*refine_s4|variables.*refine_s4": "decoder, stride 4",
    r"_decode.*decoder|variables.*decoder": "decoder, the rest",
    r"_decode": "top-k reads",
    r"_aggregate|_decide": "aggregation, labels",
    r"^bank|\[.bank|dynamic_update_slice": "bank",
}


def compile_step(config: HMMNConfig, topology: str, objects: int, memory: int, height: int, width: int) -> jax.stages.Compiled:
    """One step of inference with `memory` frames in the bank, the previous one included, for the first chip of a topology."""
    variables = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), abstract_variables(config))
    segmenter = Segmenter(variables, config, winograd=False)
    variables, config = segmenter.variables, segmenter.config
    capacity = parts.FIRST_CAPACITY * 2 ** max(0, math.ceil(math.log2(memory / parts.FIRST_CAPACITY)))

    def memorise(variables, frame, probs):
        stem = parts._memory_stem(config, variables, frame)
        return parts._memorize(config, variables, stem, *parts._split_objects(probs))

    def step(variables, bank, previous, probs, ids, kept, frame):
        bank = banks.write_previous(bank, memorise(variables, previous, probs), kept)
        query = parts._encode_query(config, variables, frame)
        *read, centres = parts._match(config, bank, query.key_s16, kept + 1)
        fine = (bank.key_s8, bank.value_s8, bank.key_s4, bank.value_s4)
        logits = parts._aggregate([parts._decode(config, variables, query, *read, fine, (height, width))])
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
        self.dims = [int(size) for size in re.search(r"\[([\d,]*)\]|$", self.shape)[0].strip("[]").split(",") if size]
        self.source = self.find(r'op_name="([^"]*)"')  # the JAX operation it comes from; '' if the compiler made it up

    def find(self, pattern: str) -> str:
        """What the group of a pattern matches in the attributes, or ''."""
        found = re.search(pattern, self.text)
        return found[1] if found else ""


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


# Of an instruction: its source and kind, its passes, and what one costs (`accessed`: bytes anywhere, `hbm`: in HBM).
Cost = collections.namedtuple("Cost", "source kind passes accessed hbm cycles flops")


class Program:
    """The computations of an optimised HLO text, each a dict of instructions by name."""

    def __init__(self, text: str, middle: int):
        """`middle`: passes through a loop of unknown length."""
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
                condition = self.computations[op.find(r"condition=%([\w.\-]+)")]
                bound = condition[list(condition.values())[-1].operands[-1]]
                trips = int(bound.text.split(")")[0]) if bound.opcode == "constant" else self.middle
                yield from self.costs(op.find(r"body=%([\w.\-]+)"), passes * trips, origin)
            elif op.opcode in ("call", "conditional"):
                for callee in re.findall(r"(?:to_apply|computation)=%([\w.\-]+)", op.text):
                    yield from self.costs(callee, passes, origin)
            elif op.opcode not in FREE:
                inner = list(self.inside(op, body))
                kind = next((kind for kind in KINDS if any(x.opcode == kind for x, _ in inner)), "elementwise")
                kind = "copy" if op.opcode.startswith(("copy", "slice-")) else kind
                traffic = self.traffic(op, body, "size"), self.traffic(op, body, "hbm")
                cycles = int(op.find(r'estimated_cycles":"(\d+)"') or 0)
                yield Cost(origin, kind, passes, *traffic, cycles, sum(matrix_flops(*x) for x in inner))

    def inside(self, op: Instruction, scope: dict[str, Instruction]) -> Iterator[tuple[Instruction, dict[str, Instruction]]]:
        """The instructions that a fusion is made of, each with its computation; else the instruction itself."""
        if op.opcode != "fusion":
            return iter([(op, scope)])
        fused = self.computations[op.find(r"calls=%([\w.\-]+)")]
        return itertools.chain.from_iterable(self.inside(inner, fused) for inner in fused.values())

    def traffic(self, op: Instruction, body: dict[str, Instruction], where: str) -> int:
        """Bytes that an instruction reads and writes, all or in HBM; an asynchronous copy is counted where it is done."""
        if op.opcode.endswith("-start"):
            return 0
        if op.opcode in ("copy-done", "slice-done"):
            source = body[body[op.operands[0]].operands[0]]
            return getattr(op, where) + (op.size if getattr(source, where) else 0)
        fused = self.computations[op.find(r"calls=%([\w.\-]+)")] if op.opcode == "fusion" else body
        total, written = 0, getattr(op, where)
        for i, operand in enumerate(op.operands):
            whole, read = getattr(body[operand], where) if operand in body else 0, 0
            for use, position in parameter_uses(fused, i) if op.opcode == "fusion" else [(op, i)]:
                if position == 0 and use.opcode in ("dynamic-slice", "slice", "gather"):
                    read += use.size  # only what is taken
                elif position == 0 and use.opcode == "dynamic-update-slice":  # in place
                    written -= max(0, min(written, whole) - fused[use.operands[1]].size)
                else:
                    read += whole
            total += min(read, whole)
        return total + written


def parameter_uses(fused: dict[str, Instruction], index: int) -> Iterator[tuple[Instruction, int]]:
    """Who uses a parameter inside a fusion, and as which operand, looking through bitcasts."""
    names = {x.name for x in fused.values() if x.opcode == "parameter" and x.text.startswith(f"{index})")}
    for op in fused.values():
        for position, operand in enumerate(op.operands):
            if operand in names and op.opcode == "bitcast":
                names.add(op.name)
            elif operand in names:
                yield op, position


def matrix_flops(op: Instruction, scope: dict[str, Instruction]) -> int:
    """Two for each product of a matrix product, which a TPU states as a convolution with its batch axes as space."""
    if op.opcode != "convolution":
        return 0
    inputs = op.find(r"dim_labels=\w+?_(\w+)->").index("i")
    return 2 * math.prod(op.dims) * scope[op.operands[1]].dims[inputs]


def print_figures(text: str, memory, cost: dict[str, float], chip: str, middle: int, top: int) -> None:
    """Tables of a compiled program: its HLO text and what the compiler says of it."""
    found = list(Program(text, middle).costs())
    peak, bandwidth, capacity, clock = CHIPS[chip]
    sizes = {name: getattr(memory, f"{name}_size_in_bytes") for name in ("argument", "output", "temp", "alias")}
    flops = cost["flops"] + sum(x.flops * (x.passes - 1) for x in found)
    accessed = cost["bytes accessed"] + sum(x.accessed * (x.passes - 1) for x in found)
    hbm, cycles = sum(x.hbm * x.passes for x in found), sum(x.cycles * x.passes for x in found)
    rows = [(f"memory: {name}", f"{size / 1e6:.0f} MB", "compiler") for name, size in sizes.items()]
    used = sum(sizes.values()) - 2 * sizes["alias"]
    rows += [
        (f"memory: total, of {capacity / 1e9:.0f} GB", f"{used / 1e6:.0f} MB", "derived"),
        ("flops, bodies of loops once", f"{cost['flops'] / 1e9:.0f} G", "compiler"),
        ("flops", f"{flops / 1e9:.0f} G", "derived"),
        ("bytes accessed, bodies of loops once", f"{cost['bytes accessed'] / 1e9:.2f} GB", "compiler"),
        ("bytes accessed", f"{accessed / 1e9:.2f} GB", "derived"),
        ("bytes in HBM", f"{hbm / 1e9:.2f} GB", "counted"),
        ("cycles", f"{cycles / 1e6:.1f} M: {1e3 * cycles / clock:.1f} ms", "compiler, summed"),
    ]
    for name, size in (("bytes accessed", accessed), ("bytes in HBM", hbm)):
        bounds = {"flops": flops / peak, name: size / bandwidth}
        longest = max(bounds, key=bounds.get)
        values = ", ".join(f"{key} {1e3 * seconds:.2f}" for key, seconds in bounds.items())
        rows.append((f"roofline with {name}", f"{1e3 * bounds[longest]:.2f} ms, bound by {longest} ({values})", "derived"))
    print("\n| figure | value | whose |\n|---|---|---|")
    print("\n".join(f"| {' | '.join(row)} |" for row in rows))
    for title, depth in (("part", 0), ("part: kind of operation: source", 3)):
        groups = collections.defaultdict(lambda: np.zeros(4))
        for x in found:
            part = next((part for pattern, part in PARTS.items() if re.search(pattern, x.source)), "other")
            name = f"{part}: {x.kind}: {'/'.join(x.source.split('/')[-depth:])}" if depth else part
            groups[name] += np.array([1, x.accessed / 1e6, x.hbm / 1e6, x.cycles / 1e3]) * x.passes
        print(f"\n| {title} | runs | MB accessed | MB in HBM | k cycles |\n|---|---|---|---|---|")
        for name, values in sorted(groups.items(), key=lambda item: -item[1][1])[:top]:
            print(f"| {name} | {' | '.join(f'{value:.0f}' for value in values)} |")


def main() -> None:
    """Compiles for each topology and number of objects, prints their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--topology", nargs="+", default=["v5e:16x16", "v4:4x4x4"], help="of v5e or v4; one chip is used")
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=864)
    parser.add_argument("--memory", type=int, default=2, help="memory frames, the previous one included (2 or more)")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"], help="compute dtype")
    parser.add_argument("--dump", type=Path, default=None, metavar="DIR", help="write the optimised HLO text here")
    parser.add_argument("--top", type=int, default=20, help="rows of a table")
    args = parser.parse_args()
    for topology in args.topology:
        for objects in args.objects:
            start = time.perf_counter()
            size = (args.height, args.width)
            compiled = compile_step(HMMNConfig(dtype=args.dtype), topology, objects, args.memory, *size)
            title = f"{topology}, {objects} objects, {args.dtype}, {size[0]}x{size[1]}, {args.memory} memory frames"
            print(f"\n### {title}: compiled in {time.perf_counter() - start:.0f} s", flush=True)
            if args.dump:
                args.dump.mkdir(parents=True, exist_ok=True)
                (args.dump / (re.sub(r"\W+", "_", title) + ".txt")).write_text(compiled.as_text())
            analyses = compiled.memory_analysis(), compiled.cost_analysis()
            print_figures(compiled.as_text(), *analyses, topology.split(":")[0], max(0, args.memory - 2), args.top)


if __name__ == "__main__":
    main()
