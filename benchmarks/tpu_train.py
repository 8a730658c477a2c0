"""Memory, work and collectives of a training step on TPUs, according to the TPU compiler in `libtpu`; no TPU is needed.

    python benchmarks/tpu_train.py --topology v5e:4x4 --clips 1 --remat >> docs/tpu_train.jsonl

Compiles the training step of the published network (Adam, clipping, `parallel = "jit"`) for all chips of a topology. It stops
after the optimised program and its memory layout, because generating code would take many times as long. Each program takes
minutes. Prints one line of JSON for one chip: memory according to the compiler, work as `benchmarks/tpu_compile.py` counts it,
with all iterations of loops, and the MB of each collective. For a program that does not fit, it prints the memory needed and
available. MB and GB are powers of ten, TFLOP those of matrix products.
"""

import argparse
import collections
import json
import math
import os
import re
import tempfile
import threading
from pathlib import Path

from tpu_compile import Program  # isort: skip  (first: it finds libtpu and sets the environment that jax reads)

import jax
import jax.numpy as jnp
from jax.experimental import topologies

from hmmn_jax import HMMNConfig
from hmmn_jax.model.hmmn import abstract_variables
from hmmn_jax.training.optimizer import make_optimizer
from hmmn_jax.training.parallel import AXIS, Parallel
from hmmn_jax.training.schedules import learning_rate_schedule
from hmmn_jax.training.train_state import TrainState
from hmmn_jax.training.train_step import make_train_step

BYTES = {"f32": 4, "bf16": 2, "s32": 4, "u32": 4, "pred": 1}
COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "collective-permute", "all-to-all")
OVERFLOW = r"(?:Used |temporaries \()([\d.]+)G\)? (?:of|exceeds available HBM) \(?([\d.]+)G"  # GiB


def lower_step(config: HMMNConfig, topology: str, clips: int, objects: int, side: int) -> jax.stages.Lowered:
    """The step with `clips` clips of `side` x `side` pixels on each chip."""
    cores = {"chip_config_name": "megacore"} if topology.startswith("v4:") else {}  # the two cores of a v4 chip are one device
    devices = topologies.get_topology_desc(platform="tpu", topology_name=topology, **cores).devices
    parallel = Parallel("jit", clips * len(devices), devices=devices)
    schedule = learning_rate_schedule("poly", 1e-5, 1000)
    optimizer = make_optimizer("adam", schedule, clip_norm=1.0)
    step = parallel.compile(make_train_step(config, optimizer, schedule, axis_name=AXIS))
    shapes = {"frames": ((3, side, side, 3), "uint8"), "masks": ((3, side, side), "uint8")}
    shapes |= {"valid": ((objects,), "bool"), "sample": ((), "int32")}
    struct = jax.ShapeDtypeStruct
    batch = {name: struct((parallel.batch_size, *shape), dtype) for name, (shape, dtype) in shapes.items()}
    variables = jax.tree.map(lambda leaf: struct(leaf.shape, jnp.float32), abstract_variables(config))
    state = jax.eval_shape(lambda variables: TrainState.create(variables, optimizer), variables)
    return step.lower(state, batch)


def collective_sizes(hlo: str) -> dict[str, list[float]]:
    """MB that the collectives of an optimised program transfer, by kind."""
    found = collections.defaultdict(list)
    for shape, kind in re.findall(rf"= (.*?) ({'|'.join(COLLECTIVES)})(?:-start)?\(", hlo):
        arrays = re.findall(r"(\w+)\[([\d,]*)\]", shape)
        size = sum(BYTES[dtype] * math.prod(int(size) for size in dims.split(",") if size) for dtype, dims in arrays)
        found[kind].append(round(size / 1e6, 6))
    return dict(found)


def figures(hlo: str, allocations: str, usage: str) -> dict:
    """Figures of a program from its optimised text, the compiler's list of allocations, and its summary of memory."""
    space = r"^allocation \d+: size (\d+), "  # allocations in other memories than HBM have a colour
    sizes = {
        "argument": sum(map(int, re.findall(rf"{space}.*?parameter \d+, ", allocations, re.M))),
        "temp": sum(map(int, re.findall(rf"{space}preallocated-temp", allocations, re.M))),
        "total": int(re.search(r"\(color=0\)\s+Total bytes: (\d+)", usage)[1]),
    }
    _, accessed, hbm, _, flops = sum(passes * values for *_, passes, values in Program(hlo, middle=0).costs())
    found = {f"{name}_mb": size / 1e6 for name, size in sizes.items()}
    found |= {"tflop": flops / 1e12, "gb_accessed": accessed / 1e9, "gb_hbm": hbm / 1e9}
    return {name: round(float(value), 3) for name, value in found.items()} | {"collectives_mb": collective_sizes(hlo)}


def optimised(lowered: jax.stages.Lowered, folder: Path) -> list[str]:
    """Reads the input of `figures` from files that the compiler writes before it generates code."""
    errors = []

    def work():
        try:
            lowered.compile(compiler_options={"xla_dump_to": str(folder), "xla_dump_hlo_as_text": True})
        except jax.errors.JaxRuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    size = -1
    while thread.is_alive():
        thread.join(2)
        found = sorted(folder.glob("*after_buffer_assignment.txt"))  # the compiler writes this file last
        if found and size == (size := found[0].stat().st_size):
            break
    if errors:
        raise errors[0]
    parts = ("_after_buffer_assignment", "-buffer-assignment", "-memory-usage-report")
    return [next(folder.glob(f"*after_optimizations{part}.txt")).read_text() for part in parts]


def main() -> None:
    """Compiles a program and prints its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--topology", default="v5e:4x4")
    parser.add_argument("--clips", type=int, default=1, help="clips per chip")
    parser.add_argument("--objects", type=int, default=3)
    parser.add_argument("--side", type=int, default=384)
    parser.add_argument("--remat", action="store_true")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"], help="compute dtype")
    args = parser.parse_args()
    lowered = lower_step(HMMNConfig(dtype=args.dtype, remat=args.remat), args.topology, args.clips, args.objects, args.side)
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = figures(*optimised(lowered, Path(folder)))
        except jax.errors.JaxRuntimeError as error:
            overflow = re.search(OVERFLOW, str(error))
            if not overflow:
                raise
            wanted, room = (round(float(size) * 2**30 / 1e6, 3) for size in overflow.groups())
            found = {"out_of_memory": True, "wanted_mb": wanted, "room_mb": room}
    print(json.dumps(vars(args) | found), flush=True)
    os._exit(0)  # does not wait for code generation


if __name__ == "__main__":
    main()
