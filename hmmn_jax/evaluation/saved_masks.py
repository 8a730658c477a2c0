"""Reads the saved masks of a video, and the saved probabilities if there are any."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from hmmn_jax.datasets.folders import match_masks
from hmmn_jax.datasets.listing import list_frames
from hmmn_jax.errors import DataError
from hmmn_jax.evaluation.clips import MOST, find_numbered_masks
from hmmn_jax.io.files import reason
from hmmn_jax.io.image_video import ImageVideo
from hmmn_jax.io.images import fit_mask, is_binary, read_ids, settle_ids
from hmmn_jax.io.notes import Notes, note
from hmmn_jax.io.video import Video
from hmmn_jax.io.video_file import open_video


class Saved(NamedTuple):
    """A mask. If probabilities were saved, `probs` has a channel for each id in `ids`, starting with the background (0)."""

    mask: Integer[np.ndarray, "h w"]
    ids: Integer[np.ndarray, " c"] | None = None
    probs: Float[np.ndarray, "c h w"] | None = None


class SavedMasks:
    """The saved masks of one video.

    Attributes:
        video: the frames of the video.
    """

    def __init__(self, video: Path, masks: Path, probabilities: Path | None = None):
        """Opens the video and finds its masks.

        Args:
            video: a video file or a folder of images.
            masks: the folder of the masks `FRAME.png`.
            probabilities: the folder of the probabilities `FRAME.npz`, as written by an evaluation.

        Raises:
            DataError: the video or a folder does not exist, or no mask matches a frame.
        """
        for folder in filter(None, (masks, probabilities)):
            if not folder.is_dir():
                raise DataError(f"{folder}: the folder does not exist. Pass a folder with a file for each frame.")
        notes = Notes()
        if video.is_dir():
            frames = list_frames(video, notes=notes)
            self.video: Video = ImageVideo(frames)
            self._masks = match_masks(masks, frames, notes)[0]
        else:
            self.video = open_video(video)
            self._masks = find_numbered_masks(masks, notes)
        for line in notes.lines():
            note(line)
        self._probabilities = probabilities
        self._binary = is_binary(map(self._read, self._masks))

    def find(self, t: int) -> Saved | None:
        """Returns the saved mask of a frame, or None if the frame has no mask. Raises DataError for an unreadable file."""
        if t not in self._masks:
            return None
        height, width = self.video.size
        mask = fit_mask(settle_ids(self._read(t), self._binary), height, width, self._masks[t])
        path = None if self._probabilities is None else self._probabilities / f"{self._masks[t].stem}.npz"
        if path is None or not path.is_file():
            return Saved(mask)
        try:
            with np.load(path, allow_pickle=False) as saved:
                ids, probs = saved["ids"], saved["probs"].astype(np.float32)
            if probs.shape != (len(ids), height, width):
                raise ValueError(f"the probabilities have the shape {list(probs.shape)}, expected {[len(ids), height, width]}")
        except Exception as error:  # damaged zip files and arrays raise many exception types
            raise DataError(
                f"{path}: the file does not contain the probabilities of this frame ({reason(error)}). Segment the video again."
            ) from error
        return Saved(mask, ids, probs)

    def _read(self, t: int) -> Integer[np.ndarray, "h w"]:
        return read_ids(self._masks[t], most=MOST)
