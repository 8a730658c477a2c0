"""Segments the sequences of a benchmark, a folder of images, or a video file. Scores the new masks, or the masks in PRED.

    python evaluate.py --config configs/evaluate/davis2016_val.py --data ROOT --checkpoint OUT --output RUN
    python evaluate.py --config configs/evaluate/custom.py --frames DIR|FILE.mp4 --mask FILE.png --checkpoint OUT --output RUN
    python evaluate.py --config configs/evaluate/custom.py --frames DIR|FILE.mp4 --mask MASKS --checkpoint OUT --output RUN
    python evaluate.py --config configs/evaluate/davis2016_val.py --data ROOT --score PRED [--output RUN]

Masks are written to RUN/masks/SEQUENCE/FRAME.png with the DAVIS palette and the given object ids. For a benchmark with an
evaluation server, the program also writes RUN/submission.zip. If videos have annotations, or if --score is given, the program
prints J and F and writes RUN/summary.json, RUN/per_sequence.csv and RUN/per_frame.csv. Open RUN/report.html in a browser to see
all results.

MASKS is a folder with masks of some frames. Each mask is treated as the complete annotation of its frame. --direction sets the
direction in which the other frames are segmented.

To resume with the missing videos, run the same command again. RUN/record lists the files that previous runs wrote. No other
files are changed or deleted. To change a field of the config, pass, for example, --config.mem_every=3. To use several hosts,
run the same command on each host with --distributed and the same RUN.

The exit code is 0 if all videos are complete, 1 if some videos failed, and 2 if flags, files or settings are invalid. The exit
code of an interrupted program is 130 or 143. With exit code 1, the videos that did not fail are complete.
"""

from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from hmmn_jax.cli.arguments import parse_list, parse_step
from hmmn_jax.cli.launch import define_launch_flags, flags_parser, launch_by_flags, run_by_flags, set_compiler_flags
from hmmn_jax.cli.program import leave
from hmmn_jax.io.buckets import AnyPath, absolute
from hmmn_jax.io.files import user_path

PROGRAM = "evaluate.py"
RESUME = "Run the same command to resume with the missing videos"
DEFAULT = Path(__file__).parent / "configs" / "evaluate" / "davis2016_val.py"
CONFIG = config_flags.DEFINE_config_file("config", None, "Config file. The default is configs/evaluate/davis2016_val.py.")
DATA = flags.DEFINE_string("data", None, "Root folder of the benchmark, with JPEGImages, Annotations and ImageSets.")
FRAMES = flags.DEFINE_string("frames", None, "Folder of images, or video file, to segment instead of --data.")
MASK = flags.DEFINE_string("mask", None, "Indexed PNG with the ids of the objects in the first frame, or a folder of masks.")
DIRECTION = flags.DEFINE_enum(
    "direction", None, ["both", "forward", "backward"], "Direction in which the masks are propagated, if --mask is a folder."
)
CHECKPOINT = flags.DEFINE_string(
    "checkpoint",
    None,
    "Output of convert_weights.py, a training workdir, a .pth or .safetensors file, or the bundled model lite.",
)
STEP = flags.DEFINE_string(
    "step", None, "Step of a workdir, or 'best' for the step with the highest J&F. The default is the latest step."
)
SCORE = flags.DEFINE_string("score", None, "Score the masks SEQUENCE/FRAME.png in this folder instead of segmenting.")
OUTPUT = flags.DEFINE_string("output", None, "Output folder. Required unless --score is set.")
STAGE = flags.DEFINE_string("stage", None, "Local folder for copies of inputs in a bucket. Later runs reuse the copies.")
OVERLAYS = flags.DEFINE_bool("overlays", False, "Also write a picture of every frame with its masks overlaid.")
MOVIE = flags.DEFINE_enum("movie", None, ["mp4", "gif"], "Also write a movie of each video with its masks overlaid.")
EXPORT = flags.DEFINE_list("export", [], "Also export the masks in these formats: davis, binary, rgba, coco, ytvis, mp4, gif.")
OVERWRITE = flags.DEFINE_bool("overwrite", False, "First delete the files that earlier runs wrote to --output.")
TAKEOVER = flags.DEFINE_bool("takeover", False, "Take over --output from a process that appears to be using it.")
define_launch_flags()


def run() -> None:
    """Runs the evaluation that the flags specify."""
    # The imports are here because they take seconds, and Ctrl-C during the imports must not print a traceback.
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
    """Returns the output folder, or None without --output. Raises DataError for an unsupported URL scheme."""
    return absolute(user_path(OUTPUT.value, buckets=True)) if OUTPUT.value else None


def check() -> None:
    """Raises DataError if the URL scheme of the output folder is not supported."""
    output_folder()


def main(_: list[str]) -> None:
    """Runs the evaluation, then ends the process with the exit code of the evaluation."""
    logging.set_verbosity(logging.ERROR)  # otherwise, Orbax logs a line for every thread
    leave(run_by_flags(PROGRAM, run, RESUME, output_folder(), f"the command received SIGTERM. {RESUME}"))


PARSE = flags_parser(PROGRAM, CONFIG, check, default=str(DEFAULT))

if __name__ == "__main__":
    set_compiler_flags(quick=False)  # most of the time is spent on frames, not on compilation
    app.run(main, flags_parser=PARSE)
