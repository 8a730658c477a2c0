"""Tests the scores of evaluations. The segmenter repeats the first mask."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from configs.evaluate import davis2017_testdev
from hmmn_jax.io.movies import MovieWriter
from tests.data.folders import davis as davis_folder
from tests.evaluation.harness import (
    Repeating,
    contents,
    davis,
    discs,
    read_ids,
    run_evaluate,
    save_ids,
    save_video,
)


class TestScores:
    """Tests the scores of a user's own videos.

    Each annotated id is scored from the frame after its first frame to the last frame.
    """

    def figures(self, run):
        with open(run / "per_frame.csv", newline="") as file:
            return {(row["sequence"], row["object"], row["frame"]): float(row["J"]) for row in csv.DictReader(file)}

    def test_only_ids_that_there_are_and_the_last_frame_too(self, tmp_path):
        frames, masks = discs(objects=2)
        save_video(tmp_path / "in", "v", frames, np.where(masks == 2, 38, masks).astype(np.uint8))
        done = run_evaluate(data=tmp_path / "in", output=tmp_path / "run")
        assert done.code == 0
        found = self.figures(tmp_path / "run")
        assert set(found) == {("v", i, f"{t:05d}") for i in ("1", "38") for t in range(1, 5)}
        for (_, i, frame), j in found.items():
            truth, repeated = masks[int(frame)] == min(int(i), 2), masks[0] == min(int(i), 2)
            assert j == pytest.approx((truth & repeated).sum() / (truth | repeated).sum(), abs=1e-12)
        assert "not comparable to DAVIS scores" in (tmp_path / "run/report.html").read_text()
        summary = json.loads((tmp_path / "run/summary.json").read_text())
        assert list(summary["per_sequence"]["v"]["per_object"]) == ["1", "38"]

    def test_objects_that_come_later_count_afterwards(self, tmp_path):
        frames, masks = discs(6, objects=2)
        masks[:2][masks[:2] == 2] = 0
        save_video(tmp_path / "in", "v", frames, masks)
        done = run_evaluate(data=tmp_path / "in", output=tmp_path / "run")
        assert "are not segmented unless you pass --config.late_objects=True" in done.err
        found = self.figures(tmp_path / "run")
        assert {frame for _, i, frame in found if i == "2"} == {"00003", "00004", "00005"}
        assert all(j == 0 for (_, i, _), j in found.items() if i == "2")
        done = run_evaluate(fields={"late_objects": True}, data=tmp_path / "in", output=tmp_path / "late")
        assert done.code == 0 and "later masks" not in done.err
        assert all(j > 0 for (_, i, _), j in self.figures(tmp_path / "late").items() if i == "2")
        assert run_evaluate(data=tmp_path / "in", score=tmp_path / "in/Annotations").code == 0

    def test_the_official_rule_stays_and_is_reported_where_it_overestimates(self, tmp_path):
        root = davis_folder(tmp_path, {"v": [[1, 4]] * 4}, split="val")
        shutil.copytree(root / "Annotations/480p", tmp_path / "pred")
        done = run_evaluate(config=davis(), data=root, score=tmp_path / "pred")
        assert (
            done.code == 0
            and "scores a missing id as 1.0 if no mask contains the id: 2 ids missing from the first annotation" in done.err
        )
        assert "v                        4  1.000" in done.out  # the toolkit scores objects 1 to 4, although only 1 and 4 exist

    def test_a_void_that_stays_when_its_object_has_disappeared_is_no_object(self, tmp_path):
        frames, masks = discs()
        masks[:, :4] = 255
        masks[2:][masks[2:] == 1] = 0
        save_video(tmp_path / "in", "v", frames, masks)
        done = run_evaluate(fields={"late_objects": True}, data=tmp_path / "in", output=tmp_path / "run")
        assert "because the masks also contain other ids: 1 video (v, 1,280 pixels)" in done.err
        assert set(np.unique(read_ids(tmp_path / "run/masks/v/00004.png"))) == {0, 1}
        assert set(i for _, i, _ in self.figures(tmp_path / "run")) == {"1"}

    def test_255_is_reported_when_masks_are_scored_too(self, tmp_path):
        frames, masks = discs(objects=2)
        masks[1:, :4] = 255
        save_video(tmp_path / "in", "v", frames, masks)
        done = run_evaluate(data=tmp_path / "in", score=tmp_path / "in/Annotations")
        assert done.code == 2 and "the value 255 is treated as void" in done.err  # predictions must not contain void
        save_video(
            tmp_path / "two", "v", frames, [(mask == 1).astype(np.uint8) * (255 if t else 1) for t, mask in enumerate(masks)]
        )
        done = run_evaluate(data=tmp_path / "two", score=tmp_path / "two/Annotations")
        assert done.code == 2 and "the object has the id 1 on frame 00000 and 255 on frame 00001. Use one id." in done.err

    def test_a_void_on_the_first_frame_alone_is_no_object(self, tmp_path):
        frames, masks = discs(objects=2)
        masks[:, :4] = 255
        masks[0][masks[0] < 255] = 0
        save_video(tmp_path / "in", "v", frames, masks)
        done = run_evaluate(data=tmp_path / "in", output=tmp_path / "run")
        assert (
            "v has 5 frames of 64x48 pixels and no object" in done.out
            and not read_ids(tmp_path / "run/masks/v/00003.png").any()
        )

    def test_predictions_of_0_and_255(self, tmp_path):
        root = davis_folder(tmp_path, {"v": [[1]] * 4}, split="val")
        for t in range(4):
            ids = read_ids(root / f"Annotations/480p/v/{t:05d}.png") * np.uint8(255)
            ids[-1, -1] = 0
            save_ids(tmp_path / f"pred/v/{t:05d}.png", ids)
            ids[np.nonzero(ids)[0][0], np.nonzero(ids)[1][0]] = 127
            save_ids(tmp_path / f"stray/v/{t:05d}.png", ids)
        done = run_evaluate(config=davis(), data=root, score=tmp_path / "pred")
        assert done.code == 2 and "v/00001.png: the only id is 255, which this benchmark treats as void" in done.err
        for pred in ("pred", "stray"):
            done = run_evaluate(config=davis(), fields={"single_object": True}, data=root, score=tmp_path / pred)
            assert done.code == 0 and "1.000" in done.out.splitlines()[-1]

    def test_masks_that_are_wrong_are_named_and_the_others_are_scored(self, own, tmp_path):
        shutil.copytree(own / "Annotations", tmp_path / "pred")
        (tmp_path / "pred/a/00003.png").unlink()
        done = run_evaluate(data=own, score=tmp_path / "pred", output=tmp_path / "run")
        assert done.code == 1 and done.err.count("a/00003.png: the file does not exist. 1 of 4 masks are missing.") == 1
        assert "a                  not scored" in done.out and (tmp_path / "run/report.html").is_file()
        assert "a/00003.png" in json.loads((tmp_path / "run/summary.json").read_text())["not_scored"]["a"]
        save_ids(tmp_path / "pred/b/00002.png", np.full((48, 64), 9, np.uint8))
        done = run_evaluate(data=own, score=tmp_path / "pred")
        assert (
            done.code == 2 and "b/00002.png: the mask contains the id 9, but the annotations have only the ids 1, 2" in done.err
        )

    def test_soft_predictions_of_one_object_are_rejected_or_thresholded(self, tmp_path):
        frames, masks = discs()
        save_video(tmp_path / "in", "v", frames, masks)
        for t, mask in enumerate(masks):
            soft = Image.fromarray(mask * np.uint8(255)).resize((256, 192), Image.Resampling.BILINEAR).resize((64, 48))
            (tmp_path / "pred/v").mkdir(parents=True, exist_ok=True)
            soft.save(tmp_path / f"pred/v/{t:05d}.png")
        done = run_evaluate(data=tmp_path / "in", score=tmp_path / "pred")
        assert done.code == 2 and "v/00001.png" in done.err and "mask_values" in done.err
        done = run_evaluate(fields={"mask_values": "threshold"}, data=tmp_path / "in", score=tmp_path / "pred")
        assert done.code == 0
        assert float(done.out.splitlines()[-1].split()[4]) > 0.95

    def test_an_annotation_of_another_size_is_reported_before_anything_is_segmented(self, own, tmp_path):
        save_ids(own / "Annotations/a/00003.png", np.ones((64, 48), np.uint8))
        segmenter = Repeating()
        done = run_evaluate(segmenter, data=own, output=tmp_path / "run")
        assert done.code == 0 and "not scored: " in done.err and len(segmenter.given) == 2
        assert f"{own / 'Annotations/a/00003.png'}: the mask has 48x64 pixels, but its frame has 64x48" in done.err
        assert "a                  not scored" in done.out

    def test_soft_predictions_under_the_official_rule(self, tmp_path):
        root = davis_folder(tmp_path, {"v": [[1]] * 4}, split="val")
        levels = np.linspace(0, 255, 24 * 32).reshape(24, 32).astype(np.uint8)
        for t in range(4):
            (tmp_path / "pred/v").mkdir(parents=True, exist_ok=True)
            Image.fromarray(levels).save(tmp_path / f"pred/v/{t:05d}.png")
        fields = {"single_object": True}
        done = run_evaluate(config=davis(), fields=fields, data=root, score=tmp_path / "pred")
        assert done.code == 2 and "v/00001.png: the mask has" in done.err
        fields["mask_values"] = "threshold"
        done = run_evaluate(config=davis(), fields=fields, data=root, score=tmp_path / "pred", output=tmp_path / "run")
        assert done.code == 0
        truth = read_ids(root / "Annotations/480p/v/00001.png") > 0
        expected = (truth & (levels >= 128)).sum() / (truth | (levels >= 128)).sum()
        assert self.figures(tmp_path / "run")["v", "1", "00001"] == pytest.approx(expected, abs=1e-12)


def test_no_archive_and_a_report_where_a_video_failed(tmp_path):
    root = davis_folder(tmp_path / "in", {"v": [[1], None, None], "w": [[1], None, None]}, split="test-dev")
    frame = root / "JPEGImages/480p/w/00001.jpg"
    good = frame.read_bytes()
    frame.write_bytes(good[:-200])
    config = davis2017_testdev.get_config()
    done = run_evaluate(config=config, data=root, output=tmp_path / "run")
    assert (
        done.code == 1
        and "submission.zip was not written, because 1 video(s) failed" in done.err
        and done.err.count("w/00001.jpg") == 1
    )
    assert {name.split("/")[0] for name in contents(tmp_path / "run")} == {"masks", "report.html"}
    frame.write_bytes(good)
    done = run_evaluate(config=config, data=root, output=tmp_path / "run")
    assert done.code == 0 and "1 of 2 videos are already complete" in done.err and "6 masks for the server" in done.out


def test_video_files_are_scored_too(tmp_path):
    pytest.importorskip("av")
    frames, masks = discs()
    (tmp_path / "in/JPEGImages").mkdir(parents=True)
    with MovieWriter(tmp_path / "in/JPEGImages/v.mp4", 30) as movie:
        for frame in frames:
            movie.write(frame)
    save_ids(tmp_path / "in/Annotations/v.png", masks[0])
    for t in (2, 4):
        save_ids(tmp_path / f"in/Annotations/v/{t:05d}.png", masks[t])
    done = run_evaluate(data=tmp_path / "in", output=tmp_path / "run")
    assert done.code == 0 and "some frames are not scored: 1 video with unannotated frames (v, 2 frames)" in done.err, done.err
    rows = (tmp_path / "run/per_frame.csv").read_text().splitlines()
    assert [row.split(",")[2] for row in rows[1:]] == ["00002", "00004"]
