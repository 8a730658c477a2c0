"""What the masks in a folder were made with, so that a run goes on only where it would make the same."""

import hashlib
import json
from pathlib import Path
from typing import Any

import flax
import numpy as np
from ml_collections import ConfigDict

from hmmn_jax.errors import ConfigError, DataError
from hmmn_jax.evaluation.outputs import MASKS
from hmmn_jax.layouts import atomic_path
from hmmn_jax.layouts.files import reason

RECORD = "run.json"
# Settings of an evaluation that leave the masks of a sequence as they are.
_FREE = frozenset(("sequences", "single_object", "submission", "objects_per_batch", "save_scores", "fps"))


def mask_settings(config: ConfigDict) -> dict[str, Any]:
    """The settings of an evaluation on which masks depend."""
    return {key: value for key, value in config.to_dict().items() if key not in _FREE}


def weights_digest(variables: dict[str, Any]) -> str:
    """SHA-256 of names, types and values of all variables, wherever they were read from."""
    digest = hashlib.sha256()
    for path, leaf in sorted(flax.traverse_util.flatten_dict(variables).items()):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{'/'.join(path)} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def claim_folder(folder: Path, made_with: dict[str, Any]) -> None:
    """Writes `folder/run.json`, or checks that the one there says the same.

    `made_with` has all that masks depend on, as JSON has it. Raises ConfigError where the folder has masks made with anything
    else, and DataError where it cannot be written to.
    """
    path, made_with = folder / RECORD, json.loads(json.dumps(made_with))
    way_out = "give another --output, or remove this one"
    if not path.is_file():
        if (folder / MASKS).is_dir():
            raise ConfigError(f"{folder / MASKS}: masks without {RECORD}, so what made them is unknown; {way_out}")
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(made_with, indent=2) + "\n", encoding="utf-8")
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {reason(error)}; {way_out}") from error
    before, now = _flatten(found), _flatten(made_with)
    if changed := [key for key in {**now, **before} if before.get(key) != now.get(key)]:
        key = changed[0]
        raise ConfigError(
            f"{path}: the masks there were made with {key} {before.get(key)}, now it is {now.get(key)}; {way_out}"
        )


def _flatten(tree: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {name: tree}
    return {k: v for key, value in tree.items() for k, v in _flatten(value, f"{name}.{key}".lstrip(".")).items()}
