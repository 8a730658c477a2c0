"""Segments videos: a benchmark's sequences, any folder of images, or a video file.

    python evaluate.py --config configs/davis2016_val.py --data ROOT --checkpoint OUT --output RUN
    python evaluate.py --frames DIR|FILE.mp4 --mask FILE.png --checkpoint OUT --output RUN --overlays --movie mp4

Writes RUN/masks/SEQUENCE/FRAME.png with the DAVIS palette and the given ids. Config fields are overridden by
--config.FIELD=VALUE, e.g. --config.mem_every=3.
"""

import sys
from pathlib import Path

import jax
from absl import app, flags
from ml_collections import ConfigDict, config_flags

import hmmn_jax
from hmmn_jax.errors import HMMNError
from hmmn_jax.evaluation.predict import Clip, Outputs, open_sequence, open_video, predict
from hmmn_jax.inference.host_memory import keep_host_memory_small
from hmmn_jax.layouts import read_davis, read_folder

DEFAULT = Path(__file__).parent / "configs" / "davis2016_val.py"
CONFIG = config_flags.DEFINE_config_file("config", str(DEFAULT), "What to evaluate, and how.")
DATA = flags.DEFINE_string("data", None, "Root of the benchmark: the folder with JPEGImages, Annotations, ImageSets.")
FRAMES = flags.DEFINE_string("frames", None, "Instead of --data: a folder of images, or a video file.")
MASK = flags.DEFINE_string("mask", None, "With --frames: an indexed PNG, the ids of the objects in the first frame.")
CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Output of convert_weights.py, a training workdir, or one file.")
OUTPUT = flags.DEFINE_string("output", None, "Folder to write to.", required=True)
OVERLAYS = flags.DEFINE_bool("overlays", False, "Also write a picture of every frame with its masks.")
MOVIE = flags.DEFINE_enum("movie", None, ["mp4", "gif"], "Also write one movie of overlays a video.")
CACHE = flags.DEFINE_string("compilation_cache", None, "Folder that keeps compiled programs for the next run.")


def load_model(config: ConfigDict) -> tuple[dict, hmmn_jax.HMMNConfig]:
    """Variables and config of the checkpoint, or of the untrained model that the config describes."""
    if CHECKPOINT.value is not None:
        variables, model_config = hmmn_jax.load_checkpoint(CHECKPOINT.value)
    elif "untrained" in config:
        print("NOTE: no checkpoint given: a small model with RANDOM weights; its masks mean nothing.")
        model_config = hmmn_jax.HMMNConfig.from_dict(config.untrained.to_dict())
        variables = jax.jit(hmmn_jax.HMMN(model_config).init_variables)(jax.random.key(0))
    else:
        raise HMMNError("--checkpoint is missing: a folder that convert_weights.py or train.py wrote, or one file")
    return variables, model_config.replace(dtype=config.dtype) if config.dtype else model_config


def open_clips(config: ConfigDict) -> tuple[list[Clip], int]:
    """The clips that the flags name, and the number of frames to segment in them, if it is known."""
    if (DATA.value is None) == (FRAMES.value is None):
        raise HMMNError("give either --data ROOT (a benchmark) or --frames DIR|FILE --mask FILE (a video of your own)")
    if FRAMES.value is not None:
        if MASK.value is None:
            raise HMMNError("--frames needs --mask: an indexed PNG with the ids of the objects in the first frame")
        if Path(FRAMES.value).is_file():
            clips = [open_video(Path(FRAMES.value), Path(MASK.value))]
        else:
            clips = [open_sequence(read_folder(FRAMES.value, MASK.value))]
    else:
        names = tuple(config.sequences) or None
        found = read_davis(DATA.value, config.year, config.split, config.resolution or None, config.annotations, names)
        clips = [open_sequence(sequence) for sequence in found]
    return clips, sum(max(len(clip) - 1, 0) for clip in clips)


def main(_: list[str]) -> None:
    """Runs what the flags say."""
    keep_host_memory_small()
    config = CONFIG.value
    if CACHE.value is not None:
        jax.config.update("jax_compilation_cache_dir", str(Path(CACHE.value).absolute()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)  # keep what compiles fast, too
    try:
        clips, total = open_clips(config)
        variables, model_config = load_model(config)
        segmenter = hmmn_jax.Segmenter(
            variables,
            model_config,
            mem_every=config.mem_every,
            max_memory_frames=config.max_memory_frames or None,
            objects_per_batch=config.objects_per_batch or None,
        )
        outputs = Outputs(Path(OUTPUT.value), OVERLAYS.value, MOVIE.value, config.fps)
        cost = predict(segmenter, clips, outputs, total or None)
    except HMMNError as error:
        print(f"evaluate.py: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    device = "" if cost.peak_device_megabytes is None else f", {cost.peak_device_megabytes:.0f} MB on the device"
    print(
        f"{cost.frames} frames in {cost.seconds:.1f} s ({cost.frames_per_second:.2f} frames/s), compilation "
        f"{cost.compile_seconds:.1f} s apart; peak memory {cost.peak_megabytes:.0f} MB{device}\nwritten to {OUTPUT.value}"
    )


if __name__ == "__main__":
    app.run(main)
