"""Segments videos: a benchmark's sequences, any folder of images, or a video file. Scores masks, these or any others.

    python evaluate.py --config configs/davis2016_val.py --data ROOT --checkpoint OUT --output RUN
    python evaluate.py --config configs/custom.py --frames DIR|FILE.mp4 --mask FILE.png --checkpoint OUT --output RUN
    python evaluate.py --config configs/davis2016_val.py --data ROOT --score PRED [--output RUN]

Writes RUN/masks/SEQUENCE/FRAME.png with the DAVIS palette and the given ids, and what the benchmark's server wants as
RUN/submission.zip. Of benchmarks that are annotated throughout, and with --score, prints J and F and writes RUN/summary.json,
per_sequence.csv and per_frame.csv. RUN/report.html, to be opened in a browser, shows it all. A run that was stopped goes on:
the same command takes the sequences that are missing. Fields of the config are overridden like this: --config.mem_every=3.
Several hosts: the same command on each, with --distributed, and one RUN for all.
"""

import dataclasses
import os
import shlex
import sys
from pathlib import Path

import jax
from absl import app, flags, logging
from jax.experimental import multihost_utils
from ml_collections import ConfigDict, config_flags

import hmmn_jax
from hmmn_jax.errors import HMMNError
from hmmn_jax.evaluation.outputs import MASKS, Outputs
from hmmn_jax.evaluation.predict import Cost, check_failures, make_segmenters, predict
from hmmn_jax.evaluation.protocols import Task, read_own_video, read_task
from hmmn_jax.evaluation.report import write_report
from hmmn_jax.evaluation.run_record import claim_folder, mask_settings, weights_digest
from hmmn_jax.evaluation.score_files import REPORT, discard_scores, lacks_annotations, score_folder, score_table, write_scores
from hmmn_jax.evaluation.submission import SUBMISSION, discard_submission, write_submission
from hmmn_jax.evaluation.views import Views
from hmmn_jax.inference.host_memory import keep_host_memory_small
from hmmn_jax.launch import launch

CONFIG = config_flags.DEFINE_config_file("config", f"{Path(__file__).parent}/configs/davis2016_val.py", "What to evaluate.")
DATA = flags.DEFINE_string("data", None, "Root of the benchmark: the folder with JPEGImages, Annotations, ImageSets.")
FRAMES = flags.DEFINE_string("frames", None, "Instead of --data: a folder of images, or a video file.")
MASK = flags.DEFINE_string("mask", None, "With --frames: an indexed PNG, the ids of the objects in the first frame.")
CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Output of convert_weights.py, a training workdir, or one file.")
SCORE = flags.DEFINE_string("score", None, "Instead of segmenting: a folder of masks SEQUENCE/FRAME.png to be scored.")
OUTPUT = flags.DEFINE_string("output", None, "Folder to write to; only with --score it can be left out.")
OVERLAYS = flags.DEFINE_bool("overlays", False, "Also write a picture of every frame with its masks.")
MOVIE = flags.DEFINE_enum("movie", None, ["mp4", "gif"], "Also write one movie of overlays a video.")


def load_model(config: ConfigDict) -> tuple[dict, hmmn_jax.HMMNConfig]:
    """Variables and config of the checkpoint."""
    if CHECKPOINT.value is None:
        raise HMMNError("--checkpoint is missing: a folder that convert_weights.py or train.py wrote, or one file")
    variables, model_config = hmmn_jax.load_checkpoint(CHECKPOINT.value)
    return variables, model_config.replace(dtype=config.dtype) if config.dtype else model_config


def segment(config: ConfigDict, task: Task, outputs: Outputs) -> Cost:
    """Writes the masks; prints and gives what it took. Raises HMMNError when all is done where sequences failed."""
    if not task.clips:
        check_failures(task.failures)
    views = Views(config.size, tuple(config.scales), config.flip)
    variables, model = load_model(config)
    inputs = {flag.name: str(Path(flag.value).absolute()) for flag in (DATA, FRAMES, MASK) if flag.value is not None}
    weights = {"weights": weights_digest(variables), "model": dataclasses.asdict(model)}
    claim_folder(outputs.folder, {"settings": mask_settings(config)} | inputs | weights)
    discard_scores(outputs.folder)
    discard_submission(outputs.folder)
    segmenters = make_segmenters(variables, model, config, len(task.clips))
    del variables  # each segmenter has its own copy, folded
    cost, failures = predict(segmenters, task.clips, outputs, views)
    print(cost)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("all masks are written")
    check_failures(task.failures | failures)
    return cost


def about(config: ConfigDict, masks: Path) -> dict:
    """What was done, for those who find the results later."""
    where = {"masks": str(masks), "data": DATA.value or FRAMES.value, "checkpoint": CHECKPOINT.value}
    return {"command": shlex.join(sys.argv)} | where | {"config": config.to_dict()}


def report(config: ConfigDict, task: Task, masks: Path, cost: Cost | None, scores: list | None = None) -> None:
    """Writes RUN/report.html, of masks with or without scores."""
    paper = config.paper.to_dict() if DATA.value is not None else None
    write_report(Path(OUTPUT.value), task.sources, masks, about(config, masks), scores, config.single_object, cost, paper)


def score(config: ConfigDict, task: Task, masks: Path, cost: Cost | None = None) -> None:
    """Prints J and F, and writes them to --output if there is one."""
    if OUTPUT.value is not None:
        discard_scores(Path(OUTPUT.value))
    check_failures(task.failures)
    scores = score_folder(masks, task.sequences, config.single_object, processes=os.cpu_count() or 1)
    print(score_table(scores))
    if OUTPUT.value is not None:
        write_scores(Path(OUTPUT.value), scores, about(config, masks))
        report(config, task, masks, cost, scores)


def run(config: ConfigDict) -> None:
    """Does what the flags say."""
    if (DATA.value is None) == (FRAMES.value is None):
        raise HMMNError("give either --data ROOT (a benchmark) or --frames DIR|FILE --mask FILE (a video of your own)")
    if FRAMES.value is not None and MASK.value is None:
        raise HMMNError("--frames needs --mask: an indexed PNG with the ids of the objects in the first frame")
    if SCORE.value is not None and (FRAMES.value or CHECKPOINT.value):
        raise HMMNError("--score takes masks that are there: give it with --data, without --frames and --checkpoint")
    if SCORE.value is None and OUTPUT.value is None:
        raise HMMNError("--output is missing: the folder to write to")
    own = FRAMES.value is not None
    task = read_own_video(FRAMES.value, MASK.value) if own else read_task(config, DATA.value)
    for note in task.notes:
        print(f"NOTE: {note}", file=sys.stderr)
    if SCORE.value is not None:
        return score(config, task, Path(SCORE.value))
    outputs = Outputs(Path(OUTPUT.value), OVERLAYS.value, MOVIE.value, config.fps, config.save_scores)
    cost, masks = segment(config, task, outputs), outputs.folder / MASKS
    if jax.process_index() > 0:
        return None
    if config.submission:
        members = write_submission(outputs.folder, task.sequences, config.submission)
        print(f"{len(members)} masks for the server in {outputs.folder / SUBMISSION}")
        report(config, task, masks, cost)
    elif reasons := ["a video of your own"] if own else [*filter(None, map(lacks_annotations, task.sequences))]:
        print(f"not scored: {reasons[0]}")
        report(config, task, masks, cost)
    else:
        score(config, task, masks, cost)
    for kind, place in (outputs.places_of(task.clips) | {"report": outputs.folder / REPORT}).items():
        print(f"{kind + ':':<10}{place}")
    return None


def main(_: list[str]) -> None:
    """Runs, and tells errors in one line."""
    logging.set_verbosity(logging.ERROR)  # Orbax tells of every thread
    keep_host_memory_small()
    try:
        launch()
        run(CONFIG.value)
    except HMMNError as error:
        print(f"evaluate.py: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    app.run(main)
