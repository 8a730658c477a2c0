"""Segments the sequences of a benchmark, a folder of images, or a video file. Scores the result, or other masks.

    python evaluate.py --config configs/evaluate/davis2016_val.py --data ROOT --checkpoint OUT --output RUN
    python evaluate.py --config configs/evaluate/custom.py --frames DIR|FILE.mp4 --mask FILE.png --checkpoint OUT --output RUN
    python evaluate.py --config configs/evaluate/custom.py --frames DIR|FILE.mp4 --mask MASKS --checkpoint OUT --output RUN
    python evaluate.py --config configs/evaluate/davis2016_val.py --data ROOT --score PRED [--output RUN]

Writes RUN/masks/SEQUENCE/FRAME.png with the DAVIS palette and the given ids. If a server scores the benchmark, writes the
archive for it as RUN/submission.zip. If videos have annotations, or with --score, prints J and F and writes RUN/summary.json,
per_sequence.csv and per_frame.csv. RUN/report.html, for a browser, shows all results.

MASKS is a folder with masks of some frames. Each mask annotates its whole frame. --direction sets the direction in which the
other frames are segmented.

Run the same command again to resume with the missing videos. RUN/record lists the files that a run wrote; no other file is
changed or deleted. Change fields of the config like this: --config.mem_every=3. On several hosts, run the same command on each,
with --distributed and the same RUN.

Exit codes: 0: complete. 1: some videos failed, the others are complete. 2: invalid flags, files or settings. 130, 143:
interrupted.
"""

from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from hmmn_jax.cli.arguments import parse_list, parse_step
from hmmn_jax.cli.launch import define_launch_flags, flags_parser, launch_by_flags, run_by_flags
from hmmn_jax.cli.program import leave
from hmmn_jax.io.buckets import AnyPath, absolute
from hmmn_jax.io.files import user_path

PROGRAM = "evaluate.py"
RESUME = "run the same command to resume with the missing videos"
DEFAULT = Path(__file__).parent / "configs" / "evaluate" / "davis2016_val.py"
CONFIG = config_flags.DEFINE_config_file("config", None, "What to evaluate; if not given, configs/evaluate/davis2016_val.py.")
DATA = flags.DEFINE_string("data", None, "Root of the benchmark: the folder with JPEGImages, Annotations, ImageSets.")
FRAMES = flags.DEFINE_string("frames", None, "Instead of --data: a folder of images, or a video file.")
MASK = flags.DEFINE_string("mask", None, "With --frames: an indexed PNG, with ids, of the first frame; or a folder of masks.")
DIRECTION = flags.DEFINE_enum(
    "direction", None, ["both", "forward", "backward"], "Direction from complete masks of some frames to the other frames."
)
CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Output of convert_weights.py, a training workdir, one file, or lite.")
STEP = flags.DEFINE_string("step", None, "With a training workdir as --checkpoint: a step, or best (by J&F); else the latest.")
SCORE = flags.DEFINE_string("score", None, "Instead of segmenting: a folder of masks SEQUENCE/FRAME.png to be scored.")
OUTPUT = flags.DEFINE_string("output", None, "Folder to write to; optional only with --score.")
STAGE = flags.DEFINE_string("stage", None, "Local folder to which inputs in a bucket are copied, for this run and later ones.")
OVERLAYS = flags.DEFINE_bool("overlays", False, "Also write a picture of every frame with its masks.")
MOVIE = flags.DEFINE_enum("movie", None, ["mp4", "gif"], "Also write one movie of overlays per video.")
EXPORT = flags.DEFINE_list("export", [], "Also write the masks as davis, binary, rgba, coco, ytvis, mp4 or gif.")
OVERWRITE = flags.DEFINE_bool("overwrite", False, "First delete what earlier runs wrote to --output, by their record.")
TAKEOVER = flags.DEFINE_bool("takeover", False, "Take over --output from a process that appears to be using it.")
define_launch_flags()


def run() -> None:
    """Evaluates as the flags specify."""
    # Imported here because the imports take seconds. During this time, Ctrl-C must also end the program without a traceback.
    from hmmn_jax.cli.evaluate import Request, evaluate
    from hmmn_jax.inference.host_memory import keep_host_memory_small

    keep_host_memory_small()
    launch_by_flags()
    flags_of_paths = (DATA, FRAMES, MASK, CHECKPOINT, SCORE, OUTPUT, STAGE)
    paths = {flag.name: user_path(flag.value, buckets=flag is not STAGE) for flag in flags_of_paths if flag.value}
    step = parse_step(STEP.value)
    config = CONFIG.value
    if DIRECTION.value is not None:
        config.direction = DIRECTION.value
    folder = {"overwrite": OVERWRITE.value, "takeover": TAKEOVER.value}
    written = {"overlays": OVERLAYS.value, "movie": MOVIE.value, "exports": parse_list(",".join(EXPORT.value))}
    evaluate(Request(config, **paths, step=step, **written, **folder))


def output_folder() -> AnyPath | None:
    """The folder to write to, if there is one. Raises DataError for a path that cannot be served."""
    return absolute(user_path(OUTPUT.value, buckets=True)) if OUTPUT.value else None


def check() -> None:
    """Raises DataError for an output folder that cannot be served."""
    output_folder()


def main(_: list[str]) -> None:
    """Runs, and exits with the code that says how it went."""
    logging.set_verbosity(logging.ERROR)  # Orbax logs every thread
    leave(run_by_flags(PROGRAM, run, RESUME, output_folder(), f"received SIGTERM; {RESUME}"))


PARSE = flags_parser(PROGRAM, CONFIG, check, default=str(DEFAULT))

if __name__ == "__main__":
    app.run(main, flags_parser=PARSE)
