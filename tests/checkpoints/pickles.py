"""Writes files in the format of `torch.save` from hand-written pickles, and checks how the files are read."""

import builtins
import pickle
import struct
import zipfile

import numpy as np
import pytest

from hmmn_jax.checkpoints.torch_file import read_torch_file
from hmmn_jax.errors import CheckpointError

MAGIC = 0x1950A86A20F9469CFC6C
VALUES = np.arange(6, dtype=np.float32)


class Call:
    """An object that is pickled as a call of the global `name` with `args`. The global does not need to exist."""

    def __init__(self, name, *args):
        self.name, self.args = name, args


class Persistent(tuple):
    """A tuple that is pickled as a persistent id."""


class Name(str):
    """A string that is pickled as the global with this name."""


def dumps(value, protocol=2):
    """Returns the pickle opcodes of a value, without the PROTO opcode at the start and the STOP opcode at the end.

    The value may contain str, int, bool, None, tuple, dict and the three classes above. Bytes are copied as opcodes.
    """
    match value:
        case Name():
            module, _, name = value.rpartition(".")
            return f"c{module}\n{name}\n".encode()
        case Call():
            return dumps(Name(value.name)) + dumps(value.args) + b"R"
        case Persistent():
            return dumps(tuple(value)) + b"Q"
        case bytes():  # opcodes are unchanged
            return value
        case tuple():
            return b"(" + b"".join(map(dumps, value)) + b"t"
        case dict():
            return b"}(" + b"".join(dumps(k) + dumps(v) for k, v in value.items()) + b"u"
        case str():
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        case _:
            return pickle.dumps(value, 2)[2:-1]


def tensor(key="0", count=6, offset=0, size=(2, 3), stride=(3, 1), kind="torch.FloatStorage"):
    storage = Persistent(("storage", Name(kind), key, "cpu", count))
    hooks = Call("collections.OrderedDict")
    return Call("torch._utils._rebuild_tensor_v2", storage, offset, size, stride, False, hooks)


def write_zip(path, top, records=None, compression=zipfile.ZIP_STORED, prefix="archive/"):
    """Writes a ZIP file in the format of `torch.save`. The content `top` is either opcodes or a value for `dumps`."""
    body = b"\x80\x02" + dumps(top) + b"."
    records = {"data/0": VALUES.tobytes(), **(records or {})}
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(f"{prefix}data.pkl", body)
        for name, content in records.items():
            if content is not None:
                archive.writestr(f"{prefix}{name}", content)
    return path


def refusal(path):
    """Returns the error message that reading `path` raises. Asserts that the message is one line and contains the path."""
    with pytest.raises(CheckpointError) as caught:
        read_torch_file(path)
    message = str(caught.value)
    assert message.isprintable() and str(path) in message and len(message) < 1000
    return message


def without_torch(monkeypatch):
    real = builtins.__import__

    def no_torch(name, *args, **kwargs):
        if name.partition(".")[0] == "torch":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_torch)


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        np.testing.assert_array_equal(found[name], array)
