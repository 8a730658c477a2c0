"""Reads and writes PyTorch checkpoint files without executing code from them.

PyTorch is required only to read the older, non-zip format, and to write `.pth` and `.pt` files. When a file is read, the format
is detected from the content of the file, not from its suffix:

- a safetensors file is read by the `safetensors` library;
- a zip written by `torch.save` is read by `torch_zip`;
- the older, non-zip format of `torch.save` is read by `torch.load(..., weights_only=True)`;
- all other files, such as plain pickles, are rejected.
"""

import contextlib
import errno
import io
import os
import pickle
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from hmmn_jax.checkpoints.torch_zip import BFLOAT16, SAVE_ANEW, Refused, flat_tensors, read_zip, unpickle
from hmmn_jax.errors import CheckpointError, HMMNError
from hmmn_jax.io.files import lies_there, read_start, reason, shorten, user_path
from hmmn_jax.io.local_copy import local_copy
from hmmn_jax.io.new_file import EXISTS, write_new_file

_SAFETENSORS_DTYPES = {"BF16": BFLOAT16, "BOOL": np.dtype("?")} | {
    f"{kind.upper()}{8 * size}": np.dtype(f"<{kind}{size}")
    for kind, sizes in {"f": (2, 4, 8), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8)}.items()
    for size in sizes
}
_LEGACY_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the pickled number 0x1950A86A20F9469CFC6C
_MOST_PICKLE = 1 << 24  # maximum number of bytes of a rejected file that are inspected
_INSTALL = "Install PyTorch 2.6 or later (pip install torch)"


def read_torch_file(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads a `.safetensors` or `torch.save` file and returns its tensors by name; the arrays may be read-only.

    Raises CheckpointError for a file that is missing, damaged, malicious or in an unsupported format.
    """
    return read_with_metadata(path)[0]


def read_with_metadata(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Returns the tensors of a file by name, and the `__metadata__` of a safetensors file, or {} for other formats."""
    path = user_path(path, buckets=True)
    with _one_line_errors(path, "cannot be read", SAVE_ANEW), local_copy(path) as local:
        kind = _kind(local)
        metadata: dict[str, str] = {}
        if kind == "safetensors":
            with safetensors.safe_open(local, framework="numpy") as file:
                metadata = file.metadata() or {}
        return _READERS[kind](local), metadata


def write_torch_file(
    path: str | os.PathLike,
    tensors: Mapping[str, np.ndarray],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes `tensors` to a new `.safetensors` file or, using PyTorch, to a new `.pth` or `.pt` file.

    The file is written atomically. Only safetensors files store `metadata`. Raises CheckpointError if the file exists, has an
    unsupported suffix or cannot be written, or if PyTorch is required but not installed.
    """
    path = user_path(path, buckets=True)
    with _one_line_errors(path, "cannot be written", "Pass arrays of numbers"):
        if lies_there(path):
            raise FileExistsError(errno.EEXIST, EXISTS)
        arrays = {name: _native(tensor) for name, tensor in tensors.items()}
        if path.suffix == ".safetensors":
            content = safetensors.numpy.save(arrays, dict(metadata or {}) or None)
        elif path.suffix in (".pth", ".pt"):
            content = _torch_bytes(arrays)
        else:
            raise Refused(f"the suffix {path.suffix!r} is unknown", "Use .safetensors, .pth or .pt")
        write_new_file(path, content)


@contextlib.contextmanager
def _one_line_errors(path: str | os.PathLike, verb: str, expected: str) -> Iterator[None]:
    """Converts any error caused by a damaged or malicious file to a one-line CheckpointError."""
    try:
        yield
    except Refused as error:
        raise CheckpointError(f"{path} {verb}: {error}") from error
    except OSError as error:
        raise CheckpointError(f"{path} {verb}: {reason(error)}") from error
    except HMMNError as error:  # the message already names the file
        raise CheckpointError(str(error)) from error
    except Exception as error:  # each library raises different exceptions for a damaged file
        found = f"the content is damaged or unsupported ({shorten(error)})"
        raise CheckpointError(f"{path} {verb}: {found}. {expected}") from error


def _kind(path: Path) -> str:
    if path.exists() and not path.is_file() and not path.is_dir():  # reading a pipe or a device may block forever
        raise Refused("the path is neither a file nor a folder")
    head = read_start(path, 64)
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if head[4:9] == b"\0\0\0\0{":  # the file begins with a header length below 4 GiB, followed by JSON
        return "safetensors"
    return "legacy" if head.startswith(b"\x80") and _LEGACY_MAGIC in head else "other"


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    arrays = {}
    # `deserialize` returns the tensors in any order.
    views = sorted(safetensors.deserialize(path.read_bytes()), key=lambda item: item[0])
    for name, view in views:
        if view["dtype"] not in _SAFETENSORS_DTYPES:
            raise Refused(f"tensor {shorten(name)!r} has the unsupported dtype {view['dtype']}")
        flat = np.frombuffer(view["data"], _SAFETENSORS_DTYPES[view["dtype"]])
        arrays[name] = flat.reshape(view["shape"])
    return arrays


def _read_legacy(path: Path) -> dict[str, np.ndarray]:
    found = "the file is in the older, non-zip format of torch.save"
    try:
        import torch
    except ImportError:
        raise Refused(found, f"{_INSTALL} to read this format") from None
    if tuple(int(n) for n in torch.__version__.split(".")[:2]) < (2, 6):
        # Before PyTorch 2.6, files could execute code despite weights_only=True (CVE-2025-32434).
        raise Refused(f"{found}, which is unsafe in PyTorch {torch.__version__}", _INSTALL)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # the message names the rejected object, then gives long advice
        refused = re.search(r"GLOBAL [\w.]+|Unsupported operand \d+", str(error))
        why = refused[0] if refused else shorten(error)
        raise Refused(f"{found}, and PyTorch refuses to load it ({why})") from error
    except Exception as error:
        raise Refused(f"{found}, and is damaged ({shorten(error)})") from error
    arrays = {}
    for name, tensor in flat_tensors(loaded, torch.Tensor).items():
        bf16 = tensor.dtype == torch.bfloat16
        array = (tensor.detach().view(torch.int16) if bf16 else tensor.detach()).numpy()
        arrays[name] = array.view(BFLOAT16) if bf16 else array
    return arrays


def _refuse(path: Path) -> dict[str, np.ndarray]:
    """Raises Refused for a file in an unsupported format. For a plain pickle, the error names the rejected import."""
    content = read_start(path, _MOST_PICKLE)
    found = "the file is neither a torch.save file nor a safetensors file" if content else "the file is empty"
    if content.startswith(b"\x80"):
        found = "the file is a plain pickle, which is not supported"
        try:
            unpickle(content)
        except Exception as error:
            found += f" ({shorten(error).partition('. ')[0]})"
    raise Refused(found)


_READERS = {
    "zip": read_zip,
    "safetensors": _read_safetensors,
    "legacy": _read_legacy,
    "other": _refuse,
}


def _native(tensor: Any) -> np.ndarray:
    """Returns a contiguous, native-endian copy of a tensor. The copy of a 0-d tensor is also 0-d."""
    array = np.array(tensor, order="C")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _torch_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    try:
        import torch
    except ImportError:
        way_out = "Install PyTorch (pip install torch), or write a .safetensors file"
        raise Refused("writing a .pth file requires PyTorch", way_out) from None
    tensors = OrderedDict()
    for name, array in arrays.items():
        bf16 = array.dtype == BFLOAT16
        tensor = torch.from_numpy(array.view(np.int16) if bf16 else array)
        tensors[name] = tensor.view(torch.bfloat16) if bf16 else tensor
    file = io.BytesIO()
    torch.save(tensors, file)
    return file.getvalue()
