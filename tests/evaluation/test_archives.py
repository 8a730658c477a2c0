"""Tests archives for benchmark servers, and errors for mistakes that the official scripts do not report."""

import io
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from hmmn_jax.evaluation.benchmarks import benchmark_settings
from hmmn_jax.io.images import write_mask
from tests.evaluation import trees
from tests.evaluation.harness import run_evaluate
from tests.evaluation.test_benchmark_runs import Keeping

MOSE = {"crowd": range(6), "street": range(5)}
ARCHIVES = {  # for each benchmark: key of `trees.LAYOUTS`, config fields, and the names that the server expects
    "mose1_val": ("mose1_val", {}, [f"{v}/{t:05d}.png" for v, frames in MOSE.items() for t in frames]),
    "mose2_val": ("mose2_val", {}, [f"{v}/{t:05d}.png" for v, frames in MOSE.items() for t in frames]),
    "lvos_test": (
        "lvos_val",
        {"split": "valid"},
        [f"Annotations/{v}/{5 * t + 1:08d}.png" for v, length in (("walk", 8), ("zoo", 5)) for t in range(length)],
    ),
    "youtube_vos_2019": (
        "youtube_vos_2019",
        {},
        [f"Annotations/{v}/{t:05d}.png" for v, length in (("park", 21), ("sea", 11)) for t in range(0, length, 5)],
    ),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_has_the_names_and_the_pngs_that_the_server_reads(tmp_path, name):
    """The archive contains exactly the expected names. All masks are indexed PNGs with the size of the frames."""
    tree, fields, names = ARCHIVES[name]
    trees.LAYOUTS[tree](tmp_path / "in")
    done = run_evaluate(
        Keeping(), config=benchmark_settings(name), fields=fields, data=tmp_path / "in", output=tmp_path / "run"
    )
    assert done.code == 0, done.err
    with zipfile.ZipFile(tmp_path / "run/submission.zip") as archive:
        assert archive.namelist() == names and archive.testzip() is None
        for member in names:
            with Image.open(io.BytesIO(archive.read(member))) as image:
                assert image.mode == "P" and image.size == (80, 60) and image.getpalette()


def lose(path):
    """Removes a mask."""
    path.unlink()


def lose_video(path):
    """Removes the folder that contains a mask."""
    shutil.rmtree(path.parent)


# For each case: benchmark, file in the result, function that removes the file or its folder, and expected message.
SILENT = {
    "MOSE v2, a missing mask": ("mose2_val", "crowd/00000.png", lose, "would use 00002.png as 00001.png"),
    "MOSE v2, a missing video": ("mose2_val", "street/00000.png", lose_video, "street/00001.png: the file does not exist"),
    "LVOS, a missing mask": ("lvos_val", "walk/00000011.png", lose, "walk/00000011.png: the file does not exist. 1 of"),
    "VOST, a missing mask": ("vost_val", "cut/00036.png", lose, "cut/00036.png: the file does not exist. 1 of 5 masks"),
    "SA-V, a missing video": (
        "sav_val",
        "dance/000/00004.png",
        lose,
        "dance/000/00004.png: the file does not exist. 1 of 8 masks",
    ),
}


@pytest.mark.parametrize("case", SILENT)
def test_what_official_tools_do_not_report_is_an_error(tmp_path, case):
    name, file, harm, said = SILENT[case]
    trees.LAYOUTS[name](tmp_path / "in")
    masks = next(path for path in (tmp_path / "in/Annotations_6fps", tmp_path / "in/Annotations") if path.is_dir())
    shutil.copytree(masks, tmp_path / "pred")
    harm(tmp_path / "pred" / file)
    done = run_evaluate(config=benchmark_settings(name), data=tmp_path / "in", score=tmp_path / "pred")
    assert done.code in (1, 2) and said in done.err, done.err


def test_a_video_of_sav_that_the_result_lacks_is_an_error(tmp_path):
    trees.sav(tmp_path / "in")
    (tmp_path / "pred").mkdir()
    done = run_evaluate(config=benchmark_settings("sav_val"), data=tmp_path / "in", score=tmp_path / "pred")
    assert done.code == 2 and "dance/000/00004.png: the file does not exist. 8 of 8 masks are missing." in done.err


def test_what_has_no_frame_to_score_is_reported_and_the_means_stay_numbers(tmp_path):
    """The server scores a MOSE v2 video of two frames as 0. The means of an LVOS object with two frames would be NaN."""
    trees.mose(tmp_path / "mose")
    trees.save_video(tmp_path / "mose", "short", trees.named(trees.boxes(2, {1: "11"})))
    trees.lvos(tmp_path / "lvos")
    objects = {"walk": {9: (11, 37, 6), 3: (1, 36, 8)}, "zoo": {255: (1, 22, 5)}, "two": {1: (1, 7, 2)}}
    trees.save_video(tmp_path / "lvos", "two", trees.named(trees.boxes(2, {1: "11"}), 5, 1, 8))
    trees.save_json(tmp_path / "lvos/valid_meta.json", trees.lvos_meta(objects))
    for name, root, said in (
        ("mose2_val", tmp_path / "mose", "not scored: short: the video has 2 frames"),
        ("lvos_val", tmp_path / "lvos", "not scored: two, object 1: no frame is between its first and last"),
    ):
        done = run_evaluate(config=benchmark_settings(name), data=root, score=root / "Annotations")
        assert done.code == 0 and said in done.err and "nan" not in done.out, done.err
        assert set(done.out.splitlines()[-1].split()) <= {"100.0", "1.000", "0.000"}


def test_ids_that_stop_the_evaluator_of_mose1_are_errors(tmp_path):
    trees.mose(tmp_path / "in")
    for path in (tmp_path / "in/Annotations").rglob("*.png"):  # 255 is background in MOSE v1, so the results contain 9 instead
        with Image.open(path) as image:
            ids = np.array(image)
        write_mask(tmp_path / "pred" / path.parent.name / path.name, np.where(ids == 255, 9, ids).astype(np.uint8))
    done = run_evaluate(config=benchmark_settings("mose1_val"), data=tmp_path / "in", score=tmp_path / "pred")
    assert (
        done.code == 1
        and "crowd/00001.png: the mask contains the id 9, but the first annotation has only ids up to 7" in done.err
    )
