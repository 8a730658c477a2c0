"""Lists the objects in a bucket with their digests, and uploads, downloads and deletes many objects in parallel.

A request to a bucket takes about 40 ms even for a small file, so many requests are sent in parallel.
"""

import base64
import contextlib
import hashlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from etils import epath

from hmmn_jax.io.buckets import file_system

REQUESTS = 32  # maximum number of parallel requests
_CHUNK = 1 << 20  # number of bytes to read at a time
_A = TypeVar("_A")
_B = TypeVar("_B")


class Stored(NamedTuple):
    """An object in a bucket.

    Attributes:
        size: size in bytes.
        digest: a digest of the content in one of the formats of `digests`. A composite object in Google Cloud Storage has no
            MD5, so its digest consists of the CRC32C and the size.
    """

    size: int
    digest: str


def objects(folder: epath.Path) -> dict[str, Stored]:
    """All objects in a folder and its subfolders, by relative path, in sorted order. Can raise any exception."""
    found = file_system(folder).find(str(folder), detail=True)
    return _stored(folder, {name: about for name, about in found.items() if about["type"] == "file"})


def objects_in(folder: epath.Path) -> dict[str, Stored]:
    """The objects in a folder, but not in its subfolders, by name, in sorted order. Can raise any exception."""
    try:
        found = file_system(folder).ls(str(folder), detail=True)
    except FileNotFoundError:
        return {}
    return _stored(folder, {about["name"]: about for about in found if about["type"] == "file"})


def digests(path: Path) -> list[str]:
    """Computes the digests of a local file in the formats that object stores use: SHA-256 and MD5, both in hexadecimal."""
    both = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            for digest in both:
                digest.update(chunk)
    return [both[0].hexdigest(), f"md5:{both[1].hexdigest()}"]


def upload(files: Mapping[epath.Path, Path]) -> None:
    """Uploads each local file to a bucket atomically, and replaces existing objects. Can raise any exception."""
    at_once(lambda target: file_system(target).put_file(str(files[target]), str(target)), files)


def download(folder: epath.Path, names: Iterable[str], copy: Path) -> None:
    """Downloads objects from a folder to the same relative paths in a local folder. Can raise any exception."""
    names = list(names)
    for place in {(copy / name).parent for name in names}:
        place.mkdir(parents=True, exist_ok=True)
    at_once(lambda name: file_system(folder).get_file(str(folder / name), str(copy / name)), names)


def remove(paths: Iterable[epath.Path]) -> None:
    """Deletes objects. Ignores objects that do not exist. Can raise any exception."""

    def unlink(path: epath.Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            file_system(path).rm_file(str(path))

    at_once(unlink, paths)


def at_once(function: Callable[[_A], _B], arguments: Iterable[_A]) -> list[_B]:
    """Calls a function for each argument, in parallel threads. Returns the results in order, or raises the first error."""
    with ThreadPoolExecutor(REQUESTS, "bucket") as pool:
        return list(pool.map(function, arguments))


def _stored(folder: epath.Path, found: Mapping[str, Mapping[str, Any]]) -> dict[str, Stored]:
    """Maps the relative paths in a listing to objects. Skips the empty objects that mark folders in some stores."""
    home = file_system(folder)._strip_protocol(str(folder)).rstrip("/") + "/"
    named = {name.removeprefix(home): about for name, about in found.items() if name.startswith(home)}
    named = {name: about for name, about in sorted(named.items()) if name and not name.endswith("/")}
    values = at_once(lambda name: Stored(named[name]["size"], _digest(folder / name, named[name])), named)
    return dict(zip(named, values, strict=True))


def _digest(path: epath.Path, about: Mapping[str, Any]) -> str:
    """The digest of an object, as listed by Google Cloud Storage. For other stores, the digest is computed from the content."""
    if md5 := about.get("md5Hash"):
        return f"md5:{base64.b64decode(md5).hex()}"
    if checksum := about.get("crc32c"):  # composite objects have no MD5
        return f"crc32c:{checksum}:{about['size']}"
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
