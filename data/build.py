"""Builds a data set from a downloaded folder.

    python -m data.build davis --config 2017_480p --source DAVIS --data_dir DATA
    python -m data.build youtube_vos --config 2019 --split train --source YouTubeVOS --data_dir DATA
    python -m data.build image_masks --config camvid --source CamVid --data_dir DATA
    python -m data.build image_masks --config ids --as birds --set objects=1+2,7 --source birds --data_dir DATA

--set changes a field of the config. The result is the folder DATA/BUILDER/NAME/VERSION, where --as sets NAME. Experiment
configs refer to the data set as "BUILDER/NAME". The folder is created only when the build is complete. --overwrite replaces
only those files of an earlier build that have not been changed since that build. The files data/*/README.md describe which
files the builders read, and how the builders treat invalid files.
"""

import argparse
import contextlib
import dataclasses
import importlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import tensorflow as tf
import tensorflow_datasets as tfds
from absl import logging

from data.checks import Report
from data.frames_builder import FramesBuilder
from data.source import RecordSource, index_path, unfinished_path
from data.version_folder import load_record, publish, require_replaceable, work_folder
from hmmn_jax.cli.program import leave, run_program
from hmmn_jax.errors import DataError
from hmmn_jax.io.files import check_name, reason, user_path, writing_errors
from hmmn_jax.io.guard import hold_folder
from hmmn_jax.io.notes import note

BUILDERS = ("davis", "youtube_vos", "image_masks")
_INPUTS = ("JPEGImages", "Annotations")
_SHOWN = 20


def build(
    name: str,
    config: tfds.core.BuilderConfig,
    source: Path,
    data_dir: Path,
    splits: tuple[str, ...] = (),
    overwrite: bool = False,
) -> tuple[Path, dict[str, Report]]:
    """Builds a data set atomically. Returns its folder and a report for each split. Raises DataError if the build fails."""
    if not source.is_dir():
        raise DataError(f"{source} is not an existing folder. Pass the downloaded folder.")
    for split in splits:
        if not re.fullmatch(r"\w[\w-]*", split):
            raise DataError(f"--split {split!r}: expected a name that consists of letters, digits, _ and -")
    _require_apart(data_dir, source)
    version = data_dir / name / config.name / str(_builder_class(name).VERSION)
    unfinished = unfinished_path(data_dir, f"{name}/{config.name}")
    guard = hold_folder(version, unfinished.with_suffix(".lock"), way_out="Wait for that build, or choose another --data_dir")
    with guard, _storing_errors(data_dir, source), work_folder(unfinished):
        builder = _builder_class(name)(data_dir=unfinished, config=config, splits=splits, file_format="array_record")
        record = load_record(version)
        chosen = splits or builder.list_splits(source)
        require_replaceable(record, _files_of(name, chosen, version), overwrite)
        if dropped := sorted({*(record.about or {}).get("splits", ())}.difference(chosen)):
            note(
                f"{version}: split {', '.join(dropped)} of the earlier build will be deleted, because this build contains only "
                f"{', '.join(chosen)}"
            )
        download = tfds.download.DownloadConfig(manual_dir=source, compute_stats=tfds.download.ComputeStatsMode.SKIP)
        with contextlib.redirect_stdout(None):  # TFDS prints "downloading" here
            builder.download_and_prepare(download_config=download)
        built = Path(builder.data_dir)
        for split, report in builder.reports.items():
            RecordSource(f"{name}/{config.name}", built, split)  # raises an error if records are missing
            (built / _problems(split)).write_text("".join(f"{line}\n" for line in report.lines()), encoding="utf-8")
        fields = {key: getattr(config, key) for key in _fields(config)}
        publish(record, built, {"builder": name, "config": fields, "source": str(source), "splits": list(builder.reports)})
    return version, builder.reports


def _require_apart(data_dir: Path, source: Path) -> None:
    """Raises DataError if the output of a build would be inside its input."""
    for kind in _INPUTS:
        for folder in (source / kind, *source.glob(f"*/{kind}")):
            if folder.is_dir() and data_dir.resolve().is_relative_to(folder.resolve()):
                raise DataError(f"{data_dir} is inside {folder}, which is an input. Choose a --data_dir outside the input.")


def _files_of(name: str, splits: Iterable[str], version: Path) -> Iterator[str]:
    """Yields the names of the files that a build will write. Names of new record files are not yet known and not included."""
    yield from ("dataset_info.json", "features.json")
    for split in splits:
        yield from (index_path(version, split).name, _problems(split))
        yield from (path.name for path in version.glob(f"{name}-{split}.*"))


def _problems(split: str) -> str:
    return f"problems-{split}.txt"


def make_config(name: str, config_name: str, new_name: str | None, fields: list[str]) -> tfds.core.BuilderConfig:
    """Returns a config with changed fields, each specified as FIELD=VALUE. Raises DataError for invalid names and values."""
    builder = _builder_class(name)
    config = builder.find_config(check_name(config_name, "--config"))
    kinds = _fields(config)
    changes = {}
    for text in fields:
        key, equals, value = text.partition("=")
        if not equals or key not in kinds:
            raise DataError(f"--set {text}: expected FIELD=VALUE, where FIELD is one of {', '.join(kinds)}")
        if key in changes:
            raise DataError(f"--set {text}: {key} is set twice. Set each field only once.")
        if kinds[key] is bool and value not in ("true", "false"):
            raise DataError(f"--set {text}: expected true or false")
        value = str(user_path(value)) if value.startswith("~") else value
        changes[key] = value == "true" if kinds[key] is bool else value
    if not changes and new_name is None:
        return config
    new_name = check_name(config.name if new_name is None else new_name, "--as")
    if builder.has_config(new_name):
        raise DataError(
            f"--set and --as define a new config. Pass a new name with --as. "
            f"These names are in use: {', '.join(builder.builder_configs)}."
        )
    config = dataclasses.replace(config, name=new_name, **changes)
    builder.check_config(config, changes)
    return config


def _fields(config: tfds.core.BuilderConfig) -> dict[str, type]:
    """Returns the type of each field of a builder's configs."""
    return {key: field.type for key, field in type(config).__dataclass_fields__.items() if key in type(config).__annotations__}


def _builder_class(name: str) -> type[FramesBuilder]:
    return importlib.import_module(f"data.{name}.{name}_dataset_builder").Builder


@contextlib.contextmanager
def _storing_errors(target: Path, source: Path) -> Iterator[None]:
    """Converts errors raised by TFDS, for example because of a full disk or an unreadable folder, to a DataError."""
    try:
        with writing_errors(target):
            try:
                yield
            except OSError as error:
                if error.filename and Path(str(error.filename)).is_relative_to(source):
                    raise DataError(f"{error.filename} cannot be read: {reason(error)}") from error
                raise
    except (tf.errors.OpError, RuntimeError, ValueError) as error:
        raise DataError(
            f"the data set cannot be built in {target}: {reason(error)}. Check the free space on the disk."
        ) from error


def _run() -> None:
    """Runs the build described by the flags."""
    parser = argparse.ArgumentParser(
        prog="python -m data.build", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("builder", choices=BUILDERS)
    parser.add_argument("--config", help="config of the builder (default: the first one)")
    parser.add_argument(
        "--as", dest="new_name", metavar="NAME", help="name under which the data set is built (default: the name of the config)"
    )
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="override a field of the config")
    parser.add_argument("--split", action="append", default=[], help="build only this split; can be given several times")
    parser.add_argument("--source", type=user_path, required=True, help="the downloaded folder")
    parser.add_argument("--data_dir", type=user_path, required=True, help="folder for built data sets")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier build")
    args = parser.parse_args()
    tfds.disable_progress_bar()  # the progress bar of TFDS has no total number of frames
    logging.set_verbosity(logging.ERROR)
    name = _builder_class(args.builder).BUILDER_CONFIGS[0].name if args.config is None else args.config
    config = make_config(args.builder, name, args.new_name, args.set)
    splits = tuple(dict.fromkeys(args.split))
    directory, reports = build(args.builder, config, args.source, args.data_dir, splits, args.overwrite)
    for split, report in reports.items():
        print(f"{args.builder}/{config.name} {split}: {report.summary(_SHOWN)}")
        for line in report.notes.lines():
            note(f"{args.builder}/{config.name} {split}: {line}")
    print(f"The data set was written to {directory}. The file problems-SPLIT.txt in this folder lists all problems.")


def main() -> int:
    """Runs the command and returns its exit code."""
    return run_program("data.build", _run, resume="Run the same command to build the data set again")


if __name__ == "__main__":
    leave(main())
