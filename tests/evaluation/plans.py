"""Scores sequences with the rules of DAVIS. Several test modules use these functions."""

from hmmn_jax.evaluation.clips import Clip, open_sequence
from hmmn_jax.evaluation.plans import plan_davis
from hmmn_jax.evaluation.score_files import score_folder
from hmmn_jax.io.notes import Notes


def plans(videos, single_object=False):
    """Returns the scoring plans of sequences or clips."""
    clips = [video if isinstance(video, Clip) else open_sequence(video) for video in videos]
    return [plan_davis(clip, single_object, "", Notes()) for clip in clips]


def scored(folder, videos, single_object=False, processes=1):
    """Returns the scores of the masks in `folder`. Asserts that scoring reports no errors."""
    scores, failures = score_folder(folder, plans(videos, single_object), processes)
    assert failures == {}
    return scores
