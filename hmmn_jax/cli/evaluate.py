"""Runs a complete evaluation, from a request to masks, scores and a report."""

import contextlib
import dataclasses
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from hmmn_jax.checkpoints.store import load_checkpoint
from hmmn_jax.cli.request import Request, check_request, fetch_inputs
from hmmn_jax.errors import ConfigError, HMMNError, PartialFailure
from hmmn_jax.evaluation.announcement import announce, describe_all, note_void
from hmmn_jax.evaluation.clips import Clip
from hmmn_jax.evaluation.fit import BOUND, fit_settings
from hmmn_jax.evaluation.outputs import MASKS, Outputs, require_apart
from hmmn_jax.evaluation.plans import Plan
from hmmn_jax.evaluation.predict import Cost, make_segmenters, predict
from hmmn_jax.evaluation.protocols import Custom, Task, make_protocol, registered
from hmmn_jax.evaluation.run_folder import digest_of, mask_settings, weights_digest
from hmmn_jax.evaluation.score_files import (
    PER_FRAME,
    PER_SEQUENCE,
    REPORT,
    SUMMARY,
    figures_table,
    score_folder,
    score_table,
    write_scores,
)
from hmmn_jax.evaluation.settings import check_settings
from hmmn_jax.inference import Segmenter
from hmmn_jax.inference.augmentation import Augmentation
from hmmn_jax.io import peers
from hmmn_jax.io.buckets import absolute
from hmmn_jax.io.files import same_name, shortlist
from hmmn_jax.io.guard import Guard
from hmmn_jax.io.local_copy import local_copy
from hmmn_jax.io.notes import Notes, note
from hmmn_jax.io.record import require_free
from hmmn_jax.io.shared_folder import require_shared
from hmmn_jax.io.stage import Stage
from hmmn_jax.metrics.davis import SequenceScores
from hmmn_jax.metrics.figures import Figures
from hmmn_jax.model import HMMNConfig
from hmmn_jax.report.page import write_report

MakeSegmenters = Callable[[dict[str, Any], HMMNConfig, ConfigDict, int], list[Segmenter]]


def evaluate(request: Request, make: MakeSegmenters = make_segmenters) -> None:
    """Runs the request and prints its results.

    Raises:
        HMMNError: the input is invalid, or all videos failed.
        PartialFailure: some videos failed, but the results of the other videos are complete.
    """
    check_request(request)
    check_settings(request.config)
    with Stage(request.stage) as stage:
        evaluate_inputs(request, fetch_inputs(request, stage), make)


def evaluate_inputs(request: Request, local: Request, make: MakeSegmenters) -> None:
    """Runs the request. `local` is the same request with local copies of the inputs."""
    # --- Check the output folder before reading any data. ---
    config = request.config
    outputs = None
    if request.output is not None:
        mask_files = registered()[config.protocol].mask_files
        outputs = Outputs(
            request.output,
            overlays=request.overlays,
            movie=request.movie,
            fps=config.fps,
            save_probabilities=config.save_probabilities,
            exports=request.exports,
            mask_files=mask_files,
        )
        outputs.run.require_usable()

    # --- Read videos and masks, and find out which videos can be scored. ---
    task = read_inputs(local)
    failures, clips = task.failures, task.clips
    lines: list[str] = []
    if request.score is None:
        clips, lines, wrong = describe_all(task.clips, task.notes)
        failures = failures | wrong
        if request.movie == "mp4":
            note_odd_sizes(clips, task.notes)
    submits = task.protocol.submits and request.score is None
    alone = request.frames is not None  # there are no annotations to score against
    plans, unscored = ([], {}) if submits or alone else task.plan(clips)
    if local.score is not None:
        note_surplus(local.score, clips, task.notes)
        for plan in plans:
            note_void(plan.clip, task.notes)
    for line in task.notes.lines():
        note(line)
    if not clips:
        raise_failures(failures, 0)
        raise HMMNError(f"{request.data} contains no videos to segment, because the lists of videos are empty")
    if outputs is not None:
        doomed = outputs.run.own_files(request.overwrite)
        require_apart(outputs.folder, clips, outputs, task.inputs, doomed)

    # --- With --score, only score the existing masks. ---
    if local.score is not None:
        masks = local.score

        def score_only() -> None:
            with outputs.run.locked(request.takeover) if outputs else contextlib.nullcontext():
                if outputs:
                    claim(outputs, None, task.protocol.archive)
                scored, wrong = score(plans, unscored, masks, task.protocol.figures)
                if outputs:
                    write_results(request, outputs, task, clips, masks, scored, unscored | failures | wrong, None)
            if not plans:
                raise HMMNError("nothing can be scored", [*unscored.values(), *failures.values()])
            raise_failures(failures | wrong, len(scored))

        return peers.from_first("scored", score_only)

    # --- Segment the videos. Then write the scores, the archive and the report, even if some videos failed. ---
    assert outputs is not None  # check_request requires --output
    print(announce(lines, clips), flush=True)
    variables, model = load_model(request)
    request = fit(request, clips[0], model, outputs)
    config = request.config
    augmentation = Augmentation(config.size, tuple(config.scales), config.flip)
    made_with = describe_masks(request, variables, model)
    if not request.overwrite:
        outputs.run.require_same(made_with)
    run = outputs.run
    with contextlib.ExitStack() as stack:
        guards: list[Guard] = []  # the list is empty except in the first process

        def hold() -> None:
            guards.append(stack.enter_context(run.locked(request.takeover)))
            claim(outputs, made_with, task.protocol.archive, request.overwrite)

        peers.from_first("claimed", hold)
        require_shared(outputs.folder, guards[0] if guards else None, "--output")
        peers.begun()
        run.digest = digest_of(made_with)
        segmenters = make(variables, model, config, len(clips))
        del variables  # each segmenter has its own copy with folded BatchNorm
        cost, failed = predict(segmenters, clips, outputs, augmentation)
        print(cost)
        for each in peers.from_all("segmented", failed):
            failures |= each
        done = [clip for clip in clips if clip.name not in failures]

        def conclude() -> None:
            wrong: dict[str, str] = {}
            if done:
                scorable = [plan for plan in plans if plan.clip.name not in failures]
                with local_copy(outputs.folder / MASKS) as masks:
                    scored, wrong = score(scorable, unscored, masks, task.protocol.figures)
                    write_results(request, outputs, task, done, masks, scored, unscored | failures | wrong, cost)
                for kind, place in (outputs.places_of(done) | {"report": outputs.folder / REPORT}).items():
                    print(f"{kind + ':':<9} {place}")
            raise_failures(failures | wrong, len([clip for clip in done if clip.name not in wrong]))

        peers.from_first("scored", conclude)
    return None


def read_inputs(request: Request) -> Task:
    """Reads the videos of the request."""
    if request.frames is not None and request.mask is not None:
        return Custom(request.config).read_one(request.frames, request.mask)
    assert request.data is not None  # check_request requires `data` if `frames` is None
    return make_protocol(request.config).read(request.data)


def note_odd_sizes(clips: Sequence[Clip], notes: Notes) -> None:
    """Adds a note about videos with an odd width or height. Their H.264 movies will have an extra column or row."""
    for clip in clips:
        height, width = clip.size
        if height % 2 or width % 2:
            notes.add(
                ".mp4 movies get an extra row or column, because H.264 requires an even width and height",
                "videos",
                f"{clip.name}, {width}x{height}",
            )


def note_surplus(masks: Path, clips: Sequence[Clip], notes: Notes) -> None:
    """Adds a note about mask files that match no video or frame."""
    known = {clip.name: clip for clip in clips}
    for path in sorted(masks.iterdir()):
        if path.name.startswith("."):
            continue
        if (clip := known.get(path.name)) is None:
            notes.add("some files are not scored", f"{'folders' if path.is_dir() else 'files'} without a video", str(path))
        elif clip.frame_names:
            frames = {same_name(name) for name in clip.frame_names}
            for mask in sorted(path.glob("*.png")):
                if same_name(mask.stem) not in frames:
                    notes.add("some files are not scored", "masks without a frame in their video", str(mask))


def load_model(request: Request) -> tuple[dict[str, Any], HMMNConfig]:
    """Loads the variables and the config of the model."""
    assert request.checkpoint is not None  # check_request requires --checkpoint
    variables, model = load_checkpoint(request.checkpoint, request.step)
    if request.config.dtype:
        model = model.replace(dtype=request.config.dtype)
    return variables, model


def fit(request: Request, clip: Clip, model: HMMNConfig, outputs: Outputs) -> Request:
    """Prints the settings that `fit_settings` chooses, and returns a request that contains these settings."""
    if not request.fit:
        return request
    recorded = None if request.overwrite else outputs.run.made_with()
    settings = (recorded or {}).get("settings")
    earlier = settings.get(BOUND) if isinstance(settings, dict) else None
    config, lines = fit_settings(request.config, request.fit, clip, model, earlier if isinstance(earlier, int) else None)
    print(*lines, sep="\n", flush=True)
    return dataclasses.replace(request, config=config)


def describe_masks(request: Request, variables: dict[str, Any], model: HMMNConfig) -> dict[str, Any]:
    """Returns the settings, input paths, weights digest and model config that determine the masks, as JSON values."""
    paths = {name: getattr(request, name) for name in ("data", "frames", "mask")}
    inputs = {name: str(absolute(path)) for name, path in paths.items() if path is not None}
    weights = {"weights": weights_digest(variables), "model": model.to_dict()}
    return {"settings": mask_settings(request.config)} | inputs | weights


def claim(outputs: Outputs, made_with: dict[str, Any] | None, archive: str, overwrite: bool = False) -> None:
    """Claims the output folder for this run, and deletes files of earlier runs.

    With `overwrite`, all files that earlier runs wrote are deleted. Otherwise, only the scores and, if this run writes masks,
    the submission archive are deleted, because these files could be mistaken for results of this run.

    Raises ConfigError and deletes nothing if a file to be deleted was modified after a run wrote it.
    """
    run = outputs.run
    if made_with and not overwrite:
        run.require_same(made_with)  # checked again, because another run may have started in this folder
    records = run.all() if overwrite else [run.scores, *([run.submission] if made_with else [])]
    if changed := [path for record in records for path in record.changed()]:
        names = shortlist([str(path.relative_to(outputs.folder)) for path in changed])
        raise ConfigError(
            f"{outputs.folder}: these files have changed since a run wrote them: {names}. Move the files elsewhere, or choose "
            "another --output."
        )
    require_free(run.scores, (SUMMARY, PER_SEQUENCE, PER_FRAME, REPORT))
    require_free(run.submission, (archive,) if made_with else ())
    for record in records:
        record.discard()
    run.claim(made_with)


def score(
    plans: Sequence[Plan], unscored: dict[str, str], masks: Path, figures: Figures | None
) -> tuple[list[SequenceScores], dict[str, str]]:
    """Scores masks and prints a table of the scores. Returns the scores, and a dict from video names to scoring errors."""
    scores, wrong = score_folder(masks, plans, processes=os.cpu_count() or 1) if plans else ([], {})
    if scores:
        missing = unscored | wrong
        print(figures_table(scores, figures, missing) if figures else score_table(scores, missing))
    for reason in list(unscored.values())[:10]:
        note(f"this video is not scored: {reason}")
    if len(unscored) > 10:
        note(f"{len(unscored) - 10} more videos are not scored")
    return scores, wrong


def write_results(
    request: Request,
    outputs: Outputs,
    task: Task,
    clips: Sequence,
    masks: Path,
    scores: Sequence[SequenceScores],
    missing: dict[str, str],
    cost: Cost | None,
) -> None:
    """Writes the scores and the report. If the benchmark has a scoring server, also writes the submission archive."""
    run, config = outputs.run, request.config
    about = {
        "command": shlex.join(sys.argv),
        "masks": str(request.score or outputs.folder / MASKS),
        "data": str(request.data or request.frames),
        "checkpoint": str(request.checkpoint) if request.checkpoint else None,
        "config": config.to_dict(),
    }
    paper = config.paper.to_dict() if request.data is not None else None
    with run.staging() as staged:
        if scores:
            write_scores(staged, scores, about, missing, task.protocol.figures)
        write_report(staged, task.protocol, clips, masks, about, scores, cost, paper, missing)
        run.scores.publish(staged, {})
    if task.protocol.submits and request.score is None:
        archive = task.protocol.archive
        if missing:
            note(f"{archive} was not written, because {len(missing)} video(s) failed")
            return
        if refused := task.protocol.refuse_submission(clips):
            note(f"{archive} was not written: {refused}")
            return
        with run.staging() as staged:
            packed = task.protocol.write_submission(staged / archive, masks, clips)
            run.submission.publish(staged, {})
        print(f"{packed} for the server were written to {outputs.folder / archive}")


def raise_failures(failures: dict[str, str], done: int) -> None:
    """Raises PartialFailure if some videos failed, or HMMNError if all videos failed."""
    if failures:
        kind = PartialFailure if done else HMMNError
        rest = f"the other {done} are complete" if done else "no video is complete"
        raise kind(
            f"{len(failures)} video(s) failed, and {rest}. Fix the problems and run the command again.", [*failures.values()]
        )
