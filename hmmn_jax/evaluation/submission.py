"""Archives for the benchmarks' servers."""

import zipfile
from collections.abc import Iterable
from pathlib import Path

from hmmn_jax.errors import DataError
from hmmn_jax.evaluation.clips import Clip
from hmmn_jax.io.files import atomic_path

SUBMISSION = "submission.zip"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first date that a zip knows


def write_submission(path: Path, masks: Path, clips: Iterable[Clip], member: str) -> list[str]:
    """Packs `masks/SEQUENCE/FRAME.png` of the requested frames, and nothing else, into the zip `path`.

    The same masks make the same bytes. `member` says what files are called inside, such as
    "Annotations/{sequence}/{frame}.png". Returns these names, in order. Raises DataError where a mask is missing.
    """
    files = {
        member.format(sequence=clip.name, frame=name): masks / clip.name / f"{name}.png"
        for clip in clips
        for name in map(clip.frame_name, range(len(clip)))
        if clip.requested is None or name in clip.requested
    }
    if missing := [file for file in files.values() if not file.is_file()]:
        raise DataError(f"{missing[0]}: not there ({len(missing)} of {len(files)} masks are missing); nothing to submit yet")
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, file in sorted(files.items()):
            entry = zipfile.ZipInfo(name, _EPOCH)  # stored: PNGs do not shrink, and so nothing depends on zlib's version
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            archive.writestr(entry, file.read_bytes())
    return sorted(files)
