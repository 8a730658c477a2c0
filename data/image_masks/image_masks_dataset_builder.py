"""Dataset builder for single images with masks, in any folder. The config defines which values in the masks are objects."""

import contextlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from data.frames_builder import FramesBuilder, check_choice
from data.index import identity_map, level_map
from hmmn_jax.datasets.folders import VideoFiles
from hmmn_jax.datasets.stills import read_stills
from hmmn_jax.errors import DataError
from hmmn_jax.io.images import MASK_VALUES
from hmmn_jax.io.notes import Notes


@dataclass
class ImageMasksConfig(tfds.core.BuilderConfig):
    """The layout of a data set, and the meaning of its mask values.

    Attributes:
        objects: the mask values of objects 1, 2, ...: "," separates objects, "+" merges values into one object, and "-"
            defines a range, as in "1+2,7" or "1-255". All other values are background. If empty, each value except 0 is an
            object, but 255 is void in masks that also contain other ids.
        soft: whether masks contain grey levels. If True, values of 128 and above form the only object.
        mask_values: "ids": masks contain ids. "threshold": has the same effect as `soft`. "": masks contain ids, but masks that
            seem to contain grey levels are skipped if `objects` is not set.
        images, masks, image_end, mask_end: see `read_stills`.
    """

    objects: str = ""
    soft: bool = False
    mask_values: str = ""
    images: str = ""
    masks: str = ""
    image_end: str = ""
    mask_end: str = ""


class Builder(FramesBuilder):
    """Builds a data set of single images with masks. The only split is "train"."""

    STILLS = True
    MANUAL_DOWNLOAD_INSTRUCTIONS = "A folder of images with masks, as described in README.md."
    BUILDER_CONFIGS: ClassVar = [
        ImageMasksConfig(name="ids", description="Each value in a mask is an object."),
        ImageMasksConfig(name="one_object", description="All values other than 0 form one object.", objects="1-255"),
        ImageMasksConfig(
            name="salient",
            description="Masks contain grey levels; values of 128 and above form the only object.",
            soft=True,
        ),
        ImageMasksConfig(
            name="ccp", description="Clothing Co-Parsing: clothes, skin and hair form one person.", objects="1-255"
        ),
        ImageMasksConfig(name="human", description="Pictures of one person.", objects="1-255"),
        ImageMasksConfig(name="camvid", description="CamVid: cars, pedestrians, bicyclists.", objects="9,10,11"),
        *(ImageMasksConfig(name=name, soft=True) for name in ("duts", "ecssd", "hrsod", "fss1000")),
        ImageMasksConfig(name="big", soft=True, image_end="_im", mask_end="_gt"),
    ]

    @classmethod
    def check_config(cls, config: ImageMasksConfig, given: Collection[str]) -> None:
        """Checks that fields are compatible, and that each given field has an effect."""
        check_choice("mask_values", config.mask_values, MASK_VALUES)
        soft = config.soft or config.mask_values == "threshold"
        if soft and "objects" in given:
            raise DataError(f"--set objects={config.objects} has no effect if masks contain grey levels. Omit this option.")
        if "mask_values" in given and (config.objects or config.soft):
            other = "soft=true" if config.soft else f"objects={config.objects}"
            raise DataError(
                f"--set mask_values={config.mask_values} has no effect together with {other}. Choose another --config."
            )
        if config.masks and not config.images:
            raise DataError(f"--set masks={config.masks} has no effect without images. Set both images and masks.")

    def list_splits(self, root: Path) -> list[str]:
        """Returns the only split, "train"."""
        return ["train"]

    def list_sequences(self, root: Path, split: str, notes: Notes) -> tuple[list[VideoFiles], list[str]]:
        """Returns the images that have a mask."""
        config = self.builder_config
        return read_stills(root, config.images, config.masks, config.image_end, config.mask_end, notes=notes)

    def id_map(self) -> np.ndarray:
        """Returns the object id of each mask value."""
        config = self.builder_config
        if self.is_soft():
            return level_map()
        if not config.objects:
            return identity_map()
        table = np.zeros(256, np.uint8)
        for i, group in enumerate(config.objects.split(","), start=1):
            for part in group.split("+"):
                table[_values(part, config.objects)] = i
        return table

    def is_soft(self) -> bool:
        """Returns whether the config specifies that masks contain grey levels."""
        return self.builder_config.soft or self.builder_config.mask_values == "threshold"

    def has_rules(self) -> bool:
        """Returns whether the config sets `objects`, or specifies that masks contain grey levels."""
        return bool(self.builder_config.objects) or self.is_soft()

    def checks_levels(self) -> bool:
        """Returns whether masks that seem to contain grey levels are skipped.

        The result is True if the config sets neither `objects`, `soft` nor `mask_values`.
        """
        return not (self.has_rules() or self.builder_config.mask_values)


def _values(part: str, objects: str) -> slice:
    first, _, last = part.partition("-")
    with contextlib.suppress(ValueError):
        if 1 <= int(first) <= int(last or first) <= 255:
            return slice(int(first), int(last or first) + 1)
    raise DataError(f"objects={objects}: {part!r} is not a value or range from 1 to 255. Valid examples are 1+2,7 and 1-255.")
