"""Detects paths in buckets, such as `gs://bucket/run`, and checks that the required packages are installed.

Local paths are `pathlib.Path` objects. `epath.Path` is not used for local paths, because it hides files whose names end in
`~`, and supports neither `**` patterns nor links. Paths in buckets are `epath.Path` objects, which use fsspec to read, list and
write. `epath.Path` is not a subclass of `pathlib.Path`. In type annotations, `Path` means a local path, and `AnyPath` means a
local path or a path in a bucket. A function that takes `str | os.PathLike` determines whether the path is local or in a bucket.
"""

import os
import re
from pathlib import Path
from typing import TypeAlias

import fsspec
from etils import epath

from hmmn_jax.errors import DataError

# `epath` reads the environment variable EPATH_USE_TF on first use. By default, `epath` would import TensorFlow (if installed)
# for `gs://` paths. Importing TensorFlow takes several seconds and reserves GPU memory.
os.environ.setdefault("EPATH_USE_TF", "false")

AnyPath: TypeAlias = Path | epath.Path

# the package that fsspec needs for each scheme
PACKAGES = {"gs": "gcsfs", "s3": "s3fs", "az": "adlfs", "hf": "huggingface_hub"}
# The clients must not cache folder listings, because other processes and TensorStore also write to the folders.
for _scheme in ("gs", "s3"):
    fsspec.config.conf.setdefault(_scheme, {}).setdefault("use_listings_cache", False)

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)  # at least two characters, because C: is a drive on Windows
_LOST_SLASH = re.compile(rf"({'|'.join(PACKAGES)}):/(?!/)(.+)", re.DOTALL)
_SERVED = f"Paths must be local, or begin with {', '.join(f'{scheme}://' for scheme in PACKAGES)}"


def as_path(text: str | os.PathLike) -> AnyPath:
    """Converts text to a local path or a path in a bucket. Names that contain a colon, such as `a:b.mp4`, are local.

    Raises:
        DataError: the URL does not name a bucket.
        DataError: the scheme is unsupported or followed by only one slash, and `text` is not the name of a local file.
    """
    text = os.fspath(text)
    if url := _URL.fullmatch(text):
        if url[1] in PACKAGES:
            if not url[2].strip("/") or url[2].startswith("/"):
                raise DataError(f"{text}: the URL does not name a bucket, expected {url[1]}://BUCKET/PATH")
            return epath.Path(text)
        if not os.path.lexists(text):
            way_out = f"Pass only the path: {url[2]}" if url[1].lower() == "file" else "Pass the path of a local copy"
            raise DataError(f"{text}: {url[1]}:// is not supported. {_SERVED}. {way_out}")
    elif (lost := _LOST_SLASH.fullmatch(text)) and not os.path.lexists(text):
        raise DataError(f"{text}: no such local file. A URL needs two slashes. Pass {lost[1]}://{lost[2]}")
    return Path(text)


def is_bucket(path: AnyPath) -> bool:
    """Whether a path is in a bucket."""
    return isinstance(path, epath.Path)


def absolute(path: AnyPath) -> AnyPath:
    """Returns the absolute path. Leaves paths in buckets unchanged, because `epath` would prepend the working directory."""
    return path if is_bucket(path) else path.absolute()


def file_system(path: epath.Path) -> fsspec.AbstractFileSystem:
    """Returns the fsspec client for a path in a bucket. All paths with the same scheme share a client."""
    return fsspec.filesystem(str(path).partition(":")[0])


def package_of(path: epath.Path) -> str:
    """Returns the name of the package that fsspec needs for a path in a bucket."""
    return PACKAGES[str(path).partition(":")[0]]


def require_client(path: epath.Path) -> None:
    """Raises DataError if the package for a path in a bucket is not installed."""
    scheme, package = str(path).partition(":")[0], package_of(path)
    try:
        fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        found = f"{scheme}:// requires {package}, which cannot be imported"
        raise DataError(f"{path}: {found}. Run pip install {package}") from error
