"""The newer benchmarks end to end with a stub: what is written, archived, printed and reported."""

import csv
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from hmmn_jax.evaluation.benchmarks import benchmark_settings
from hmmn_jax.inference import Result
from tests.evaluation import trees
from tests.evaluation.harness import Repeating, run_evaluate
from tests.evaluation.test_new_protocol import Still


class Keeping(Repeating):
    """Finds every object where it was given, ids of 16 bits included."""

    def run(self, frames, mask, later=None):
        for result in super().run(frames, mask, later):
            yield Result(result.mask, result.probs, None, result.ids.astype(np.uint16))


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """A tree of each layout."""
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
    """Every frame, the first and the last included, video folders at the root, indexed PNGs; not a score."""
    done = run(roots, tmp_path, name, Keeping())
    assert done.code == 0, done.err
    frames = [f"{video}/{t:05d}.png" for video, length in (("crowd", 6), ("street", 5)) for t in range(length)]
    assert archived(tmp_path / "run") == frames == written(tmp_path / "run")
    with Image.open(tmp_path / "run/masks/crowd/00003.png") as image:
        assert image.mode == "P" and set(np.unique(image)) == {0, 2, 7} | ({255} if name == "mose2_val" else set())
    assert not (tmp_path / "run/summary.json").exists()
    # Annotations of all frames, which the training set has, are scored on request.
    scored = run_evaluate(config=benchmark_settings(name), data=roots / name, score=roots / name / "Annotations")
    if name == "mose1_val":  # its truth has 255 as background, its result as an id
        assert scored.code == 1 and "the id 255" in scored.err
    else:
        assert scored.code == 0 and scored.out.splitlines()[-1].split() == ["100.0"] * 7, scored.err


def test_no_archive_of_a_single_video_of_mose2(roots, tmp_path):
    done = run(roots, tmp_path, "mose2_val", Keeping(), fields={"sequences": ("street",)})
    assert done.code == 0 and "no submission.zip: the server scores an archive of a single video as 0" in done.err
    assert not (tmp_path / "run/submission.zip").exists() and len(written(tmp_path / "run")) == 5


def test_figures_of_mose2_in_tables_files_and_report(roots, tmp_path):
    """Object 2 of the crowd is hidden on frames 2 and 3, object 7 on 1 and 5; a stub that repeats the first mask is wrong."""
    run(roots, tmp_path, "mose2_val", Keeping())
    out = tmp_path / "scored"
    done = run_evaluate(
        config=benchmark_settings("mose2_val"), data=roots / "mose2_val", score=tmp_path / "run/masks", output=out
    )
    assert done.code == 0, done.err
    head, crowd, street, _, heading, names, values = done.out.splitlines()[:7]
    assert head.split()[1:] == names.split() == ["J&dotF", "J", "dotF", "J&dotF_d", "J&dotF_r", "F", "J&F"]
    assert crowd.startswith("crowd") and street.split()[-4:] == ["-", "-", street.split()[-2], street.split()[-1]]
    assert heading == "of all videos, in percent, 4 objects:"
    summary = json.loads((out / "summary.json").read_text())
    assert [f"{summary[name]:.1f}" for name in names.split()] == values.split()
    assert summary["per_sequence"]["street"]["J&dotF_d"] is None and summary["objects"] == 4
    assert summary["per_sequence"]["crowd"]["per_object"]["2"]["J&dotF_d"] < 5  # in percent
    with open(out / "per_frame.csv") as file:
        rows = list(csv.DictReader(file))
    assert rows[0].keys() == {"sequence", "object", "frame", "J", "F", "dotF"} and len(rows) == 3 * 4 + 3
    page = (out / "report.html").read_text()
    assert "Figures of the benchmark" in page and "In percent" in page and page.count('class="away" d="M') == 2
    assert "The annotation does not show it on 2 frames." in page


def test_lvos(roots, tmp_path):
    """Objects join where their id first shows; every frame is written; groups are apart."""
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
    """Run at 10 frames per second, written at 5, no F anywhere."""
    done = run(roots, tmp_path, "vost_val", Keeping())
    assert done.code == 0, done.err
    assert "cut: 13 frames" in done.out and written(tmp_path / "run") == [f"cut/{n:05d}.png" for n in range(12, 85, 12)]
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
    assert "The data set's own scorer excludes only the first." in page


def test_sav(roots, tmp_path):
    """Binary masks in folders by the names given, of annotated frames, that overlap; and they are scored as they lie."""
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
    # Object 3 is hidden on frame 4, where the stub shows it: one of three frames is 0.
    assert [round(objects[i]["J"], 6) for i in "123"] == [100, 100, round(200 / 3, 6)]
    assert summary["J&F"] == pytest.approx((summary["J"] + summary["F"]) / 2)
    assert "object 1 is the folder 000" in (tmp_path / "run/report.html").read_text()
    again = run_evaluate(config=benchmark_settings("sav_val"), data=roots / "sav_val", score=tmp_path / "run/masks")
    assert again.code == 0 and again.out.splitlines()[-1].split() == [f"{summary[n]:.1f}" for n in ("J&F", "J", "F")]


def test_300_objects_in_one_video(tmp_path):
    """Ids of 16 bits from annotations to masks; the objects of MOSE v2 are those of the first mask."""
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
    """As `Repeating`, without probabilities of 300 objects."""

    def run(self, frames, mask, later=None):
        ids = np.unique(np.append(mask, np.uint16(0)))
        for t, _ in enumerate(frames):
            if t:
                yield Result(mask, np.zeros((1, 1, 1), np.float32), None, ids)
