"""Memory, work and collectives of a training step on TPUs, by the TPU compiler that `libtpu` brings along; no TPU is needed.

    python benchmarks/tpu_train.py --topology v5e:4x4 --clips 1 --remat >> docs/tpu_train.jsonl

Compiles the released model's step (Adam, clipping, `parallel = "jit"`) for all chips of a topology. Takes minutes a program.
Printed is one line of JSON, for one chip: memory by the compiler; flops and bytes accessed with loops in full (the compiler
counts their bodies once), of which bytes in HBM, as in `benchmarks/tpu_compile.py`; and the MB of each collective of the
optimised program. A program that does not fit is a result too: what it wanted, and what there is. MB, GB are powers of ten.
"""

import argparse
import collections
import json
import math
import re
from pathlib import Path

from tpu_compile import Program  # isort: skip  (first: it finds libtpu and sets the environment that jax reads)

import jax
import jax.numpy as jnp
from jax.experimental import topologies

from hmmn_jax import HMMNConfig
from hmmn_jax.torch_weights import abstract_variables
from hmmn_jax.training.optimizer import make_optimizer
from hmmn_jax.training.parallel import AXIS, Parallel
from hmmn_jax.training.schedules import learning_rate_schedule
from hmmn_jax.training.train_state import TrainState
from hmmn_jax.training.train_step import make_train_step

BYTES = {"f32": 4, "bf16": 2, "s32": 4, "u32": 4, "pred": 1}
COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "collective-permute", "all-to-all")
OVERFLOW = r"Used ([\d.]+)G of ([\d.]+)G hbm"  # GiB


def compile_step(config: HMMNConfig, topology: str, clips: int, objects: int, side: int) -> jax.stages.Compiled:
    """The step with `clips` clips of `side` x `side` pixels on each chip."""
    devices = topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
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
    return step.lower(state, batch).compile()


def collective_sizes(hlo: str) -> dict[str, list[float]]:
    """MB that each collective of an optimised program brings about, by kind."""
    found = collections.defaultdict(list)
    for shape, kind in re.findall(rf"= (.*?) ({'|'.join(COLLECTIVES)})(?:-start)?\(", hlo):
        arrays = re.findall(r"(\w+)\[([\d,]*)\]", shape)
        size = sum(BYTES[dtype] * math.prod(int(size) for size in dims.split(",") if size) for dtype, dims in arrays)
        found[kind].append(round(size / 1e6, 6))
    return dict(found)


def figures(hlo: str, memory, cost: dict[str, float]) -> dict:
    """What is printed of a compiled program: its text, its `memory_analysis` and its `cost_analysis`."""
    sizes = {name: getattr(memory, f"{name}_size_in_bytes") / 1e6 for name in ("argument", "output", "temp", "alias")}
    total = sizes["argument"] + sizes["output"] + sizes["temp"] - sizes["alias"]
    found = list(Program(hlo, middle=0).costs())
    again = [(passes - 1) * values for *_, passes, values in found]  # of the bodies of loops, counted once by the compiler
    _, accessed, _, _, flops = sum(again)
    _, _, hbm, cycles, _ = sum(passes * values for *_, passes, values in found)
    work = {"tflop": (cost["flops"] + flops) / 1e12, "gb_accessed": (cost["bytes accessed"] + accessed) / 1e9}
    work |= {"gb_hbm": hbm / 1e9, "cycles_m": cycles / 1e6}
    sizes = {f"{name}_mb": value for name, value in (sizes | {"total": total}).items()}
    return {name: round(float(value), 3) for name, value in (sizes | work).items()} | {"collectives_mb": collective_sizes(hlo)}


def main() -> None:
    """Compiles once and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--topology", default="v5e:4x4")
    parser.add_argument("--clips", type=int, default=1, help="on each chip")
    parser.add_argument("--objects", type=int, default=3)
    parser.add_argument("--side", type=int, default=384)
    parser.add_argument("--remat", action="store_true")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"], help="compute dtype")
    parser.add_argument("--dump", type=Path, default=None, metavar="FILE", help="write the optimised HLO text here")
    args = parser.parse_args()
    config = HMMNConfig(dtype=args.dtype, remat=args.remat)
    options = {name: value for name, value in vars(args).items() if name != "dump"}
    try:
        compiled = compile_step(config, args.topology, args.clips, args.objects, args.side)
    except jax.errors.JaxRuntimeError as error:
        overflow = re.search(OVERFLOW, str(error))
        if not overflow:
            raise
        used, room = (round(float(size) * 2**30 / 1e6, 3) for size in overflow.groups())
        print(json.dumps(options | {"out_of_memory": True, "wanted_mb": used, "room_mb": room}))
        return
    if args.dump:
        args.dump.write_text(compiled.as_text())
    print(json.dumps(options | figures(compiled.as_text(), compiled.memory_analysis(), compiled.cost_analysis())))


if __name__ == "__main__":
    main()
