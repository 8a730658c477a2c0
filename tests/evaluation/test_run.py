"""Tests complete evaluations: printed lines, written files and errors. The segmenter repeats the first mask."""

import json
import os
import shutil

import pytest

from tests.evaluation.harness import (
    Repeating,
    contents,
    discs,
    run_evaluate,
    save_frames,
    save_ids,
    save_video,
)


def test_what_will_be_segmented_is_printed_first(own, tmp_path):
    done = run_evaluate(data=own, output=tmp_path / "run")
    assert done.code == 0, done.err
    pixels = [int((discs(objects=2)[1][0] == i).sum()) for i in (1, 2)]
    assert done.out.splitlines()[:2] == [
        f"{name} has 5 frames of 64x48 pixels and 2 objects: 1 ({pixels[0]} px), 2 ({pixels[1]} px)" for name in "ab"
    ]


def test_beyond_ten_videos_the_others_are_counted(tmp_path):
    frames, masks = discs(3, 16, 16)
    for t in range(12):
        save_video(tmp_path / "in", f"v{t:02d}", frames, masks)
    done = run_evaluate(data=tmp_path / "in", output=tmp_path / "run")
    assert done.out.splitlines()[9].startswith("v09 has 3 frames") and "... and 2 more videos with 6 frames" in done.out


class TestOutputs:
    """Tests which files an evaluation writes, keeps and replaces. The user's own files are never changed."""

    def test_the_same_command_finds_all_there(self, own, tmp_path):
        segmenter = Repeating()
        run_evaluate(segmenter, data=own, output=tmp_path / "run", overlays=True, movie="gif")
        before = contents(tmp_path / "run")
        done = run_evaluate(segmenter, data=own, output=tmp_path / "run", overlays=True, movie="gif")
        assert done.code == 0 and "2 of 2 videos are already complete" in done.err and len(segmenter.given) == 2
        after = contents(tmp_path / "run")
        assert {name: text for name, text in after.items() if "report" not in name and "summary" not in name} == {
            name: text for name, text in before.items() if "report" not in name and "summary" not in name
        }

    def test_other_settings_are_rejected_and_overwrite_replaces(self, own, tmp_path):
        run = {"data": own, "output": tmp_path / "run"}
        run_evaluate(**run)
        (tmp_path / "run" / "notes.txt").write_text("the user's")
        done = run_evaluate(fields={"mem_every": 3}, **run)
        assert done.code == 2 and "settings.mem_every 5, but this run uses 3" in done.err and "--overwrite" in done.err
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
            assert done.code == 2 and f"contains {name} without a record of a run" in done.err
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
        assert done.code == 2 and f"{ours}: the run would replace or delete this file, which is an input" in done.err

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
        assert done.code == 2 and "the run would replace or delete this file, which is an input" in done.err
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

    def test_what_is_requested_later_keeps_what_was_made_before(self, own, tmp_path):
        run_evaluate(data=own, output=tmp_path / "run", movie="gif")
        run_evaluate(data=own, output=tmp_path / "run", overlays=True)
        assert {name.split("/")[0] for name in contents(tmp_path / "run")} >= {"movies", "overlays", "masks"}
        done = run_evaluate(data=own, output=tmp_path / "run", overlays=True, movie="gif")
        assert "2 of 2 videos are already complete" in done.err

    @pytest.mark.parametrize("about", ['{"run": 1}', "[1]", '"x"', "5", '{"kinds": 3}', "null"])
    def test_a_record_that_was_edited(self, own, tmp_path, about):
        run_evaluate(data=own, output=tmp_path / "run")
        path = tmp_path / "run/record/clips/a.json"
        record = json.loads(path.read_text())
        path.write_text(json.dumps(record | {"about": json.loads(about)}))
        done = run_evaluate(data=own, output=tmp_path / "run")
        assert done.code == (0 if about[0] in "{n" else 1) and ("a.json is not a record" in done.err) == (done.code == 1)

    def test_a_file_in_the_way_is_reported_before_anything_is_deleted(self, own, tmp_path):
        run_evaluate(data=own, output=tmp_path / "run")
        (tmp_path / "run/submission.zip").write_text("the user's")
        before = contents(tmp_path / "run")
        for overwrite in (False, True):
            done = run_evaluate(data=own, output=tmp_path / "run", overwrite=overwrite)
            assert done.code == 2 and "submission.zip was not written by this program" in done.err
            assert contents(tmp_path / "run") == before

    def test_a_second_run_is_rejected(self, own, tmp_path):
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

    def test_an_interruption_leaves_nothing_incomplete(self, own, tmp_path):
        class Interrupted(Repeating):
            def run(self, frames, mask, later=None):
                for number, result in enumerate(super().run(frames, mask, later)):
                    if self.given[1:] and number == 2:
                        raise KeyboardInterrupt
                    yield result

        done = run_evaluate(Interrupted(), data=own, output=tmp_path / "run")
        assert done.code == 130 and done.err.splitlines()[-1] == "evaluate.py: the command was interrupted"
        assert {name.split("/")[1] for name in contents(tmp_path / "run")} == {"a"}
        assert not list((tmp_path / "run/record").rglob("*.part*"))
        segmenter = Repeating()
        assert run_evaluate(segmenter, data=own, output=tmp_path / "run").code == 0 and len(segmenter.given) == 1
