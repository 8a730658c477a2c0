"""Tests paths in buckets: which paths are accepted, the error messages, and reading and writing files."""

import os
import socket
from pathlib import Path

import fsspec
import numpy as np
import pytest
from etils import epath

from hmmn_jax.datasets.davis import read_davis
from hmmn_jax.datasets.listing import list_frames
from hmmn_jax.datasets.stills import read_stills
from hmmn_jax.datasets.youtube_vos import read_youtube_vos
from hmmn_jax.errors import DataError
from hmmn_jax.io.buckets import absolute, as_path, is_bucket
from hmmn_jax.io.files import (
    atomic_path,
    discard,
    free_bytes,
    lies_there,
    read_start,
    require_space,
    user_path,
    write_file,
)
from hmmn_jax.io.images import read_image, read_mask, write_mask
from hmmn_jax.io.local_copy import local_copy
from hmmn_jax.io.movies import MovieWriter
from hmmn_jax.io.new_file import write_new_file
from hmmn_jax.io.pictures import write_image
from hmmn_jax.io.video_file import VideoFile
from tests.buckets import UnreachableBucket, serving


def refusal(path, kind=DataError, **options):
    """Returns the error message for a path. The message must be one line that begins with the path."""
    with pytest.raises(kind) as caught:
        user_path(path, **options)
    assert str(caught.value).startswith(f"{os.fspath(path)}: ") and "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["a:b.mp4", "gs:", "gs:x", "C:\\x", "C:/x", "C://x", "x/gs://y", "://", "a b://c", "1gs://x"])
def test_names_with_a_colon_are_local(name):
    assert user_path(name) == user_path(name, buckets=True) == Path(name)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("http://host/w.pth", ("http:// is not supported", "gs://, s3://", "Pass the path of a local copy")),
        ("file:///data/x", ("file:// is not supported", "Pass only the path: /data/x")),
        ("GS://b/x", ("GS:// is not supported", "gs://")),
        ("gcs://b/x", ("gcs:// is not supported", "gs://")),
        ("gs://", ("does not name a bucket", "gs://BUCKET/PATH")),
        ("gs:///x", ("does not name a bucket",)),
        ("gs:/b/x", ("two slashes", "Pass gs://b/x")),
        (Path("s3://b/x"), ("two slashes", "Pass s3://b/x")),
    ],
)
def test_what_cannot_be_served_is_rejected(tmp_path, monkeypatch, text, told):
    monkeypatch.chdir(tmp_path)
    for buckets in (False, True):
        message = refusal(text, buckets=buckets)
        assert all(part in message for part in told), message
    with pytest.raises(DataError), atomic_path(text):
        pass
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("scheme", "package"), [("gs", "gcsfs"), ("s3", "s3fs"), ("az", "adlfs"), ("hf", "huggingface_hub")])
def test_a_scheme_whose_package_is_missing(monkeypatch, scheme, package):
    def absent(name):
        raise ImportError(f"Please install {name}")

    monkeypatch.setattr(fsspec, "get_filesystem_class", absent)
    assert "in a bucket" in refusal(f"{scheme}://b/x")  # this error has priority, because installing the package would not help
    assert refusal(f"{scheme}://b/x", buckets=True).endswith(f"{package}, which cannot be imported. Run pip install {package}")


def test_a_local_file_with_the_name_of_a_url(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("http:/host/x", "gs:/b/run"):
        Path(name).mkdir(parents=True)
    assert user_path("http://host/x").is_dir()
    assert user_path("gs:/b/run").is_dir()  # version 0.1 wrote to this folder instead of gs://b/run


def test_a_path_in_a_bucket(bucket):
    path = user_path("gs://b/run", buckets=True)
    assert isinstance(path, epath.Path) and is_bucket(path) and not isinstance(path, Path)
    assert str(absolute(path / "x")) == "gs://b/run/x" and str(user_path(path / "x", buckets=True)) == "gs://b/run/x"
    assert not is_bucket(as_path(epath.Path("/x"))) and absolute(as_path("x")) == Path("x").absolute()


@pytest.mark.parametrize(
    "use",
    [
        user_path,
        read_image,
        read_mask,
        VideoFile,
        lambda path: MovieWriter(f"{path}.gif", 10),
        list_frames,
        lambda path: read_davis(path, 2017, "val"),
        lambda path: read_youtube_vos(path, "valid"),
        read_stills,
    ],
)
def test_what_works_on_local_paths_only_says_so(tmp_path, monkeypatch, use):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"^gs://b/x(\.gif)?: the path is in a bucket. Pass a local path"):
        use("gs://b/x")
    assert os.listdir(tmp_path) == []


def test_files_appear_whole_or_not_at_all(bucket):
    path = as_path("gs://b/new/notes.txt")
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        assert not path.exists() and isinstance(temporary, Path) and temporary.suffix == ".txt"
    with pytest.raises(ValueError, match="no"), atomic_path(path) as temporary:
        raise ValueError("no")
    assert path.read_bytes() == b"half" and not temporary.parent.exists()
    write_file(path, "whole \u00e9")
    assert path.read_bytes() == b"whole \xc3\xa9" and read_start(path, 3) == b"who"
    assert [entry.name for entry in path.parent.iterdir()] == ["notes.txt"]
    discard(path)
    discard(path)
    assert not lies_there(path)


def test_a_new_file_never_takes_the_place_of_another(bucket):
    path = as_path("gs://b/x")
    write_new_file(path, b"mine")
    with pytest.raises(FileExistsError, match="already exists"):
        write_new_file(path, b"other")
    assert path.read_bytes() == b"mine"


def test_pictures(bucket, tmp_path):
    ids = np.arange(12, dtype=np.uint8).reshape(3, 4)
    write_mask("gs://b/mask.png", ids)
    write_image("gs://b/image.png", np.stack([ids] * 3, axis=2))
    with local_copy(as_path("gs://b/mask.png")) as mask, local_copy(as_path("gs://b/image.png")) as image:
        np.testing.assert_array_equal(read_mask(mask), ids)
        np.testing.assert_array_equal(read_image(image)[..., 1], ids)
    assert not mask.exists()


def test_a_copy_of_a_folder(bucket, tmp_path):
    files = {"a": b"1", "deep/b": b"2", "deep/er/c~": b"3"}
    for name, content in files.items():
        bucket.pipe(f"gs://b/run/{name}", content)
    with local_copy(as_path("gs://b/run")) as copy:
        found = {path.relative_to(copy).as_posix(): path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    assert found == files
    assert not copy.exists()
    with local_copy(tmp_path) as same:
        assert same is tmp_path


def test_free_space(bucket, tmp_path):
    assert free_bytes(as_path("gs://b")) is None and free_bytes(tmp_path) > 0
    require_space(as_path("gs://b"), 10**30)
    with pytest.raises(OSError, match=r"1,000,000,000,000,000,000 bytes are required, but only [\d,]+ are free"):
        require_space(tmp_path, 10**18)


def test_what_a_client_raises_becomes_one_line(monkeypatch, caplog):
    with serving(monkeypatch, UnreachableBucket):
        with pytest.raises(DataError) as caught:
            write_file("gs://b/x", b"")
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith("gs://b/x cannot be written: the bucket cannot be reached (RuntimeError: to any")
        with (
            pytest.raises(OSError, match="Check the name of the bucket, your credentials and the network"),
            local_copy(as_path("gs://b/x")),
        ):
            pass
        monkeypatch.setattr(UnreachableBucket, "error", socket.gaierror(-2, "Name or service not known"))
        with pytest.raises(OSError, match=r"be reached .gaierror: Name or service not known"), local_copy(as_path("gs://b/x")):
            pass
    assert not caplog.records


def test_a_missing_object_is_a_missing_file(bucket):
    with pytest.raises(FileNotFoundError, match=r"No such file or directory: 'gs://b/x'"), local_copy(as_path("gs://b/x")):
        pass
