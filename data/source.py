"""Provides access to a built data set: the index, and the encoded bytes of any frame."""

import contextlib
import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordReader

from data.index import Index, load
from data.moving_shapes import MovingShapes
from data.version_folder import load_record, was_cut_off
from hmmn_jax.errors import DataError
from hmmn_jax.io.buckets import AnyPath, is_bucket
from hmmn_jax.io.files import bucket_errors, reason, shortlist, user_path
from hmmn_jax.io.stage import Stage

with contextlib.suppress(RuntimeError):  # raised if TensorFlow has already initialised its devices
    tf.config.set_visible_devices([], "GPU")  # leave the GPUs to JAX

READS = 64  # number of parallel reads from a bucket; a read takes about 40 ms but hardly any CPU time
_HOW_TO_BUILD = "Build the data set with python -m data.build"


class Source(Protocol):
    """A split of a data set with random access to its frames."""

    name: str
    index: Index

    def fetch(self, records: np.ndarray) -> tuple[list[bytes], list[bytes]]:
        """Returns the JPEGs and PNG masks of the given records, int [r]. A missing mask is b"". This method is thread-safe."""


class RecordSource:
    """A split on disk or in a bucket. Records are read on demand and not cached. An unpickled source opens the files again.

    Attributes:
        in_bucket: whether the records are in a bucket. Records in a bucket are read in parallel.
    """

    def __init__(self, name: str, directory: AnyPath, split: str):
        """Opens a split in the directory of a version. Raises DataError if the index does not match the records."""
        self.name = name
        self.index = load(index_path(directory, split))
        self._directory, self._split = directory, split
        self.in_bucket = is_bucket(directory)
        self._reads = ThreadPoolExecutor(READS, "records") if self.in_bucket else None  # threads are started on demand
        try:
            info = tfds.builder_from_directory(directory).info.splits[split]
            self._records = ArrayRecordDataSource(info.file_instructions)
            found = sum(_count(path) for path in info.filepaths)
        except Exception as error:  # a damaged dataset_info.json or record file can raise any exception
            raise DataError(f"{directory} cannot be opened: {reason(error)}. {_HOW_TO_BUILD} --overwrite") from error
        if found != len(self.index.names):
            raise DataError(
                f"{directory} has {found} records, but the index lists {len(self.index.names)}. {_HOW_TO_BUILD} --overwrite"
            )
        self._process = os.getpid()

    def fetch(self, records: np.ndarray) -> tuple[list[bytes], list[bytes]]:
        """Returns JPEGs and masks. Raises DataError if a file is damaged, and IndexError for a record that does not exist."""
        if self._process != os.getpid():  # array_record would crash, because its threads do not exist after a fork
            raise DataError(
                f"{self.name} was opened before a fork. Start processes with the spawn method, or open the data set in each "
                "process."
            )
        fetch = map if self._reads is None else self._reads.map
        pairs = list(fetch(self._read, np.asarray(records).tolist()))
        return [image for image, _ in pairs], [mask for _, mask in pairs]

    def _read(self, record: int) -> tuple[bytes, bytes]:
        if not 0 <= record < len(self.index.names):
            raise IndexError(f"record {record} does not exist. The number of records is {len(self.index.names)}.")
        try:
            feature = tf.train.Example.FromString(self._records[record]).features.feature
            return feature["image"].bytes_list.value[0], feature["mask"].bytes_list.value[0]
        except Exception as error:  # array_record can raise any exception
            way_out = "Check the network." if self.in_bucket else f"{_HOW_TO_BUILD} --overwrite"
            text = f"{self._directory}: record {record} of {self._split} cannot be read: {reason(error)}"
            raise DataError(f"{text}. {way_out}") from error

    def __reduce__(self):
        return type(self), (self.name, self._directory, self._split)


def _count(path: os.PathLike) -> int:
    """Counts the records in a file without reading dataset_info.json. A damaged file can raise any exception."""
    reader = ArrayRecordReader(os.fspath(path), options="readahead_buffer_size:0")
    try:
        return reader.num_records()
    finally:
        reader.close()


def index_path(directory: AnyPath, split: str) -> AnyPath:
    """Returns the path of a split's index in the directory of a version."""
    return directory / f"index-{split}.npz"


def unfinished_path(data_dir: AnyPath, name: str) -> AnyPath:
    """Returns the path of the folder in which a data set is built."""
    return data_dir / ".unfinished" / f"{name.replace('/', '-')}.build"


def open_source(name: str, data_dir: str | os.PathLike, split: str = "train", stage: Stage | None = None) -> Source:
    """Opens a data set that `python -m data.build` built.

    Args:
        name: builder and config, such as "davis/2017" or "image_masks/ccp", or the name "moving_shapes". The newest version of
            a built data set is used. "moving_shapes" needs no files and has different clips in each split.
        data_dir: the --data_dir of the build, or a copy of this folder in a bucket; "~" is expanded.
        split: the name of the split, such as "train".
        stage: the local folder to which a split in a bucket is copied. With None, records are read from the bucket.

    Raises:
        DataError: the data set was never built, the build did not finish, or the data set has no such split.
    """
    if name == MovingShapes.name:
        return MovingShapes(seed=zlib.crc32(split.encode()))
    data_dir = user_path(data_dir, buckets=True)
    try:
        with bucket_errors(data_dir):
            directory = _newest(name, data_dir, split)
    except OSError as error:
        raise DataError(f"{error.filename or data_dir}: {reason(error)}") from error
    if stage is not None:
        directory = stage.fetch(directory, lambda file: file.endswith(".json") or f"-{split}." in file)
    return RecordSource(name, directory, split)


def _newest(name: str, data_dir: AnyPath, split: str) -> AnyPath:
    """Returns the directory of the newest version of a data set. Raises DataError if no version can be used."""
    home = data_dir / name
    versions = [path for path in home.glob("*.*.*") if path.is_dir() and path.name.replace(".", "").isdigit()]
    if not versions:
        if unfinished_path(data_dir, name).is_dir():
            raise DataError(f"{home}: a build was interrupted or is still running. {_HOW_TO_BUILD} again")
        there = sorted(f"{path.parent.parent.name}/{path.parent.name}" for path in data_dir.glob("*/*/*.*.*"))
        raise DataError(f"{home} has not been built. {data_dir} contains {shortlist(there)}. {_HOW_TO_BUILD}")
    directory = max(versions, key=lambda path: [int(part) for part in path.name.split(".")])
    if was_cut_off(load_record(directory)):
        raise DataError(f"{directory}: a build that replaced an earlier build was interrupted. {_HOW_TO_BUILD} again")
    if not index_path(directory, split).is_file():
        splits = sorted(path.stem.removeprefix("index-") for path in directory.glob("index-*.npz"))
        raise DataError(
            f"{directory} has no split {split!r}. Available splits: {shortlist(splits)}. {_HOW_TO_BUILD} --overwrite"
        )
    return directory
