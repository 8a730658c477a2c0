"""Checkpoints on disk: an Orbax folder with the model's config beside it."""

import contextlib
import errno
import json
import logging
import os
import re
import shutil
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import flax
import jax
import numpy as np
import orbax.checkpoint as ocp

from hmmn_jax.checkpoints.steps import BEST, STEPS, VARIABLES, find_step
from hmmn_jax.checkpoints.torch_file import read_metadata, read_torch_file
from hmmn_jax.checkpoints.torch_weights import check_shapes, from_torch
from hmmn_jax.errors import CheckpointError
from hmmn_jax.io.files import reason, user_path
from hmmn_jax.io.new_file import EXISTS
from hmmn_jax.io.notes import note
from hmmn_jax.model import HMMNConfig
from hmmn_jax.model.hmmn import abstract_variables

CONFIG_FILE = "config.json"
METADATA_KEY = "hmmn_config"


def load_checkpoint(path: str | Path, step: int | Literal["best"] | None = None) -> tuple[dict[str, Any], HMMNConfig]:
    """Variables and config of a model.

    Args:
      path: what `convert_weights.py` wrote; a training workdir; or one file, `.safetensors` or `.pth`, with official names (the
        released model, unless its metadata has a config).
      step: of a training workdir. A number; "best": of the steps that the run kept, the one with the highest J&F in its
        validation; None: the latest.

    Returns:
      NumPy arrays on the host (put them where you want them, once: `jax.device_put`), and the config.

    Raises:
      CheckpointError: a path that is not there, a file that is damaged or of another kind, or a step that is not there.
      MismatchError: tensors that are not those of the config; ten of them are listed.
      ValueError: `step` is neither an integer nor "best".
    """
    if not (step is None or step == BEST or isinstance(step, int | np.integer)):
        raise ValueError(f"step is {step!r}, expected an integer, {BEST!r} or None")
    path = user_path(path).absolute()
    if step is not None and (path.is_file() or (path / VARIABLES).is_dir()):
        raise CheckpointError(f"{path}: a single checkpoint, without steps; leave out the step, or give the workdir of a run")
    if path.is_file():
        metadata = read_metadata(path)
        config = _parse_config(metadata[METADATA_KEY], path) if METADATA_KEY in metadata else HMMNConfig()
        return _finite(from_torch(read_torch_file(path), config, str(path)), path), config
    if not path.is_dir():
        raise CheckpointError(f"{path}: no such file or folder; expected a checkpoint")
    config = load_config(path)
    is_single = (path / VARIABLES).is_dir()
    folder = path / VARIABLES if is_single else path / STEPS / str(find_step(path, step)) / VARIABLES
    return _finite(_restore(folder, config), folder), config


def load_config(path: Path) -> HMMNConfig:
    """The config of the model in a checkpoint folder or training workdir. Raises CheckpointError."""
    if not (path / CONFIG_FILE).is_file():
        raise CheckpointError(f"{path}: no {CONFIG_FILE} in it; expected a folder that convert_weights.py or train.py wrote")
    try:
        text = (path / CONFIG_FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise CheckpointError(f"{path / CONFIG_FILE}: not the config of a model ({reason(error)})") from error
    return _parse_config(text, path / CONFIG_FILE)


def save_checkpoint(path: str | Path, variables: dict[str, Any], config: HMMNConfig) -> None:
    """Writes a checkpoint folder, whole or not at all.

    Raises:
      CheckpointError: the folder exists, or cannot be written.
    """
    path = user_path(path).absolute()
    if os.path.lexists(path):
        raise CheckpointError(f"{path}: {EXISTS}")
    partial = path.with_name(f".{uuid.uuid4().hex[:12]}.partial")
    try:
        partial.mkdir(parents=True)
        _require_space(partial, sum(leaf.nbytes for leaf in jax.tree.leaves(variables)))
        (partial / CONFIG_FILE).write_text(config_to_json(config) + "\n", encoding="utf-8")
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
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        found = f"{type(error).__name__}: {_first_line(error)}"
        raise CheckpointError(f"{source}: not the config of a model ({found})") from error


def _finite(variables: dict[str, Any], source: Path) -> dict[str, Any]:
    """Tells of tensors that hold NaN or infinity, as those of a run that diverged do."""
    leaves = flax.traverse_util.flatten_dict(variables).items()
    wrong = ["/".join(path) for path, leaf in leaves if leaf.dtype.kind == "f" and not np.isfinite(leaf).all()]
    if wrong:
        note(f"{source}: {len(wrong)} tensors hold numbers that are not finite, such as {wrong[0]}; results will be useless")
    return variables


def _require_space(folder: Path, needed: int) -> None:
    """Raises OSError where too few bytes are free: Orbax would print pages from its threads before it fails."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"it takes {needed:,} bytes, {free:,} are free")


def _first_line(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.splitlines()[0][:200]


def _restore(folder: Path, config: HMMNConfig) -> dict[str, Any]:
    expected = {path: leaf.shape for path, leaf in flax.traverse_util.flatten_dict(abstract_variables(config)).items()}
    expected = {"/".join(path): shape for path, shape in expected.items()}
    with _unreadable(folder), ocp.PyTreeCheckpointer() as checkpointer:
        metadata = checkpointer.metadata(folder).item_metadata
        if metadata is None:
            raise ValueError("what describes its tensors is missing or damaged")
        leaves = flax.traverse_util.flatten_dict(metadata.tree).items()
        shapes = {"/".join(path): tuple(leaf.shape) for path, leaf in leaves}
    shapes = {_current_name(path): shape for path, shape in shapes.items()}
    check_shapes(shapes, expected, str(folder))  # before room is made for tensors of any size
    with _unreadable(folder), ocp.PyTreeCheckpointer() as checkpointer:
        variables = flax.traverse_util.flatten_dict(checkpointer.restore(folder), sep="/")
        named = {_current_name(path): _number(leaf) for path, leaf in variables.items()}
    return flax.traverse_util.unflatten_dict(named, sep="/")


def _current_name(path: str) -> str:
    """The path of a variable; until version 0.1 backbones were ResNets whose layers lay in the encoders and in `trunk`."""
    return re.sub(r"^(\w+/\w+_encoder)/(trunk/|(?=conv_|normalise/))", r"\1/backbone/", path)


@contextlib.contextmanager
def _unreadable(folder: Path) -> Iterator[None]:
    try:
        with quiet_orbax():
            yield
    except Exception as error:  # Orbax and TensorStore raise many types for a damaged folder
        found = f"{type(error).__name__}: {_first_line(error)}"
        raise CheckpointError(f"{folder}: not readable as an Orbax checkpoint ({found})") from error


@contextlib.contextmanager
def quiet_orbax() -> Iterator[None]:
    """Keeps what Orbax prints about a damaged folder from the screen: its error says it in one line.

    After a first error TensorStore reads on, and reports to an event loop that is closed by then, or to a task that nobody
    awaits, with a traceback for each tensor. As these come at any time, the filters stay where the block fails.
    """
    logger, hook = logging.getLogger("absl"), sys.unraisablehook
    level, asyncio = logger.level, logging.getLogger("asyncio")

    def tell_others(found: Any) -> None:
        if not any(text in str(found.exc_value) for text in ("Event loop is closed", "was never awaited")):
            hook(found)

    sys.unraisablehook = tell_others
    asyncio.addFilter(_is_not_of_a_tensor)
    logger.setLevel(logging.CRITICAL)
    try:
        yield
        sys.unraisablehook = hook
        asyncio.removeFilter(_is_not_of_a_tensor)
    finally:
        logger.setLevel(level)


def _is_not_of_a_tensor(record: logging.LogRecord) -> bool:
    return not any(word in record.getMessage() for word in ("tensorstore", "orbax", "zarr", "OCDBT"))


def _number(leaf: Any) -> np.ndarray:
    array = np.asarray(leaf)
    if array.dtype.kind not in "fi":
        raise ValueError(f"a tensor of {array.dtype}")
    return array
