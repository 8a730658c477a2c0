"""Dataset builder for DAVIS-2016 and DAVIS-2017 at any resolution, and for folders with the same layout."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from data.frames_builder import FramesBuilder, check_choice
from data.index import identity_map, level_map
from hmmn_jax.datasets.davis import list_davis_splits, read_davis
from hmmn_jax.datasets.folders import VideoFiles, read_unlisted
from hmmn_jax.datasets.order import ORDERS
from hmmn_jax.errors import DataError
from hmmn_jax.io.images import MASK_VALUES
from hmmn_jax.io.notes import Notes

_OFFICIAL = ("2016", "2017")
_SPLITS = ("train", "val", "test-dev", "test-challenge")


@dataclass
class DavisConfig(tfds.core.BuilderConfig):
    """Specifies which videos to read, and how to read them.

    Attributes:
        year, resolution, annotations: see `read_davis`. If `year` is "", lists of sequences are not used.
        sequences: names of the sequences to read, separated by commas, such as "bear,camel". The value "" means all sequences.
        order: how frames are sorted by name: "natural", "decimal", "signed" or "name". The value "" means "natural", but an
            ambiguous order is an error.
        mask_values: "ids", or "threshold" if masks contain grey levels. With "threshold", values of 128 and above form the only
            object. The value "" means "ids", but in data sets other than DAVIS, masks that seem to contain grey levels are
            skipped.
    """

    year: str = ""
    resolution: str = ""
    annotations: str = "Annotations"
    sequences: str = ""
    order: str = ""
    mask_values: str = ""


class Builder(FramesBuilder, skip_registration=True):  # TFDS also has a builder with this name
    """TFDS builder for DAVIS and for videos in the DAVIS layout.

    Each config is also available for a single resolution, such as 2017_480p.
    """

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Download DAVIS from https://davischallenge.org. The downloaded folder contains JPEGImages, Annotations and ImageSets."
    )
    BUILDER_CONFIGS: ClassVar = [
        *(DavisConfig(name=year, year=year) for year in ("2017", "2016")),
        DavisConfig(name="folder", description="Your own videos, without list files."),
    ]

    @classmethod
    def find_config(cls, name: str) -> DavisConfig:
        """Returns the config with the given name, which may have the form NAME_RESOLUTION."""
        base, _, resolution = name.partition("_")
        config = super().find_config(base)
        return replace(config, name=name, resolution=resolution) if resolution else config

    @classmethod
    def check_config(cls, config: DavisConfig, given: Collection[str]) -> None:
        """Checks the fields with fixed choices, and requires at least one name in `sequences` if this field is given."""
        check_choice("order", config.order, ORDERS)
        check_choice("mask_values", config.mask_values, MASK_VALUES)
        if "sequences" in given and not _names(config):
            raise DataError("--set sequences= contains no name, expected the names of sequences, such as bear,camel")

    def list_splits(self, root: Path) -> list[str]:
        """Returns the splits that have a list, or only "train" if the config uses no lists."""
        config = self.builder_config
        if not config.year:
            return ["train"]
        there = list_davis_splits(root, config.year, config.resolution)
        if not (splits := [split for split in _SPLITS if split in there]):
            raise DataError(f"{root / 'ImageSets' / config.year} contains no list for any of the splits {', '.join(_SPLITS)}")
        return splits

    def list_sequences(self, root: Path, split: str, notes: Notes) -> tuple[list[VideoFiles], list[str]]:
        """Returns the sequences in the list of the split, or all sequences in the folder if the config uses no lists."""
        config, names = self.builder_config, _names(self.builder_config)
        if not config.year:
            return read_unlisted(root, config.resolution, config.annotations, names=names, order=config.order, notes=notes)
        sequences = read_davis(
            root, config.year, split, config.resolution, config.annotations, names, order=config.order, notes=notes
        )
        return sequences, []

    def id_map(self) -> np.ndarray:
        """Returns the map from values in the PNGs to object ids, uint8 [256] (see `Index.id_map`)."""
        return level_map() if self.is_soft() else identity_map()

    def is_soft(self) -> bool:
        """Returns whether masks contain grey levels."""
        return self.builder_config.mask_values == "threshold"

    def has_rules(self) -> bool:
        """Returns whether the data set is DAVIS and not a user's data set."""
        return self.builder_config.year in _OFFICIAL

    def checks_levels(self) -> bool:
        """Returns whether masks that seem to contain grey levels are skipped.

        The result is True for a user's data set if the config does not define the mask values.
        """
        return not (self.has_rules() or self.builder_config.mask_values)


def _names(config: DavisConfig) -> list[str] | None:
    """Returns the names of the selected sequences, or None for all sequences."""
    return [name.strip() for name in config.sequences.split(",") if name.strip()] or None
