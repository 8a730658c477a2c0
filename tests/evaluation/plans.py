"""Sequences scored by DAVIS's rule, as the tests of several modules need it."""

from hmmn_jax.evaluation.clips import Clip, open_sequence
from hmmn_jax.evaluation.score_files import score_folder
from hmmn_jax.evaluation.score_plan import plan_scores
from hmmn_jax.io.notes import Notes
from hmmn_jax.metrics.davis import Rule


def plans(videos, single_object=False):
    """Of sequences or clips."""
    clips = [video if isinstance(video, Clip) else open_sequence(video) for video in videos]
    return [plan_scores(clip, Rule(False, single_object), Notes()) for clip in clips]


def scored(folder, videos, single_object=False, processes=1):
    """The scores, with no failure."""
    scores, failures = score_folder(folder, plans(videos, single_object), processes)
    assert failures == {}
    return scores
