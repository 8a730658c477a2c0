"""Tests how the environment variables of Slurm and TPU slices are used."""

import platform

import pytest

from hmmn_jax.cli.clusters import name_of_process, require_together, slurm_devices
from hmmn_jax.errors import ConfigError

SLURM = {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "2"}


def test_the_name_of_a_process():
    assert name_of_process(3, SLURM) == "3"
    assert name_of_process(None, SLURM) == "1"
    assert name_of_process(None, {"TPU_WORKER_ID": "5"}) == "5"
    assert name_of_process(None, {}) == platform.node()


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        (SLURM, r"Slurm started 2 tasks, but they are not connected. Pass --distributed, or use srun --ntasks=1."),
        ({"TPU_WORKER_HOSTNAMES": "a,b,c,d"}, "one of 4 hosts of a TPU slice. Pass --distributed on each"),
    ],
)
def test_processes_that_would_run_alone_are_rejected(environ, message):
    with pytest.raises(ConfigError, match=message):
        require_together(False, environ)
    require_together(True, environ)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"SLURM_NTASKS": "8"},  # in an sbatch script, before srun starts any tasks
        SLURM | {"SLURM_STEP_NUM_TASKS": "1"},
        {"TPU_WORKER_HOSTNAMES": "localhost"},
    ],
)
def test_one_process_may_run_alone(environ):
    require_together(False, environ)


@pytest.mark.parametrize(
    ("changes", "expected", "said"),
    [
        ({}, [], ""),  # one task per node uses all GPUs
        ({"SLURM_STEP_NUM_TASKS": "16", "SLURM_GPUS_ON_NODE": "8"}, None, ""),  # JAX assigns one GPU to each task
        ({"SLURM_STEP_NUM_TASKS": "16", "CUDA_VISIBLE_DEVICES": "3"}, [], ""),  # Slurm has bound a GPU to the task
        ({"SLURM_STEP_NUM_TASKS": "16", "SLURM_GPUS_PER_TASK": "1", "CUDA_VISIBLE_DEVICES": "0,1,2,3,4,5,6,7"}, [], ""),
        ({"SLURM_STEP_NUM_TASKS": "4", "SLURM_GPUS_ON_NODE": "8"}, None, "2 of the 8 GPUs on this node are used"),
        ({"JAX_LOCAL_DEVICE_IDS": "0,1"}, None, ""),  # set by the user
        ({"SLURM_STEP_NUM_NODES": ""}, None, ""),
    ],
)
def test_gpus_of_a_slurm_task(capsys, changes, expected, said):
    assert slurm_devices(SLURM | changes) == expected
    assert said in capsys.readouterr().err


def test_gpus_elsewhere():
    assert slurm_devices({"CUDA_VISIBLE_DEVICES": "0,1"}) is None


def test_jax_takes_an_empty_list_for_all_devices(monkeypatch):
    """With [], JAX uses all local devices. With None, JAX would select devices from the environment variables of Slurm."""
    from jax._src import distributed

    monkeypatch.setattr(distributed.clusters.ClusterEnv, "auto_detect_unset_distributed_params", None)
    updated = []
    monkeypatch.setattr(distributed.config, "update", lambda *arguments: updated.append(arguments))
    reached = RuntimeError("reached")

    def client(*_, **__):
        raise reached

    monkeypatch.setattr(distributed._jax, "get_distributed_runtime_client", client)
    with pytest.raises(RuntimeError, match="reached"):
        distributed.State().initialize("localhost:1", 2, 1, [])
    assert updated == []
