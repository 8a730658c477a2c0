"""Writes archives of masks for the servers of benchmarks."""

import zipfile
from collections.abc import Iterable
from pathlib import Path

from hmmn_jax.errors import DataError
from hmmn_jax.evaluation.clips import Clip
from hmmn_jax.evaluation.mask_files import MaskFiles
from hmmn_jax.io.files import atomic_path

SUBMISSION = "submission.zip"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip can store


def write_zip(path: Path, masks: Path, clips: Iterable[Clip], pattern: str, mask_files: MaskFiles) -> list[str]:
    """Writes the masks of the requested frames to the zip file `path`.

    Identical masks produce identical archives. `pattern` defines the names in the archive, such as
    "Annotations/{sequence}/{frame}.png". Returns the sorted names in the archive. Raises DataError if a mask is missing.
    """
    files = {
        pattern.format(**file.fields): masks / file.name
        for clip in clips
        for t in clip.requested_frames
        for file in mask_files.of_frame(clip.name, clip.frame_name(t), clip.ids_at(t))
    }
    if missing := [file for file in files.values() if not file.is_file()]:
        count = f"{len(missing)} of {len(files)} masks are missing"
        raise DataError(f"{missing[0]}: the file does not exist. {count}. Segment all videos before you write a submission.")
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, file in sorted(files.items()):
            # not compressed, because PNGs are already compressed, and compressed bytes depend on the version of zlib
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            archive.writestr(entry, file.read_bytes())
    return sorted(files)
