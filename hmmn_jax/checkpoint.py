"""Checkpoints on disk: an Orbax folder with the model's config beside it."""

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import flax
import jax
import numpy as np
import orbax.checkpoint as ocp

from hmmn_jax.errors import CheckpointError
from hmmn_jax.model import HMMNConfig
from hmmn_jax.torch_file import read_metadata, read_torch_file
from hmmn_jax.torch_weights import abstract_variables, check_shapes, from_torch

CONFIG_FILE = "config.json"
VARIABLES = "variables"
STEPS = "checkpoints"
METADATA_KEY = "hmmn_config"


def load_checkpoint(path: str | Path) -> tuple[dict[str, Any], HMMNConfig]:
    """Variables and config of a model.

    Args:
      path: what `convert_weights.py` wrote; a training workdir, whose latest step is taken; or one file, `.safetensors` or
        `.pth`, with official names (the released model, unless its metadata has a config).

    Returns:
      NumPy arrays on the host (put them where you want them, once: `jax.device_put`), and the config.

    Raises:
      CheckpointError: a path that is not there, or a file that is damaged or of another kind.
      MismatchError: tensors that are not those of the config, all of them listed.
    """
    path = Path(path).absolute()
    if path.is_file():
        metadata = read_metadata(path)
        config = _parse_config(metadata[METADATA_KEY], path) if METADATA_KEY in metadata else HMMNConfig()
        return from_torch(read_torch_file(path), config, str(path)), config
    if not path.is_dir():
        raise CheckpointError(f"{path}: no such file or folder; expected a checkpoint")
    config = load_config(path)
    return _restore(_variables_folder(path), config), config


def load_config(path: Path) -> HMMNConfig:
    """The config of the model in a checkpoint folder or training workdir. Raises CheckpointError."""
    if not (path / CONFIG_FILE).is_file():
        raise CheckpointError(f"{path}: no {CONFIG_FILE} in it; expected a folder that convert_weights.py or train.py wrote")
    try:
        text = (path / CONFIG_FILE).read_text()
    except OSError as error:
        raise CheckpointError(f"{path / CONFIG_FILE}: {error.strerror}") from error
    return _parse_config(text, path / CONFIG_FILE)


def save_checkpoint(path: str | Path, variables: dict[str, Any], config: HMMNConfig) -> None:
    """Writes a checkpoint folder, whole or not at all.

    Raises:
      CheckpointError: the folder exists, or cannot be written.
    """
    path = Path(path).absolute()
    if path.exists():
        raise CheckpointError(f"{path}: exists already; remove it or choose another name")
    partial = path.with_name(f".{path.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _require_space(partial, sum(leaf.nbytes for leaf in jax.tree.leaves(variables)))
        (partial / CONFIG_FILE).write_text(config_to_json(config) + "\n")
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(partial / VARIABLES, variables)
        partial.rename(path)
    except Exception as error:  # Orbax and TensorStore raise many types besides OSError
        raise CheckpointError(f"{path}: cannot be written ({_first_line(error)})") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def config_to_json(config: HMMNConfig) -> str:
    """The model's config as the text that `load_checkpoint` reads."""
    return json.dumps({"model": config.to_dict()}, indent=2)


def _parse_config(text: str, source: Path) -> HMMNConfig:
    try:
        fields = json.loads(text)["model"].items()
        return HMMNConfig.from_dict({name: tuple(value) if isinstance(value, list) else value for name, value in fields})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        found = f"{type(error).__name__}: {_first_line(error)}"
        raise CheckpointError(f"{source}: not the config of a model ({found})") from error


def _variables_folder(path: Path) -> Path:
    """Where the variables lie: in the folder itself, or in the latest step of a training workdir."""
    if (path / VARIABLES).is_dir():
        return path / VARIABLES
    steps = [step for step in (path / STEPS).glob("*") if step.name.isdigit() and (step / VARIABLES).is_dir()]
    if not steps:
        raise CheckpointError(f"{path}: no {VARIABLES} and no finished step in {STEPS}; was the writing cut off?")
    return max(steps, key=lambda step: int(step.name)) / VARIABLES


def _require_space(folder: Path, needed: int) -> None:
    """Raises OSError where too few bytes are free: Orbax would print pages from its threads before it fails."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"it takes {needed:,} bytes, {free:,} are free")


def _first_line(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.splitlines()[0][:200]


def _restore(folder: Path, config: HMMNConfig) -> dict[str, Any]:
    try:
        with ocp.PyTreeCheckpointer() as checkpointer:
            found = checkpointer.restore(folder)
        found = {path: np.asarray(leaf) for path, leaf in flax.traverse_util.flatten_dict(found).items()}
    except Exception as error:  # Orbax and TensorStore raise many types for a damaged folder
        found = f"{type(error).__name__}: {_first_line(error)}"
        raise CheckpointError(f"{folder}: not readable as an Orbax checkpoint ({found})") from error
    expected = {path: leaf.shape for path, leaf in flax.traverse_util.flatten_dict(abstract_variables(config)).items()}
    check_shapes(
        {"/".join(path): leaf.shape for path, leaf in found.items()},
        {"/".join(path): shape for path, shape in expected.items()},
        str(folder),
    )
    return flax.traverse_util.unflatten_dict(found)
