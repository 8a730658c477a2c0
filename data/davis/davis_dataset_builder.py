"""DAVIS-2016 and DAVIS-2017, of any resolution."""

from dataclasses import dataclass, replace
from pathlib import Path

import tensorflow_datasets as tfds

from data.frames_builder import FramesBuilder
from hmmn_jax.errors import DataError
from hmmn_jax.layouts import Sequence, list_davis_splits, read_davis

_SPLITS = ("train", "val", "test-dev", "test-challenge")


@dataclass
class DavisConfig(tfds.core.BuilderConfig):
    """Fields as those of `read_davis`."""

    year: str = "2017"
    resolution: str = ""
    annotations: str = "Annotations"


class Builder(FramesBuilder, skip_registration=True):  # TFDS has a builder of this name
    """The builder; besides its configs there is one of each year and resolution, such as 2017_480p."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "The folder that holds JPEGImages, Annotations and ImageSets, from https://davischallenge.org."
    )
    BUILDER_CONFIGS = [DavisConfig(name=year, year=year) for year in ("2017", "2016")]  # noqa: RUF012

    @classmethod
    def find_config(cls, name: str) -> DavisConfig:
        """Gives the config YEAR or YEAR_RESOLUTION."""
        year, _, resolution = name.partition("_")
        return replace(super().find_config(year), name=name, resolution=resolution)

    def list_splits(self, root: Path) -> list[str]:
        """Names the splits that have a list."""
        config = self.builder_config
        there = list_davis_splits(root, config.year, config.resolution)
        if not (splits := [split for split in _SPLITS if split in there]):
            raise DataError(f"{root / 'ImageSets' / config.year}: no list of any split of {', '.join(_SPLITS)}")
        return splits

    def list_sequences(self, root: Path, split: str) -> tuple[list[Sequence], list[str]]:
        """Lists what the list of the split names; all of it has to be there."""
        config = self.builder_config
        return read_davis(root, config.year, split, config.resolution or None, config.annotations), []
