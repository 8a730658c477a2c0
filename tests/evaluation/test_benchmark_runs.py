"""Tests evaluations of benchmarks other than DAVIS, with a stub segmenter: masks, archives, printed output and reports."""

import csv
import json
import zipfile

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from hmmn_jax.evaluation.benchmarks import benchmark_settings
from hmmn_jax.inference import Result
from tests.evaluation import trees
from tests.evaluation.harness import Repeating, run_evaluate
from tests.evaluation.test_new_protocol import Still

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # raised by pycocotools


class Keeping(Repeating):
    """A `Repeating` segmenter that returns the list of ids as uint16."""

    def run(self, frames, mask, later=None):
        for result in super().run(frames, mask, later):
            yield Result(result.mask, result.probs, None, result.ids.astype(np.uint16))


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """Writes a small data folder in each layout. Returns the parent folder."""
    root = tmp_path_factory.mktemp("trees")
    for name, write in trees.LAYOUTS.items():
        write(root / name)
    return root


def run(roots, tmp_path, name, segmenter, **request):
    return run_evaluate(segmenter, config=benchmark_settings(name), data=roots / name, output=tmp_path / "run", **request)


def archived(folder):
    with zipfile.ZipFile(folder / "submission.zip") as archive:
        return archive.namelist()


def written(folder):
    return sorted(path.relative_to(folder / "masks").as_posix() for path in (folder / "masks").rglob("*.png"))


@pytest.mark.parametrize("name", ["mose1_val", "mose2_val"])
def test_mose(roots, tmp_path, name):
    """The archive contains an indexed PNG for every frame, in one folder per video. No scores are written."""
    done = run(roots, tmp_path, name, Keeping())
    assert done.code == 0, done.err
    frames = [f"{video}/{t:05d}.png" for video, length in (("crowd", 6), ("street", 5)) for t in range(length)]
    assert archived(tmp_path / "run") == frames == written(tmp_path / "run")
    with Image.open(tmp_path / "run/masks/crowd/00003.png") as image:
        assert image.mode == "P" and set(np.unique(image)) == {0, 2, 7} | ({255} if name == "mose2_val" else set())
    assert not (tmp_path / "run/summary.json").exists()
    # If all frames are annotated, as in the training set, masks can be scored with --score.
    scored = run_evaluate(config=benchmark_settings(name), data=roots / name, score=roots / name / "Annotations")
    if name == "mose1_val":  # 255 is background in annotations, but an invalid id in results
        assert scored.code == 1 and "the id 255" in scored.err
    else:
        assert scored.code == 0 and scored.out.splitlines()[-1].split() == ["100.0"] * 7, scored.err


def test_no_archive_of_a_single_video_of_mose2(roots, tmp_path):
    done = run(roots, tmp_path, "mose2_val", Keeping(), fields={"sequences": ("street",)})
    assert done.code == 0 and "submission.zip was not written: the server scores an archive of a single video as 0" in done.err
    assert not (tmp_path / "run/submission.zip").exists() and len(written(tmp_path / "run")) == 5


def test_figures_of_mose2_in_tables_files_and_report(roots, tmp_path):
    """Scores masks of `crowd` in which both objects are visible on all frames.

    In the annotation, object 2 is hidden on frames 2 and 3, and object 7 is hidden on frames 1 and 5.
    """
    run(roots, tmp_path, "mose2_val", Keeping())
    out = tmp_path / "scored"
    done = run_evaluate(
        config=benchmark_settings("mose2_val"), data=roots / "mose2_val", score=tmp_path / "run/masks", output=out
    )
    assert done.code == 0, done.err
    head, crowd, street, _, heading, names, values = done.out.splitlines()[:7]
    assert head.split()[1:] == names.split() == ["J&dotF", "J", "dotF", "J&dotF_d", "J&dotF_r", "F", "J&F"]
    assert crowd.startswith("crowd") and street.split()[-4:] == ["-", "-", street.split()[-2], street.split()[-1]]
    assert heading == "metrics over all videos, in percent, 4 objects:"
    summary = json.loads((out / "summary.json").read_text())
    assert [f"{summary[name]:.1f}" for name in names.split()] == values.split()
    assert summary["per_sequence"]["street"]["J&dotF_d"] is None and summary["objects"] == 4
    assert summary["per_sequence"]["crowd"]["per_object"]["2"]["J&dotF_d"] < 5  # in percent
    with open(out / "per_frame.csv") as file:
        rows = list(csv.DictReader(file))
    assert rows[0].keys() == {"sequence", "object", "frame", "J", "F", "dotF"} and len(rows) == 3 * 4 + 3
    page = (out / "report.html").read_text()
    assert "Metrics of the benchmark" in page and "The values are in percent." in page and page.count('class="away" d="M') == 2
    absent = "The object is absent from the annotation of 2 frame(s). The object disappears at frame 00002."
    assert f"{absent} The object returns at frame 00004." in page
    # Object 7 is hidden on the first scored frame and visible on the other scored frames. An absence that starts on the first
    # scored frame is not a disappearance.
    assert "The object is absent from the annotation of 1 frame(s). The object returns at frame 00002." in page
    assert page.count('class="back" d="M') == 2 and "A bar at the bottom marks the frames after the object returns." in page
    assert "Metrics of the benchmark by video" in page and page.count("J&amp;dotF_d") >= 2


def test_lvos(roots, tmp_path):
    """Each object starts at its first mask. Masks of all frames are written. Seen and unseen classes are scored separately."""
    segmenter = Keeping()
    done = run(roots, tmp_path, "lvos_val", segmenter)
    assert done.code == 0, done.err
    assert written(tmp_path / "run") == [
        *(f"walk/{5 * t + 1:08d}.png" for t in range(8)),
        *(f"zoo/{5 * t + 1:08d}.png" for t in range(5)),
    ]
    assert [sorted(given) for given in segmenter.given] == [[0, 2], [0]]
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert summary["J"] == pytest.approx((summary["J_seen"] + summary["J_unseen"]) / 2)
    assert summary["per_sequence"]["walk"].keys() >= {"J&F", "J", "F", "V"} and "J_unseen" in done.out
    sent = run_evaluate(
        Keeping(),
        config=benchmark_settings("lvos_test"),
        fields={"split": "valid"},
        data=roots / "lvos_val",
        output=tmp_path / "sent",
    )
    assert sent.code == 0 and archived(tmp_path / "sent") == [f"Annotations/{name}" for name in written(tmp_path / "run")]


def test_vost(roots, tmp_path):
    """Videos are segmented at 10 frames per second, but masks are written at 5 frames per second. F is not computed."""
    done = run(roots, tmp_path, "vost_val", Keeping())
    assert done.code == 0, done.err
    assert "cut has 13 frames" in done.out and written(tmp_path / "run") == [f"cut/{n:05d}.png" for n in range(12, 85, 12)]
    assert "J_tr mean" in done.out
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert summary.keys() >= {"J mean", "J recall", "J decay", "J_tr mean", "J_tr recall", "J_tr decay"}
    with open(tmp_path / "run/per_frame.csv") as file:
        assert next(csv.reader(file)) == ["sequence", "object", "frame", "J"]
    page = (tmp_path / "run/report.html").read_text()
    assert "J&amp;F" not in page and "nan" not in page.split("</style>")[1]


def test_long_video(roots, tmp_path):
    done = run(roots, tmp_path, "long_video", Keeping())
    assert done.code == 0, done.err
    assert written(tmp_path / "run") == [f"rat/{t:05d}.png" for t in (0, 3, 6, 9, 11)]
    page = (tmp_path / "run/report.html").read_text()
    assert "The scorer of the Long Videos data set excludes only the first annotated frame." in page


def test_sav(roots, tmp_path):
    """Binary masks of annotated frames are written to one folder per object. Masks may overlap.

    The run also scores the masks.
    """
    done = run(roots, tmp_path, "sav_val", Still())
    assert done.code == 0, done.err
    assert written(tmp_path / "run") == [
        *(f"dance/000/{t:05d}.png" for t in range(0, 17, 4)),
        *(f"dance/001/{t:05d}.png" for t in range(4, 17, 4)),
        *(f"dance/002/{t:05d}.png" for t in range(0, 17, 4)),
    ]
    both = []
    for name in ("000", "001"):
        with Image.open(tmp_path / f"run/masks/dance/{name}/00008.png") as image:
            both.append(np.asarray(image) > 0)
    assert (both[0] & both[1]).sum() == 200
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    objects = summary["per_sequence"]["dance"]["per_object"]
    # Object 3 is hidden on frame 4, but the stub repeats its mask. So J is 0 on one of the three scored frames.
    assert [round(objects[i]["J"], 6) for i in "123"] == [100, 100, round(200 / 3, 6)]
    assert summary["J&F"] == pytest.approx((summary["J"] + summary["F"]) / 2)
    assert "The masks of object 1 are in the folder 000." in (tmp_path / "run/report.html").read_text()
    again = run_evaluate(config=benchmark_settings("sav_val"), data=roots / "sav_val", score=tmp_path / "run/masks")
    assert again.code == 0 and again.out.splitlines()[-1].split() == [f"{summary[n]:.1f}" for n in ("J&F", "J", "F")]


def test_youtube_vos(roots, tmp_path):
    """The zip contains a mask for each frame in meta.json.

    If these frames are annotated, as in a training set, seen and unseen categories are scored separately.
    """
    root, config = roots / "youtube_vos_2019", benchmark_settings("youtube_vos_2019")
    sent = run(roots, tmp_path, "youtube_vos_2019", Keeping())
    assert sent.code == 0, sent.err
    listed = [f"park/{t:05d}.png" for t in range(0, 21, 5)] + [f"sea/{t:05d}.png" for t in range(0, 11, 5)]
    assert written(tmp_path / "run") == listed and archived(tmp_path / "run") == [f"Annotations/{name}" for name in listed]
    scored = run_evaluate(config=config, data=root, score=root / "valid/Annotations", output=tmp_path / "scored")
    assert scored.code == 0, scored.err
    names, values = (line.split() for line in scored.out.splitlines()[-2:])
    assert names == ["overall", "J_seen", "J_unseen", "F_seen", "F_unseen", "J&F", "J", "F"] and set(values) == {"1.000"}
    page = (tmp_path / "scored/report.html").read_text()
    assert "Metrics of the benchmark by video" in page and "overall 0.825" in page
    # The stub repeats the first masks, so masks of frames without the kite are wrong. The kite is the only unseen object.
    wrong = run_evaluate(config=config, data=root, score=tmp_path / "run/masks", output=tmp_path / "wrong")
    assert wrong.code == 0, wrong.err
    summary = json.loads((tmp_path / "wrong/summary.json").read_text())
    assert summary["J_unseen"] < summary["J_seen"] < 1
    four = [summary[name] for name in ("J_seen", "J_unseen", "F_seen", "F_unseen")]
    assert summary["overall"] == pytest.approx(np.mean(four), abs=1e-12)


def test_categories_of_youtube_vos(tmp_path):
    trees.youtube_vos(tmp_path / "in")
    pred, listed = tmp_path / "in/valid/Annotations", tmp_path / "in/unseen_categories.txt"

    def score():
        return run_evaluate(config=benchmark_settings("youtube_vos_2019"), data=tmp_path / "in", score=pred)

    listed.write_text("kite\n\ncow\n")
    assert "no object in" in score().err and "has the category 'cow', expected one of dog, kite" in score().err
    listed.unlink()
    done = score()
    assert done.code == 0 and "the data folder does not contain unseen_categories.txt" in done.err
    assert done.out.splitlines()[-1].split() == ["-"] * 5 + ["1.000"] * 3
    meta = tmp_path / "in/valid/meta.json"
    content = json.loads(meta.read_text())
    del content["videos"]["park"]["objects"]["2"]["category"]
    meta.write_text(json.dumps(content))
    listed.write_text("kite\n")
    done = score()
    assert done.code == 0 and "not scored: park: meta.json contains no category for object 2. Add the category" in done.err


def test_burst(roots, tmp_path):
    """The JSON result contains overlapping tracks. The masks that pycocotools decodes must equal the masks in the PNGs."""
    done = run(roots, tmp_path, "burst_val", Still())
    assert done.code == 0 and "2 sequences for the server were written to" in done.out, done.err
    keys = ("AVA.clip_0", "YFCC100M.v_1")
    assert written(tmp_path / "run") == [
        f"{key}/{track}/frame{t:04d}.png"
        for key in keys
        for track, start in (("007", 1), ("300", 3))
        for t in range(start, 8, 2)
    ]
    result = json.loads((tmp_path / "run/submission.json").read_text())
    given = json.loads((roots / "burst_val/annotations/val/first_frame_annotations.json").read_text())
    for new, old in zip(result["sequences"], given["sequences"], strict=True):
        masks = new.pop("segmentations")
        assert [sorted(frame, key=int) for frame in masks] == [["7"], ["7", "300"], ["7", "300"], ["7", "300"]]
        folder = tmp_path / f"run/masks/{old['dataset']}.{old['seq_name']}"
        for frame, name in zip(masks, old["annotated_image_paths"], strict=True):
            for track, entry in frame.items():
                found = coco.decode({"size": [old["height"], old["width"]], "counts": entry["rle"]})
                with Image.open(folder / f"{int(track):03d}" / f"{name[:-4]}.png") as image:
                    np.testing.assert_array_equal(found > 0, np.asarray(image) > 0)
        first = {track: entry["rle"] for frame in old.pop("segmentations") for track, entry in frame.items()}
        assert {track: masks[place][track]["rle"] for track, place in (("7", 0), ("300", 1))} == first
        assert new == old
    part = run_evaluate(
        Still(),
        config=benchmark_settings("burst_val"),
        fields={"sequences": ("AVA.clip_0",)},
        data=roots / "burst_val",
        output=tmp_path / "part",
    )
    assert part.code == 0 and "submission.json was not written: 1 of 2 sequences are missing" in part.err
    scored = run_evaluate(config=benchmark_settings("burst_val"), data=roots / "burst_val", score=tmp_path / "run/masks")
    assert scored.code == 2 and "this program does not compute the scores of BURST (HOTA)" in scored.err


def test_data_of_burst_that_cannot_be_used(tmp_path):
    trees.burst(tmp_path / "in")
    config, path = benchmark_settings("burst_val"), tmp_path / "in/annotations/val/first_frame_annotations.json"
    (tmp_path / "in/images/val/AVA/clip_0/frame0002.jpg").unlink()
    content = json.loads(path.read_text())
    content["sequences"][0]["width"] = 61
    content["sequences"][0]["segmentations"] = [{}] * 4
    path.write_text(json.dumps(content))
    done = run_evaluate(Still(), config=config, data=tmp_path / "in", output=tmp_path / "run")
    assert "frame0002.jpg: the file does not exist. 1 of 8 images are missing." in done.err and done.code == 2
    assert "YFCC100M.v_1: first_frame_annotations.json has masks of 61x40 pixels, but the frames have 60x40" in done.err
    content["sequences"][1] |= {"dataset": "YFCC100M", "seq_name": "v.1"}
    content["sequences"][0] |= {"seq_name": "v/1"}
    path.write_text(json.dumps(content))
    done = run_evaluate(Still(), config=config, data=tmp_path / "in", output=tmp_path / "run")
    assert done.code == 2 and "two sequences would use the same folder YFCC100M.v.1" in done.err


def test_300_objects_in_one_video(tmp_path):
    """Annotations and results have 16-bit ids. In MOSE v2, the ids in the first mask are the objects."""
    ids = np.arange(1, 301, dtype=np.uint16).reshape(15, 20).repeat(4, 0).repeat(4, 1)
    trees.save_video(tmp_path / "in", "flock", trees.named([ids] * 3))
    trees.save_video(tmp_path / "in", "pair", trees.named(trees.boxes(3, {1: "111"})))
    done = run_evaluate(Wide(), config=benchmark_settings("mose2_val"), data=tmp_path / "in", output=tmp_path / "run")
    assert done.code == 0, done.err
    with Image.open(tmp_path / "run/masks/flock/00002.png") as image:
        assert image.mode.startswith("I;16") and np.array_equal(image, ids)
    scored = run_evaluate(config=benchmark_settings("mose2_val"), data=tmp_path / "in", score=tmp_path / "run/masks")
    assert scored.code == 0 and "301 objects:" in scored.out, scored.err
    assert scored.out.splitlines()[1].split()[:3] == ["flock", "300", "100.0"]


class Wide(Repeating):
    """A `Repeating` segmenter that returns a placeholder instead of the probabilities of 300 objects."""

    def run(self, frames, mask, later=None):
        ids = np.unique(np.append(mask, np.uint16(0)))
        for t, _ in enumerate(frames):
            if t:
                yield Result(mask, np.zeros((1, 1, 1), np.float32), None, ids)
