"""J&F of a model in training on annotated sequences, as `Segmenter` segments them, at a size of choice."""

from collections.abc import Sequence as Several
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import UInt8
from ml_collections import ConfigDict
from PIL import Image

from hmmn_jax.errors import DataError
from hmmn_jax.evaluation.pictures import overlay
from hmmn_jax.evaluation.scores import SequenceScores, score_frames, scored_frames, statistics
from hmmn_jax.evaluation.views import Views, segment_views
from hmmn_jax.inference import Segmenter
from hmmn_jax.layouts import Sequence, fit_mask, read_image, read_mask

SHEET_SEQUENCES, SHEET_FRAMES, SHEET_SIZE = 8, 4, (180, 320)  # of the picture: rows, columns, height and width of each


class Validation(NamedTuple):
    """What came of it.

    scores: `jf`, `j` and `f`, means over all objects in [0, 1].
    sequences: J&F of each sequence by name; of several processes, those that this one had.
    sheet: predictions, a row a sequence, RGB `[H,W,3]`; None if this process had no sequence.
    """

    scores: dict[str, float]
    sequences: dict[str, float]
    sheet: UInt8[np.ndarray, "h w 3"] | None


def require_annotations(sequences: Several[Sequence]) -> None:
    """Raises DataError for a sequence that cannot be scored, so that this is known before training starts."""
    for sequence in sequences:
        scored = scored_frames(len(sequence.frames), sequence.name)
        if missing := [t for t in (0, *scored) if t not in sequence.masks]:
            raise DataError(f"{sequence.name}: frame {sequence.frames[missing[0]]} has no mask; validation needs one for each")


def validate(segmenter: Segmenter, sequences: Several[Sequence], settings: ConfigDict) -> Validation:
    """Segments the sequences and scores them; of several processes, each takes its share, and all get the same scores.

    Args:
      segmenter: with the variables to judge.
      sequences: annotated throughout.
      settings: `size`, the shorter side to which frames are scaled (their probabilities are scaled back, scores are at full
        size), and `single_object`, the protocol of DAVIS-2016.
    """
    own = sequences[jax.process_index() :: jax.process_count()]
    sums, by_name, rows = np.zeros(3), {}, []
    for sequence in own:
        scores, row = _score(segmenter, sequence, settings)
        for j, f in zip(scores.j, scores.f, strict=True):
            sums += statistics(j).mean, statistics(f).mean, 1
        by_name[sequence.name] = float(scores.j.mean() + scores.f.mean()) / 2
        rows.append(row)
    if jax.process_count() > 1:
        sums = multihost_utils.process_allgather(sums).sum(0)
    j, f = float(sums[0] / sums[2]), float(sums[1] / sums[2])
    sheet = np.concatenate(rows[:SHEET_SEQUENCES]) if rows else None
    return Validation({"jf": (j + f) / 2, "j": j, "f": f}, by_name, sheet)


def _score(segmenter: Segmenter, sequence: Sequence, settings: ConfigDict) -> tuple[SequenceScores, np.ndarray]:
    """Scores of one sequence, and some of its frames with their predictions side by side."""

    def truth(t: int) -> np.ndarray:
        ids = fit_mask(read_mask(sequence.masks[t]), height, width, sequence.masks[t])
        return (ids > 0).astype(np.uint8) if settings.single_object else ids

    def frames():
        for path in sequence.frames:
            image = read_image(path)
            shown.append(Image.fromarray(image).resize(SHEET_SIZE[::-1]))
            yield image

    def predictions():
        for t, found in enumerate(segment_views(segmenter, frames(), {0: first}, Views(settings.size)), 1):
            picture, shown[t] = shown[t], None
            if t in pictured:
                ids = Image.fromarray(found.mask).resize(SHEET_SIZE[::-1], Image.Resampling.NEAREST)
                pictures[t] = overlay(np.asarray(picture), np.array(ids))
            if t in scored:
                yield sequence.frame_names[t], found.mask, truth(t), f"{sequence.name}, frame {t}"

    height, width = read_image(sequence.frames[0]).shape[:2]
    first, scored, shown, pictures = truth(0), scored_frames(len(sequence.frames), sequence.name), [], {}
    pictured = np.linspace(1, len(sequence.frames) - 1, SHEET_FRAMES).astype(int).tolist()
    scores = score_frames(first, predictions(), settings.single_object, sequence.name)
    return scores, np.concatenate([pictures[t] for t in pictured], axis=1)
