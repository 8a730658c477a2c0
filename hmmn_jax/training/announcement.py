"""Makes the summary of a run that is printed before training starts."""

from typing import Any

import jax

from hmmn_jax.io.host_memory import peak_megabytes
from hmmn_jax.training.parallel import Parallel
from hmmn_jax.training.train_state import TrainState


def describe(state: TrainState, origin: str, parallel: Parallel, total_steps: int) -> str:
    """Returns a description of the run: initial state, number of parameters of each module, batch, devices and memory."""
    modules: dict[str, int] = {}
    for path, leaf in jax.tree.leaves_with_path(state.params):
        name = "/".join(key.key for key in path[:2])
        modules[name] = modules.get(name, 0) + leaf.size
    width = max(map(len, modules))
    lines = [f"start: {origin}", "parameters:"]
    lines += [f"  {name:{width}} {count:>12,}" for name, count in modules.items()]
    lines += [f"  {'all':{width}} {sum(modules.values()):>12,}"]
    devices = parallel.devices
    lines.append(
        f"batch: {parallel.batch_size} clips per step on {len(devices)} x {devices[0].device_kind} ({parallel.kind}, "
        f"{jax.process_count()} processes)\nsteps: {int(state.step)} to {total_steps}"
    )
    sizes = {"parameters": state.params, "optimizer": state.opt_state, "moving average": state.ema}
    parts = ", ".join(f"{name} {_megabytes(tree):.1f} MB" for name, tree in sizes.items() if tree is not None)
    lines.append(f"memory per device, without activations: {_megabytes(state):.1f} MB ({parts})")
    return "\n".join(lines)


def peak_memory() -> str:
    """Returns the peak memory use of this process and of its first device, as text."""
    host = peak_megabytes()
    device = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")  # not available on CPUs
    parts = [f"{host:,.0f} MB on the host"] if host is not None else []
    parts += [f"{device / 2**20:,.0f} MB on a device"] if device else []
    return f"peak memory: {', '.join(parts) or 'unknown'}"


def _megabytes(tree: Any) -> float:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree)) / 2**20
