"""Tests that tensors in checkpoint files are read with the same values as in PyTorch."""

from collections import OrderedDict

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from hmmn_jax.checkpoints.torch_file import read_torch_file, read_with_metadata
from tests.checkpoints.pickles import VALUES, Call, assert_same, dumps, tensor, write_zip


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
