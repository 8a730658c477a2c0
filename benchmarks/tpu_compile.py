"""Prints the cost of one frame on a TPU according to the TPU compiler. No TPU is needed.

    pip install libtpu==0.0.42.1  # contains the compiler for jax 0.10.2
    python benchmarks/tpu_compile.py
    python benchmarks/tpu_compile.py --topology v5e:16x16 --objects 1 --memory 20 --dump hlo

Compiles one step of inference as one program for one chip. The step encodes the previous frame, writes it to the bank, reads
the memory for the next frame at three strides, decodes, aggregates and takes the argmax. The model is the published network
after `Segmenter` has folded BatchNorm and converted the parameters to the compute dtype. The buffers of the bank are donated.
Each program takes minutes to compile. Some figures are reported by the compiler, some are derived from reported figures, and
some are counted in the optimised HLO text. Figures are derived because the compiler counts loop bodies only once. docs/tpu.md
describes the method and the results. MB and GB are powers of ten.
"""

import argparse
import collections
import importlib.util
import itertools
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

if (libtpu := importlib.util.find_spec("libtpu")) is None:
    raise SystemExit("libtpu is not installed. For jax 0.10.2, run: pip install libtpu==0.0.42.1")
os.environ |= {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}
os.environ["TPU_LIBRARY_PATH"] = str(Path(libtpu.submodule_search_locations[0]) / "libtpu.so")

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies

from hmmn_jax import HMMN, HMMNConfig, Segmenter
from hmmn_jax.inference.compiled import decide
from hmmn_jax.inference.segmenter import FIRST_CAPACITY
from hmmn_jax.model import abstract_variables
from hmmn_jax.model import memory as banks

CHIPS = {"v5e": (197e12, 819e9, 16e9), "v4": (275e12, 1228e9, 32e9)}  # published bfloat16 flop/s, HBM bytes/s, HBM bytes
FREE = {"parameter", "constant", "bitcast", "tuple", "get-tuple-element", "after-all"}
# A fusion is named after the first of these kinds that the fusion contains.
KINDS = ("sort", "scatter", "gather", "convolution", "reduce-window", "reduce")
PARTS = {
    r"decoder\.share": "decoder, query's share",
    r"encode_query|variables.*query_encoder": "query encoder",
    r"memorize|variables.*memory_encoder": "memory encoder",
    r"top_k": "top-k selection",
    r"match": "stride-16 read",
    r"(decode|variables).*refine_s4": "decoder, stride 4",
    r"(decode|variables).*decoder": "decoder, other parts",
    r"read_fine|decode": "top-k reads",
    r"segment|decide": "aggregation, labels",
    r"^bank|\[.bank|dynamic_update_slice": "bank",
}


def compile_step(config: HMMNConfig, topology: str, objects: int, memory: int, height: int, width: int) -> jax.stages.Compiled:
    """Compiles a step of inference with `memory` memory frames (including the previous one) for one chip of a topology."""
    ones = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), abstract_variables(config))
    segmenter = Segmenter(ones, config, winograd=False)
    variables, config = segmenter.variables, segmenter.config
    capacity = FIRST_CAPACITY * 2 ** max(0, math.ceil(math.log2(memory / FIRST_CAPACITY)))

    def memorize(variables, frame, probs):
        return HMMN(config).apply(variables, frame, probs, method="memorize")

    def step(variables, bank, previous, probs, ids, kept, frame):
        bank = banks.write_previous(bank, memorize(variables, previous, probs), kept)
        logits, _, centres = HMMN(config).apply(variables, frame, bank, kept + 1, method="segment")
        return bank.replace(centres=centres), logits, *decide(logits, ids)

    struct = jax.ShapeDtypeStruct
    frame, probs = struct((1, height, width, 3), jnp.uint8), struct((1, objects + 1, height, width), jnp.float32)
    bank = jax.eval_shape(lambda *args: banks.open_bank(memorize(*args), capacity), variables, frame, probs)
    chip = jax.sharding.SingleDeviceSharding(topologies.get_topology_desc(platform="tpu", topology_name=topology).devices[0])
    arguments = (variables, bank, frame, probs, struct((objects + 1,), jnp.uint8), struct((), jnp.int32), frame)
    arguments = jax.tree.map(lambda x: struct(x.shape, x.dtype, sharding=chip), arguments)
    return jax.jit(step, donate_argnums=1).lower(*arguments).compile()


class Instruction:
    """A line of HLO text, split into the name, the shape of the results, the opcode, and the rest of the line."""

    def __init__(self, name: str, shape: str, opcode: str, text: str):
        self.name, self.opcode, self.text = name, opcode, text
        self.operands = re.findall(r"%([\w.\-]+)", re.split(r"\)(?:, |$)", self.text)[0])
        self.source = self.find(
            r'op_name="([^"]*)"'
        )  # the JAX operation that the instruction belongs to, or '' if the compiler introduced the instruction
        self.dims = [int(size) for size in re.search(r"\[([\d,]*)\]|$", shape)[0].strip("[]").split(",") if size]
        self.size, self.hbm = map(sum, zip((0, 0), *array_sizes(shape), strict=True))

    def find(self, pattern: str) -> str:
        """Searches the attributes for a pattern. Returns the first group of the match, or '' if the pattern does not match."""
        found = re.search(pattern, self.text)
        return found[1] if found else ""


def array_sizes(shape: str) -> Iterator[tuple[int, int]]:
    """Yields the bytes of each array in a shape, in total and in HBM. Arrays are padded to whole tiles of their layout."""
    array = r"([a-z]+)(\d*)\w*\[([\d,]*)\](?:\{([\d,]*)(?::(?:T\(([\d,]+)\)[()\d,]*)?(S\(\d+\))?)?[^}]*\})?"
    for _, bits, dims, order, tile, space in re.findall(array, shape):
        sizes = [int(size) for size in dims.split(",") if size]
        minor_first = [sizes[int(axis)] for axis in order.split(",") if axis]
        for i, side in enumerate([int(side) for side in reversed(tile.split(",")) if side][: len(sizes)]):
            minor_first[i] = -(-minor_first[i] // side) * side
        size = math.prod(minor_first) * int(bits or 8) // 8  # a pred (a boolean) has 8 bits
        yield size, 0 if space else size


class Program:
    """The computations in an optimised HLO text, as dicts of instructions by name.

    Attributes:
        middle: assumed number of iterations of a loop of unknown length.
        branch: index of the branch that is counted in each conditional.
    """

    def __init__(self, text: str, middle: int, branch: int = 0):
        self.middle, self.branch, self.entry, self.computations = middle, branch, "", {}
        for line in text.splitlines():
            if header := re.match(r"(ENTRY )?%([\w.\-]+) \(.*\{$", line):
                self.computations[header[2]] = current = {}
                self.entry = header[2] if header[1] else self.entry
            elif match := re.match(r"\s+(?:ROOT )?%([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*)$", line):
                current[match[1]] = Instruction(*match.groups())

    def costs(self, name: str = "", passes: int = 1, source: str = "") -> Iterator[tuple[str, str, int, np.ndarray]]:
        """Yields the source, kind, iterations and cost of each instruction in a computation and its loops.

        If `name` is '', the computation is the entry computation.

        The cost is for one iteration: [1, bytes accessed, bytes in HBM, cycles, flops of matrix products].
        """
        body, origins = self.computations[name or self.entry], {}
        for op in body.values():
            origin = op.source or next((origins[x] for x in op.operands if origins.get(x)), source)
            origins[op.name] = origin
            if op.opcode == "while":
                condition = self.computations[op.find(r"condition=%([\w.\-]+)")]
                bound = condition[list(condition.values())[-1].operands[-1]]
                trips = int(bound.text.split(")")[0]) if bound.opcode == "constant" else self.middle
                yield from self.costs(op.find(r"body=%([\w.\-]+)"), passes * trips, origin)
            elif op.opcode == "conditional":
                branches = re.findall(r"%([\w.\-]+)", op.find(r"branch_computations={([^}]*)}"))
                yield from self.costs(branches[self.branch], passes, origin)
            elif op.opcode not in FREE:
                inner = self.inside(op, body)
                fallback = "copy" if op.opcode.startswith(("copy", "slice-")) else "elementwise"
                kind = next((kind for kind in KINDS if any(x.opcode == kind for x, _ in inner)), fallback)
                traffic = self.traffic(op, body, "size"), self.traffic(op, body, "hbm")
                cycles, flops = int(op.find(r'estimated_cycles":"(\d+)"') or 0), sum(matrix_flops(*x) for x in inner)
                yield origin, kind, passes, np.array([1, *traffic, cycles, flops])

    def inside(self, op: Instruction, scope: dict[str, Instruction]) -> list[tuple[Instruction, dict[str, Instruction]]]:
        """Returns the instructions of a fusion, each with its computation. Other instructions are returned unchanged."""
        if op.opcode != "fusion":
            return [(op, scope)]
        fused = self.computations[op.find(r"calls=%([\w.\-]+)")]
        return [pair for inner in fused.values() for pair in self.inside(inner, fused)]

    def traffic(self, op: Instruction, body: dict[str, Instruction], where: str) -> int:
        """Returns the bytes that an instruction reads and writes, in total or in HBM.

        An asynchronous copy is counted at its `-done` instruction, not at its `-start` instruction.
        """
        if op.opcode.endswith("-start"):
            return 0
        if op.opcode in ("copy-done", "slice-done"):
            return getattr(op, where) + (op.size if getattr(body[body[op.operands[0]].operands[0]], where) else 0)
        fused = self.computations[op.find(r"calls=%([\w.\-]+)")] if op.opcode == "fusion" else body
        total = getattr(op, where)
        for i, operand in enumerate(op.operands):
            whole, read = getattr(body[operand], where) if operand in body else 0, 0
            for use, position in parameter_uses(fused, i) if op.opcode == "fusion" else [(op, i)]:
                if position == 0 and use.opcode == "dynamic-update-slice":  # the update is in place
                    total -= max(0, min(total, whole) - fused[use.operands[1]].size)
                else:
                    read += use.size if position == 0 and use.opcode in ("dynamic-slice", "slice", "gather") else whole
            total += min(read, whole)
        return total


def parameter_uses(fused: dict[str, Instruction], index: int) -> Iterator[tuple[Instruction, int]]:
    """Yields the instructions in a fusion that use a parameter, with the operand position. Bitcasts are skipped."""
    names = {x.name for x in fused.values() if x.opcode == "parameter" and x.text.startswith(f"{index})")}
    for op in fused.values():
        for position, operand in enumerate(op.operands):
            if operand in names and op.opcode == "bitcast":
                names.add(op.name)
            elif operand in names:
                yield op, position


def matrix_flops(op: Instruction, scope: dict[str, Instruction]) -> int:
    """Counts two flops for each multiplication in a convolution, excluding padding and dilation.

    On a TPU, matrix products are also convolutions. The batch axes of a product become spatial axes with stride and dilation.
    """
    if op.opcode != "convolution":
        return 0
    image, kernel, result = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", op.text).groups()
    image_dims, kernel_dims = (scope[operand].dims for operand in op.operands)
    products = 2 * op.dims[result.index("b")] * op.dims[result.index("f")] * kernel_dims[kernel.index("i")]
    window = dict(part.split("=") for part in op.find(r"window={([^}]*)}").split())
    steps = {name: [int(step) for step in value.split("x")] for name, value in window.items() if name != "pad"}
    pads = [int(pad.split("_")[0]) for pad in window.get("pad", "").split("x") if pad]
    for axis in range(len(image) - 2):
        stride, hole, spread = (steps[name][axis] if name in steps else 1 for name in ("stride", "lhs_dilate", "rhs_dilate"))
        taps = spread * np.arange(kernel_dims[kernel.index(str(axis))])
        places = stride * np.arange(op.dims[result.index(str(axis))])[:, None] + taps - (pads[axis] if pads else 0)
        last = hole * (image_dims[image.index(str(axis))] - 1)
        products *= int(((places >= 0) & (places <= last) & (places % hole == 0)).sum())
    return products


def print_figures(compiled: jax.stages.Compiled, chip: str, middle: int, top: int) -> None:
    """Prints the tables of a compiled program. See `Program` for `middle`. `top` is the maximum number of rows."""
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
    found = list(Program(compiled.as_text(), middle).costs())
    _, accessed, hbm, cycles, flops = sum(passes * values for *_, passes, values in found)
    flops += cost["flops"] - sum(values[4] for *_, values in found)
    accessed += cost["bytes accessed"] - sum(values[1] for *_, values in found)
    peak, bandwidth, capacity = CHIPS[chip]
    sizes = {name: getattr(memory, f"{name}_size_in_bytes") for name in ("argument", "output", "temp", "alias")}
    rows = [
        *((f"memory: {name}", f"{size / 1e6:.0f} MB", "compiler") for name, size in sizes.items()),
        (f"memory: total, of {capacity / 1e9:.0f} GB", f"{(sum(sizes.values()) - 2 * sizes['alias']) / 1e6:.0f} MB", "derived"),
        ("flops, each loop body counted once", f"{cost['flops'] / 1e9:.0f} G", "compiler"),
        ("flops", f"{flops / 1e9:.0f} G", "derived"),
        ("bytes accessed, each loop body counted once", f"{cost['bytes accessed'] / 1e9:.2f} GB", "compiler"),
        ("bytes accessed", f"{accessed / 1e9:.2f} GB", "derived"),
        ("bytes in HBM", f"{hbm / 1e9:.2f} GB", "counted"),
        ("cycles", f"{cycles / 1e6:.1f} M", "compiler, summed"),
    ]
    for name, size in (("bytes accessed", accessed), ("bytes in HBM", hbm)):
        milliseconds = {"flops": 1e3 * flops / peak, name: 1e3 * size / bandwidth}
        bounds = ", ".join(f"{value:.2f} ms for {key}" for key, value in sorted(milliseconds.items(), key=lambda x: -x[1]))
        rows.append((f"roofline with {name}", bounds, "derived"))
    print("\n| figure | value | source |\n|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows), sep="\n")
    for title, depth in (("part", 0), ("part: kind of operation: source", 3)):
        groups = collections.defaultdict(lambda: np.zeros(4))
        for source, kind, passes, values in found:
            name = next((part for pattern, part in PARTS.items() if re.search(pattern, source)), "other")
            name += f": {kind}: {'/'.join(source.split('/')[-depth:])}" if depth else ""
            groups[name] += passes * values[:4] / (1, 1e6, 1e6, 1e3)
        print(f"\n| {title} | executions | MB accessed | MB accessed in HBM | thousands of cycles |\n|---|---|---|---|---|")
        for name, values in sorted(groups.items(), key=lambda item: -item[1][1])[:top]:
            print(f"| {name} | {' | '.join(f'{value:.0f}' for value in values)} |")


def main() -> None:
    """Compiles a program for each topology and number of objects, and prints its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--topology", nargs="+", default=["v5e:16x16", "v4:4x4x4"], help="TPU topologies; one chip is used")
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=864)
    parser.add_argument("--memory", type=int, default=2, help="number of memory frames, including the previous one (2 or more)")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"], help="compute dtype")
    parser.add_argument("--dump", type=Path, default=None, metavar="DIR", help="folder for the optimised HLO text")
    parser.add_argument("--top", type=int, default=20, help="maximum number of rows in a table")
    args = parser.parse_args()
    for topology, objects in itertools.product(args.topology, args.objects):
        compiled = compile_step(HMMNConfig(dtype=args.dtype), topology, objects, args.memory, args.height, args.width)
        title = f"{topology}, {objects} objects, {args.dtype}, {args.height}x{args.width}, {args.memory} memory frames"
        print(f"\n### {title}")
        if args.dump:
            args.dump.mkdir(parents=True, exist_ok=True)
            args.dump.joinpath(re.sub(r"\W+", "_", title) + ".txt").write_text(compiled.as_text())
        print_figures(compiled, topology.split(":")[0], max(0, args.memory - 2), args.top)


if __name__ == "__main__":
    main()
