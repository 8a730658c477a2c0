"""Compares the logits of the published PyTorch code with the logits of this model on the same frames, in float64."""

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from hmmn_jax.checkpoints.store import load_checkpoint
from hmmn_jax.checkpoints.torch_weights import to_torch
from hmmn_jax.datasets.folders import read_folder
from hmmn_jax.errors import ConfigError, DataError, HMMNError
from hmmn_jax.inference import Segmenter
from hmmn_jax.io.files import user_path
from hmmn_jax.io.image_video import ImageVideo
from hmmn_jax.io.images import fit_mask, read_mask
from hmmn_jax.io.notes import Notes, note
from hmmn_jax.model import HMMNConfig

MEM_EVERY = 5
_CHILD = Path(__file__).with_name("official_process.py")


def verify(
    official: str | Path,
    checkpoint: str | Path,
    frames: str | Path,
    mask: str | Path,
    *,
    max_frames: int = 3,
    size: int = 128,
    order: str = "",
) -> list[tuple[str, float]]:
    """Compares the logits of the published code in a user's checkout with the logits of this model on the same frames.

    Args:
      official: the path of the checkout, which contains `model.py`. The published code runs on the CPU in a separate process.
      checkpoint: any checkpoint that `load_checkpoint` can read.
      frames: the path of a folder of images.
      mask: the path of the mask of the first frame.
      max_frames: maximum number of frames to compare, including the first.
      size: shorter side to which the frames are resized, in pixels.
      order: how frames are sorted by name; see `read_folder`.

    Returns:
      For each frame after the first, its name and the maximum absolute difference between the logits; NaN if a logit is NaN.

    Raises:
      HMMNError: torch is missing, an input is invalid, or the published code fails.
    """
    if importlib.util.find_spec("torch") is None:
        raise HMMNError("verify runs the published code, which needs PyTorch. Run: pip install torch")
    official, checkpoint, frames, mask = map(user_path, (official, checkpoint, frames, mask))
    names, clip, ids = read_clip(frames, mask, max_frames, size, order)
    variables, config = load_checkpoint(checkpoint)
    expected = run_official(official, to_torch(variables, config), clip, ids)
    found = run_float64(variables, config, clip, ids)
    if expected.shape != found.shape:
        raise HMMNError(
            f"{official}: the published code returned logits of shape {expected.shape}, expected [T-1,K+1,H,W] = {found.shape}"
        )
    differences = np.abs(expected - found).max(axis=(1, 2, 3))
    return list(zip(names[1:], differences.tolist(), strict=True))


def read_clip(
    frames: str | Path, mask: str | Path, max_frames: int, size: int, order: str = ""
) -> tuple[list[str], UInt8[np.ndarray, "t h w 3"], UInt8[np.ndarray, "h w"]]:
    """Reads the first frames of a folder, resized to a shorter side of `size` pixels.

    Returns:
      The names of the frames, the RGB images, and the mask of the first frame with ids from 1 to K.

    Raises:
      ConfigError: `max_frames` is not between 2 and 10,000, or `size` is not between 16 and 4,096.
      DataError: the folder contains fewer than two frames, the frames and the mask differ in size, or the mask contains no
          object.
    """
    for name, value, least, most in (("max_frames", max_frames, 2, 10_000), ("size", size, 16, 4096)):
        if not least <= value <= most:
            raise ConfigError(f"{name} is {value}, expected {least} to {most}")
    notes = Notes()
    paths = read_folder(frames, mask, order=order, notes=notes).frames[:max_frames]
    for line in notes.lines():
        note(line)
    if len(paths) < 2:
        raise DataError(f"{frames} contains only a single frame, expected at least 2 frames")
    images = list(ImageVideo(paths))
    height, width = images[0].shape[:2]
    ids = fit_mask(read_mask(mask), height, width, mask)
    scale = size / min(height, width)
    new_size = (round(width * scale), round(height * scale))
    images = [np.asarray(Image.fromarray(image).resize(new_size, Image.Resampling.BILINEAR)) for image in images]
    ids = np.asarray(Image.fromarray(ids).resize(new_size, Image.Resampling.NEAREST))
    objects = np.setdiff1d(ids, 0)
    if not len(objects):
        raise DataError(f"{mask} contains no object at {new_size[0]}x{new_size[1]} pixels, expected at least one object")
    relabelled = np.where(ids > 0, np.searchsorted(objects, ids) + 1, 0).astype(np.uint8)
    return [path.stem for path in paths], np.stack(images), relabelled


def run_official(
    official: str | Path,
    tensors: Mapping[str, np.ndarray],
    frames: UInt8[np.ndarray, "t h w 3"],
    mask: UInt8[np.ndarray, "h w"],
) -> Float[np.ndarray, "..."]:
    """Runs the published code. Returns the logits, `[T-1,K+1,H,W]`.

    `tensors` are weights with the official names, and `mask` contains the ids 1..K.

    Raises:
      HMMNError: the published code fails. The message contains the last line of the code's error output.
    """
    with tempfile.TemporaryDirectory(prefix="hmmn-verify-") as folder:
        np.savez(Path(folder, "weights.npz"), **tensors)
        np.savez(Path(folder, "clip.npz"), frames=frames, mask=mask, mem_every=MEM_EVERY)
        # -P keeps this folder out of sys.path, so that modules of the checkout are found. -B prevents .pyc files in the
        # checkout.
        command = [sys.executable, "-P", "-B", str(_CHILD), str(Path(official).absolute()), folder]
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
        child = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        logits = Path(folder, "logits.npy")
        if child.returncode or not logits.is_file():
            lines = [line.strip() for line in child.stderr.splitlines() if line.strip()]
            said = lines[-1] if lines else f"the process printed no message and returned exit code {child.returncode}"
            raise HMMNError(f"{official}: the published code cannot be run: {said[:300]}")
        return np.load(logits)


def run_float64(
    variables: dict[str, Any], config: HMMNConfig, frames: UInt8[np.ndarray, "t h w 3"], mask: UInt8[np.ndarray, "h w"]
) -> Float[np.ndarray, "t1 k1 h w"]:
    """Computes the logits of this model in float64 for all frames after the first."""

    def widen(leaf):
        return leaf.astype(np.float64) if np.issubdtype(leaf.dtype, np.floating) else leaf

    with jax.enable_x64(True):
        segmenter = Segmenter(jax.tree.map(widen, variables), config.replace(dtype=None), mem_every=MEM_EVERY)
        return np.stack([np.asarray(result.logits) for result in segmenter.run(frames, mask)])
