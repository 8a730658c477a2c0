"""Dataset builder for YouTube-VOS 2018 and 2019."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import tensorflow_datasets as tfds

from data.frames_builder import FramesBuilder, check_choice
from hmmn_jax.datasets.order import ORDERS
from hmmn_jax.datasets.youtube_vos import YouTubeVideo, read_youtube_vos
from hmmn_jax.errors import DataError
from hmmn_jax.io.files import contents
from hmmn_jax.io.notes import Notes

_SPLITS = ("train", "valid", "test")


@dataclass
class YouTubeVosConfig(tfds.core.BuilderConfig):
    """Specifies which frames to read.

    Attributes:
        all_frames: whether to use all frames. If False, only every fifth frame is used. In the split "train", every fifth frame
            has a mask.
        order: how frames are sorted by name: "natural", "decimal", "signed" or "name". The value "" means "natural", but an
            ambiguous order is an error.
    """

    all_frames: bool = False
    order: str = ""


class Builder(FramesBuilder):
    """TFDS builder for YouTube-VOS. The years 2018 and 2019 have the same layout, but different videos and masks."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Download YouTube-VOS from https://youtube-vos.org. The downloaded folder contains train and valid."
    )
    BUILDER_CONFIGS: ClassVar = [
        YouTubeVosConfig(name=year + suffix, all_frames=bool(suffix))
        for year in ("2019", "2018")
        for suffix in ("", "_all_frames")
    ]

    @classmethod
    def check_config(cls, config: YouTubeVosConfig, given: Collection[str]) -> None:
        """Checks the field `order`."""
        check_choice("order", config.order, ORDERS)

    def list_splits(self, root: Path) -> list[str]:
        """Returns the splits that have a folder."""
        if not (splits := [split for split in _SPLITS if (root / split).is_dir()]):
            raise DataError(
                f"{root} contains none of the folders {', '.join(_SPLITS)}. {contents(root)}. Pass the folder of the unpacked "
                "archives."
            )
        return splits

    def list_sequences(self, root: Path, split: str, notes: Notes) -> tuple[list[YouTubeVideo], list[str]]:
        """Returns the sequences that meta.json lists for the split, and a message for each problem."""
        config = self.builder_config
        return read_youtube_vos(root, split, config.all_frames, order=config.order, notes=notes)

    def all_labelled(self, split: str) -> bool:
        """Returns whether frames without a mask are reported.

        The result is True for the split "train" if only every fifth frame is used, because these frames should all have masks.
        """
        return split == "train" and not self.builder_config.all_frames
