"""One step on all devices of all processes: by `jax.pmap`, or by `jax.jit` over a mesh. Both run the same pure step.

The batch is global: each process brings its equal share, each device works on an equal share of that, and the step averages
over the axis `AXIS`. The state is whole on every device.
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


class Parallel:
    """How steps run: `step = parallel.compile(make_train_step(..., axis_name=AXIS))`.

    Then `state = parallel.replicate(state)`, and for each batch `state, metrics = step(state, parallel.shard(batch))`. The old
    state is donated: its buffers are invalid afterwards.

    kind: "pmap"; or "jit", which on pods avoids the round trip to the host that pmap makes with several processes.
    batch_size: clips of a step, over all processes.
    devices: all there are, unless given: a part of them, or those of a topology to compile for (under jit).
    state_sharding: the sharding that `replicate` uses, so that a checkpoint can be restored with it directly.
    """

    def __init__(self, kind: str, batch_size: int, micro_batches: int = 1, devices: Sequence[jax.Device] | None = None):
        if kind not in KINDS:
            raise ConfigError(f"parallel is {kind!r}, expected one of {', '.join(KINDS)}")
        count = jax.device_count() if devices is None else len(devices)
        if batch_size < 1 or batch_size % (count * micro_batches):
            parts = f"{count} devices" + (f" x {micro_batches} micro-batches" if micro_batches > 1 else "")
            raise ConfigError(f"batch size is {batch_size}, expected a multiple of {count * micro_batches} ({parts})")
        self.kind, self.batch_size = kind, batch_size
        self.local_batch_size = batch_size // jax.process_count()
        mesh = jax.make_mesh((count,), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)
        self.batch_sharding = NamedSharding(mesh, PartitionSpec(AXIS))
        if kind == "pmap":  # each process sees its own devices only
            mesh = Mesh(np.array(jax.local_devices()), (AXIS,), axis_types=(AxisType.Auto,))
        self.state_sharding = NamedSharding(mesh, PartitionSpec())

    def replicate(self, tree: Any) -> Any:
        """A tree of arrays that are the same in every process, copied to all devices; the originals survive donation."""
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(self.state_sharding, np.array(x)), tree)

    def shard(self, batch: Batch) -> Batch:
        """This process's share of a batch, `[local_batch_size, ...]` on the host, as input of `compile`'s step."""
        if self.kind == "pmap":
            devices = jax.local_device_count()
            return jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), batch)
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(self.batch_sharding, x), batch)

    def compile(self, step: TrainStep) -> TrainStep:
        """The step over all devices."""
        if self.kind == "pmap":
            return jax.pmap(step, axis_name=AXIS, in_axes=(None, 0), out_axes=(None, None), donate_argnums=0)
        whole, split = PartitionSpec(), PartitionSpec(AXIS)
        mesh = self.batch_sharding.mesh
        # Unchecked, as in pmap: the check would add a sum over devices for each use of a parameter instead of a single one.
        mapped = jax.shard_map(step, mesh=mesh, in_specs=(whole, split), out_specs=whole, check_vma=False)
        shardings = (self.state_sharding, self.batch_sharding)
        return jax.jit(mapped, in_shardings=shardings, out_shardings=self.state_sharding, donate_argnums=0)
