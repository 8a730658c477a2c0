"""Builds a data set from the folder that was downloaded.

    python -m data.build davis --config 2017_480p --source DAVIS --data_dir DATA
    python -m data.build youtube_vos --config 2019 --split train --source YouTubeVOS --data_dir DATA
    python -m data.build image_masks --config camvid --source CamVid --data_dir DATA
    python -m data.build image_masks --config ids --as birds --set objects=1+2,7 --source birds --data_dir DATA

--set changes fields of a config, --as names the result: DATA/BUILDER/NAME/VERSION, in an experiment's config "BUILDER/NAME".
The folder appears when all of it is there. data/*/README.md say what the builders expect, and what they do about bad files.
"""

import argparse
import contextlib
import dataclasses
import fcntl
import importlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf
import tensorflow_datasets as tfds
from absl import logging

from data.checks import Report
from data.frames_builder import FramesBuilder
from data.source import RecordSource, unfinished_path
from hmmn_jax.errors import DataError, HMMNError
from hmmn_jax.layouts.files import reason, writing_errors

BUILDERS = ("davis", "youtube_vos", "image_masks")
_SHOWN = 20


def build(
    name: str,
    config: tfds.core.BuilderConfig,
    source: Path,
    data_dir: Path,
    splits: tuple[str, ...] = (),
    overwrite: bool = False,
) -> tuple[Path, dict[str, Report]]:
    """Builds a data set, whole or not at all, and gives its folder and by split what came of it. Raises DataError."""
    if not source.is_dir():
        raise DataError(f"{source}: no such folder; give the one that was downloaded")
    unfinished = unfinished_path(data_dir, f"{name}/{config.name}")
    with _locked(unfinished.with_suffix(".lock")), _storing_errors(data_dir):
        shutil.rmtree(unfinished, ignore_errors=True)
        builder = _builder_class(name)(data_dir=unfinished, config=config, splits=splits, file_format="array_record")
        target = data_dir / name / config.name / str(builder.version)
        if target.exists() and not overwrite:
            raise DataError(f"{target}: is there already; --overwrite builds it anew")
        download = tfds.download.DownloadConfig(manual_dir=source, compute_stats=tfds.download.ComputeStatsMode.SKIP)
        try:
            with contextlib.redirect_stdout(None):  # where TFDS says "downloading"
                builder.download_and_prepare(download_config=download)
            built = Path(builder.data_dir)
            for split, report in builder.reports.items():
                RecordSource(f"{name}/{config.name}", built, split)  # raises where less was stored than was written
                (built / f"problems-{split}.txt").write_text("".join(f"{line}\n" for line in report.problems))
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():
                shutil.rmtree(target)
            os.replace(built, target)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return target, builder.reports


def make_config(name: str, config_name: str, new_name: str | None, fields: list[str]) -> tfds.core.BuilderConfig:
    """Finds a config of a builder and changes fields of it, each given as FIELD=VALUE. Raises DataError."""
    builder = _builder_class(name)
    config = builder.find_config(config_name)
    kinds = {key: field.type for key, field in type(config).__dataclass_fields__.items() if key in type(config).__annotations__}
    changes = {}
    for text in fields:
        key, equals, value = text.partition("=")
        if not equals or key not in kinds:
            raise DataError(f"--set {text}: expected FIELD=VALUE, with a field of {', '.join(kinds)}")
        if kinds[key] is bool and value not in ("true", "false"):
            raise DataError(f"--set {text}: expected true or false")
        changes[key] = value == "true" if kinds[key] is bool else value
    if not changes and new_name is None:
        return config
    if (new_name or config.name) in builder.builder_configs:
        raise DataError(
            f"--set and --as make a config of its own: name it by --as, other than {', '.join(builder.builder_configs)}"
        )
    return dataclasses.replace(config, name=new_name or config.name, **changes)


def _builder_class(name: str) -> type[FramesBuilder]:
    return importlib.import_module(f"data.{name}.{name}_dataset_builder").Builder


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keeps a second build of the same set away."""
    with writing_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DataError(f"{path}: another build of this set is running; wait for it") from error
        yield


@contextlib.contextmanager
def _storing_errors(target: Path) -> Iterator[None]:
    """Tells in one line what stopped TFDS, as a full disk."""
    try:
        with writing_errors(target):
            yield
    except (tf.errors.OpError, RuntimeError, ValueError) as error:
        raise DataError(f"{target}: cannot be built: {reason(error)}; is there space on the disk?") from error


def main() -> None:
    """Runs what the flags say."""
    parser = argparse.ArgumentParser(
        prog="python -m data.build", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("builder", choices=BUILDERS)
    parser.add_argument("--config", help="one of the builder's configs; the first where it is not given")
    parser.add_argument(
        "--as", dest="new_name", metavar="NAME", help="what the result is called; the config's name if not given"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="another value for a field of the config"
    )
    parser.add_argument("--split", action="append", default=[], help="build this split only; may be given again")
    parser.add_argument("--source", type=Path, required=True, help="the folder that was downloaded")
    parser.add_argument("--data_dir", type=Path, required=True, help="where built data sets are kept")
    parser.add_argument("--overwrite", action="store_true", help="replace what was built before")
    args = parser.parse_args()
    tfds.disable_progress_bar()  # of TFDS, which does not know the number of frames
    logging.set_verbosity(logging.ERROR)
    try:
        name = args.config or _builder_class(args.builder).BUILDER_CONFIGS[0].name
        config = make_config(args.builder, name, args.new_name, args.set)
        directory, reports = build(args.builder, config, args.source, args.data_dir, tuple(args.split), args.overwrite)
    except HMMNError as error:
        print(f"data.build: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    for split, report in reports.items():
        print(f"{args.builder}/{config.name} {split}: {report.summary(_SHOWN)}")
    print(f"written to {directory}; problems-SPLIT.txt there has all lines")


if __name__ == "__main__":
    main()
