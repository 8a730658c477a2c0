"""Tests that a data set in an emulated Cloud Storage bucket gives the same clips as a data set on disk."""

import numpy as np
import pytest

from configs.train import data as configs
from data.build import build, make_config
from data.clips import make_batches
from data.source import open_source
from hmmn_jax.errors import DataError
from hmmn_jax.io import objects
from hmmn_jax.io.buckets import as_path
from hmmn_jax.io.stage import Stage
from tests.data import folders, made
from tools.cloud_storage import BUCKET, emulator


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Yields the folder of a data set on disk, and the path of the same files in a bucket."""
    with emulator():
        home = tmp_path_factory.mktemp("set")
        root = folders.davis(home / "in", {"a": [[1]] * 5, "b": [[1, 2]] * 4})
        build("davis", make_config("davis", "2017", None, []), root, home / "built")
        remote = as_path(f"gs://{BUCKET}/built")
        (next((home / "built").glob("davis/2017/*")) / "problems-other.txt").write_text("of another split")
        files = [path for path in (home / "built").rglob("*") if path.is_file()]
        objects.upload({remote / path.relative_to(home / "built").as_posix(): path for path in files})
        yield home / "built", remote


def batches(data_dir, stage=None):
    config = made.still_config(a=configs.source("davis/2017", still=False))
    config.data_dir = str(data_dir)
    return list(make_batches(config, batch=4, first_step=3, steps=3, stage=stage))


def test_records_are_those_of_the_set_on_disk(built):
    here, there = (open_source("davis/2017", place) for place in built)
    order = np.random.default_rng(0).permutation(9)
    assert there.in_bucket and there.fetch(order) == here.fetch(order)


@pytest.mark.slow
def test_clips_are_those_of_the_set_on_disk(built, tmp_path):
    local, remote = built
    with Stage(tmp_path) as stage:
        staged = batches(remote, stage)
    for expected, read, copied in zip(batches(local), batches(remote), staged, strict=True):
        for name, value in expected.items():
            np.testing.assert_array_equal(read[name], value)
            np.testing.assert_array_equal(copied[name], value)


def test_a_stage_has_the_split_alone_and_is_used_again(built, tmp_path, capsys):
    local, remote = built
    with Stage(tmp_path) as stage:
        source = open_source("davis/2017", remote, "train", stage)
    (copy,) = (tmp_path / "gs" / BUCKET / "built/davis/2017").glob("[0-9]*")
    (version,) = local.glob("davis/2017/*")
    assert {path.name for path in copy.iterdir()} == {path.name for path in version.iterdir()} - {"problems-other.txt"}
    assert not source.in_bucket and "files (" in capsys.readouterr().err
    with Stage(tmp_path) as stage:
        open_source("davis/2017", remote, "train", stage)
    assert not capsys.readouterr().err


def test_what_is_not_there(built):
    _, remote = built
    with pytest.raises(DataError, match=r"gs://.*/davis/2016 has not been built\. gs://.* contains davis/2017"):
        open_source("davis/2016", remote)
    with pytest.raises(DataError, match=r"no split 'test'\. Available splits: train"):
        open_source("davis/2017", remote, "test")
