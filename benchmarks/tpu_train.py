"""Prints memory, work and collectives of a training step on TPUs, according to the TPU compiler. No TPU is needed.

    python benchmarks/tpu_train.py --topology v5e:8x8 >> docs/tpu_train.jsonl
    python benchmarks/tpu_train.py --topology v5e:4x4 --remat
    python benchmarks/tpu_train.py --config configs/train/main.py --clips 1 --slots 5

Compiles the step of a training config for all chips of a topology, with the compiler in `libtpu`. Compilation stops after
memory has been assigned in the optimised program, because generating code would take many times as long as the earlier
stages. Each program takes minutes to compile. The output is one line of JSON with the memory, the work and the collectives
of one chip. The memory is reported by the compiler. The step has one branch for each number of object slots.
The work of each branch is counted as in `benchmarks/tpu_compile.py`, over all loop iterations of the optimised program. The
size of each collective is in MB. For a program that does not fit into memory, the output contains the required and the
available memory. MB and GB are powers of ten. TFLOP includes only matrix products.
"""

import argparse
import collections
import importlib.util
import json
import math
import os
import re
import sys
import tempfile
import threading
from pathlib import Path

from tpu_compile import Program  # isort: skip  (imported first, because it sets the environment variables that jax reads)

import jax
import jax.numpy as jnp
from jax.experimental import topologies
from ml_collections import ConfigDict

from hmmn_jax.model.hmmn import abstract_variables
from hmmn_jax.training.loop import STEP_INPUTS, make_optimization, make_step, model_config
from hmmn_jax.training.parallel import Parallel
from hmmn_jax.training.train_state import TrainState

ROOT = Path(__file__).parents[1]
BYTES = {"f32": 4, "bf16": 2, "s32": 4, "u32": 4, "pred": 1}
COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "collective-permute", "all-to-all")
OVERFLOW = r"(?:Used |temporaries \()([\d.]+)G\)? (?:of|exceeds available HBM) \(?([\d.]+)G"  # in GiB


def read_config(path: Path) -> ConfigDict:
    """Returns the config that a file in `configs/train` defines."""
    sys.path.insert(0, str(ROOT))  # the config imports modules of the repository
    spec = importlib.util.spec_from_file_location("config_of_step", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config().unlock()


def slots_of(config: ConfigDict) -> list[int]:
    """Returns the numbers of object slots for which the step has a branch."""
    most = config.data.max_objects
    return sorted({*(slots for slots in config.slots if slots < most), most})


def lower_step(config: ConfigDict, devices: list[jax.Device]) -> jax.stages.Lowered:
    """Lowers the step of a config for these devices, with `parallel = "jit"`."""
    parallel = Parallel("jit", config.batch, config.micro_batches, devices)
    model = model_config(config)
    learning_rate, optimizer = make_optimization(config, config.samples // config.batch)
    step = parallel.compile(make_step(config, model, optimizer, learning_rate))
    frames, size = config.data.frames, tuple(config.data.size)
    shapes = {"frames": ((frames, *size, 3), "uint8"), "masks": ((frames, *size), "uint8")}
    shapes |= {"valid": ((config.data.max_objects,), "bool"), "sample": ((), "int32")}
    struct = jax.ShapeDtypeStruct
    batch = {name: struct((config.batch, *shapes[name][0]), shapes[name][1]) for name in STEP_INPUTS}
    variables = jax.tree.map(lambda leaf: struct(leaf.shape, jnp.float32), abstract_variables(model))
    state = jax.eval_shape(lambda variables: TrainState.create(variables, optimizer, config.ema_decay > 0), variables)
    return step.lower(state, batch)


def collective_sizes(hlo: str) -> dict[str, list[float]]:
    """Returns the size in MB of each collective in an optimised program, by kind."""
    found = collections.defaultdict(list)
    for shape, kind in re.findall(rf"= (.*?) ({'|'.join(COLLECTIVES)})(?:-start)?\(", hlo):
        arrays = re.findall(r"(\w+)\[([\d,]*)\]", shape)
        size = sum(BYTES[dtype] * math.prod(int(size) for size in dims.split(",") if size) for dtype, dims in arrays)
        found[kind].append(round(size / 1e6, 6))
    return dict(found)


def figures(hlo: str, allocations: str, usage: str, slots: list[int]) -> dict:
    """Reads the memory use, the work and the sizes of collectives of a program from the output of the compiler.

    Args:
        hlo: HLO text of the program.
        allocations: list of allocations.
        usage: summary of the memory use.
        slots: number of objects of each branch that a step can take.
    """
    space = r"^allocation \d+: size (\d+), "  # matches only allocations in HBM; XLA marks other memories by a "color"
    sizes = {
        "argument": sum(map(int, re.findall(rf"{space}.*?parameter \d+, ", allocations, re.M))),
        "temp": sum(map(int, re.findall(rf"{space}preallocated-temp", allocations, re.M))),
        "total": int(re.search(r"\(color=0\)\s+Total bytes: (\d+)", usage)[1]),
    }
    work = {}
    for branch, objects in enumerate(slots):
        program = Program(hlo, middle=0, branch=branch)
        _, accessed, hbm, _, flops = sum(passes * values for *_, passes, values in program.costs())
        counted = {"tflop": flops / 1e12, "gb_accessed": accessed / 1e9, "gb_hbm": hbm / 1e9}
        work[objects] = {name: round(float(value), 3) for name, value in counted.items()}
    found = {f"{name}_mb": round(size / 1e6, 3) for name, size in sizes.items()}
    return found | {"work": work, "collectives_mb": collective_sizes(hlo)}


def optimised(lowered: jax.stages.Lowered, folder: Path) -> list[str]:
    """Compiles a program until the compiler has written the files that `figures` needs, and returns their contents.

    The compiler writes the files before it generates code.
    """
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
    parser.add_argument("--topology", default="v5e:8x8", help="topology whose chips share a batch, such as v5e:4x4 or v4:2x2x4")
    parser.add_argument("--config", type=Path, default=ROOT / "configs/train/main_pod.py", help="a file in configs/train")
    parser.add_argument("--clips", type=int, help="clips per chip (default: from the batch of the config)")
    parser.add_argument("--slots", type=int, nargs="+", help="numbers of object slots (default: from the config)")
    parser.add_argument("--remat", action="store_true", help="enable config.model.remat")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], help="compute dtype (default: from the config)")
    parser.add_argument("--dump", type=Path, metavar="FILE", help="file for the optimised HLO text")
    args = parser.parse_args()
    config = read_config(args.config)
    cores = (
        {"chip_config_name": "megacore"} if args.topology.startswith("v4:") else {}
    )  # treat the two cores of a v4 chip as one device
    devices = list(topologies.get_topology_desc(platform="tpu", topology_name=args.topology, **cores).devices)
    config.batch = args.clips * len(devices) if args.clips else config.batch
    config.model.remat = args.remat or config.model.remat
    config.model.dtype = args.dtype or config.model.dtype
    if args.slots:
        config.slots, config.data.max_objects = tuple(args.slots), max(args.slots)
    about = {
        "topology": args.topology,
        "chips": len(devices),
        "processes": len({device.process_index for device in devices}),
        "config": args.config.stem,
        "clips": config.batch // len(devices),
        "size": list(config.data.size),
        "remat": config.model.remat,
        "dtype": config.model.dtype or "float32",
    }
    lowered = lower_step(config, devices)
    with tempfile.TemporaryDirectory() as folder:
        try:
            texts = optimised(lowered, Path(folder))
            if args.dump:
                args.dump.write_text(texts[0])
            found = figures(*texts, slots_of(config))
        except jax.errors.JaxRuntimeError as error:
            overflow = re.search(OVERFLOW, str(error))
            if not overflow:
                raise
            wanted, room = (round(float(size) * 2**30 / 1e6, 3) for size in overflow.groups())
            found = {"out_of_memory": True, "wanted_mb": wanted, "room_mb": room}
    print(json.dumps(about | found), flush=True)
    os._exit(0)  # exit without waiting for code generation


if __name__ == "__main__":
    main()
