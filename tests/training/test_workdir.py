"""Tests that user files in a workdir do not change, and that only one run can use a workdir at a time."""

import pytest

from hmmn_jax.errors import ConfigError, DataError
from hmmn_jax.training.workdir import hold, is_begun, publish


@pytest.mark.parametrize(
    "name",
    [
        *("config.json", "metrics.jsonl", "bad_batch_7.npz", "pictures/a.png", "checkpoints/4/variables/x"),
        *("tensorboard/x", "profile/x", "damaged/7/x", "record/of/my/voice.wav"),
    ],
)
def test_what_a_run_would_write_is_rejected_where_it_is_there_without_a_record(tmp_path, name):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(DataError) as caught:
        is_begun(tmp_path)
    assert name.partition("/")[0] in str(caught.value) and "Choose another workdir" in str(caught.value)
    assert (tmp_path / name).read_text() == "mine"


def test_a_run_of_an_older_version_can_continue_elsewhere(tmp_path):
    (tmp_path / "checkpoints/4").mkdir(parents=True)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(DataError, match=f"older version, also pass --config.resume={tmp_path}"):
        is_begun(tmp_path)


def test_other_files_are_of_no_concern(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert not is_begun(tmp_path) and not is_begun(tmp_path / "new")
    with hold(tmp_path, False), publish(tmp_path, "config.json", "run.json") as path:
        path.write_text("{}")
    assert is_begun(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "notes.txt", "record"]


def test_a_workdir_that_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError, match=r"file is not a folder\. Choose another workdir"):
        is_begun(tmp_path / "file")
    with pytest.raises(DataError, match="cannot be written"), hold(tmp_path / "file/run", False):
        pass


def test_a_second_run_is_rejected(tmp_path):
    with hold(tmp_path, False):
        with pytest.raises(ConfigError, match="is in use by process"), hold(tmp_path, False):
            pass
        with publish(tmp_path, "config.json", "run.json") as path:
            path.write_text("{}")
    with pytest.raises(ConfigError, match="another run has started in this workdir"), hold(tmp_path, False):
        pass
    with hold(tmp_path, True):
        pass


def test_a_file_is_replaced_only_as_it_was_written(tmp_path):
    for text in ("one", "two"):
        with publish(tmp_path, "pictures/a.txt", "pictures/a.txt.json") as path:
            path.write_text(text)
    (tmp_path / "pictures/a.txt").write_text("mine")
    refused = pytest.raises(DataError, match="was not written by this program, or was changed later")
    with refused, publish(tmp_path, "pictures/a.txt", "pictures/a.txt.json"):
        pass
    assert (tmp_path / "pictures/a.txt").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures", "record"]


def test_a_record_that_is_none(tmp_path):
    (tmp_path / "record").mkdir()
    (tmp_path / "record/run.json").write_text("mine")
    with pytest.raises(DataError, match=r"run.json is not a record of this program"):
        is_begun(tmp_path)
