"""Loads checkpoints from Orbax folders or PyTorch files. Saves checkpoints as Orbax folders with the config of the model."""

import contextlib
import functools
import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import flax
import jax
import numpy as np

from hmmn_jax.checkpoints.steps import BEST, STEPS, VARIABLES, find_step
from hmmn_jax.checkpoints.torch_file import read_with_metadata
from hmmn_jax.checkpoints.torch_weights import check_shapes, from_torch
from hmmn_jax.errors import CheckpointError
from hmmn_jax.io.buckets import AnyPath, absolute
from hmmn_jax.io.bundled import TERMS, WEIGHTS
from hmmn_jax.io.files import bucket_errors, lies_there, reason, require_space, user_path, write_file
from hmmn_jax.io.local_copy import local_copy
from hmmn_jax.io.new_file import EXISTS, new_folder
from hmmn_jax.io.notes import note
from hmmn_jax.model import HMMNConfig
from hmmn_jax.model.hmmn import abstract_variables

CONFIG_FILE = "config.json"
METADATA_KEY = "hmmn_config"


def load_checkpoint(path: str | os.PathLike, step: int | Literal["best"] | None = None) -> tuple[dict[str, Any], HMMNConfig]:
    """Loads the variables and the config of a model.

    Args:
        path: the output of `hmmn-jax convert` or `convert_weights.py`, a training workdir, or a single `.safetensors` or `.pth`
            file with official tensor names. A single file is loaded as the published network, unless the file's metadata
            contains a config. The path is local or in a bucket (`gs://...`). The name "lite" selects the bundled model, unless
            a file or folder with this name exists. The licence terms of the bundled weights are printed once per process.
        step: the step of a training workdir. Pass a number, "best" for the step with the highest validation J&F among the
            existing checkpoints, or None for the latest step.

    Returns:
        The variables as NumPy arrays on the host, and the config. To use the variables more than once, put them on the device
        with `jax.device_put`.

    Raises:
        CheckpointError: the path or step does not exist, or the file is damaged or has an unsupported format.
        MismatchError: the tensors do not match the config. The message lists up to ten differences.
        DataError: the URL has an unsupported scheme.
        ValueError: `step` is neither an integer nor "best".
    """
    if not (step is None or step == BEST or isinstance(step, int | np.integer)):
        raise ValueError(f"step is {step!r}, expected an integer, {BEST!r} or None")
    path = find_checkpoint(path)
    if path in WEIGHTS.values():
        _tell_terms()
    is_file = is_checkpoint_file(path)
    with _one_line_errors(path):
        is_single = is_file or (path / VARIABLES).is_dir()
    if step is not None and is_single:
        raise CheckpointError(f"{path} is a single checkpoint and has no steps. Omit the step, or pass the workdir of a run")
    if is_file:
        tensors, metadata = read_with_metadata(path)
        config = _parse_config(metadata[METADATA_KEY], path) if METADATA_KEY in metadata else HMMNConfig()
        return _finite(from_torch(tensors, config, str(path)), path), config
    config = load_config(path)
    with _one_line_errors(path):
        folder = path / VARIABLES if is_single else path / STEPS / str(find_step(path, step)) / VARIABLES
    return _finite(_restore(folder, config), folder), config


def find_checkpoint(path: str | os.PathLike) -> AnyPath:
    """Returns the absolute path of a checkpoint.

    If `path` is the name of a bundled model, and no file or folder has this name, returns the path of the bundled model.

    Raises:
      DataError: the URL has an unsupported scheme.
    """
    found = user_path(path, buckets=True)
    bundled = WEIGHTS.get(str(found))
    return absolute(found) if bundled is None or lies_there(found) else bundled


@functools.cache  # the terms are printed once per process
def _tell_terms() -> None:
    note(f"the bundled weights are {TERMS}")


def is_checkpoint_file(path: AnyPath) -> bool:
    """Returns whether a checkpoint is a file. Raises CheckpointError if neither a file nor a folder exists."""
    with _one_line_errors(path):
        if path.is_file():
            return True
        if not path.is_dir():
            names = ", ".join(WEIGHTS)
            raise CheckpointError(f"{path}: no such file or folder. Pass a checkpoint, or a bundled model ({names})")
        return False


def load_config(path: AnyPath) -> HMMNConfig:
    """Reads the model's config from a checkpoint folder or training workdir. Raises CheckpointError on failure."""
    with _one_line_errors(path):
        if not (path / CONFIG_FILE).is_file():
            raise CheckpointError(
                f"{path}: the folder does not contain {CONFIG_FILE}. Pass a folder that convert_weights.py or train.py wrote"
            )
    try:
        with bucket_errors(path):
            text = (path / CONFIG_FILE).read_bytes().decode()
    except (OSError, UnicodeError) as error:
        raise CheckpointError(f"{path / CONFIG_FILE}: the content is not the config of a model ({reason(error)})") from error
    return _parse_config(text, path / CONFIG_FILE)


def save_checkpoint(path: str | os.PathLike, variables: dict[str, Any], config: HMMNConfig) -> None:
    """Writes a checkpoint folder atomically.

    Raises:
      CheckpointError: the folder exists, or cannot be written.
      DataError: the path is in a bucket.
    """
    import orbax.checkpoint as ocp  # imported here, because the import is slow, and bundled models do not need Orbax

    path = user_path(path).absolute()
    if lies_there(path):
        raise CheckpointError(f"{path} {EXISTS}")
    try:
        with new_folder(path) as partial:
            require_space(partial, sum(leaf.nbytes for leaf in jax.tree.leaves(variables)))
            write_file(partial / CONFIG_FILE, config_to_json(config) + "\n")
            with ocp.StandardCheckpointer() as checkpointer:
                checkpointer.save(partial / VARIABLES, variables)
    except Exception as error:  # Orbax and TensorStore raise many exception types other than OSError
        raise CheckpointError(f"{path} cannot be written: {reason(error, line=0)}") from error


def config_to_json(config: HMMNConfig) -> str:
    """Converts the model's config to JSON, in the format that `load_checkpoint` reads."""
    return json.dumps({"model": config.to_dict()}, indent=2)


def _parse_config(text: str, source: AnyPath) -> HMMNConfig:
    try:
        fields = json.loads(text)["model"].items()
        return HMMNConfig.from_dict({name: tuple(value) if isinstance(value, list) else value for name, value in fields})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        found = f"{type(error).__name__}: {reason(error, line=0)}"
        raise CheckpointError(f"{source}: the content is not the config of a model ({found})") from error


def _finite(variables: dict[str, Any], source: AnyPath) -> dict[str, Any]:
    """Returns the given variables. Prints a note if tensors contain NaN or infinity, for example because a run diverged."""
    leaves = flax.traverse_util.flatten_dict(variables).items()
    wrong = ["/".join(path) for path, leaf in leaves if leaf.dtype.kind == "f" and not np.isfinite(leaf).all()]
    if wrong:
        note(f"{source}: {len(wrong)} tensors contain NaN or infinity, such as {wrong[0]}. The results will be meaningless")
    return variables


@contextlib.contextmanager
def _one_line_errors(path: AnyPath) -> Iterator[None]:
    """Converts an OSError raised while inspecting a checkpoint to a CheckpointError."""
    try:
        with bucket_errors(path):
            yield
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {reason(error)}") from error


def _restore(folder: AnyPath, config: HMMNConfig) -> dict[str, Any]:
    """Reads variables from an Orbax folder.

    A folder in a bucket is copied first, because Orbax supports only some storage services.
    """
    with contextlib.ExitStack() as stack:
        with _one_line_errors(folder):
            local = stack.enter_context(local_copy(folder))
        return _restore_local(local, config, str(folder))


def _restore_local(folder: Path, config: HMMNConfig, source: str) -> dict[str, Any]:
    import orbax.checkpoint as ocp

    expected = {path: leaf.shape for path, leaf in flax.traverse_util.flatten_dict(abstract_variables(config)).items()}
    expected = {"/".join(path): shape for path, shape in expected.items()}
    with _unreadable(source), ocp.PyTreeCheckpointer() as checkpointer:
        metadata = checkpointer.metadata(folder).item_metadata
        if metadata is None:
            raise ValueError("the description of the tensors is missing or damaged")
        leaves = flax.traverse_util.flatten_dict(metadata.tree).items()
        shapes = {"/".join(path): tuple(leaf.shape) for path, leaf in leaves}
    shapes = {_current_name(path): shape for path, shape in shapes.items()}
    check_shapes(shapes, expected, source)  # raises an error before memory is allocated for the tensors
    with _unreadable(source), ocp.PyTreeCheckpointer() as checkpointer:
        variables = flax.traverse_util.flatten_dict(checkpointer.restore(folder), sep="/")
        named = {_current_name(path): _number(leaf) for path, leaf in variables.items()}
    return flax.traverse_util.unflatten_dict(named, sep="/")


def _current_name(path: str) -> str:
    """Converts the path of a variable in a checkpoint of version 0.1 to the current path.

    Version 0.1 stored the ResNet layers directly in the encoders and in `trunk`.
    """
    return re.sub(r"^(\w+/\w+_encoder)/(trunk/|(?=conv_|normalise/))", r"\1/backbone/", path)


@contextlib.contextmanager
def _unreadable(source: str) -> Iterator[None]:
    try:
        with quiet_orbax():
            yield
    except Exception as error:  # Orbax and TensorStore raise many exception types for a damaged folder
        found = f"{type(error).__name__}: {reason(error, line=0)}"
        raise CheckpointError(f"{source} cannot be read as an Orbax checkpoint ({found})") from error


@contextlib.contextmanager
def quiet_orbax() -> Iterator[None]:
    """Suppresses Orbax's messages about a damaged folder, because the error already reports the damage.

    After an error, TensorStore continues to read. TensorStore reports further errors to a closed event loop or to a task that
    is not awaited, so a traceback is printed for each tensor. Tracebacks can appear at any time after an error, so the filters
    stay active if the block fails.
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
        raise ValueError(f"a tensor has the dtype {array.dtype}, expected floats or integers")
    return array
