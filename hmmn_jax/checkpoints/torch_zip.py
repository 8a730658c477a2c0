"""Reads tensors from PyTorch's zip format without executing code from the pickle in the zip file.

The unpickler only accepts the few functions and types that are needed to rebuild tensors. The unpickler returns the
position of each tensor in the file. The arrays are then created from these positions, with bounds checks.
"""

import io
import pickle
import pickletools
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from hmmn_jax.io.files import shorten

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
_TORCH_DTYPES = {"BFloat16": BFLOAT16} | {
    name: np.dtype(code)
    for name, code in zip(
        ("Double", "Float", "Half", "Long", "Int", "Short", "Char", "Byte", "Bool"),
        ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u1", "?"),
        strict=True,
    )
}
SAVE_ANEW = (
    "The file must be a safetensors file, or the output of torch.save(model.state_dict(), path). "
    "Download the file again, or save the weights in one of these formats"
)
_JIT = "Save the weights with torch.save(torch.jit.load(path, 'cpu').state_dict(), new_path)"
_MAX_TUPLES = 20_000  # PyTorch writes four to six tuples for each tensor


class Refused(Exception):
    """Raised if a file is rejected. The message states the reason and a way to fix the file."""

    def __init__(self, found: str, way_out: str = SAVE_ANEW):
        super().__init__(f"{found}. {way_out}")


def _type(found: object) -> str:
    return type(found).__name__.lstrip("_")


def read_zip(path: Path) -> dict[str, np.ndarray]:
    """Returns the tensors by name, as read-only views of their storages. Raises Refused or an error of `zipfile`."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: info for info in archive.infolist()}
        pickles = [name for name in members if name.endswith("/data.pkl")]
        prefix = pickles[0].removesuffix("data.pkl") if len(pickles) == 1 else ""
        if any(n == f"{prefix}constants.pkl" or n.startswith(f"{prefix}code/") for n in members):
            raise Refused("the file is a TorchScript archive, not a checkpoint", _JIT)
        if not prefix:
            raise Refused(f"the zip file has {len(pickles)} entries */data.pkl, expected one")
        for info in members.values():
            if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
                raise Refused(f"the zip entry {shorten(info.filename)!r} is compressed")
        if sum(info.file_size for info in members.values()) > path.stat().st_size:
            raise Refused("the sizes of the zip entries add up to more than the size of the file")
        swap = _byteorder(archive, f"{prefix}byteorder") != sys.byteorder
        tensors = flat_tensors(unpickle(archive.read(pickles[0])), _Tensor)
        buffers: dict[_Storage, bytes] = {}
        for storage in {tensor.storage for tensor in tensors.values()}:
            record = f"{prefix}data/{storage.key}"
            if record not in members:
                raise Refused(f"the storage record {shorten(record)!r} is missing")
            buffers[storage] = _buffer(archive.read(record), storage, swap)
        return {name: _array(name, t, buffers[t.storage]) for name, t in tensors.items()}


class _StorageType(NamedTuple):
    dtype: np.dtype


class _Storage(NamedTuple):
    dtype: np.dtype
    key: str
    length: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _StateDict(dict):
    """A substitute for OrderedDict that has no attributes, so that a pickle cannot set attributes."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        """Ignores the `_metadata` of a state dict."""


class _Callable(NamedTuple):
    """A function that a pickle may call. The type is immutable, so that the opcode BUILD cannot change a function."""

    make: Callable[..., Any]

    def __call__(self, *args: Any) -> Any:
        return self.make(*args)


def _make_tensor(
    storage: Any, offset: Any, size: Any, stride: Any, _grad: Any = False, _hooks: Any = None, _metadata: Any = None
) -> _Tensor:
    numbers = (offset, *size, *stride)
    if not isinstance(storage, _Storage) or not all(type(n) is int and n >= 0 for n in numbers):
        raise Refused("the pickle describes a tensor with invalid values, expected a storage and non-negative integers")
    return _Tensor(storage, offset, tuple(size), tuple(stride))


_GLOBALS: dict[str, object] = {
    "collections.OrderedDict": _Callable(lambda: _StateDict()),  # PyTorch calls OrderedDict without arguments
    "torch._utils._rebuild_tensor_v2": _Callable(_make_tensor),
    "torch._utils._rebuild_parameter": _Callable(lambda data, _grad, _hooks: data),
    **{f"torch.{name}Storage": _StorageType(dtype) for name, dtype in _TORCH_DTYPES.items()},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        if (found := _GLOBALS.get(f"{module}.{name}")) is None:
            raise Refused(f"the pickle imports {shorten(f'{module}.{name}')}, which is rejected")
        return found

    def persistent_load(self, pid: object) -> _Storage:
        match pid:
            case ("storage", _StorageType(dtype), str(key), _, int(count)) if count >= 0:
                return _Storage(dtype, key, count)
        raise Refused("the pickle refers to a storage in an unknown format")


def unpickle(data: bytes) -> object:
    """Loads a pickle. Each tensor becomes a `_Tensor`. Raises Refused for imports that are not needed to rebuild tensors."""
    tuples = 0
    for opcode, argument, _ in pickletools.genops(data):  # `genops` raises an error if the data is shorter than a stated length
        # Without these limits, the unpickler would allocate a memo of any size, and hashing a tuple with 100,000 nesting levels
        # would overflow the C stack.
        if opcode.name.endswith("PUT") and int(argument or 0) > len(data):
            raise Refused(f"the pickle has the invalid memo index {argument}")
        tuples += "TUPLE" in opcode.name
    if tuples > _MAX_TUPLES:
        raise Refused(f"the pickle builds {tuples} tuples, expected at most {_MAX_TUPLES}")
    return _Unpickler(io.BytesIO(data)).load()


def _byteorder(archive: zipfile.ZipFile, record: str) -> str:
    order = archive.read(record) if record in archive.namelist() else b"little"
    if order not in (b"little", b"big"):
        raise Refused(f"the byte order is {shorten(order)}, expected little or big")
    return order.decode()


def _buffer(data: bytes, storage: _Storage, swap: bool) -> bytes:
    needed = storage.length * storage.dtype.itemsize
    if len(data) < needed:
        raise Refused(f"storage {shorten(storage.key)!r} has {len(data)} bytes, expected {needed}")
    if not swap:
        return data
    return np.frombuffer(data[:needed], f"u{storage.dtype.itemsize}").byteswap().tobytes()


def _array(name: str, tensor: _Tensor, buffer: bytes) -> np.ndarray:
    """Returns the view of `buffer` that `tensor` describes. Raises Refused if the view exceeds the tensor's storage."""
    (dtype, _, count), offset, size, stride = tensor
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if 0 in size:
        return np.empty(size, dtype)
    if last >= count:
        raise Refused(f"tensor {shorten(name)!r} refers to element {last}, but the storage has {count} elements")
    # The stride of an axis with length one is never used, and may be any number.
    steps = [step * dtype.itemsize if n > 1 else 0 for n, step in zip(size, stride, strict=True)]
    return np.ndarray(size, dtype, buffer, offset * dtype.itemsize, steps)


def flat_tensors(loaded: object, tensor_type: type) -> dict[str, Any]:
    """Returns `loaded` if it is a flat dict of tensors by name. Otherwise, raises Refused with the reason."""
    if not isinstance(loaded, dict):
        raise Refused(f"the top-level object is of type {_type(loaded)}, expected a dict")
    for key, value in loaded.items():
        if isinstance(value, dict) and any(isinstance(v, tensor_type) for v in value.values()):
            part = f"torch.load(path, weights_only=True)[{shorten(repr(key))}]"
            raise Refused(
                f"the tensors are nested under the key {shorten(repr(key))}",
                f"Save only this part with torch.save({part}, new_path)",
            )
    for key, value in loaded.items():
        if not isinstance(key, str) or not isinstance(value, tensor_type):
            kind = "a tensor" if isinstance(value, tensor_type) else _type(value)
            raise Refused(f"the key {shorten(repr(key))} maps to {kind}, expected a name that maps to a tensor")
    return loaded
