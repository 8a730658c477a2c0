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

PEAKS = {"v4": (275e12, 1228e9, 32e9), "v5e": (197e12, 819e9, 16e9)}  # bfloat16 flop/s, HBM byte/s, HBM bytes
FREE = {"parameter", "constant", "bitcast", "tuple", "get-tuple-element", "reshape", "while", "after-all", "partition-id"}
KINDS = ("sort", "topk", "scatter", "gather", "convolution", "reduce-window", "dynamic-slice", "reduce", "transpose")


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
    """An instruction with what it costs: HBM bytes, flops and cycles of one pass, and how many passes there are."""

    instruction: Instruction
    source: str
    kind: str
    passes: int
    hbm: int
    flops: int
    cycles: int


class Program:
    """The computations of an optimised HLO text, each a dict of instructions by name."""

    def __init__(self, text: str, middle: int):
        """`middle`: passes through a loop whose trip count is not known."""
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
                known = re.search(r'known_trip_count":\{"n":"(\d+)"', op.text)
                yield from self.costs(op.called("body"), passes * (int(known[1]) if known else self.middle), origin)
            elif op.opcode in ("call", "conditional"):
                for callee in re.findall(r"(?:to_apply|computation)=%([\w.\-]+)", op.text):
                    yield from self.costs(callee, passes, origin)
            elif op.opcode not in FREE:
                inner = list(self.inside(op))
                opcodes = {x.opcode for x, _ in inner}
                kind = next((kind for kind in KINDS if kind in opcodes), op.opcode)
                cycles = re.search(r'estimated_cycles":"(\d+)"', op.text)
                flops = sum(convolution_flops(x, scope) for x, scope in inner)
                yield Cost(op, origin, kind, passes, self.traffic(op, body), flops, int(cycles[1]) if cycles else 0)

    def inside(self, op: Instruction, scope: dict | None = None) -> Iterator[tuple[Instruction, dict]]:
        """The instructions that a fusion is made of, each with its computation; else the instruction itself."""
        if op.opcode != "fusion":
            yield op, scope or {}
            return
        fused = self.computations[op.called("calls")]
        for inner in fused.values():
            yield from self.inside(inner, fused)

    def traffic(self, op: Instruction, body: dict[str, Instruction]) -> int:
        """HBM bytes that an instruction reads and writes; an asynchronous copy is counted where it is done."""
        if op.opcode.endswith("-start"):
            return 0
        if op.opcode in ("copy-done", "slice-done"):
            source = body[body[op.operands[0]].operands[0]]
            return op.hbm + (op.size if source.hbm else 0)
        fused = self.computations[op.called("calls")] if op.opcode == "fusion" else None
        total, written = 0, op.hbm
        for i, operand in enumerate(op.operands):
            if operand not in body or not body[operand].hbm:
                continue
            uses = list(self.uses(fused, i)) if fused else [(op, i)]
            read = 0
            for use, position in uses:
                if use.opcode in ("dynamic-slice", "slice", "gather") and position == 0:
                    read += use.size  # only what is taken
                elif use.opcode == "dynamic-update-slice" and position == 0:  # in place
                    update = (fused or body).get(use.operands[1])
                    written -= min(written, body[operand].hbm - update.size) if update else 0
                else:
                    read += body[operand].hbm
            total += min(read, body[operand].hbm)
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
    """Two for each product of a convolution (a matrix product is one too, on a TPU); taps on padding count like others."""
    labels = re.search(r"dim_labels=\w+_(\w+)->", op.text)
    if op.opcode != "convolution" or not labels:
        return 0
    kernel = [size for axis, size in zip(labels[1], scope[op.operands[1]].dims, strict=True) if axis != "o"]
    return 2 * math.prod(op.dims) * math.prod(kernel)


def part_of(source: str) -> str:
    """Which part of the network a JAX operation belongs to, by its name."""
    return next((part for pattern, part in PARTS if re.search(pattern, source)), "other")


def report(config: HMMNConfig, topology: str, objects: int, args: argparse.Namespace) -> None:
    """Compiles and prints the figures of one program."""
    start = time.perf_counter()
    compiled = compile_step(config, topology, objects, args.memory, args.height, args.width)
    title = f"{topology}, {objects} object{'s' * (objects > 1)}, {args.dtype}, {args.height}x{args.width}, T = {args.memory}"
    print(f"\n## {title} (compiled in {time.perf_counter() - start:.0f} s)\n")
    if args.dump:
        path = Path(args.dump) / (re.sub(r"\W+", "_", title) + ".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(compiled.as_text())
    found = list(Program(compiled.as_text(), max(0, args.memory - 2)).costs())
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
    sizes = {
        "arguments": memory.argument_size_in_bytes,
        "outputs": memory.output_size_in_bytes,
        "temporaries": memory.temp_size_in_bytes,
        "aliased": -memory.alias_size_in_bytes,
    }
    print(f"memory: {', '.join(f'{name} {abs(size) / 1e6:.0f}' for name, size in sizes.items())}: {sum(sizes.values()) / 1e6:.0f} MB")
    flops = cost["flops"] + sum(x.flops * (x.passes - 1) for x in found)
    print(f"flops: {cost['flops'] / 1e9:.0f} G, with all passes of the loops {flops / 1e9:.0f} G")
