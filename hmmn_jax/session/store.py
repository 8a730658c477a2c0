"""A session on disk: `session.json`, and a file for the mask and the probabilities of each frame, named after its content.

Pictures are written before `session.json`, which is replaced in one step, and those that it no longer names are deleted
afterwards. A process that is killed therefore leaves either the old session or the new one.
"""

import contextlib
import hashlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hmmn_jax.errors import DataError, HMMNError
from hmmn_jax.io.files import discard, reason, write_file, writing_errors
from hmmn_jax.io.new_file import write_new_file
from hmmn_jax.io.packed import ArrayPool
from hmmn_jax.io.record import replace_own
from hmmn_jax.session.picture import Picture
from hmmn_jax.session.timeline import BACKWARD, FORWARD, Basis, Prediction, Stamp, Timeline

FORMAT = 1
SESSION, PICTURES = "session.json", "pictures"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FOREIGN = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
    MemoryError,
    EOFError,
    NotImplementedError,
)


def save(folder: Path, timeline: Timeline, size: tuple[int, int]) -> None:
    """Writes a timeline of frames of that height and width; of an older state of it, what has changed.

    Raises:
        DataError: the folder has files of something else, or the disk refuses.
    """
    path = folder / SESSION
    with writing_errors(folder):
        foreign = [] if path.is_file() or not folder.is_dir() else [p for p in folder.iterdir() if _is_foreign(p)]
    if foreign:
        raise DataError(f"{foreign[0]}: not of a session; give an empty or new folder, or that of a session")
    old = _named(_read(path)) if path.is_file() else set()
    with writing_errors(folder):
        (folder / PICTURES).mkdir(parents=True, exist_ok=True)
    new = set()
    for picture in _pictures(timeline):
        new.add(name := _name(picture))
        _write_picture(folder / PICTURES / f"{name}.npz", picture)
    with replace_own(path) as temporary:
        write_file(temporary, json.dumps(_as_json(timeline, size), indent=1) + "\n")
    for name in old - new:
        _delete_own(folder / PICTURES / f"{name}.npz")


def load(folder: Path, pool: ArrayPool, size: tuple[int, int]) -> Timeline:
    """Reads a timeline of frames of that height and width. Raises DataError."""
    path = folder / SESSION
    found = _read(path)
    if found["size"] != list(size):
        height, width = found["size"]
        expected = f"the video has {size[1]}x{size[0]}; give the video that the session was made with"
        raise DataError(f"{path}: a session of frames of {width}x{height} pixels, {expected}")

    def picture(saved: dict[str, Any]) -> Picture:
        return _read_picture(folder / PICTURES / f"{saved['file']}.npz", saved, pool, size)

    with _reading(path):
        anchors = {int(t): picture(saved) for t, saved in found["anchors"].items()}
        predictions = {int(t): _prediction(saved, picture(saved["picture"])) for t, saved in found["predictions"].items()}
        if anchors.keys() & predictions.keys() or min([*anchors, *predictions], default=0) < 0:
            raise ValueError("frames that are below 0, or both annotated and predicted")
        return Timeline(anchors, predictions, {_id(old): _id(new, 0) for old, new in found["gone"].items()})


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns any error of a missing or damaged file into a DataError that names it."""
    try:
        yield
    except HMMNError:
        raise
    except Exception as error:  # zip files, arrays and JSON have errors of many kinds
        found = f"{type(error).__name__}: {reason(error)}"
        raise DataError(f"{path}: not of a session, or damaged ({found}); give a folder that `save` wrote") from error


def _as_json(timeline: Timeline, size: tuple[int, int]) -> dict[str, Any]:
    def saved(picture: Picture) -> dict[str, Any]:
        return {"file": _name(picture), "names": picture.names}

    predictions = {
        t: {
            "basis": prediction.basis,
            "passes": sorted(prediction.passes),
            "confidence": prediction.confidence,
            "picture": saved(prediction.picture),
        }
        for t, prediction in sorted(timeline.predictions.items())
    }
    anchors = {t: saved(picture) for t, picture in sorted(timeline.anchors.items())}
    return {"format": FORMAT, "size": size, "gone": timeline.gone, "anchors": anchors, "predictions": predictions}


def _read(path: Path) -> dict[str, Any]:
    """The content of `session.json`, whose names of files can be trusted then. Raises DataError."""
    with _reading(path):
        found = json.loads(path.read_bytes().decode())
        if found["format"] != FORMAT:
            raise ValueError(f"format {found['format']}, expected {FORMAT}")
        height, width = found["size"]
        if not (isinstance(height, int) and isinstance(width, int)):
            raise TypeError("size, expected two integers")
        if wrong := [name for name in _named(found) if not _DIGEST.fullmatch(name)]:
            raise ValueError(f"a picture with the name {wrong[0]!r}")
    return found


def _named(found: dict[str, Any]) -> set[str]:
    """The names of the files of a session."""
    pictures = [*found["anchors"].values(), *(prediction["picture"] for prediction in found["predictions"].values())]
    return {picture["file"] for picture in pictures}


def _prediction(saved: dict[str, Any], picture: Picture) -> Prediction:
    basis = saved["basis"]
    if basis is not None:
        before, after = (None if stamp is None else Stamp(int(stamp[0]), str(stamp[1])) for stamp in basis)
        basis = Basis(before, after)
    passes = frozenset(saved["passes"])
    if not passes or passes - ({FORWARD, BACKWARD} if basis is None else basis.passes):
        raise ValueError(f"passes {saved['passes']}, expected forward, backward or both, as the basis allows")
    return Prediction(basis, passes, picture, {_id(k): float(c) for k, c in saved["confidence"].items()})


def _pictures(timeline: Timeline) -> Iterator[Picture]:
    yield from timeline.anchors.values()
    for prediction in timeline.predictions.values():
        yield prediction.picture


def _name(picture: Picture) -> str:
    """The name of a picture's file, independent of the present names of its objects."""
    return hashlib.sha256(f"{picture.channel.digest}{picture.levels.digest}".encode()).hexdigest()


def _write_picture(path: Path, picture: Picture) -> None:
    if path.is_file():
        return
    content = io.BytesIO()
    np.savez_compressed(content, channel=picture.channel.unpack(), levels=picture.levels.unpack())
    with writing_errors(path):
        write_new_file(path, content.getvalue())


def _read_picture(path: Path, saved: dict[str, Any], pool: ArrayPool, size: tuple[int, int]) -> Picture:
    with _reading(path):
        names = tuple(_id(name, 0) for name in saved["names"])
        channel, levels = _read_arrays(path)
        dtype = np.uint8 if len(names) < 256 else np.uint16
        if channel.shape != size or channel.dtype != dtype or channel.max() > len(names):
            raise ValueError(f"channels {channel.dtype} {list(channel.shape)}, expected {np.dtype(dtype)} {list(size)}")
        if levels.shape != (len(names), *size) or levels.dtype != np.uint8:
            raise ValueError(f"levels {levels.dtype} {list(levels.shape)}, expected uint8 {[len(names), *size]}")
        picture = Picture(names, pool.pack(channel), pool.pack(levels))
        if _name(picture) != path.stem:
            raise ValueError("its content is not that of its name")
        return picture


def _read_arrays(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
        return arrays["channel"], arrays["levels"]


def _delete_own(path: Path) -> None:
    """Deletes a picture, unless the file has another content than its name says."""
    pool = ArrayPool()
    with contextlib.suppress(DataError), _reading(path):
        channel, levels = _read_arrays(path)
        if _name(Picture((), pool.pack(channel), pool.pack(levels))) == path.stem:
            discard(path)


def _id(found: Any, least: int = 1) -> int:
    if not least <= (k := int(found)) < 2**16:
        raise ValueError(f"the id {k}, expected one from {least} to {2**16 - 1}")
    return k


def _is_foreign(path: Path) -> bool:
    return path.name != PICTURES and not path.name.startswith(".")
