"""Tests evaluate.py in a separate process, with a small model on a tiny generated benchmark."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hmmn_jax.checkpoints.store import save_checkpoint
from tests.programs import ROOT, run_script
from tests.small import SMALL, variables


def evaluate(*arguments, cwd=ROOT, devices=1, home=None):
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    return run_script("evaluate.py", *arguments, cwd=cwd, XLA_FLAGS=flags, HOME=str(home or Path.home()))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Writes a checkpoint and a tiny benchmark in the format of DAVIS-2016. Returns the folder that contains both.

    As in the released DAVIS-2016, masks have the values 0 and 255, and a text file lists pairs of frames and masks.
    """
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


def segment(world, output, *arguments, data="davis", devices=1):
    return evaluate(
        "--config", "configs/evaluate/davis2016_val.py", "--data", world / data, "--checkpoint", world / "out",
        "--output", output,
        "--config.mem_every=1", "--compilation_cache", world / "cache", *arguments, devices=devices,
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(world):
    """Evaluates the benchmark on one device, with overlays and movies. Returns the completed process."""
    done = segment(world, world / "whole", "--overlays", "--movie", "gif")
    assert done.returncode == 0, done.stderr
    return done


def masks_of(output):
    return {str(path.relative_to(output)): path.read_bytes() for path in (output / "masks").rglob("*") if path.is_file()}


def test_a_benchmark_from_lists_to_masks(world, whole, tmp_path):
    done, run = whole, world / "whole"
    assert "4 frames" in done.stdout and "frames/s" in done.stdout and "peak memory" in done.stdout
    assert any((world / "cache").iterdir())
    for name in ("cat", "dog"):
        assert [path.name for path in sorted((run / "masks" / name).iterdir())] == ["00000.png", "00001.png", "00002.png"]
        first = np.asarray(Image.open(run / "masks" / name / "00000.png"))
        assert np.unique(first).tolist() == [0, 1] and first[10:30, 20:40].all()
        assert len(list((run / "overlays" / name).iterdir())) == 3
        assert (run / "movies" / f"{name}.gif").is_file()
    # All frames are annotated, so the run also computes scores. A second run that only scores the masks gives the same scores.
    summary = json.loads((run / "summary.json").read_text())
    page = (run / "report.html").read_text()
    assert f"{summary['J&F']:.3f}" in page and "0.908" in page and "frames per second" in page and "DAVIS-2016 val" in page
    assert summary["objects"] == 2 and summary["about"]["checkpoint"] == str(world / "out")
    again = evaluate("--data", world / "davis", "--score", run / "masks", "--output", tmp_path / "again")
    assert again.returncode == 0, again.stderr
    assert again.stdout in done.stdout and done.stdout.endswith(f"report:   {run / 'report.html'}\n")
    assert f"movies:   {run / 'movies'}\n" in done.stdout and "mean over objects" in again.stdout
    assert json.loads((tmp_path / "again" / "summary.json").read_text())["per_sequence"] == summary["per_sequence"]


def test_four_devices_give_the_masks_of_one(world, whole, tmp_path):
    done = segment(world, tmp_path, devices=4)
    assert done.returncode == 0, done.stderr
    assert masks_of(tmp_path) == masks_of(world / "whole") and len(masks_of(tmp_path)) == 6


def test_a_run_with_a_damaged_frame_continues_when_it_is_mended(world, whole, tmp_path):
    shutil.copytree(world / "davis", world / "damaged")
    frame = world / "damaged/JPEGImages/480p/cat/00001.jpg"
    frame.write_bytes(frame.read_bytes()[:-300])
    done = segment(world, tmp_path, data="damaged")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "1 video(s) failed, and the other 1 are complete" in done.stderr
    assert done.stderr.count("cat/00001.jpg: the image is damaged") == 1
    assert [path.name for path in (tmp_path / "masks").iterdir()] == ["dog"]
    assert "cat/00001.jpg: the image is damaged" in (tmp_path / "report.html").read_text()
    shutil.copy2(world / "davis/JPEGImages/480p/cat/00001.jpg", frame)
    done = segment(world, tmp_path, data="damaged")
    assert done.returncode == 0 and "1 of 2 videos are already complete" in done.stderr, done.stderr
    assert "2 frames" in done.stdout and "mean over objects" in done.stdout
    assert masks_of(tmp_path) == masks_of(world / "whole")


def test_a_folder_of_images(world, tmp_path):
    frames = world / "davis/JPEGImages/480p/cat"
    mask = world / "davis/Annotations/480p/cat/00000.png"
    done = evaluate(
        "--config", ROOT / "configs/evaluate/custom.py", "--frames", frames, "--mask", mask, "--checkpoint", world / "out",
        "--output", tmp_path, "--compilation_cache", world / "cache", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "masks" / "cat").iterdir())) == 3
    assert (tmp_path / "report.html").read_text().count("<img") == 3
    assert done.stdout.endswith(f"masks:    {tmp_path / 'masks' / 'cat'}\nreport:   {tmp_path / 'report.html'}\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "davis", "--checkpoint", "out", "--config.mem_evry=3"], "mem_evry"),
        (["--data", "davis", "--checkpoint", "out", "--step", "best"], "out is a single checkpoint and has no steps"),
        (["davis"], "unexpected argument 'davis'"),
    ],
)
def test_a_error_is_one_line_and_exit_code_2(world, tmp_path, arguments, said):
    done = evaluate(*arguments, "--output", tmp_path / "run", cwd=world)
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    assert done.stderr.count("evaluate.py: ") == 1 and not (tmp_path / "run").exists()


def test_home_is_expanded_in_every_path(world, tmp_path):
    done = evaluate("--data=~/davis", "--score=~/davis/Annotations/480p", "--output=~/home", cwd=tmp_path, home=world)
    assert done.returncode == 0 and "1.000" in done.stdout, done.stderr
    assert (world / "home/summary.json").is_file() and not any(tmp_path.iterdir())
