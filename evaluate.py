"""Segments videos: a benchmark's sequences, any folder of images, or a video file. Scores masks, these or any others.

    python evaluate.py --config configs/davis2016_val.py --data ROOT --checkpoint OUT --output RUN
    python evaluate.py --frames DIR|FILE.mp4 --mask FILE.png --checkpoint OUT --output RUN --overlays --movie mp4
    python evaluate.py --config configs/davis2016_val.py --data ROOT --score PRED [--output RUN]

Writes RUN/masks/SEQUENCE/FRAME.png with the DAVIS palette and the given ids. Of benchmarks that are annotated throughout,
and with --score, prints J and F and writes RUN/summary.json, per_sequence.csv and per_frame.csv. RUN/report.html, to be opened
in a browser, shows it all. Fields of the config are overridden like this: --config.mem_every=3.
"""

import os
import shlex
import sys
from pathlib import Path

import jax
from absl import app, flags
from ml_collections import ConfigDict, config_flags

import hmmn_jax
from hmmn_jax.errors import HMMNError
from hmmn_jax.evaluation.predict import Clip, Cost, Outputs, open_sequence, open_video, predict
from hmmn_jax.evaluation.report import write_report
from hmmn_jax.evaluation.score_files import discard_scores, lacks_annotations, score_folder, score_table, write_scores
from hmmn_jax.inference.host_memory import keep_host_memory_small
from hmmn_jax.layouts import Sequence, VideoFile, read_davis, read_folder

CONFIG = config_flags.DEFINE_config_file("config", f"{Path(__file__).parent}/configs/davis2016_val.py", "What to evaluate.")
DATA = flags.DEFINE_string("data", None, "Root of the benchmark: the folder with JPEGImages, Annotations, ImageSets.")
FRAMES = flags.DEFINE_string("frames", None, "Instead of --data: a folder of images, or a video file.")
MASK = flags.DEFINE_string("mask", None, "With --frames: an indexed PNG, the ids of the objects in the first frame.")
CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Output of convert_weights.py, a training workdir, or one file.")
SCORE = flags.DEFINE_string("score", None, "Instead of segmenting: a folder of masks SEQUENCE/FRAME.png to be scored.")
OUTPUT = flags.DEFINE_string("output", None, "Folder to write to; only with --score it can be left out.")
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


def open_own_video() -> Clip:
    """The clip that --frames and --mask name."""
    if MASK.value is None:
        raise HMMNError("--frames needs --mask: an indexed PNG with the ids of the objects in the first frame")
    if Path(FRAMES.value).is_file():
        return open_video(Path(FRAMES.value), Path(MASK.value))
    return open_sequence(read_folder(FRAMES.value, MASK.value))


def segment(config: ConfigDict, clips: list[Clip]) -> Cost:
    """Writes the masks; prints and gives what it took."""
    segmenter = hmmn_jax.Segmenter(
        *load_model(config),  # and held by nobody else: the segmenter has its own copy, folded
        mem_every=config.mem_every,
        max_memory_frames=config.max_memory_frames or None,
        objects_per_batch=config.objects_per_batch or None,
    )
    outputs = Outputs(Path(OUTPUT.value), OVERLAYS.value, MOVIE.value, config.fps)
    discard_scores(outputs.folder)
    cost = predict(segmenter, clips, outputs)
    print(f"{cost}\nwritten to {OUTPUT.value}")
    return cost


def about(config: ConfigDict, masks: Path) -> dict:
    """What was done, for those who find the results later."""
    checkpoint = CHECKPOINT.value or (None if SCORE.value else "none: random weights")
    where = {"masks": str(masks), "data": DATA.value or FRAMES.value, "checkpoint": checkpoint}
    return {"command": shlex.join(sys.argv)} | where | {"config": config.to_dict()}


def report(config: ConfigDict, sources: list, masks: Path, cost: Cost | None, scores: list | None = None) -> None:
    """Writes RUN/report.html, of masks with or without scores."""
    single, paper = config.single_object, config.paper.to_dict()
    write_report(Path(OUTPUT.value), sources, masks, about(config, masks), scores, single, cost, paper)


def score(config: ConfigDict, sequences: list[Sequence], masks: Path, cost: Cost | None = None) -> None:
    """Prints J and F, and writes them to --output if there is one."""
    if OUTPUT.value is not None:
        discard_scores(Path(OUTPUT.value))
    scores = score_folder(masks, sequences, config.single_object, processes=os.cpu_count() or 1)
    print(score_table(scores))
    if OUTPUT.value is not None:
        write_scores(Path(OUTPUT.value), scores, about(config, masks))
        report(config, sequences, masks, cost, scores)


def run(config: ConfigDict) -> None:
    """Does what the flags say."""
    if (DATA.value is None) == (FRAMES.value is None):
        raise HMMNError("give either --data ROOT (a benchmark) or --frames DIR|FILE --mask FILE (a video of your own)")
    if SCORE.value is not None and (FRAMES.value or CHECKPOINT.value):
        raise HMMNError("--score takes masks that are there: give it with --data, without --frames and --checkpoint")
    if SCORE.value is None and OUTPUT.value is None:
        raise HMMNError("--output is missing: the folder to write to")
    masks = Path(SCORE.value or f"{OUTPUT.value}/masks")
    if FRAMES.value is not None:
        cost = segment(config, [open_own_video()])
        own = Path(FRAMES.value)
        return report(config, [VideoFile(own) if own.is_file() else read_folder(own, MASK.value)], masks, cost)
    names = tuple(config.sequences) or None
    sequences = read_davis(DATA.value, config.year, config.split, config.resolution or None, config.annotations, names)
    if SCORE.value is not None:
        return score(config, sequences, masks)
    cost = segment(config, [open_sequence(sequence) for sequence in sequences])
    if reasons := [*filter(None, map(lacks_annotations, sequences))]:
        print(f"not scored: {reasons[0]}")
        return report(config, sequences, masks, cost)
    return score(config, sequences, masks, cost)


def main(_: list[str]) -> None:
    """Runs, and tells errors in one line."""
    keep_host_memory_small()
    if CACHE.value is not None:
        jax.config.update("jax_compilation_cache_dir", str(Path(CACHE.value).absolute()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)  # keep what compiles fast, too
    try:
        run(CONFIG.value)
    except HMMNError as error:
        print(f"evaluate.py: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    app.run(main)
