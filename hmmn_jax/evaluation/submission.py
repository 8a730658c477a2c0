"""Archives for the benchmarks' servers."""

import zipfile
from collections.abc import Iterable
from pathlib import Path

from hmmn_jax.errors import DataError
from hmmn_jax.evaluation.outputs import MASKS
from hmmn_jax.layouts import Sequence, atomic_path
from hmmn_jax.layouts.files import discard

SUBMISSION = "submission.zip"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first date that a zip knows


def write_submission(folder: Path, sequences: Iterable[Sequence], member: str) -> list[str]:
    """Packs `folder/masks/SEQUENCE/FRAME.png` of the requested frames, and nothing else, into `folder/submission.zip`.

    The same masks make the same bytes. `member` says what files are called inside, such as
    "Annotations/{sequence}/{frame}.png". Returns these names, in order. Raises DataError where a mask is missing.
    """
    files = {
        member.format(sequence=sequence.name, frame=name): folder / MASKS / sequence.name / f"{name}.png"
        for sequence in sequences
        for name in sequence.requested_frames
    }
    if missing := [path for path in files.values() if not path.is_file()]:
        raise DataError(f"{missing[0]}: not there ({len(missing)} of {len(files)} masks are missing); nothing to submit yet")
    with atomic_path(folder / SUBMISSION) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, path in sorted(files.items()):
            entry = zipfile.ZipInfo(name, _EPOCH)  # stored: PNGs do not shrink, and so nothing depends on zlib's version
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            archive.writestr(entry, path.read_bytes())
    return sorted(files)


def discard_submission(folder: Path) -> None:
    """Removes the archive of earlier masks."""
    discard(folder / SUBMISSION)
