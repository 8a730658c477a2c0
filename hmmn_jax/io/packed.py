"""Compressed arrays. When a memory budget is used up, further arrays are stored in temporary files."""

import hashlib
import itertools
import shutil
import tempfile
import threading
import weakref
import zlib
from pathlib import Path

import numpy as np

from hmmn_jax.io.files import discard, writing_errors

BUDGET = 1 << 29  # in bytes; estimated to be enough for the probabilities of one object in 5,000 frames at 480p


class PackedArray:
    """An immutable compressed array. When the last reference to the array is deleted, its memory or file is released.

    Attributes:
        shape: shape of the array.
        dtype: dtype of the array.
        digest: the SHA-256 of the dtype, the shape and the values, in hexadecimal.
    """

    def __init__(self, array: np.ndarray, content: bytes | Path, pool: "ArrayPool"):
        self.shape, self.dtype, self.digest = array.shape, array.dtype, digest_of(array)
        self._content = content
        self._pool = pool  # this reference prevents the removal of the pool's folder

    def unpack(self) -> np.ndarray:
        """Returns a read-only copy of the original array."""
        content = self._content if isinstance(self._content, bytes) else self._content.read_bytes()
        return np.frombuffer(zlib.decompress(content), self.dtype).reshape(self.shape)


class ArrayPool:
    """Packs arrays. Arrays beyond the budget are stored in a temporary folder until the pool is deleted or Python exits.

    The pool is thread-safe.
    """

    def __init__(self, budget: int = BUDGET):
        """`budget` is the maximum number of bytes of compressed arrays in memory."""
        self.budget = budget
        self.used = 0  # bytes in memory
        # a reentrant lock, because the garbage collector may release an array while another array is being packed
        self._lock = threading.RLock()
        self._numbers = itertools.count()
        self._folder: Path | None = None

    def pack(self, array: np.ndarray) -> PackedArray:
        """Compresses an array. Raises DataError if the temporary folder is not writable."""
        content = zlib.compress(np.ascontiguousarray(array).data, 1)
        with self._lock:
            fits = self.used + len(content) <= self.budget
            if fits:
                self.used += len(content)
            else:
                path = self._new_path()
        if fits:
            packed = PackedArray(array, content, self)
            weakref.finalize(packed, self._release, len(content))
            return packed
        with writing_errors(path):
            path.write_bytes(content)
        packed = PackedArray(array, path, self)
        weakref.finalize(packed, discard, path)
        return packed

    def _new_path(self) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="hmmn-jax-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        return self._folder / str(next(self._numbers))

    def _release(self, size: int) -> None:
        with self._lock:
            self.used -= size


def digest_of(array: np.ndarray) -> str:
    """Computes the SHA-256 of an array's dtype, shape and values, in hexadecimal."""
    array = np.ascontiguousarray(array)
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    digest.update(array.data)
    return digest.hexdigest()
