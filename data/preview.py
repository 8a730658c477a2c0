"""Renders training clips as one picture. Each row shows the frames of a clip, then the same frames with masks.

    python -m data.preview --config configs/train/pretrain.py --config.data.data_dir=DATA --out preview.png

The caption above each row contains the sample number, the names of the data set, the video and the frames, and the number of
objects. For a video, the caption also contains the number of frames of the original video that are skipped before each frame
except the first.
"""

import numpy as np
from absl import app, flags, logging
from ml_collections import config_flags
from PIL import Image, ImageDraw

from data.clips import make_batches
from hmmn_jax.cli.launch import flags_parser
from hmmn_jax.cli.program import leave, run_program
from hmmn_jax.errors import ConfigError
from hmmn_jax.io.files import user_path
from hmmn_jax.io.pictures import overlay, write_image
from hmmn_jax.io.record import replace_own
from hmmn_jax.training.settings import require_settings

CONFIG = config_flags.DEFINE_config_file("config", None, "Config of an experiment. Only its data section is used.")
OUT = flags.DEFINE_string("out", None, "PNG to write. An existing file is replaced only if it is an earlier preview.")
CLIPS = flags.DEFINE_integer("clips", 8, "Number of clips.", lower_bound=1)
FIRST = flags.DEFINE_integer("first", 0, "Number of the first sample.", lower_bound=0)

CAPTION = 14  # height of a caption in pixels


def draw_clip(clip: dict[str, np.ndarray]) -> np.ndarray:
    """Renders a clip as one row, with a caption above the frames and their overlays. `clip` is one clip of a batch.

    Returns the row, uint8 [h,w,3].
    """
    marked = [overlay(frame, mask) for frame, mask in zip(clip["frames"], clip["masks"], strict=True)]
    picture = np.concatenate([*clip["frames"], *marked], axis=1)
    gaps = np.abs(np.diff(clip["numbers"]))
    text = f"{clip['sample']}: {clip['names'].decode()}, {clip['valid'].sum()} objects"
    if gaps.any():
        text += f", skipped frames: {', '.join(map(str, gaps - 1))}"
    row = Image.new("RGB", (picture.shape[1], picture.shape[0] + CAPTION), "white")
    ImageDraw.Draw(row).text((4, 1), text, fill="black")
    row.paste(Image.fromarray(picture), (0, CAPTION))
    return np.asarray(row)


def check_flags() -> None:
    """Raises ConfigError for missing flags."""
    if CONFIG.value is None or OUT.value is None:
        raise ConfigError("pass --config FILE, such as configs/train/lite.py, and --out FILE, the PNG to write")


def draw() -> None:
    """Renders the clips that the flags select, and writes the picture to `--out`."""
    logging.set_verbosity(logging.ERROR)  # otherwise, TFDS logs every data set that it opens
    require_settings(CONFIG.value)
    out = user_path(OUT.value)
    with replace_own(out) as path:
        batches = make_batches(CONFIG.value.data, batch=1, first_step=FIRST.value, steps=CLIPS.value)
        rows = [draw_clip({key: value[0] for key, value in batch.items()}) for batch in batches]
        write_image(path, np.concatenate(rows))
    print(f"{len(rows)} clips were written to {out}")


def main(_: list[str]) -> None:
    """Runs the command and exits with its exit code."""
    leave(run_program("data.preview", draw))


if __name__ == "__main__":
    app.run(main, flags_parser=flags_parser("data.preview", CONFIG, check_flags))
