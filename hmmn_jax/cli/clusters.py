"""Reads the process index and the numbers of processes and GPUs from environment variables set by the cluster."""

import platform
from collections.abc import Mapping

from hmmn_jax.errors import ConfigError
from hmmn_jax.io.notes import note

_RANKS = ("SLURM_PROCID", "TPU_WORKER_ID", "OMPI_COMM_WORLD_RANK")


def name_of_process(process: int | None, environ: Mapping[str, str]) -> str:
    """Returns the index of this process, or the host name if the index is unknown. The result is used in a file name."""
    if process is not None:
        return str(process)
    return next((environ[name] for name in _RANKS if environ.get(name, "").isdigit()), platform.node())


def require_together(together: bool, environ: Mapping[str, str]) -> None:
    """Raises ConfigError if the cluster started several processes but this process will not connect to the other processes.

    Args:
        together: whether this process will connect to the other processes.
        environ: the environment variables.
    """
    if together:
        return
    if "SLURM_PROCID" in environ and (tasks := _number(environ, "SLURM_STEP_NUM_TASKS")) > 1:
        raise ConfigError(
            f"Slurm started {tasks} tasks, but they are not connected. Pass --distributed, or use srun --ntasks=1."
        )
    names = environ.get("TPU_PROCESS_ADDRESSES") or environ.get("TPU_WORKER_HOSTNAMES") or ""
    if (hosts := len([name for name in names.split(",") if name])) > 1:
        raise ConfigError(f"this host is one of {hosts} hosts of a TPU slice. Pass --distributed on each host.")


def slurm_devices(environ: Mapping[str, str]) -> list[int] | None:
    """Returns the `local_device_ids` for JAX under Slurm. The value [] selects all visible GPUs, and None lets JAX choose.

    By default, JAX assigns GPU N of a node to task N of that node. With one task per node, JAX would use only the first GPU. If
    Slurm has bound GPUs to tasks, GPU N may not be visible to task N.
    """
    if "SLURM_PROCID" not in environ or "JAX_LOCAL_DEVICE_IDS" in environ:
        return None
    tasks, nodes = _number(environ, "SLURM_STEP_NUM_TASKS"), _number(environ, "SLURM_STEP_NUM_NODES")
    if not tasks or not nodes:
        return None
    if tasks <= nodes:
        return []
    on_node = -(-tasks // nodes)
    visible = environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    count = len(visible) if visible != [""] else _number(environ, "SLURM_GPUS_ON_NODE")
    if 0 < count < on_node or "SLURM_GPUS_PER_TASK" in environ:
        return []
    if count > on_node:
        note(
            f"only {on_node} of the {count} GPUs on this node are used, because each task uses one GPU. Start one task "
            f"per node, or {count} tasks per node."
        )
    return None


def _number(environ: Mapping[str, str], name: str) -> int:
    text = environ.get(name, "")
    return int(text) if text.isdigit() else 0
