"""Runs `evaluate` in the test process on synthetic videos. The segmenter repeats the given masks."""

import contextlib
import io
import signal
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from configs.evaluate import custom, davis2017_val
from hmmn_jax.cli import evaluate as module
from hmmn_jax.cli.program import run_program
from hmmn_jax.inference import Result, Segmenter
from hmmn_jax.io.palette import davis_palette
from tests.small import SMALL


class Repeating(Segmenter):
    """Repeats the given masks in all later frames. For each run, `given` contains a dict from frame index to mask."""

    def __init__(self):
        self.given = []

    def run(self, frames, mask, later=None):
        self.given.append({0: mask} | (later or {}))
        found = mask.copy()
        for t, _ in enumerate(frames):
            new = (later or {}).get(t, np.zeros_like(mask))
            found = np.where(new > 0, new, found)
            if t:
                ids = np.unique(np.append(found, np.uint8(0)))
                yield Result(found, (found == ids[:, None, None]).astype(np.float32), None, ids)


class Outcome(NamedTuple):
    """The exit code, standard output and standard error of a command."""

    code: int
    out: str
    err: str


def run_evaluate(segmenter=None, fields=None, config=None, **request):
    """Runs a request with the code of `evaluate.py`, and returns its outcome.

    `config` is `custom` by default. `fields` contains new values of config fields, by name.
    """
    config = config or custom.get_config()
    config.update(fields or {})
    if "score" not in request:
        request.setdefault("checkpoint", Path("weights"))
    paths = {name: Path(value) for name, value in request.items() if name in ("data", "frames", "mask", "score", "output")}
    request = module.Request(config, **{**request, **paths})
    weights = {"params": {"x": np.zeros(1, np.float32)}}
    handler = signal.getsignal(signal.SIGTERM)
    out, err = io.StringIO(), io.StringIO()
    load, module.load_checkpoint = module.load_checkpoint, lambda path, step: (weights, SMALL)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)  # the command reports these warnings
            code = run_program("evaluate.py", lambda: module.evaluate(request, lambda *_: [segmenter or Repeating()]))
    finally:
        module.load_checkpoint = load
        signal.signal(signal.SIGTERM, handler)
    said = err.getvalue().replace("\r", "\n").splitlines()
    return Outcome(code, out.getvalue(), "".join(f"{line}\n" for line in said if line and "/s" not in line[-20:]))


def davis(year="2017"):
    """Returns the config of DAVIS validation for a year."""
    config = davis2017_val.get_config()
    config.year = year
    return config


def discs(frames=5, height=48, width=64, objects=1, step=2):
    """Returns frames `[T,H,W,3]` and masks `[T,H,W]` of discs that move to the right. The discs have the ids 1, 2, ..."""
    rng = np.random.default_rng(0)
    ground = rng.integers(60, 130, (height // 8, width // 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    rows, columns = np.mgrid[:height, :width]
    images, masks = [], []
    for t in range(frames):
        image, ids = ground.copy(), np.zeros((height, width), np.uint8)
        for k in range(objects):
            y, x = height * (k + 1) // (objects + 1), width // 4 + step * t + 6 * k
            inside = np.hypot(rows - y, columns - x) <= height // (5 + 2 * objects)
            image[inside], ids[inside] = ((220, 40, 40), (40, 60, 220), (240, 220, 40))[k], k + 1
        images.append(image)
        masks.append(ids)
    return np.stack(images), np.stack(masks)


def save_frames(folder, frames, name="{:05d}.jpg", **how):
    """Writes images. `name` is a format string for the frame index."""
    folder.mkdir(parents=True, exist_ok=True)
    for t, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / name.format(t), **how)


def save_ids(path, ids):
    """Writes an indexed PNG with the DAVIS palette."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(ids)
    image.putpalette(davis_palette().tobytes())
    image.save(path)


def save_video(root, name, frames, masks, ids=None):
    """Writes frames and masks in the folder layout of the `custom` config. `masks` is an array or a dict from index to mask."""
    save_frames(root / "JPEGImages" / name, frames)
    for t, mask in masks.items() if isinstance(masks, dict) else enumerate(masks):
        save_ids(root / "Annotations" / name / f"{t:05d}.png", mask)


def read_ids(path):
    """Returns the ids in a mask file."""
    return np.asarray(Image.open(path))


def contents(root):
    """Returns a dict from relative paths to the bytes of files. Files in a folder named `record` are skipped."""
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files if "record" not in path.relative_to(root).parts}
