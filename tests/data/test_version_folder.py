"""Tests that a build reports conflicts with existing folders before it starts."""

import json

import pytest

from data.build import build, make_config
from data.version_folder import load_record, require_replaceable
from hmmn_jax.errors import DataError


def test_a_link_to_an_empty_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    version = tmp_path / "1.0.0"
    version.symlink_to(tmp_path / "empty")
    with pytest.raises(DataError, match=r"1\.0\.0 is a link to an empty folder.* Remove the link"):
        require_replaceable(load_record(version), ["features.json"], False)
    assert list((tmp_path / "empty").iterdir()) == []


@pytest.mark.parametrize("about", [[], [1], 5, "x", {"splits": 5}, {"splits": "train"}, {"splits": [[1]]}, {"splits": None}])
def test_a_record_of_another_shape(tmp_path, about):
    (tmp_path / "record.json").write_text(json.dumps({"format": 1, "files": {}, "about": about}))
    with pytest.raises(DataError, match=r"record\.json:? is not (the|a) record of "):
        load_record(tmp_path)


@pytest.mark.parametrize("about", [None, {}, {"splits": ["train"]}])
def test_a_record_of_a_build(tmp_path, about):
    (tmp_path / "record.json").write_text(json.dumps({"format": 1, "files": {}, "about": about}))
    assert load_record(tmp_path).about == about


@pytest.mark.parametrize("place", ["JPEGImages", "JPEGImages/480p/out", "train/Annotations", "link/new"])
def test_a_build_is_not_written_into_what_it_reads(tmp_path, place):
    source = tmp_path / "source"
    for folder in ("JPEGImages/480p", "Annotations", "train/Annotations"):
        (source / folder).mkdir(parents=True)
    (source / "link").symlink_to(source / "Annotations")
    before = sorted(source.rglob("*"))
    with pytest.raises(DataError, match=r"which is an input\. Choose a --data_dir outside"):
        build("davis", make_config("davis", "2017", None, []), source, source / place)
    assert sorted(source.rglob("*")) == before
