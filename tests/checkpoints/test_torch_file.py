"""Reading and writing checkpoints: the result equals that of PyTorch, and no malicious code runs."""

import builtins
import errno
import os
import pickle
import struct
import zipfile
from collections import OrderedDict

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from hmmn_jax.checkpoints.torch_file import read_torch_file, read_with_metadata, write_torch_file
from hmmn_jax.errors import CheckpointError

MAGIC = 0x1950A86A20F9469CFC6C
VALUES = np.arange(6, dtype=np.float32)


class Call:
    """Pickles to a call of the global `name` with `args`, which does not need to exist."""

    def __init__(self, name, *args):
        self.name, self.args = name, args


class Persistent(tuple):
    """Pickles to this tuple as a persistent id."""


class Name(str):
    """Pickles to the global with this name."""


def dumps(value, protocol=2):
    """Pickles `value` by hand: str, int, bool, None, tuple, dict and the three classes above."""
    match value:
        case Name():
            module, _, name = value.rpartition(".")
            return f"c{module}\n{name}\n".encode()
        case Call():
            return dumps(Name(value.name)) + dumps(value.args) + b"R"
        case Persistent():
            return dumps(tuple(value)) + b"Q"
        case bytes():  # opcodes, unchanged
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
    """Writes a zip like torch.save, with the pickle `top`: opcodes, or a value for `dumps`."""
    body = b"\x80\x02" + dumps(top) + b"."
    records = {"data/0": VALUES.tobytes(), **(records or {})}
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(f"{prefix}data.pkl", body)
        for name, content in records.items():
            if content is not None:
                archive.writestr(f"{prefix}{name}", content)
    return path


def refusal(path):
    """Returns the error message for `path`, which must be one line that names the file."""
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


# Files that are read


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        (tensor(), VALUES.reshape(2, 3)),
        (tensor(size=(3, 2), stride=(1, 3)), VALUES.reshape(2, 3).T),
        (tensor(offset=1, size=(2,), stride=(2,)), VALUES[1:5:2]),
        (tensor(offset=5, size=(), stride=()), VALUES[5]),
        (tensor(size=(2, 0), stride=(1, 1)), np.empty((2, 0), np.float32)),
        (tensor(size=(4, 6), stride=(0, 1)), np.broadcast_to(VALUES, (4, 6))),
        (tensor(size=(1, 6), stride=(999, 1)), VALUES[None]),
        (Call("torch._utils._rebuild_parameter", tensor(), True, ()), VALUES.reshape(2, 3)),
    ],
)
def test_a_view_is_read(tmp_path, description, expected):
    path = write_zip(tmp_path / "model.pth", {"x": description})
    assert_same(read_torch_file(path), {"x": np.asarray(expected)})


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("Double", "f8"), ("Float", "f4"), ("Half", "f2"), ("BFloat16", ml_dtypes.bfloat16),
        ("Long", "i8"), ("Int", "i4"), ("Short", "i2"), ("Char", "i1"), ("Byte", "u1"),
        ("Bool", "?"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("order", ["little", "big", None])
def test_each_dtype_and_byte_order_is_read(tmp_path, kind, dtype, order):
    expected = np.array([0, 1, 1], dtype)
    content = expected.view(f"<u{expected.itemsize}").astype(f"{'>' if order == 'big' else '<'}u{expected.itemsize}")
    records = {"data/0": content.tobytes(), "byteorder": order}
    top = {"x": tensor(count=3, size=(3,), stride=(1,), kind=f"torch.{kind}Storage")}
    path = write_zip(tmp_path / "model.pth", top, records)
    assert_same(read_torch_file(path), {"x": expected})


def test_the_content_decides_and_not_the_suffix(tmp_path):
    assert_same(
        read_torch_file(write_zip(tmp_path / "a.safetensors", {"x": tensor()}, prefix="b/c/")),
        {"x": VALUES.reshape(2, 3)},
    )
    (tmp_path / "b.pth").write_bytes(safetensors.numpy.save({"x": VALUES}, {"made": "here"}))
    assert_same(read_torch_file(tmp_path / "b.pth"), {"x": VALUES})
    assert read_with_metadata(tmp_path / "b.pth")[1] == {"made": "here"}
    assert read_with_metadata(tmp_path / "a.safetensors")[1] == {}


def test_the_metadata_attribute_of_a_state_dict_is_dropped(tmp_path):
    state = dumps(Call("collections.OrderedDict")) + dumps("x") + dumps(tensor()) + b"s"
    path = write_zip(tmp_path / "a.pth", state + dumps({"_metadata": {"": {"version": 2}}}) + b"b")
    assert_same(read_torch_file(path), {"x": VALUES.reshape(2, 3)})


def variety(torch):
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    names = ("float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
    return OrderedDict(
        base=base,
        transposed=base.T,
        sliced=base[1:, ::2],
        expanded=torch.ones(1, 3).expand(5, 3),
        channels_last=torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
        counter=torch.tensor(7),
        empty=torch.empty(0, 3),
        empty_slice=base[4:],
        parameter=torch.nn.Parameter(torch.rand(3)),
        **{name: torch.tensor([[0, 1, 3]]).to(getattr(torch, name)) for name in names},
    )


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(("new_form", "protocol"), [(True, 2), (True, 4), (True, 5), (False, 2)])
def test_a_file_of_torch_is_read_as_torch_reads_it(tmp_path, protocol, new_form):
    torch = pytest.importorskip("torch")
    options = {"pickle_protocol": protocol, "_use_new_zipfile_serialization": new_form}
    torch.save(variety(torch), tmp_path / "model.pth", **options)
    expected = torch.load(tmp_path / "model.pth", weights_only=False)
    found = read_torch_file(tmp_path / "model.pth")
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert str(found[name].dtype) == str(value.dtype).removeprefix("torch.")
        assert found[name].shape == tuple(value.shape)
        np.testing.assert_array_equal(found[name].astype("f8"), value.detach().double().numpy())


def test_a_module_state_dict_of_torch_is_read(tmp_path):
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    torch.save(module.state_dict(), tmp_path / "model.pth")
    expected = {name: value.numpy() for name, value in module.state_dict().items()}
    assert_same(read_torch_file(tmp_path / "model.pth"), expected)


# Malicious files


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
def test_a_hostile_call_is_refused_by_name(tmp_path, monkeypatch, name, form):
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
    assert form != "bare" or "a bare pickle" in message


@pytest.mark.parametrize("new_form", [True, False])
def test_a_hostile_file_of_torch_is_refused_by_name(tmp_path, new_form):
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
        (b"})" + b"\x85" * 500_000 + b"Ns", "tuples"),  # hashing it would overflow the C stack
        (b"]" * 50_000 + b"a" * 49_999, "top level is of type list"),
        (b"}K\x00" * 50_000 + b"N" + b"s" * 50_000, "key 0 holds dict"),
        (b"\x82\x01", "damaged"),  # EXT1
        (b"Phere\n", "unknown way"),  # PERSID
        (dumps(Persistent(("storage", "torch.FloatStorage", "0", "cpu", 6))), "unknown way"),
        (dumps(Persistent(("storage", Name("torch.FloatStorage"), "0", "cpu", -1))), "unknown way"),
    ],
)
def test_an_absurd_pickle_is_refused(tmp_path, opcodes, told):
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
def test_a_tensor_out_of_bounds_is_refused(tmp_path, wrong):
    refusal(write_zip(tmp_path / "model.pth", {"x": tensor(**wrong)}))


# Damaged files, and other formats


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_truncated_or_altered_file_is_refused_or_unharmed(tmp_path, suffix):
    path, expected = tmp_path / "model", {"x": VALUES.reshape(2, 3)}
    write_zip(path, {"x": tensor()})
    if suffix == "safetensors":
        path.write_bytes(safetensors.numpy.save(expected))
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        refusal(path)
    for position in range(len(content)):
        altered = bytearray(content)
        altered[position] ^= 0xFF
        path.write_bytes(altered)
        try:
            read_torch_file(path)
        except CheckpointError as error:
            assert str(error).isprintable()
    if suffix == "pth":
        path.write_bytes(content.replace(VALUES.tobytes(), VALUES[::-1].tobytes()))
        assert "CRC" in refusal(path)


@pytest.mark.parametrize(
    ("top", "options", "told"),
    [
        ({"x": tensor()}, {"compression": zipfile.ZIP_DEFLATED}, "compressed"),
        ({"x": tensor()}, {"records": {"data/0": None}}, "'archive/data/0' is missing"),
        ({"x": tensor()}, {"records": {"data/0": b"123"}}, "3 bytes where 24"),
        ({"x": tensor()}, {"records": {"byteorder": "middle"}}, "byteorder"),
        ({"x": tensor()}, {"records": {"constants.pkl": b""}}, "TorchScript"),
        ({"x": tensor()}, {"records": {"code/a.py": b""}}, "TorchScript"),
        ({"x": tensor()}, {"records": {"more/data.pkl": b""}}, "2 entries"),
        ({"x": tensor(), "epoch": 3}, {}, "'epoch' holds int"),
        ({"x": tensor(), 3: tensor()}, {}, "key 3"),
        ({"epoch": 3, "state_dict": {"x": tensor()}}, {}, "weights_only=True)['state_dict']"),
        (tensor(), {}, "the top level is of type Tensor"),
        ({"a\nb\x1b[31m": 3}, {}, "holds int"),
        ({"x" * 5000: 3}, {}, "holds int"),
    ],
)
def test_what_differs_is_told(tmp_path, top, options, told):
    assert told in refusal(write_zip(tmp_path / "model.pth", top, **options))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "an empty file"),
        (b"PK", "neither"),
        (b"PK\x03\x04" + b"garbage" * 99, "damaged"),
        (b"cos\nsystem\n(X\x01\0\0\0atR.", "neither"),
        (b"<html>404</html>", "neither"),
        (pickle.dumps({"x": 3}), "a bare pickle"),
        (pickle.dumps({"x": VALUES}), "_reconstruct"),
        (b"\x20\0\0\0\0\0\0\0{" + b"x" * 40, "JSON"),
        (b"\xff\xff\xff\x7f\0\0\0\0{}", "damaged"),
    ],
)
def test_another_kind_of_file_is_refused(tmp_path, content, told):
    (tmp_path / "model.pth").write_bytes(content)
    assert told in refusal(tmp_path / "model.pth")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_torchscript_archive_is_told(tmp_path):
    torch = pytest.importorskip("torch")
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), tmp_path / "a.pth")
    assert "TorchScript" in refusal(tmp_path / "a.pth")


def test_a_damaged_legacy_file_is_told(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "a.pth"
    torch.save({"x": torch.ones(3)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    for length in range(20, len(content), 7):
        path.write_bytes(content[:length])
        assert "non-zip form" in refusal(path)


def test_a_missing_file_and_a_folder_are_told(tmp_path):
    assert "No such file" in refusal(tmp_path / "absent.pth")
    assert "directory" in refusal(tmp_path)
    with pytest.raises(CheckpointError, match="No such file"):
        read_with_metadata(tmp_path / "absent.safetensors")


def test_an_unsupported_safetensors_dtype_is_named(tmp_path):
    array = np.zeros(2, ml_dtypes.float8_e4m3fn)
    (tmp_path / "a").write_bytes(safetensors.numpy.save({"x": array}))
    assert "'x' has the unsupported dtype F8" in refusal(tmp_path / "a")


def test_the_legacy_form_without_torch_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.pth").write_bytes(pickle.dumps(MAGIC, 2) + pickle.dumps(1001, 2))
    without_torch(monkeypatch)
    assert "pip install torch" in refusal(tmp_path / "a.pth")


def test_the_legacy_form_is_refused_to_an_unsafe_torch(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    (tmp_path / "a.pth").write_bytes(pickle.dumps(MAGIC, 2) + pickle.dumps(1001, 2))
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    assert "unsafe in PyTorch 2.5.1" in refusal(tmp_path / "a.pth")


# Writing


def to_write():
    return {
        "transposed": VALUES.reshape(2, 3).T,
        "half": VALUES.astype(np.float16),
        "bf16": VALUES.astype(ml_dtypes.bfloat16),
        "big": VALUES.astype(">f4"),
        "counter": np.array(7, np.int64),
        "empty": np.empty((0, 3), np.float32),
        "reversed": VALUES[::-1],
        "mask": np.array([True, False]),
    }


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth", "a.pt"])
def test_what_is_written_is_read_again(tmp_path, name):
    if not name.endswith("safetensors"):
        pytest.importorskip("torch")
    write_torch_file(tmp_path / name, to_write(), {"made": "here"})
    found, expected = read_torch_file(tmp_path / name), to_write()
    expected["big"] = expected["big"].astype("f4")
    assert_same({key: found[key] for key in expected}, expected)
    assert set(found) == set(expected) and os.listdir(tmp_path) == [name]
    made = {"made": "here"} if name == "a.safetensors" else {}
    assert read_with_metadata(tmp_path / name)[1] == made


def test_torch_loads_what_is_written(tmp_path):
    torch = pytest.importorskip("torch")
    write_torch_file(tmp_path / "a.pth", {"n": np.array(7), "b": np.ones(2, ml_dtypes.bfloat16)})
    loaded = torch.load(tmp_path / "a.pth", weights_only=True)
    assert type(loaded) is OrderedDict and loaded["b"].dtype == torch.bfloat16
    assert loaded["n"].dtype == torch.int64 and loaded["n"].shape == () and loaded["n"] == 7


@pytest.mark.parametrize(
    ("name", "tensors", "told"),
    [
        ("a.npz", {"x": VALUES}, "unknown suffix '.npz'"),
        ("a", {"x": VALUES}, "unknown suffix ''"),
        ("absent/a.safetensors", {"x": VALUES}, "No such file"),
        ("a.safetensors", {"x": np.array(["text"])}, "cannot be written"),
        ("a.safetensors", {"x": np.array([None])}, "cannot be written"),
    ],
)
def test_what_cannot_be_written_is_told_and_leaves_nothing(tmp_path, name, tensors, told):
    with pytest.raises(CheckpointError) as caught:
        write_torch_file(tmp_path / name, tensors)
    assert told in str(caught.value) and str(caught.value).isprintable()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("step", ["write_bytes", "link"])
def test_a_full_disk_leaves_no_file(tmp_path, monkeypatch, step):
    def full(path, content):
        if step == "write_bytes":
            with open(path, "wb") as file:
                file.write(content[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(*(("pathlib.Path.write_bytes", full) if step == "write_bytes" else (os, "rename", full)))
    if step == "link":  # fails on file systems without hard links
        monkeypatch.setattr(os, "link", full)
    with pytest.raises(CheckpointError, match="No space left"):
        write_torch_file(tmp_path / "a.safetensors", {"x": VALUES})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_file_that_exists_is_not_replaced(tmp_path, monkeypatch, when, links):
    path = tmp_path / "a.safetensors"

    def appear(*_, **__):
        path.write_text("mine")
        return b"content"

    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "Operation not permitted")))
    if when == "before":
        appear()
    else:
        monkeypatch.setattr(safetensors.numpy, "save", appear)
    with pytest.raises(CheckpointError, match=f"{path}: cannot be written: already exists"):
        write_torch_file(path, {"x": VALUES})
    assert os.listdir(tmp_path) == ["a.safetensors"] and path.read_text() == "mine"


def test_a_pipe_and_a_folder_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "neither a file nor a folder" in refusal(tmp_path / "pipe")
    assert "Is a directory" in refusal(tmp_path)


def test_without_torch_a_pth_is_not_written(tmp_path, monkeypatch):
    without_torch(monkeypatch)
    with pytest.raises(CheckpointError, match="pip install torch"):
        write_torch_file(tmp_path / "a.pth", {"x": VALUES})
    assert os.listdir(tmp_path) == []
