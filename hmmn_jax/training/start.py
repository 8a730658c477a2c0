"""Finds the initial state of a run, and checks that a resumed run has the same config."""

import json
import os
from typing import Any

import jax
import optax
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from hmmn_jax.checkpoints.pretrained import from_pretrained, recognise
from hmmn_jax.checkpoints.steps import finished_steps
from hmmn_jax.checkpoints.store import (
    CONFIG_FILE,
    config_to_json,
    find_checkpoint,
    is_checkpoint_file,
    load_checkpoint,
    load_config,
)
from hmmn_jax.checkpoints.torch_file import read_torch_file
from hmmn_jax.errors import CheckpointError, ConfigError
from hmmn_jax.io.buckets import AnyPath, absolute
from hmmn_jax.io.files import bucket_errors, user_path, write_file
from hmmn_jax.model import HMMN, HMMNConfig
from hmmn_jax.model.hmmn import abstract_variables
from hmmn_jax.training.checkpoint import read_step, require_free_step, restore_latest
from hmmn_jax.training.train_state import TrainState
from hmmn_jax.training.workdir import RUN_RECORD, is_begun, publish

# Fields that may change when a run is resumed, because they do not change the results.
FREE_FIELDS = {"init", "resume", "parallel", "micro_batches", "log_every", "stop_above", "profile", "model.remat"}
FREE_FIELDS |= {"data.data_dir", "data.workers", "devices", "deterministic"}
FREE_SECTIONS = ("checkpoint.", "validation.")


def inspect_workdir(workdir: AnyPath, config: ConfigDict, total: int) -> tuple[bool, bool]:
    """Returns whether a run was started in a workdir, and whether there is a checkpoint to resume from.

    Raises CheckpointError, ConfigError or DataError if this run cannot use the workdir.
    """
    require_free_step(workdir, total)
    begun = is_begun(workdir)
    resumed = begun and bool(finished_steps(workdir))
    if resumed:
        require_same_config(workdir, config)
    return begun, resumed


def starting_state(
    config: ConfigDict, model: HMMNConfig, optimizer: optax.GradientTransformation, workdir: AnyPath
) -> tuple[TrainState, str]:
    """Returns the initial state, on the host, and a description of its origin.

    Raises:
      CheckpointError: a checkpoint does not exist, cannot be read, or belongs to a different model.
    """
    like = jax.eval_shape(lambda: _fresh(model, optimizer, config))

    # 1. The latest checkpoint in the workdir, if a checkpoint exists.
    if (state := restore_latest(workdir, like)) is not None:
        return state, f"step {int(state.step)} of this workdir"

    # 2. The last state of a run in another workdir. This run continues from that state with its own config.
    if config.resume:
        other = absolute(user_path(config.resume, buckets=True))
        _require_same_model(other, load_config(other), model)
        with bucket_errors(other):
            steps = finished_steps(other)
        if not steps:
            raise CheckpointError(f"{config.resume} contains no checkpoint. Pass the workdir of a run.")
        return read_step(other, steps[-1], like), f"step {steps[-1]} of {config.resume}, continued in this workdir"

    # 3. Variables from a checkpoint or a file.
    if config.init:
        variables, kind = _read_variables(config.init, model, config.seed)
        return TrainState.create(variables, optimizer, config.ema_decay > 0), f"{kind} {config.init}"

    # 4. Random variables.
    return _fresh(model, optimizer, config), f"random variables with seed {config.seed}"


def write_config(workdir: AnyPath, model: HMMNConfig, config: ConfigDict) -> None:
    """Writes the model config to `config.json`, and the whole training config under the key "experiment".

    `load_checkpoint` reads the model config.

    Raises:
      DataError: the existing file was not written by the run, or was modified afterwards.
    """
    text = json.loads(config_to_json(model)) | {"experiment": config.to_dict()}
    with publish(workdir, CONFIG_FILE, RUN_RECORD) as path:
        write_file(path, json.dumps(text, indent=2) + "\n")


def require_same_config(workdir: AnyPath, config: ConfigDict) -> None:
    """Raises ConfigError if the run was started with a different config. The error lists the fields that differ."""
    path = workdir / CONFIG_FILE
    try:
        with bucket_errors(path):
            text = path.read_bytes().decode()
        saved = flatten_dict(dict(json.loads(text)["experiment"]), sep=".")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} is not the config of a training run. Choose another workdir.") from error
    given = flatten_dict(json.loads(json.dumps(config.to_dict())), sep=".")
    saved = {name: value for name, value in _later_fields(given).items() if name not in saved} | saved
    missing = object()
    differences = [
        f"{name} is {given.get(name, 'absent')!r}, but was {saved.get(name, 'absent')!r}"
        for name in sorted(saved.keys() | given.keys())
        if saved.get(name, missing) != given.get(name, missing) and not _is_free(name)
    ]
    if differences:
        raise ConfigError(
            f"{workdir}: the run in this workdir was started with a different config: {'; '.join(differences)}. "
            f"Restore these fields, or continue in another workdir with --config.resume={workdir}"
        )


def _later_fields(given: dict[str, Any]) -> dict[str, Any]:
    """Returns the fields that configs of earlier releases lack, with values that preserve the earlier behaviour."""
    donors = {name: 1.0 for name in given if name.startswith("data.sets.") and name.endswith(".donors")}
    return donors | {"slots": [], "learning_rate.for_batch": 0, "data.copy_paste.twins": 0.0}


def _fresh(model: HMMNConfig, optimizer: optax.GradientTransformation, config: ConfigDict) -> TrainState:
    variables = jax.jit(HMMN(model).init_variables)(jax.random.key(config.seed))
    return TrainState.create(variables, optimizer, config.ema_decay > 0)


def _read_variables(path: str, model: HMMNConfig, seed: int) -> tuple[dict[str, Any], str]:
    """Returns variables for `model`, and a description of their origin."""
    if is_checkpoint_file(find_checkpoint(path)):
        tensors = read_torch_file(find_checkpoint(path))
        if kind := recognise(tensors):
            return from_pretrained(tensors, model, seed, path), f"both backbones from the {kind.name} weights"
    variables, found = load_checkpoint(path)
    _require_same_model(path, found, model)
    return variables, "variables of"


def _require_same_model(path: str | os.PathLike, found: HMMNConfig, model: HMMNConfig) -> None:
    """Raises CheckpointError if two models differ in the shapes of their tensors or in their backbone config.

    The backbone config is compared because different normalisation layers can have tensors of the same shapes.
    """
    shapes = [jax.tree.map(_shape, abstract_variables(config)) for config in (found, model)]
    if shapes[0] == shapes[1] and found.backbone == model.backbone:
        return
    there, here = (flatten_dict(config.to_dict(), sep=".") for config in (found, model))
    differences = [
        f"{name} is {there.get(name, 'absent')!r}, expected {here.get(name, 'absent')!r}"
        for name in there | here
        if there.get(name) != here.get(name)
    ]
    message = f"{path} is a checkpoint of a different model: {'; '.join(differences)}"
    raise CheckpointError(f"{message}. Change config.model to match the checkpoint, or choose another checkpoint.")


def _shape(leaf: Any) -> str:
    return str(leaf.shape)


def _is_free(name: str) -> bool:
    return name in FREE_FIELDS or name.startswith(FREE_SECTIONS)
