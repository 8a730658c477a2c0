"""Tests that malicious checkpoint files are rejected, and that none of their code runs."""

import os
import pickle
import struct

import pytest

from hmmn_jax.checkpoints.torch_file import read_torch_file
from tests.checkpoints.pickles import (
    MAGIC,
    VALUES,
    Call,
    Name,
    Persistent,
    assert_same,
    dumps,
    refusal,
    tensor,
    without_torch,
    write_zip,
)


def hostile_calls(target):
    make = f"open({str(target)!r}, 'w')"
    command = (("touch", str(target)),)
    opcodes = {
        "builtins.exec": dumps(Call("builtins.exec", make)),
        "os.system": dumps(Call("os.system", f"touch {target}")),
        "io.open": b"(" + dumps(str(target)) + dumps("w") + b"iio\nopen\n",  # INST
        "subprocess.Popen": dumps(Name("subprocess.Popen")) + dumps(command) + b"\x81",
        "torch.load": dumps("torch") + dumps("load") + b"\x93" + dumps((str(target),)) + b"R",
        "torch._utils.os.system": dumps("torch._utils") + dumps("os.system") + b"\x93",
        "numpy.core.multiarray._reconstruct": dumps(Name("numpy.core.multiarray._reconstruct")),
    }  # fmt: skip
    return opcodes.items()


CALLS = [name for name, _ in hostile_calls("")]


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("form", ["zip", "bare", "legacy", "legacy without torch"])
def test_a_malicious_call_is_rejected_by_name(tmp_path, monkeypatch, name, form):
    if form == "legacy without torch":
        without_torch(monkeypatch)
    target, path = tmp_path / "made", tmp_path / "model.pth"
    opcodes = dict(hostile_calls(target))[name]
    if form == "zip":
        write_zip(path, {"x": tensor(), "y": opcodes})
    else:
        body = b"\x80\x04" + dumps({"y": opcodes}) + b"."
        head = b"".join(pickle.dumps(part, 2) for part in (MAGIC, 1001, {"little_endian": True}))
        path.write_bytes(head + body + pickle.dumps([], 2) if "legacy" in form else body)
    message = refusal(path)
    assert not target.exists()
    assert "legacy" in form or name in message
    assert form != "bare" or "a plain pickle" in message


@pytest.mark.parametrize("new_form", [True, False])
def test_a_malicious_file_of_torch_is_rejected_by_name(tmp_path, new_form):
    torch = pytest.importorskip("torch")

    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    path = tmp_path / "model.pth"
    torch.save({"x": Hostile()}, path, _use_new_zipfile_serialization=new_form)
    assert f"{os.name}.mkdir" in refusal(path)
    assert not (tmp_path / "made").exists()


SET = dumps({"make": 1, "items": 1, "__class__": 1, "dtype": 1})
TARGETS = [
    dumps(Name("collections.OrderedDict")),
    dumps(Name("torch._utils._rebuild_tensor_v2")),
    dumps(Name("torch.FloatStorage")),
    dumps(tensor().args[0]),
    dumps(tensor()),
    dumps(Call("collections.OrderedDict")),
]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("state", [SET, b"N" + SET + b"\x86"], ids=["dict", "slots"])
def test_nothing_can_be_set_on_what_a_pickle_reaches(tmp_path, target, state):
    refusal(write_zip(tmp_path / "hostile.pth", {"x": tensor(), "y": target + state + b"b"}))
    path = write_zip(tmp_path / "model.pth", {"x": tensor()})
    assert_same(read_torch_file(path), {"x": VALUES.reshape(2, 3)})


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("ending", [b")R", b")\x81", b"(K\x00K\x00u", b"(K\x00e", b"(K\x00\x90"])
def test_what_a_pickle_reaches_does_nothing_else(tmp_path, target, ending):
    refusal(write_zip(tmp_path / "hostile.pth", {"x": tensor(), "y": target + ending}))


@pytest.mark.parametrize(
    ("opcodes", "told"),
    [
        (b"", "damaged"),
        (b"}(", "damaged"),
        (b"0" * 9, "damaged"),
        (b"\x8e" + struct.pack("<Q", 1 << 62), "damaged"),  # BINBYTES8
        (b"\x8d" + struct.pack("<Q", 1 << 40), "damaged"),  # BINUNICODE8
        (b"\x96" + struct.pack("<Q", 1 << 36), "damaged"),  # BYTEARRAY8
        (b"\x8b" + struct.pack("<i", 0x7FFFFFFF), "damaged"),  # LONG4
        (b"\x95" + struct.pack("<Q", 1 << 50) + b"}", "damaged"),  # FRAME
        (b"}r" + struct.pack("<I", 0xFFFFFFFF), "memo index"),  # LONG_BINPUT
        (b"}p99999999999\n", "memo index"),  # PUT
        (b"})" + b"\x85" * 500_000 + b"Ns", "tuples"),  # a nested tuple, whose hash would overflow the C stack
        (b"]" * 50_000 + b"a" * 49_999, "top-level object is of type list"),
        (b"}K\x00" * 50_000 + b"N" + b"s" * 50_000, "the key 0 maps to dict"),
        (b"\x82\x01", "damaged"),  # EXT1
        (b"Phere\n", "unknown format"),  # PERSID
        (dumps(Persistent(("storage", "torch.FloatStorage", "0", "cpu", 6))), "unknown format"),
        (dumps(Persistent(("storage", Name("torch.FloatStorage"), "0", "cpu", -1))), "unknown format"),
    ],
)
def test_an_absurd_pickle_is_rejected(tmp_path, opcodes, told):
    assert told in refusal(write_zip(tmp_path / "model.pth", opcodes))


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": (7,), "stride": (1,)},
        {"offset": 1},
        {"offset": -1},
        {"size": (2,), "stride": (-1,)},
        {"size": (-2, 3)},
        {"size": (2,)},
        {"size": (1 << 62, 1 << 62), "stride": (0, 0)},
        {"size": (2, 3), "stride": (1 << 62, 1 << 62)},
        {"size": (1,) * 100, "stride": (1,) * 100},
        {"size": ("2",), "stride": (1,)},
        {"size": None},
        {"offset": True},
        {"count": 7},
        {"count": 1 << 70, "offset": 1 << 69},
        {"key": "1"},
        {"key": "../../data/0"},
        {"key": "a\nb\x1b[31m"},
    ],
)
def test_a_tensor_out_of_bounds_is_rejected(tmp_path, wrong):
    refusal(write_zip(tmp_path / "model.pth", {"x": tensor(**wrong)}))
