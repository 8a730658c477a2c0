"""Read and write PyTorch checkpoint files without PyTorch, executing nothing from them.

The content decides how a file is read, never its suffix:

- a safetensors file is read by the `safetensors` library;
- a zip as `torch.save` writes it is read here. Its pickle can only name tensors: the unpickler
  yields descriptions of where they lie, and the arrays are made from those afterwards;
- the older, non-zip form of `torch.save` is left to `torch.load(..., weights_only=True)`;
- a bare pickle, and anything else, is refused.
"""

import contextlib
import io
import os
import pickle
import pickletools
import re
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy

from .errors import CheckpointError

_BF16 = np.dtype(ml_dtypes.bfloat16)
_TORCH_DTYPES = {"BFloat16": _BF16} | {
    name: np.dtype(code)
    for name, code in zip(
        ("Double", "Float", "Half", "Long", "Int", "Short", "Char", "Byte", "Bool"),
        ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u1", "?"),
        strict=True,
    )
}
_SAFETENSORS_DTYPES = {"BF16": _BF16, "BOOL": np.dtype("?")} | {
    f"{kind.upper()}{8 * size}": np.dtype(f"<{kind}{size}")
    for kind, sizes in {"f": (2, 4, 8), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8)}.items()
    for size in sizes
}
_LEGACY_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the pickled 0x1950A86A20F9469CFC6C
_MAX_TUPLES = 20_000  # torch writes four to six for each tensor
_SAVE_ANEW = (
    "expected the flat name -> tensor mapping of torch.save(model.state_dict(), path) or a "
    "safetensors file: download it again, or save it anew in that way"
)
_JIT = "save its weights: torch.save(torch.jit.load(path, 'cpu').state_dict(), new_path)"
_INSTALL = "install PyTorch 2.6 or later (pip install torch)"


class _Refused(Exception):
    """Why a file is refused, and what the user can do about it."""

    def __init__(self, found: str, way_out: str = _SAVE_ANEW):
        super().__init__(f"{found}; {way_out}")


def read_torch_file(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Take a `.safetensors` or `torch.save` file, give its tensors by name (maybe read-only).

    Raises CheckpointError for a file that is missing, damaged, hostile or of another kind.
    """
    with _one_line_errors(path, "cannot be read", _SAVE_ANEW):
        return _READERS[_kind(path)](Path(path))


def read_metadata(path: str | os.PathLike) -> dict[str, str]:
    """Take a checkpoint, give the `__metadata__` of a safetensors file, {} for any other kind.

    Raises CheckpointError for a file that is missing or damaged.
    """
    with _one_line_errors(path, "cannot be read", _SAVE_ANEW):
        if _kind(path) != "safetensors":
            return {}
        with safetensors.safe_open(path, framework="numpy") as file:
            return file.metadata() or {}


def write_torch_file(
    path: str | os.PathLike,
    tensors: Mapping[str, np.ndarray],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write `tensors` to a `.safetensors` file, or with PyTorch to a `.pth` or `.pt` file.

    The file appears whole or not at all. Only safetensors keeps `metadata`. Raises CheckpointError
    for another suffix, where PyTorch is needed and absent, and where the file cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with _one_line_errors(path, "cannot be written", "expected arrays of numbers"):
        arrays = {name: _native(tensor) for name, tensor in tensors.items()}
        if path.suffix == ".safetensors":
            content = safetensors.numpy.save(arrays, dict(metadata or {}) or None)
        elif path.suffix in (".pth", ".pt"):
            content = _torch_bytes(arrays)
        else:
            raise _Refused(f"unknown suffix {path.suffix!r}", "use .safetensors, .pth or .pt")
        try:
            temporary.write_bytes(content)
            os.replace(temporary, path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()


@contextlib.contextmanager
def _one_line_errors(path: str | os.PathLike, verb: str, expected: str):
    """Turn whatever a damaged or hostile file provokes into a CheckpointError of one line."""
    try:
        yield
    except _Refused as error:
        raise CheckpointError(f"{path}: {verb}: {error}") from error
    except OSError as error:
        raise CheckpointError(f"{path}: {verb}: {error.strerror or _short(error)}") from error
    except Exception as error:  # each library that reads a damaged file raises its own kinds
        found = f"damaged or unsupported content ({_short(error)})"
        raise CheckpointError(f"{path}: {verb}: {found}; {expected}") from error


def _short(found: object) -> str:
    """Give the text of something foreign on one line: no control characters, no endless names."""
    text = str(found) or type(found).__name__
    text = " ".join("".join(c if c.isprintable() else " " for c in text[:2000]).split())
    return text if len(text) <= 200 else f"{text[:200]}..."


def _type(found: object) -> str:
    return type(found).__name__.lstrip("_")


def _kind(path: str | os.PathLike) -> str:
    with open(path, "rb") as file:
        head = file.read(64)
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if head[4:9] == b"\0\0\0\0{":  # a header length below 4 GiB, then JSON
        return "safetensors"
    return "legacy" if head.startswith(b"\x80") and _LEGACY_MAGIC in head else "other"


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    arrays = {}
    for name, view in safetensors.deserialize(path.read_bytes()):
        if view["dtype"] not in _SAFETENSORS_DTYPES:
            raise _Refused(f"tensor {_short(name)!r} has the unsupported dtype {view['dtype']}")
        flat = np.frombuffer(view["data"], _SAFETENSORS_DTYPES[view["dtype"]])
        arrays[name] = flat.reshape(view["shape"])
    return arrays


def _read_zip(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: info for info in archive.infolist()}
        pickles = [name for name in members if name.endswith("/data.pkl")]
        prefix = pickles[0].removesuffix("data.pkl") if len(pickles) == 1 else ""
        if any(n == f"{prefix}constants.pkl" or n.startswith(f"{prefix}code/") for n in members):
            raise _Refused("a TorchScript archive, not a checkpoint", _JIT)
        if not prefix:
            raise _Refused(f"a zip with {len(pickles)} entries */data.pkl where one was expected")
        for info in members.values():
            if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
                raise _Refused(f"the zip entry {_short(info.filename)!r} is compressed")
        if sum(info.file_size for info in members.values()) > path.stat().st_size:
            raise _Refused("the zip entries claim more bytes than the file has")
        swap = _byteorder(archive, f"{prefix}byteorder") != sys.byteorder
        tensors = _flat(_unpickle(archive.read(pickles[0])), _Tensor)
        buffers: dict[_Storage, bytes] = {}
        for storage in {tensor.storage for tensor in tensors.values()}:
            record = f"{prefix}data/{storage.key}"
            if record not in members:
                raise _Refused(f"the storage record {_short(record)!r} is missing")
            buffers[storage] = _buffer(archive.read(record), storage, swap)
        return {name: _array(name, t, buffers[t.storage]) for name, t in tensors.items()}


class _StorageType(NamedTuple):
    dtype: np.dtype


class _Storage(NamedTuple):
    dtype: np.dtype
    key: str
    count: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _StateDict(dict):
    """An OrderedDict that has no attributes for a pickle to set."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        """Drop the `_metadata` of a state dict."""


class _Callable(NamedTuple):
    """What a pickle may call: immutable, where BUILD could alter a function or a class."""

    make: Callable[..., Any]

    def __call__(self, *args: Any) -> Any:
        return self.make(*args)


def _make_tensor(storage, offset, size, stride, _grad=False, _hooks=None, _metadata=None):
    numbers = (offset, *size, *stride)
    if not isinstance(storage, _Storage) or not all(type(n) is int and n >= 0 for n in numbers):
        raise _Refused("the pickle describes a tensor by something other than natural numbers")
    return _Tensor(storage, offset, tuple(size), tuple(stride))


_GLOBALS: dict[str, object] = {
    "collections.OrderedDict": _Callable(lambda: _StateDict()),  # as torch writes it: no arguments
    "torch._utils._rebuild_tensor_v2": _Callable(_make_tensor),
    "torch._utils._rebuild_parameter": _Callable(lambda data, _grad, _hooks: data),
    **{f"torch.{name}Storage": _StorageType(dtype) for name, dtype in _TORCH_DTYPES.items()},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        if (found := _GLOBALS.get(f"{module}.{name}")) is None:
            raise _Refused(f"the pickle asks for {_short(f'{module}.{name}')}, which is refused")
        return found

    def persistent_load(self, pid: object) -> _Storage:
        match pid:
            case ("storage", _StorageType(dtype), str(key), _, int(count)) if count >= 0:
                return _Storage(dtype, key, count)
        raise _Refused("the pickle refers to a storage in an unknown way")


def _unpickle(data: bytes) -> object:
    tuples = 0
    for opcode, argument, _ in pickletools.genops(data):  # raises where a length is a lie
        # The unpickler would allocate a memo of any size, and hashing a tuple nested 100 000 deep
        # overflows the C stack.
        if opcode.name.endswith("PUT") and int(argument) > len(data):
            raise _Refused(f"the pickle has the absurd memo index {argument}")
        tuples += "TUPLE" in opcode.name
    if tuples > _MAX_TUPLES:
        raise _Refused(f"the pickle builds {tuples} tuples, more than {_MAX_TUPLES}")
    return _Unpickler(io.BytesIO(data)).load()


def _byteorder(archive: zipfile.ZipFile, record: str) -> str:
    order = archive.read(record) if record in archive.namelist() else b"little"
    if order not in (b"little", b"big"):
        raise _Refused(f"byteorder {_short(order)} where little or big was expected")
    return order.decode()


def _buffer(data: bytes, storage: _Storage, swap: bool) -> bytes:
    needed = storage.count * storage.dtype.itemsize
    if len(data) < needed:
        raise _Refused(f"storage {_short(storage.key)!r} has {len(data)} bytes where {needed} were expected")
    if not swap:
        return data
    return np.frombuffer(data[:needed], f"u{storage.dtype.itemsize}").byteswap().tobytes()


def _array(name: str, tensor: _Tensor, buffer: bytes) -> np.ndarray:
    """Give the view of `buffer` that `tensor` describes, which must lie inside its storage."""
    (dtype, _, count), offset, size, stride = tensor
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if 0 in size:
        return np.empty(size, dtype)
    if last >= count:
        raise _Refused(f"tensor {_short(name)!r} reaches element {last} of a storage of {count}")
    # A step of an axis of length one is never taken, and may be any number.
    steps = [step * dtype.itemsize if n > 1 else 0 for n, step in zip(size, stride, strict=True)]
    return np.ndarray(size, dtype, buffer, offset * dtype.itemsize, steps)


def _flat(loaded: object, tensor_type: type) -> dict[str, Any]:
    """Give `loaded` if it is a dict of tensors by name, else say where it differs."""
    if not isinstance(loaded, dict):
        raise _Refused(f"the top level is of type {_type(loaded)}")
    for key, value in loaded.items():
        if isinstance(value, dict) and any(isinstance(v, tensor_type) for v in value.values()):
            part = f"torch.load(path, weights_only=True)[{_short(repr(key))}]"
            raise _Refused(
                f"the tensors lie one level down, under {_short(repr(key))}",
                f"save that part alone: torch.save({part}, new_path)",
            )
    for key, value in loaded.items():
        if not isinstance(key, str) or not isinstance(value, tensor_type):
            kind = "a tensor" if isinstance(value, tensor_type) else _type(value)
            raise _Refused(f"key {_short(repr(key))} holds {kind}, not a named tensor")
    return loaded


def _read_legacy(path: Path) -> dict[str, np.ndarray]:
    found = "the older, non-zip form of torch.save"
    try:
        import torch
    except ImportError:
        raise _Refused(found, f"to read it, {_INSTALL}") from None
    if tuple(int(n) for n in torch.__version__.split(".")[:2]) < (2, 6):
        # Before 2.6 weights_only=True could still run code: CVE-2025-32434.
        raise _Refused(f"{found}, unsafe in PyTorch {torch.__version__}", _INSTALL)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # a page of advice around the one thing refused
        refused = re.search(r"GLOBAL [\w.]+|Unsupported operand \d+", str(error))
        reason = refused[0] if refused else _short(error)
        raise _Refused(f"{found}, which PyTorch refuses ({reason})") from error
    except Exception as error:
        raise _Refused(f"{found}, damaged ({_short(error)})") from error
    arrays = {}
    for name, tensor in _flat(loaded, torch.Tensor).items():
        bf16 = tensor.dtype == torch.bfloat16
        array = (tensor.detach().view(torch.int16) if bf16 else tensor.detach()).numpy()
        arrays[name] = array.view(_BF16) if bf16 else array
    return arrays


def _refuse(path: Path) -> dict[str, np.ndarray]:
    """Refuse what is neither format, and name what a bare pickle would have called."""
    content = path.read_bytes()
    found = "neither a torch.save nor a safetensors file" if content else "an empty file"
    if content.startswith(b"\x80"):
        found = "a bare pickle, which is not read"
        try:
            _unpickle(content)
        except Exception as error:
            found += f" ({_short(error).partition(';')[0]})"
    raise _Refused(found)


_READERS = {
    "zip": _read_zip,
    "safetensors": _read_safetensors,
    "legacy": _read_legacy,
    "other": _refuse,
}


def _native(tensor: Any) -> np.ndarray:
    """Give a contiguous, native-endian copy, which a 0-d tensor survives as 0-d."""
    array = np.array(tensor, order="C")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _torch_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    try:
        import torch
    except ImportError:
        way_out = "install PyTorch (pip install torch), or write a .safetensors file"
        raise _Refused("a .pth file needs PyTorch", way_out) from None
    tensors = OrderedDict()
    for name, array in arrays.items():
        bf16 = array.dtype == _BF16
        tensor = torch.from_numpy(array.view(np.int16) if bf16 else array)
        tensors[name] = tensor.view(torch.bfloat16) if bf16 else tensor
    file = io.BytesIO()
    torch.save(tensors, file)
    return file.getvalue()
