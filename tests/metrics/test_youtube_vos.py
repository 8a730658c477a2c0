"""Tests the metrics of YouTube-VOS with values computed by hand."""

import math

import numpy as np
import pytest

from hmmn_jax.metrics.davis import SequenceScores
from hmmn_jax.metrics.youtube_vos import COLUMNS, part, total, with_groups

NAN = math.nan


def video(name, j, f, ids, unseen):
    j, f = np.array(j), np.array(f)
    frames = tuple(f"{5 * t:05d}" for t in range(j.shape[1]))
    return with_groups(SequenceScores(name, frames, j, f, ids), unseen)


PARK = video("park", [[0.5, 1.0], [NAN, 0.25]], [[0.5, 0.5], [NAN, 0.75]], (2, 7), {2: False, 7: True})
SEA = video("sea", [[0.25, 0.25]], [[1.0, 1.0]], (1,), {1: False})


def test_groups_are_apart_and_every_object_has_the_same_weight():
    seen_j, unseen_j, seen_f, unseen_f = (0.75 + 0.25) / 2, 0.25, (0.5 + 1.0) / 2, 0.75
    overall = (seen_j + unseen_j + seen_f + unseen_f) / 4
    j, f = (0.75 + 0.25 + 0.25) / 3, (0.5 + 0.75 + 1.0) / 3
    expected = [overall, seen_j, unseen_j, seen_f, unseen_f, (j + f) / 2, j, f]
    assert [*total([PARK, SEA])] == [*COLUMNS]
    assert [*total([PARK, SEA]).values()] == pytest.approx(expected, abs=1e-12)
    assert part([PARK]) == pytest.approx({"J&F": 0.5625, "J": 0.5, "F": 0.625}, abs=1e-12)
    assert part([PARK.of_object(7)]) == pytest.approx({"J&F": 0.5, "J": 0.25, "F": 0.75}, abs=1e-12)


def test_a_group_without_objects_and_unknown_groups():
    figures = total([SEA])
    assert math.isnan(figures["overall"]) and math.isnan(figures["J_unseen"]) and figures["J_seen"] == 0.25
    figures = total([video("sea", [[0.5]], [[1.0]], (1,), {})])
    assert all(math.isnan(figures[name]) for name in COLUMNS[:5]) and figures["J&F"] == 0.75
