"""Evaluations from request to report, with a segmenter that repeats the first mask."""

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configs.evaluate import custom, davis2017_testdev, youtube_vos_2019
from hmmn_jax.evaluation import fit
from hmmn_jax.io.movies import MovieWriter
from hmmn_jax.io.video_file import VideoFile
from tests.data.folders import davis as davis_folder
from tests.evaluation.harness import (
    Repeating,
    contents,
    davis,
    discs,
    read_ids,
    run_evaluate,
    save_frames,
    save_ids,
    save_video,
)


@pytest.fixture
def own(tmp_path):
    """Two annotated videos of two objects."""
    frames, masks = discs(objects=2)
    for name in ("a", "b"):
        save_video(tmp_path / "in", name, frames, masks)
    return tmp_path / "in"


def test_what_will_be_segmented_is_said_first(own, tmp_path):
    done = run_evaluate(data=own, output=tmp_path / "run")
    assert done.code == 0, done.err
    pixels = [int((discs(objects=2)[1][0] == i).sum()) for i in (1, 2)]
    assert done.out.splitlines()[:2] == [
        f"{name}: 5 frames of 64x48, 2 objects: 1 ({pixels[0]} px), 2 ({pixels[1]} px)" for name in "ab"
    ]


def test_beyond_ten_videos_the_others_are_counted(tmp_path):
    frames, masks = discs(3, 16, 16)
    for t in range(12):
        save_video(tmp_path / "in", f"v{t:02d}", frames, masks)
    done = run_evaluate(data=tmp_path / "in", output=tmp_path / "run")
    assert done.out.splitlines()[9].startswith("v09: 3 frames") and "... and 2 more videos, 6 frames" in done.out


class TestOutputs:
    """Files of a user do not change."""

    def test_the_same_command_finds_all_there(self, own, tmp_path):
        segmenter = Repeating()
        run_evaluate(segmenter, data=own, output=tmp_path / "run", overlays=True, movie="gif")
        before = contents(tmp_path / "run")
        done = run_evaluate(segmenter, data=own, output=tmp_path / "run", overlays=True, movie="gif")
        assert done.code == 0 and "2 of 2 videos are complete already" in done.err and len(segmenter.given) == 2
        after = contents(tmp_path / "run")
        assert {name: text for name, text in after.items() if "report" not in name and "summary" not in name} == {
            name: text for name, text in before.items() if "report" not in name and "summary" not in name
        }

    def test_other_settings_are_refused_and_overwrite_replaces(self, own, tmp_path):
        run = {"data": own, "output": tmp_path / "run"}
        run_evaluate(**run)
        (tmp_path / "run" / "notes.txt").write_text("the user's")
        done = run_evaluate(fields={"mem_every": 3}, **run)
        assert done.code == 2 and "made with settings.mem_every 5, now it is 3" in done.err and "--overwrite" in done.err
        segmenter = Repeating()
        done = run_evaluate(segmenter, fields={"mem_every": 3, "sequences": ("a",)}, overwrite=True, **run)
        assert done.code == 0 and len(segmenter.given) == 1
        assert sorted(path.name for path in (tmp_path / "run/masks").iterdir()) == ["a"]
        assert (tmp_path / "run" / "notes.txt").read_text() == "the user's"

    @pytest.mark.parametrize("changed", ["masks/a/00002.png", "report.html", "summary.json"])
    @pytest.mark.parametrize("overwrite", [False, True])
    def test_what_a_user_changed_is_named_and_stays(self, own, tmp_path, changed, overwrite):
        run_evaluate(data=own, output=tmp_path / "run")
        (tmp_path / "run" / changed).write_text("the user's")
        before = contents(tmp_path / "run")
        done = run_evaluate(data=own, output=tmp_path / "run", overwrite=overwrite)
        assert done.code == (1 if "masks" in changed and not overwrite else 2) and changed in done.err
        after = contents(tmp_path / "run")
        assert (tmp_path / "run" / changed).read_text() == "the user's"
        if done.code == 2:
            assert after == before

    def test_scores_replace_scores_of_a_run_and_no_other_file(self, own, tmp_path):
        shutil.copytree(own / "Annotations", tmp_path / "pred")
        for name in ("summary.json", "report.html", "per_frame.csv"):
            (tmp_path / name).mkdir()
            (tmp_path / name / name).write_text("the user's")
            done = run_evaluate(data=own, score=tmp_path / "pred", output=tmp_path / name)
            assert done.code == 2 and f"holds {name} without a record of a run" in done.err
            assert contents(tmp_path / name) == {name: b"the user's"}
        for _ in range(2):
            done = run_evaluate(data=own, score=tmp_path / "pred", output=tmp_path / "run")
            assert done.code == 0 and "1.000" in done.out, done.err
        assert sorted(contents(tmp_path / "run")) == ["per_frame.csv", "per_sequence.csv", "report.html", "summary.json"]
        assert contents(tmp_path / "pred") == contents(own / "Annotations")

    @pytest.mark.parametrize("inside", ["JPEGImages", "JPEGImages/run", "Annotations", "Annotations/a"])
    def test_results_never_go_where_inputs_are_looked_for(self, own, inside):
        before = contents(own)
        done = run_evaluate(data=own, output=own / inside)
        assert done.code == 2 and "which is searched for inputs" in done.err and contents(own) == before

    def test_an_output_that_is_an_input_by_a_link(self, own, tmp_path):
        run_evaluate(data=own, output=tmp_path / "run")
        ours = tmp_path / "run/masks/a/00000.png"
        os.remove(own / "Annotations/a/00000.png")
        os.link(ours, own / "Annotations/a/00000.png")
        done = run_evaluate(data=own, output=tmp_path / "run")
        assert done.code == 2 and f"{ours}: would be replaced or deleted, but is also an input" in done.err

    @pytest.mark.parametrize("read", ["mask", "frames"])
    def test_overwrite_never_deletes_what_is_read(self, tmp_path, read):
        frames, masks = discs()
        save_frames(tmp_path / "f", frames)
        save_ids(tmp_path / "m.png", masks[0])
        run_evaluate(frames=tmp_path / "f", mask=tmp_path / "m.png", output=tmp_path / "run", overlays=True)
        before = contents(tmp_path / "run")
        own = {"frames": tmp_path / "f", "mask": tmp_path / "m.png"}
        own[read] = tmp_path / "run" / ("masks/f/00003.png" if read == "mask" else "overlays/f")
        save_frames(tmp_path / "g", frames)
        own = own if read == "frames" else own | {"frames": tmp_path / "g"}
        done = run_evaluate(**own, output=tmp_path / "run", overwrite=True)
        assert done.code == 2 and "would be replaced or deleted, but is also an input" in done.err
        assert contents(tmp_path / "run") == before

    def test_nothing_is_deleted_or_written_through_a_linked_folder(self, own, tmp_path):
        run_evaluate(data=own, output=tmp_path / "run")
        (tmp_path / "run/masks/a").rename(tmp_path / "backup")
        (tmp_path / "run/masks/a").symlink_to(tmp_path / "backup")
        before = contents(tmp_path / "backup")
        for overwrite in (False, True):
            done = run_evaluate(data=own, output=tmp_path / "run", overwrite=overwrite)
            assert done.code == (2 if overwrite else 1) and "masks/a" in done.err
            assert contents(tmp_path / "backup") == before

    def test_what_is_asked_for_later_keeps_what_was_made_before(self, own, tmp_path):
        run_evaluate(data=own, output=tmp_path / "run", movie="gif")
        run_evaluate(data=own, output=tmp_path / "run", overlays=True)
        assert {name.split("/")[0] for name in contents(tmp_path / "run")} >= {"movies", "overlays", "masks"}
        done = run_evaluate(data=own, output=tmp_path / "run", overlays=True, movie="gif")
        assert "2 of 2 videos are complete already" in done.err

    @pytest.mark.parametrize("about", ['{"run": 1}', "[1]", '"x"', "5", '{"kinds": 3}', "null"])
    def test_a_record_that_was_edited(self, own, tmp_path, about):
        run_evaluate(data=own, output=tmp_path / "run")
        path = tmp_path / "run/record/clips/a.json"
        record = json.loads(path.read_text())
        path.write_text(json.dumps(record | {"about": json.loads(about)}))
        done = run_evaluate(data=own, output=tmp_path / "run")
        assert done.code == (0 if about[0] in "{n" else 1) and ("a.json: not a record" in done.err) == (done.code == 1)

    def test_a_file_in_the_way_is_told_before_anything_is_deleted(self, own, tmp_path):
        run_evaluate(data=own, output=tmp_path / "run")
        (tmp_path / "run/submission.zip").write_text("the user's")
        before = contents(tmp_path / "run")
        for overwrite in (False, True):
            done = run_evaluate(data=own, output=tmp_path / "run", overwrite=overwrite)
            assert done.code == 2 and "submission.zip: not written by this program" in done.err
            assert contents(tmp_path / "run") == before

    def test_a_second_run_is_refused(self, own, tmp_path):
        class Impatient(Repeating):
            def run(self, frames, mask, later=None):
                nested.append(run_evaluate(data=own, output=tmp_path / "run"))
                return super().run(frames, mask, later)

        nested = []
        assert run_evaluate(Impatient(), data=own, output=tmp_path / "run").code == 0
        assert {done.code for done in nested} == {2} and "is in use by process" in nested[0].err

    @pytest.mark.parametrize("sequences", [("..",), ("",), ("a/../b",), ("/a",), (".",), ("a\\b",)])
    def test_names_that_lead_elsewhere(self, own, tmp_path, sequences):
        done = run_evaluate(fields={"sequences": sequences}, data=own, output=tmp_path / "run")
        assert done.code == 2 and "is not a valid sequence name" in done.err and not (tmp_path / "run").exists()

    def test_an_interruption_leaves_nothing_half_written(self, own, tmp_path):
        class Interrupted(Repeating):
            def run(self, frames, mask, later=None):
                for number, result in enumerate(super().run(frames, mask, later)):
                    if self.given[1:] and number == 2:
                        raise KeyboardInterrupt
                    yield result

        done = run_evaluate(Interrupted(), data=own, output=tmp_path / "run")
        assert done.code == 130 and done.err.splitlines()[-1] == "evaluate.py: interrupted"
        assert {name.split("/")[1] for name in contents(tmp_path / "run")} == {"a"}
        assert not list((tmp_path / "run/record").rglob("*.part*"))
        segmenter = Repeating()
        assert run_evaluate(segmenter, data=own, output=tmp_path / "run").code == 0 and len(segmenter.given) == 1


class TestScores:
    """Videos of users: each id of the annotations is scored from the frame after its first to the last."""

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
        assert "Not comparable to DAVIS" in (tmp_path / "run/report.html").read_text()
        summary = json.loads((tmp_path / "run/summary.json").read_text())
        assert list(summary["per_sequence"]["v"]["per_object"]) == ["1", "38"]

    def test_objects_that_come_later_count_from_then_on(self, tmp_path):
        frames, masks = discs(6, objects=2)
        masks[:2][masks[:2] == 2] = 0
        save_video(tmp_path / "in", "v", frames, masks)
        done = run_evaluate(data=tmp_path / "in", output=tmp_path / "run")
        assert "later masks hold objects that are not segmented; --config.late_objects=True" in done.err
        found = self.figures(tmp_path / "run")
        assert {frame for _, i, frame in found if i == "2"} == {"00003", "00004", "00005"}
        assert all(j == 0 for (_, i, _), j in found.items() if i == "2")
        done = run_evaluate(fields={"late_objects": True}, data=tmp_path / "in", output=tmp_path / "late")
        assert done.code == 0 and "later masks" not in done.err
        assert all(j > 0 for (_, i, _), j in self.figures(tmp_path / "late").items() if i == "2")
        assert run_evaluate(data=tmp_path / "in", score=tmp_path / "in/Annotations").code == 0

    def test_the_official_rule_stays_and_is_told_where_it_flatters(self, tmp_path):
        root = davis_folder(tmp_path, {"v": [[1, 4]] * 4}, split="val")
        shutil.copytree(root / "Annotations/480p", tmp_path / "pred")
        done = run_evaluate(config=davis(), data=root, score=tmp_path / "pred")
        assert (
            done.code == 0
            and "official rule overestimates the score here: 2 ids that are not in the first annotation" in done.err
        )
        assert "v                        4  1.000" in done.out  # four objects, as in the toolkit

    def test_a_void_that_stays_when_its_object_is_gone_is_no_object(self, tmp_path):
        frames, masks = discs()
        masks[:, :4] = 255
        masks[2:][masks[2:] == 1] = 0
        save_video(tmp_path / "in", "v", frames, masks)
        done = run_evaluate(fields={"late_objects": True}, data=tmp_path / "in", output=tmp_path / "run")
        assert "255 next to other ids is treated as void (background): 1 video (v, 1,280 pixels)" in done.err
        assert set(np.unique(read_ids(tmp_path / "run/masks/v/00004.png"))) == {0, 1}
        assert set(i for _, i, _ in self.figures(tmp_path / "run")) == {"1"}

    def test_255_is_told_when_masks_are_scored_too(self, tmp_path):
        frames, masks = discs(objects=2)
        masks[1:, :4] = 255
        save_video(tmp_path / "in", "v", frames, masks)
        done = run_evaluate(data=tmp_path / "in", score=tmp_path / "in/Annotations")
        assert done.code == 2 and "255 next to other ids is treated as void" in done.err  # no void in predictions
        save_video(
            tmp_path / "two", "v", frames, [(mask == 1).astype(np.uint8) * (255 if t else 1) for t, mask in enumerate(masks)]
        )
        done = run_evaluate(data=tmp_path / "two", score=tmp_path / "two/Annotations")
        assert done.code == 2 and "one object is written as 1 on frame 00000 and as 255 on 00001; write one id" in done.err

    def test_a_void_on_the_first_frame_alone_is_no_object(self, tmp_path):
        frames, masks = discs(objects=2)
        masks[:, :4] = 255
        masks[0][masks[0] < 255] = 0
        save_video(tmp_path / "in", "v", frames, masks)
        done = run_evaluate(data=tmp_path / "in", output=tmp_path / "run")
        assert "v: 5 frames of 64x48, no object" in done.out and not read_ids(tmp_path / "run/masks/v/00003.png").any()

    def test_predictions_of_0_and_255(self, tmp_path):
        root = davis_folder(tmp_path, {"v": [[1]] * 4}, split="val")
        for t in range(4):
            ids = read_ids(root / f"Annotations/480p/v/{t:05d}.png") * np.uint8(255)
            ids[-1, -1] = 0
            save_ids(tmp_path / f"pred/v/{t:05d}.png", ids)
            ids[np.nonzero(ids)[0][0], np.nonzero(ids)[1][0]] = 127
            save_ids(tmp_path / f"stray/v/{t:05d}.png", ids)
        done = run_evaluate(config=davis(), data=root, score=tmp_path / "pred")
        assert done.code == 2 and "v/00001.png: its only value is 255, which is void by this rule" in done.err
        for pred in ("pred", "stray"):
            done = run_evaluate(config=davis(), fields={"single_object": True}, data=root, score=tmp_path / pred)
            assert done.code == 0 and "1.000" in done.out.splitlines()[-1]

    def test_masks_that_are_wrong_are_named_and_the_others_are_scored(self, own, tmp_path):
        shutil.copytree(own / "Annotations", tmp_path / "pred")
        (tmp_path / "pred/a/00003.png").unlink()
        done = run_evaluate(data=own, score=tmp_path / "pred", output=tmp_path / "run")
        assert done.code == 1 and done.err.count("a/00003.png: does not exist (1 of 4 masks are missing)") == 1
        assert "a                  not scored" in done.out and (tmp_path / "run/report.html").is_file()
        assert "a/00003.png" in json.loads((tmp_path / "run/summary.json").read_text())["not_scored"]["a"]
        save_ids(tmp_path / "pred/b/00002.png", np.full((48, 64), 9, np.uint8))
        done = run_evaluate(data=own, score=tmp_path / "pred")
        assert done.code == 2 and "b/00002.png: the id 9; the annotations have 1, 2; use the given ids" in done.err

    def test_soft_predictions_of_one_object_are_refused_or_thresholded(self, tmp_path):
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

    def test_an_annotation_of_another_size_is_told_before_anything_is_segmented(self, own, tmp_path):
        save_ids(own / "Annotations/a/00003.png", np.ones((64, 48), np.uint8))
        segmenter = Repeating()
        done = run_evaluate(segmenter, data=own, output=tmp_path / "run")
        assert done.code == 0 and "not scored: " in done.err and len(segmenter.given) == 2
        assert f"{own / 'Annotations/a/00003.png'}: the mask has 48x64 pixels, its frame 64x48" in done.err
        assert "a                  not scored" in done.out

    def test_soft_predictions_under_the_official_rule(self, tmp_path):
        root = davis_folder(tmp_path, {"v": [[1]] * 4}, split="val")
        levels = np.linspace(0, 255, 24 * 32).reshape(24, 32).astype(np.uint8)
        for t in range(4):
            (tmp_path / "pred/v").mkdir(parents=True, exist_ok=True)
            Image.fromarray(levels).save(tmp_path / f"pred/v/{t:05d}.png")
        fields = {"single_object": True}
        done = run_evaluate(config=davis(), fields=fields, data=root, score=tmp_path / "pred")
        assert done.code == 2 and "v/00001.png: a mask with" in done.err
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
    assert done.code == 1 and "no submission.zip: 1 videos failed" in done.err and done.err.count("w/00001.jpg") == 1
    assert {name.split("/")[0] for name in contents(tmp_path / "run")} == {"masks", "report.html"}
    frame.write_bytes(good)
    done = run_evaluate(config=config, data=root, output=tmp_path / "run")
    assert done.code == 0 and "1 of 2 videos are complete already" in done.err and "6 masks for the server" in done.out


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
    assert done.code == 0 and "not scored: 1 video with frames without annotation (v, 2 frames)" in done.err, done.err
    rows = (tmp_path / "run/per_frame.csv").read_text().splitlines()
    assert [row.split(",")[2] for row in rows[1:]] == ["00002", "00004"]


@pytest.mark.parametrize(("numbers", "said"), [([0, 9], "frames beyond the end"), ([1, 5], "numbered from 1")])
def test_masks_of_frames_that_a_video_has_not(tmp_path, numbers, said):
    pytest.importorskip("av")
    frames, masks = discs()
    (tmp_path / "in/JPEGImages").mkdir(parents=True)
    with MovieWriter(tmp_path / "in/JPEGImages/v.mp4", 30) as movie:
        for frame in frames:
            movie.write(frame)
    for t in numbers:
        save_ids(tmp_path / f"in/Annotations/v/{t:05d}.png", masks[0])
    done = run_evaluate(fields={"late_objects": True}, data=tmp_path / "in", output=tmp_path / "run")
    assert said in done.err and done.code == (0 if 0 in numbers else 2)


def test_no_video_at_all(tmp_path):
    for folder in ("JPEGImages", "Annotations"):
        (tmp_path / "valid" / folder).mkdir(parents=True)
    (tmp_path / "valid/meta.json").write_text('{"videos": {}}')
    done = run_evaluate(config=youtube_vos_2019.get_config(), data=tmp_path, output=tmp_path / "run")
    assert done.code == 2 and "no video to segment" in done.err and not (tmp_path / "run").exists()


def youtube_vos_folder(root, objects):
    """A video of YouTube-VOS; `objects` as in meta.json: the frames of each."""
    frames, masks = discs(3)
    save_video(root / "valid", "v", frames, {0: masks[0]})
    (root / "valid/meta.json").write_text(json.dumps({"videos": {"v": {"objects": {"1": {"frames": objects}}}}}))
    return root


def test_a_video_of_which_no_frame_is_asked_for(tmp_path):
    root = youtube_vos_folder(tmp_path / "in", [])
    done = run_evaluate(config=youtube_vos_2019.get_config(), data=root, output=tmp_path / "run")
    assert done.code == 2 and "v: none of its frames is required" in done.err and not (tmp_path / "run/masks").exists()


def test_masks_of_youtube_vos_cannot_be_scored(tmp_path):
    root = youtube_vos_folder(tmp_path / "in", ["00000", "00002"])
    save_ids(tmp_path / "pred/v/00000.png", discs(3)[1][0])
    done = run_evaluate(config=youtube_vos_2019.get_config(), data=root, score=tmp_path / "pred")
    assert done.code == 2 and "nothing can be scored" in done.err and "Traceback" not in done.err


def test_a_folder_and_a_video_of_one_name(tmp_path):
    frames, masks = discs(3)
    save_video(tmp_path / "in", "v", frames, masks)
    save_video(tmp_path / "in", "w", frames, masks)
    (tmp_path / "in/JPEGImages/v.mp4").write_bytes(b"")
    done = run_evaluate(data=tmp_path / "in", output=tmp_path / "run")
    assert done.code == 1 and "v.mp4: another video is called v, too; rename one" in done.err
    assert {path.name for path in (tmp_path / "run/masks").iterdir()} == {"w"}


def test_a_name_that_an_archive_cannot_hold(tmp_path):
    root = davis_folder(tmp_path / "in", {"v": [[1], None], "w": [[1], None]}, split="test-dev")
    frame = root / "JPEGImages/480p/w/00001.jpg"
    os.rename(frame, os.fsencode(frame.parent) + b"/\xff1.jpg")
    done = run_evaluate(config=davis2017_testdev.get_config(), data=root, output=tmp_path / "run")
    assert done.code == 1 and "not a name in UTF-8, which an archive cannot hold; rename it" in done.err
    assert {path.name for path in (tmp_path / "run/masks").iterdir()} == {"v"}


def test_a_later_annotation_that_cannot_be_read_beside_a_good_first_mask(tmp_path):
    frames, masks = discs(3)
    save_video(tmp_path / "in", "v", frames, masks)
    (tmp_path / "in/Annotations/v/00002.png").write_bytes(b"no picture")
    done = run_evaluate(data=tmp_path / "in", output=tmp_path / "run")
    assert (tmp_path / "run/masks/v/00002.png").is_file()
    assert "1 mask that cannot be read" in done.err and "00002.png" in done.err


def test_masks_that_belong_to_nothing_are_told(own, tmp_path):
    _, masks = discs(objects=2)
    for name in ("c/00000", "c/00001"):
        save_ids(own / f"Annotations/{name}.png", masks[0])
    for name, t in [("a", t) for t in range(5)] + [("b", t) for t in range(5)] + [("a", 9), ("d", 0)]:
        save_ids(tmp_path / f"pred/{name}/{t:05d}.png", masks[min(t, 4)])
    done = run_evaluate(data=own, score=tmp_path / "pred")
    assert done.code == 0, done.err
    assert f"masks skipped: 1 folder of no video ({own}/Annotations/c)" in done.err
    assert f"1 folder of no video ({tmp_path}/pred/d)" in done.err
    assert f"1 mask without a frame in their video ({tmp_path}/pred/a/00009.png)" in done.err


def test_memory_and_disk_errors_are_one_line_each(own, tmp_path):
    class Full(Repeating):
        def run(self, frames, mask, later=None):
            raise MemoryError

    done = run_evaluate(Full(), data=own, output=tmp_path / "run")
    lines = done.err.splitlines()
    assert done.code == 2 and "none is done" in lines[-3] and all("MemoryError" in line for line in lines[-2:])
    assert not contents(tmp_path / "run")


def test_a_folder_that_cannot_be_made(own, tmp_path):
    (tmp_path / "file").write_text("the user's")
    done = run_evaluate(data=own, output=tmp_path / "file" / "run")
    assert done.code == 2 and "cannot be written" in done.err and done.err.count("\n") == 1
    done = run_evaluate(data=own, output=tmp_path / "file")
    assert done.code == 2 and "a file; give a folder" in done.err


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("protocol", "davies", "expected one of burst, custom, davis"),
        ("dtype", "half", "expected bfloat16, float32, float64"),
        ("mem_every", 0, "expected 1 or more"),
        ("max_memory_frames", -1, "expected 0 for the default, or 1 or more"),
        ("objects_per_batch", -1, "expected 0"),
        ("size", 7, "expected 0, or 16 to"),
        ("scales", (), "expected factors"),
        ("scales", (0.0,), "expected factors"),
        ("scales", ("x",), "expected factors"),
        ("fps", float("nan"), "expected 0, or 0.01 to 1000"),
        ("fps", -1.0, "expected 0, or 0.01 to 1000"),
        ("order", "reverse", "expected one of natural, decimal, signed, name"),
        ("mask_values", "soft", "expected one of ids, threshold"),
        ("submission", "{x}", "expected such as {sequence}/{frame}.png"),
        ("submission", "{sequence}.png", "expected such as {sequence}/{frame}.png"),
        ("submission", "../{sequence}/{frame}.png", "expected such as"),
        ("submission", "{", "expected such as"),
        ("sequences", (1,), "expected names"),
    ],
)
def test_a_field_that_cannot_work_is_named_before_anything_is_read(tmp_path, field, value, said):
    done = run_evaluate(fields={field: value}, data=tmp_path / "nowhere", output=tmp_path / "run")
    assert done.code == 2 and f"config.{field} is" in done.err and said in done.err and done.err.count("\n") == 1


def test_a_config_of_something_else_and_fields_of_other_types(tmp_path):
    config = custom.get_config().unlock()
    with config.ignore_type():
        config.size = "480"
    done = run_evaluate(config=config, data=tmp_path, output=tmp_path / "run")
    assert done.code == 2 and done.err == "evaluate.py: config.size is '480', expected int\n"
    del config.size
    done = run_evaluate(config=config, data=tmp_path, output=tmp_path / "run")
    assert done.code == 2 and "config.size is missing; start from an evaluation config" in done.err


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({}, "either --data ROOT"),
        ({"data": "x", "frames": "y"}, "either --data ROOT"),
        ({"frames": "x", "output": "r"}, "--frames needs --mask"),
        ({"data": "x", "mask": "m", "output": "r"}, "--mask needs --frames"),
        ({"data": "x", "output": "r", "checkpoint": None}, "--checkpoint is missing"),
        ({"data": "x"}, "--output is missing"),
        ({"data": "x", "output": "gs:/b/run"}, "give gs://b/run"),  # as pathlib writes it; formerly a local folder
        ({"data": "x", "score": "nowhere"}, "nowhere: no such folder"),
        ({"frames": "x", "mask": "m", "score": "p"}, "--score reads existing masks"),
        ({"data": "x", "score": ".", "step": "best"}, "--step needs --checkpoint"),
        ({"data": "x", "score": ".", "movie": "gif"}, "cannot be combined with --score"),
    ],
)
def test_flags_that_do_not_go_together(tmp_path, monkeypatch, request_, said):
    monkeypatch.chdir(tmp_path)
    done = run_evaluate(**request_)
    assert done.code == 2 and said in done.err and done.err.count("\n") == 1 and not any(Path().iterdir())


class TestSegment:
    """One video whose settings are chosen from the video and the machine."""

    FIT = frozenset(("size", "max_memory_frames"))

    @pytest.fixture
    def film(self, tmp_path):
        """Ten frames of 640x504 at 12.5 frames per second, and a mask."""
        frames, masks = discs(10, 504, 640)
        with MovieWriter(tmp_path / "film.mp4", 12.5) as movie:
            for frame in frames:
                movie.write(frame)
        save_ids(tmp_path / "first.png", masks[0])
        return {"frames": tmp_path / "film.mp4", "mask": tmp_path / "first.png", "output": tmp_path / "run", "fit": self.FIT}

    def test_outputs_have_the_size_and_rate_of_the_film(self, film, tmp_path):
        segmenter = Repeating()
        done = run_evaluate(segmenter, movie="mp4", **film)
        assert (done.code, done.err) == (0, "")
        assert segmenter.given[0][0].shape == (480, 610)
        size, memory = done.out.splitlines()[1:3]
        assert size.startswith("network input: 610x480, scaled down from 640x504; --size N sets")
        assert memory.startswith("memory frames: at most 7, enough for the whole video; --max-memory-frames N sets")
        made = VideoFile(tmp_path / "run/movies/film.mp4")
        assert (made.size, made.fps, len(made)) == ((504, 640), 12.5, 10)
        assert read_ids(tmp_path / "run/masks/film/00009.png").shape == (504, 640)

    def test_other_free_memory_does_not_keep_a_run_from_being_resumed(self, film, monkeypatch):
        fields = {"mem_every": 1}
        monkeypatch.setattr(fit, "free_bytes", lambda: 10**12)
        done = run_evaluate(fields=dict(fields), **film)
        assert done.code == 0 and "at most 15, enough" in done.out
        monkeypatch.setattr(fit, "free_bytes", lambda: 0)
        done = run_evaluate(fields=dict(fields), **film)
        assert done.code == 0 and "at most 15, as in the earlier run" in done.out
        assert "1 of 1 videos are complete already" in done.err
        done = run_evaluate(fields=dict(fields), **film, overwrite=True)
        assert done.code == 0 and "at most 7 of 9, because 0.0 GB are free" in done.out

    def test_benchmarks_choose_nothing(self, own, tmp_path):
        done = run_evaluate(data=own, output=tmp_path / "run", fit=self.FIT)
        assert done.code == 2 and "settings can be chosen only for a single video" in done.err
        done = run_evaluate(data=own, output=tmp_path / "run")
        assert done.code == 0 and "network input" not in done.out and "memory frames" not in done.out

    def test_movies_that_cannot_have_the_size_of_their_video_are_noted(self, tmp_path):
        frames, masks = (stack[:, :45] for stack in discs(3))
        save_video(tmp_path / "in", "odd", frames, masks[:1])
        done = run_evaluate(data=tmp_path / "in", output=tmp_path / "run", movie="mp4")
        assert done.code == 0 and "as H.264 needs even sides: 1 video (odd, 64x45)" in done.err
