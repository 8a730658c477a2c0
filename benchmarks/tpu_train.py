"""Memory, work and collectives of a training step on TPUs, by the TPU compiler that `libtpu` brings along; no TPU is needed.

    python benchmarks/tpu_train.py --topology v5e:4x4 --clips 1 --remat

Compiles the released model's step (Adam, clipping, `parallel = "jit"`) for all chips of a topology. Takes minutes a program.
Printed as JSON: the compiler's own figures for one chip (bodies of loops counted once), and each all-reduce of the program
with its bytes, counted over the optimised HLO text. MB are powers of ten.
"""

import argparse
import importlib.util
import json
import math
import os
import re
from pathlib import Path

if (libtpu := importlib.util.find_spec("libtpu")) is None:
    raise SystemExit("libtpu is not installed: pip install libtpu==0.0.42.1 (for jax 0.10.2)")
os.environ |= {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}
os.environ["TPU_LIBRARY_PATH"] = str(Path(libtpu.submodule_search_locations[0]) / "libtpu.so")

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


def all_reduces(hlo: str) -> list[float]:
    """MB of each all-reduce in an optimised program."""
    found = []
    for shape in re.findall(r"= (.*?) all-reduce(?:-start)?\(", hlo):
        arrays = re.findall(r"(\w+)\[([\d,]*)\]", shape)
        found.append(sum(BYTES[kind] * math.prod(int(size) for size in dims.split(",") if size) for kind, dims in arrays) / 1e6)
    return found


def main() -> None:
    """Compiles once and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--topology", default="v5e:4x4")
    parser.add_argument("--clips", type=int, default=1, help="on each chip")
    parser.add_argument("--objects", type=int, default=3)
    parser.add_argument("--side", type=int, default=384)
    parser.add_argument("--remat", action="store_true")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"], help="compute dtype")
    args = parser.parse_args()
    compiled = compile_step(HMMNConfig(dtype=args.dtype, remat=args.remat), args.topology, args.clips, args.objects, args.side)
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
    sizes = {f"{name}_mb": getattr(memory, f"{name}_size_in_bytes") / 1e6 for name in ("argument", "output", "temp", "alias")}
    total = sizes["argument_mb"] + sizes["output_mb"] + sizes["temp_mb"] - sizes["alias_mb"]
    work = {"tflop": cost["flops"] / 1e12, "gb_accessed": cost["bytes accessed"] / 1e9}
    figures = vars(args) | sizes | {"total_mb": total} | work | {"all_reduce_mb": all_reduces(compiled.as_text())}
    print(json.dumps({name: round(value, 3) if isinstance(value, float) else value for name, value in figures.items()}))


if __name__ == "__main__":
    main()
