"""Base class of the builders: checks and indexes videos, and stores one frame per record without re-encoding."""

import collections
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from data.checks import IndexRows, Report, read_frame
from data.index import Index, identity_map
from data.source import index_path
from hmmn_jax.datasets.folders import VideoFiles
from hmmn_jax.errors import DataError
from hmmn_jax.io.notes import Notes

T = TypeVar("T")
R = TypeVar("R")

CLIP_FRAMES = 3  # minimum number of frames with masks in a training video
_THREADS = 8
_AHEAD = 64  # number of frames that are read ahead
_KEYS = 2**128  # number of possible keys in the TFDS Shuffler, which sorts one bucket of keys at a time


class FramesBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A builder for videos with masks. A single image is a video with one frame.

    A subclass lists the sequences of its splits. `data.source.open_source` opens the built data set.

    Attributes:
        STILLS: whether the videos are single images. A single image needs only one mask, which may contain no object.
        reports: the report of each split that has been built.
    """

    VERSION = tfds.core.Version("1.0.0")
    STILLS = False

    def __init__(self, *, splits: tuple[str, ...] = (), **kwargs):
        """`splits` are the splits to build, where () means all. `kwargs` are the arguments of a TFDS builder."""
        super().__init__(**kwargs)
        self._wanted = splits
        self.reports: dict[str, Report] = {}
        self._indices: dict[str, Index] = {}

    @classmethod
    def find_config(cls, name: str) -> tfds.core.BuilderConfig:
        """Returns the config with this name. Raises DataError for an unknown name."""
        configs = {config.name: config for config in cls.BUILDER_CONFIGS}
        if name not in configs:
            raise DataError(f"{cls.name} has no config {name!r}, expected one of {', '.join(configs)}")
        return configs[name]

    @classmethod
    def has_config(cls, name: str) -> bool:
        """Returns whether `find_config` finds a config with this name."""
        try:
            cls.find_config(name)
        except DataError:
            return False
        return True

    @classmethod
    def check_config(cls, config: tfds.core.BuilderConfig, given: Collection[str]) -> None:
        """Checks a config in which the user has set the fields `given`.

        Raises DataError for invalid values, and for fields that have no effect.
        """

    def list_splits(self, root: Path) -> list[str]:
        """Returns the names of the splits in a folder."""
        raise NotImplementedError

    def list_sequences(self, root: Path, split: str, notes: Notes) -> tuple[list[VideoFiles], list[str]]:
        """Returns the sequences of a split, and one line per problem. Raises DataError if the split cannot be read."""
        raise NotImplementedError

    def id_map(self) -> np.ndarray:
        """Returns the map from values in the PNGs to object ids, uint8 [256] (see `Index.id_map`)."""
        return identity_map()

    def is_soft(self) -> bool:
        """Returns whether the masks contain grey levels instead of ids (see `Index.soft`)."""
        return False

    def has_rules(self) -> bool:
        """Returns whether the data set defines the meaning of mask values. If so, void pixels (255) are not reported."""
        return True

    def checks_levels(self) -> bool:
        """Returns whether masks that seem to contain grey levels are skipped."""
        return False

    def all_labelled(self, split: str) -> bool:
        """Returns whether frames without a mask are reported."""
        return split == "train"

    def _info(self) -> tfds.core.DatasetInfo:
        text = tfds.features.Text()
        image = tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg")
        features = tfds.features.FeaturesDict({"image": image, "mask": text, "video": text, "frame": text})
        # The records must be in the order of the index.
        return self.dataset_info_from_configs(features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[tuple[int, dict]]]:
        root = Path(dl_manager.manual_dir)
        splits = self._wanted or self.list_splits(root)
        reports = {split: Report() for split in splits}
        sequences = {}
        for split, report in reports.items():
            sequences[split], report.problems = self.list_sequences(root, split, report.notes)
        return {split: self._generate_examples(split, sequences[split], report) for split, report in reports.items()}

    def _generate_examples(self, split: str, sequences: list[VideoFiles], report: Report) -> Iterator[tuple[int, dict]]:
        clips = split == "train" and not self.STILLS
        rows = IndexRows(
            self.id_map(),
            self.is_soft(),
            fewest_masks=CLIP_FRAMES if clips else 1,
            needs_object=clips,
            all_labelled=self.all_labelled(split),
            has_rules=self.has_rules(),
            report=report,
        )
        total = sum(len(sequence.frames) for sequence in sequences)
        spacing = _KEYS // max(total, 1)  # spread the keys, because otherwise all keys would be in one bucket
        paths = ((path, sequence.masks.get(i)) for sequence in sequences for i, path in enumerate(sequence.frames))
        record = 0
        with ThreadPoolExecutor(_THREADS) as pool, tqdm(total=total, desc=f"{self.name} {split}", unit="frame") as bar:
            read = _map_in_order(pool, lambda pair: read_frame(*pair, rows.soft, self.checks_levels()), paths)
            for sequence in sequences:
                for frame in rows.add(sequence, list(itertools.islice(read, len(sequence.frames)))):
                    yield (
                        record * spacing,
                        {"image": frame.jpeg, "mask": frame.png, "video": sequence.name, "frame": frame.name},
                    )
                    record += 1
                bar.update(len(sequence.frames))
        if not record:
            raise DataError(f"{split}: no video of this split can be used: {report.problems[0]}", report.problems[1:])
        self.reports[split], self._indices[split] = report, rows.index()

    def _download_and_prepare(self, dl_manager, download_config) -> None:
        super()._download_and_prepare(dl_manager, download_config)
        for split, index in self._indices.items():  # `data_dir` is a temporary folder here, and is renamed at the end
            index.save(index_path(Path(self.data_dir), split))


def check_choice(field: str, value: str, choices: Collection[str]) -> None:
    """Raises DataError if a field of a config has a value other than "" or one of `choices`."""
    if value and value not in choices:
        raise DataError(f"--set {field}={value}: expected one of {', '.join(choices)}")


def _map_in_order(pool: ThreadPoolExecutor, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Applies a function to items in parallel and yields the results in order. The number of items in progress is limited."""
    items = iter(items)
    waiting = collections.deque(pool.submit(function, item) for item in itertools.islice(items, _AHEAD))
    while waiting:
        result = waiting.popleft().result()
        waiting.extend(pool.submit(function, item) for item in itertools.islice(items, 1))
        yield result
