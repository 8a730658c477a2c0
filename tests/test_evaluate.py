"""evaluate.py as a user runs it: in a process of its own, on a tiny benchmark and a small model made here."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hmmn_jax.checkpoint import save_checkpoint
from tests.small import SMALL, variables

ROOT = Path(__file__).parent.parent


def evaluate(*arguments, cwd=ROOT):
    command = [sys.executable, str(ROOT / "evaluate.py"), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A DAVIS-2016 folder as it was released (0/255 masks, a list of frame pairs), and a checkpoint."""
    root = tmp_path_factory.mktemp("world")
    rng = np.random.default_rng(0)
    pairs = []
    for name in ("cat", "dog"):
        for kind in ("JPEGImages", "Annotations"):
            (root / "davis" / kind / "480p" / name).mkdir(parents=True)
        for t in range(3):
            mask = np.zeros((48, 64), np.uint8)
            mask[10 : 30 + t, 20:40] = 255
            Image.fromarray(rng.integers(0, 256, (48, 64, 3), np.uint8)).save(
                root / f"davis/JPEGImages/480p/{name}/{t:05d}.jpg"
            )
            Image.fromarray(mask).save(root / f"davis/Annotations/480p/{name}/{t:05d}.png")
            pairs.append(f"/JPEGImages/480p/{name}/{t:05d}.jpg /Annotations/480p/{name}/{t:05d}.png")
    (root / "davis/ImageSets/480p").mkdir(parents=True)
    (root / "davis/ImageSets/480p/val.txt").write_text("\n".join(pairs))
    save_checkpoint(root / "out", variables(), SMALL)
    return root


def test_a_benchmark_from_lists_to_masks(world, tmp_path):
    done = evaluate(
        "--config", "configs/davis2016_val.py", "--data", world / "davis", "--checkpoint", world / "out", "--output", tmp_path,
        "--config.mem_every=1", "--overlays", "--movie", "gif", "--compilation_cache", tmp_path / "cache",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "4 frames" in done.stdout and "frames/s" in done.stdout and "peak memory" in done.stdout
    assert any((tmp_path / "cache").iterdir())
    for name in ("cat", "dog"):
        assert [path.name for path in sorted((tmp_path / "masks" / name).iterdir())] == ["00000.png", "00001.png", "00002.png"]
        first = np.asarray(Image.open(tmp_path / "masks" / name / "00000.png"))
        assert np.unique(first).tolist() == [0, 1] and first[10:30, 20:40].all()
        assert len(list((tmp_path / "overlays" / name).iterdir())) == 3
        assert (tmp_path / "movies" / f"{name}.gif").is_file()
    # It is annotated throughout, so scored, too; the masks alone score the same.
    summary = json.loads((tmp_path / "summary.json").read_text())
    page = (tmp_path / "report.html").read_text()
    assert f"{summary['J&F']:.3f}" in page and "0.908" in page and "frames a second" in page and "DAVIS-2016 val" in page
    assert summary["objects"] == 2 and summary["about"]["checkpoint"] == str(world / "out")
    again = evaluate("--data", world / "davis", "--score", tmp_path / "masks", "--output", tmp_path / "again")
    assert again.returncode == 0, again.stderr
    assert again.stdout in done.stdout and "mean over objects" in again.stdout
    assert json.loads((tmp_path / "again" / "summary.json").read_text())["per_sequence"] == summary["per_sequence"]


def test_masks_are_scored_anew_or_not_at_all(world, tmp_path):
    """Perfect masks; then one is gone, and so are the figures of before."""
    truth = world / "davis/Annotations/480p"
    shutil.copytree(truth, tmp_path / "pred")
    score = ("--data", world / "davis", "--score", tmp_path / "pred", "--output", tmp_path / "run")
    done = evaluate(*score)
    assert done.returncode == 0 and "1.000" in done.stdout.splitlines()[-1]
    assert len(list((tmp_path / "run").iterdir())) == 4
    (tmp_path / "pred" / "dog" / "00001.png").unlink()
    done = evaluate(*score)
    assert done.returncode == 2 and "dog/00001.png: not there" in done.stderr and "Traceback" not in done.stderr
    assert not any((tmp_path / "run").iterdir())


def test_a_folder_of_images(world, tmp_path):
    frames = world / "davis/JPEGImages/480p/cat"
    mask = world / "davis/Annotations/480p/cat/00000.png"
    done = evaluate("--frames", frames, "--mask", mask, "--checkpoint", world / "out", "--output", tmp_path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "masks" / "cat").iterdir())) == 3
    assert (tmp_path / "report.html").read_text().count("<img") == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "either --data ROOT"),
        (["--frames", "davis/JPEGImages/480p/cat"], "--frames needs --mask"),
        (["--data", "davis"], "--checkpoint is missing"),
        (["--data", "davis", "--score", "masks", "--checkpoint", "out"], "--score takes masks that are there"),
        (["--data", "davis", "--checkpoint", "nothing"], "nothing: no such file or folder"),
        (["--data", "nowhere", "--checkpoint", "out"], "nowhere"),
        (["--data", "davis", "--checkpoint", "out", "--config.sequences=('bird',)"], "no sequence 'bird'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(world, tmp_path, arguments, said):
    done = evaluate(*arguments, "--output", tmp_path / "run", cwd=world)
    assert done.returncode == 2
    assert said in done.stderr and "Traceback" not in done.stderr
    assert done.stderr.count("evaluate.py: ") == 1 and not (tmp_path / "run").exists()


def test_only_scores_can_do_without_output(world):
    done = evaluate("--data", world / "davis", "--checkpoint", world / "out")
    assert done.returncode == 2 and "--output is missing" in done.stderr
    done = evaluate("--data", world / "davis", "--score", world / "davis/Annotations/480p")
    assert done.returncode == 0 and "1.000" in done.stdout


def test_a_typo_in_an_override_fails(world, tmp_path):
    done = evaluate("--data", world / "davis", "--checkpoint", world / "out", "--output", tmp_path, "--config.mem_evry=3")
    assert done.returncode != 0 and "mem_evry" in done.stderr
