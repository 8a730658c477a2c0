"""Tests the simulated annotator with a stub segmenter, and the tables of its results with hand-written rows."""

import itertools
import json
import sys

import numpy as np
import pytest

from benchmarks import annotator, annotator_tables
from benchmarks.annotator_tables import confidence_pairs, curves, falls, spearman, tables
from tests.evaluation.harness import discs, save_frames, save_ids
from tests.session.stub import Stub

FRAMES, TRUTH = discs(6, objects=2)


def row_of(*rounds, forward=None):
    """Returns a row of results for one object, with F = J. A round is a pair: the annotated frames, and J of every frame."""
    found = [{"annotated": a, "j": [[x] for x in j], "f": [[x] for x in j], "confidence": [[x] for x in j]} for a, j in rounds]
    row = {"sequence": "pond", "size": 0, "policy": "worst", "seed": 0, "rounds": found}
    return row if forward is None else row | {"forward": [{"j": [[x] for x in j], "f": [[x] for x in j]} for j in forward]}


ROW = row_of(([0], [1, 0.8, 0.2, 0.6]), ([0, 2], [1, 0.9, 1, 0.5]), forward=[[1, 0.8, 0.2, 0.6], [1, 0.8, 1, 0.4]])


def test_frames_that_are_annotated_in_no_round_are_the_same_in_all():
    found = curves(ROW)
    assert [list(map(pytest.approx, way)) for way in found["worst"]] == [[0.65, 0.85], [0.7, 0.7]]
    assert found["first"][1] == [pytest.approx(0.7)] * 2
    assert found["forward"][1] == [pytest.approx(0.7), pytest.approx(0.6)]


def test_falls_are_named_with_the_frame_that_lost_most():
    assert falls(ROW) == []
    fallen = row_of(([0], [1, 0.8, 0.2, 0.6]), ([0, 2], [1, 0.85, 1, 0.5]))
    assert falls(fallen) == [(1, 3)]
    assert "pond, worst: J&F falls in round 1, and falls most in frame 3" in tables([fallen])


def test_spearman_of_literal_ranks():
    """The ranks are 1, 2.5, 2.5, 4 in the first list, and 2, 1, 3, 4 in the second."""
    expected = np.corrcoef([1, 2.5, 2.5, 4], [2, 1, 3, 4])[0, 1]
    assert spearman([0.1, 0.2, 0.2, 0.9], [5, 4, 6, 7]) == pytest.approx(expected)


def test_annotated_frames_and_absent_objects_have_no_confidence():
    row = row_of(([0], [1, 0.8, 0.2, 0.6]), ([0, 2], [1, 0.9, 1, 0.5]))
    row["rounds"][0]["confidence"][2] = [None]
    c, j = confidence_pairs(row)
    assert c.tolist() == j.tolist() == [0.8, 0.6, 0.9, 0.5]


def test_the_worst_frame_is_given_until_the_rounds_are_over():
    stub = Stub()
    played = list(annotator.play(stub, list(FRAMES), list(TRUTH), 2, annotator.worst))
    assert [len(one["annotated"]) for one in played] == [1, 2, 3]
    for before, after in itertools.pairwise(played):
        (added,) = {*after["annotated"]} - {*before["annotated"]}
        jf = (before["j"] + before["f"]).mean(axis=1) / 2
        assert jf[added] == min(jf[t] for t in range(6) if t not in before["annotated"])
        assert np.array_equal(after["masks"][added], TRUTH[added]) and (after["j"][added] == 1).all()
    assert len(list(annotator.play(stub, list(FRAMES), list(TRUTH), 9, annotator.at_random(0)))) == 6


def test_forwards_only_is_a_restart_at_each_correction():
    """Scores of frames before a correction do not change. From frame 3 on, J equals J of a session that starts at frame 3."""
    found = list(annotator.play_forward(Stub(), list(FRAMES), list(TRUTH), [0, 3]))
    alone = next(annotator.play(Stub(), list(FRAMES[3:]), list(TRUTH[3:]), 0, annotator.worst))
    np.testing.assert_array_equal(found[1]["j"][:3], found[0]["j"][:3])
    np.testing.assert_array_equal(found[1]["j"][3:], alone["j"])


def test_the_command_resumes(tmp_path, monkeypatch, capsys):
    root = tmp_path / "set"
    for name in ("koi", "pond"):
        save_frames(root / "JPEGImages/480p" / name, FRAMES)
        for t, ids in enumerate(TRUTH):
            save_ids(root / f"Annotations/480p/{name}/{t:05d}.png", ids)
    made = []
    monkeypatch.setattr(annotator, "DEMO_CLIP", root)
    monkeypatch.setattr(annotator, "load_checkpoint", lambda name: ())
    monkeypatch.setattr(annotator, "Segmenter", lambda **_: made.append(1) or Stub())
    monkeypatch.setattr(annotator_tables, "FALL", -1)  # treats every round as a decrease of J&F, so a picture is saved
    command = ["annotator.py", "--out", str(tmp_path / "out"), "--rounds", "1", "--size", "32"]
    for more, count in (([], 1), (["--data", str(root), "pond", "--policies", "worst", "random"], 2 * 6)):
        monkeypatch.setattr(sys, "argv", [*command, *more])
        annotator.main()
        assert len(made) == count
    rows = [json.loads(line) for line in (tmp_path / "out/rows.jsonl").read_text().splitlines()]
    assert len(rows) == 12 and {row["sequence"] for row in rows} == {"koi", "pond"}
    assert len(list((tmp_path / "out").glob("pond_32_worst_0_round1_frame*.png"))) == 1
    out = capsys.readouterr().out
    assert "| random | 0." in out and " to 0." in out and "| pond, worst | 0." in out
