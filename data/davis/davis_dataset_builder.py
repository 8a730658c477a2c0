"""DAVIS-2016 and DAVIS-2017, of any resolution."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import tensorflow_datasets as tfds

from data.frames_builder import FramesBuilder
from hmmn_jax.errors import DataError
from hmmn_jax.layouts import Sequence, list_davis_splits, read_davis, read_unlisted

_SPLITS = ("train", "val", "test-dev", "test-challenge")


@dataclass
class DavisConfig(tfds.core.BuilderConfig):
    """What to read.

    Attributes:
        year, resolution, annotations: as in `read_davis`; without a year, all sequences of a folder that has no lists.
        sequences: of the list these only, as "bear,camel".
    """

    year: str = ""
    resolution: str = ""
    annotations: str = "Annotations"
    sequences: str = ""


class Builder(FramesBuilder, skip_registration=True):  # TFDS has a builder of this name
    """The builder; each of its configs is also there for one resolution, such as 2017_480p."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "The folder that holds JPEGImages, Annotations and ImageSets, from https://davischallenge.org."
    )
    BUILDER_CONFIGS: ClassVar = [
        *(DavisConfig(name=year, year=year) for year in ("2017", "2016")),
        DavisConfig(name="folder", description="Videos of one's own, without lists."),
    ]

    @classmethod
    def find_config(cls, name: str) -> DavisConfig:
        """Gives a config by its name, or by NAME_RESOLUTION."""
        base, _, resolution = name.partition("_")
        config = super().find_config(base)
        return replace(config, name=name, resolution=resolution) if resolution else config

    def list_splits(self, root: Path) -> list[str]:
        """Names the splits that have a list; without lists the one split is "train"."""
        config = self.builder_config
        if not config.year:
            return ["train"]
        there = list_davis_splits(root, config.year, config.resolution)
        if not (splits := [split for split in _SPLITS if split in there]):
            raise DataError(f"{root / 'ImageSets' / config.year}: no list of any split of {', '.join(_SPLITS)}")
        return splits

    def list_sequences(self, root: Path, split: str) -> tuple[list[Sequence], list[str]]:
        """Lists what the list of the split names, all of which has to be there, or whatever there is."""
        config = self.builder_config
        if not config.year:
            return read_unlisted(root, config.resolution, config.annotations)
        names = config.sequences.split(",") if config.sequences else None
        return read_davis(root, config.year, split, config.resolution, config.annotations, names), []
