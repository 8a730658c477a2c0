"""Tests that packed arrays are unpacked unchanged from memory and from files, and that unused files are removed."""

import gc

import numpy as np
import pytest

from hmmn_jax.errors import DataError
from hmmn_jax.io.packed import ArrayPool, digest_of

ARRAYS = [
    np.random.default_rng(0).integers(0, 255, (3, 4, 5), np.uint8),
    np.arange(12, dtype=np.uint16).reshape(3, 4).T,
    np.zeros((0, 4, 5), np.uint8),
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("budget", [0, 1000])
def test_arrays_come_back(folder, budget):
    pool = ArrayPool(budget)
    packed = [pool.pack(array) for array in ARRAYS]
    for one, array in zip(packed, ARRAYS, strict=True):
        found = one.unpack()
        assert found.dtype == array.dtype == one.dtype and found.shape == array.shape == one.shape
        assert np.array_equal(found, array) and one.digest == digest_of(array)
    assert len({one.digest for one in packed}) == 3
    assert len(list(folder.glob("*/*"))) == (3 if budget == 0 else 0)


def test_the_budget_holds_and_what_is_not_used_makes_room(folder):
    pool = ArrayPool(1 << 20)
    noise = np.random.default_rng(0).integers(0, 255, 300_000, np.uint8)
    packed = [pool.pack(noise) for _ in range(5)]
    assert 600_000 < pool.used <= 1 << 20 and len(list(folder.glob("*/*"))) == 2
    used = pool.used
    del packed[0]
    gc.collect()
    assert pool.used < used
    packed.append(pool.pack(noise))
    assert pool.used == used and len(list(folder.glob("*/*"))) == 2
    del packed, pool
    gc.collect()
    assert list(folder.iterdir()) == []


def test_a_folder_that_has_disappeared_is_named(folder):
    pool = ArrayPool(0)
    keep = pool.pack(ARRAYS[0])
    (place,) = folder.iterdir()
    for path in place.iterdir():
        path.unlink()
    place.rmdir()
    with pytest.raises(DataError, match=rf"{place.name}/1 cannot be written"):
        pool.pack(ARRAYS[0])
    assert keep.shape == ARRAYS[0].shape
