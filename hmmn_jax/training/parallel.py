"""Runs a step on all devices of all processes, with `jax.pmap`, or with `jax.jit` and a mesh.

The batch is global: each process provides an equal part of the batch and splits it equally among its devices. The step averages
over devices along the axis `AXIS`. The state is replicated on every device.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from hmmn_jax.errors import ConfigError
from hmmn_jax.training.train_step import Batch, TrainStep

AXIS = "batch"
KINDS = ("pmap", "jit")


def some_devices(count: int) -> list[jax.Device]:
    """Returns the first devices of each process, `count` in total, or all devices if `count` is 0.

    Raises:
      ConfigError: a process has too few devices, or `count` is not a multiple of the number of processes.
    """
    if not count:
        return jax.devices()
    processes = jax.process_count()
    mine = [[device for device in jax.devices() if device.process_index == process] for process in range(processes)]
    if count % processes or count // processes > min(map(len, mine)):
        each = f", with the same number in each of {processes} processes" if processes > 1 else ""
        raise ConfigError(f"devices is {count}, expected 0 for all devices, or at most {jax.device_count()}{each}")
    return [device for devices in mine for device in devices[: count // processes]]


class Parallel:
    """Runs steps on devices.

    First call `step = parallel.compile(make_train_step(..., axis_name=AXIS))` and `state = parallel.replicate(state)`. Then
    call `state, metrics = step(state, parallel.shard(batch))` for each batch. The old state is donated: its buffers are invalid
    afterwards.

    kind: "pmap" or "jit"; "" selects pmap for one process and jit for several. With several processes, jit avoids a
      round trip to the host that pmap makes.
    batch_size: clips per step, on all devices together.
    devices: the devices to use. None means all devices. With jit, the devices of a topology description can be given
      for ahead-of-time compilation.
    state_sharding: the sharding that `replicate` uses. A checkpoint can be restored directly with this sharding.
    """

    def __init__(self, kind: str, batch_size: int, micro_batches: int = 1, devices: Sequence[jax.Device] | None = None):
        kind = kind or ("pmap" if jax.process_count() == 1 else "jit")
        if kind not in KINDS:
            raise ConfigError(f"parallel is {kind!r}, expected one of {', '.join(KINDS)}")
        self.devices = list(jax.devices() if devices is None else devices)
        count = len(self.devices)
        if kind == "pmap" and jax.process_count() > 1 and count < jax.device_count():
            raise ConfigError("pmap with several processes runs on all devices. Set parallel to jit, or devices to 0.")
        if batch_size < 1 or batch_size % (count * micro_batches):
            parts = f"{count} devices" + (f" x {micro_batches} micro-batches" if micro_batches > 1 else "")
            found = f"batch size is {batch_size}, expected a multiple of {count * micro_batches} ({parts})"
            raise ConfigError(f"{found}. Change config.batch, or use fewer devices with config.devices.")
        self.kind, self.batch_size = kind, batch_size
        self.local_batch_size = batch_size // jax.process_count()
        mesh = jax.make_mesh((count,), (AXIS,), axis_types=(AxisType.Auto,), devices=self.devices)
        self.batch_sharding = NamedSharding(mesh, PartitionSpec(AXIS))
        if kind == "pmap":  # with pmap, each process lists only its own devices
            self.local = [device for device in self.devices if device.process_index == jax.process_index()]
            mesh = Mesh(np.array(self.local), (AXIS,), axis_types=(AxisType.Auto,))
        self.state_sharding = NamedSharding(mesh, PartitionSpec())

    def replicate(self, tree: Any) -> Any:
        """Copies arrays to all devices. The arrays must be the same in every process. The given arrays stay valid."""
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(self.state_sharding, np.array(x)), tree)

    def shard(self, batch: Batch) -> Batch:
        """Prepares this process's part of a batch, `[local_batch_size, ...]` on the host, for the compiled step."""
        if self.kind == "pmap":
            return jax.tree.map(lambda x: x.reshape(len(self.local), -1, *x.shape[1:]), batch)
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(self.batch_sharding, x), batch)

    def compile(self, step: TrainStep) -> TrainStep:
        """Compiles a step for all devices."""
        if self.kind == "pmap":
            devices = self.devices if len(self.devices) < jax.device_count() else None
            return jax.pmap(step, axis_name=AXIS, in_axes=(None, 0), out_axes=(None, None), donate_argnums=0, devices=devices)
        whole, split = PartitionSpec(), PartitionSpec(AXIS)
        mesh = self.batch_sharding.mesh
        # check_vma is off, as in pmap. With check_vma, there would be a sum over devices for each use of a parameter.
        mapped = jax.shard_map(step, mesh=mesh, in_specs=(whole, split), out_specs=whole, check_vma=False)
        shardings = (self.state_sharding, self.batch_sharding)
        return jax.jit(mapped, in_shardings=shardings, out_shardings=self.state_sharding, donate_argnums=0)
