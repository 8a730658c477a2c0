"""Encodes frames as JPEGs on demand, and caches them."""

import collections
import io
import threading

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from hmmn_jax.io.video import Video

BUDGET = 1 << 27  # memory budget for cached JPEGs, in bytes
HEIGHTS = (48, 96, 192, 384, 768)  # possible heights of thumbnails; a short list, so that cached thumbnails are reused
QUALITY = 92


class FramePictures:
    """The frames of one video as JPEGs, cached within a memory budget. This class is thread-safe."""

    def __init__(self, video: Video, budget: int = BUDGET):
        """`budget` is the memory budget in bytes."""
        self._video, self._budget = video, budget
        self._kept: collections.OrderedDict[tuple[int, int], bytes] = collections.OrderedDict()
        self._used = 0
        self._lock = threading.Lock()

    def jpeg(self, t: int, height: int | None = None) -> bytes:
        """Returns a frame as a JPEG.

        Args:
            t: the index of the frame.
            height: requested height in pixels. The JPEG has the smallest height in `HEIGHTS` that is at least `height` and less
                than the height of the video. If no such height exists, or if `height` is None, the JPEG has the height of the
                video.

        Raises:
            IndexError: the video has no frame with this index.
            DataError: the frame cannot be read.
        """
        key = t, self._height(height)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        content = _encode(self._video[t], key[1])
        with self._lock:
            if key not in self._kept:
                self._kept[key] = content
                self._used += len(content)
            while self._used > self._budget and len(self._kept) > 1:
                self._used -= len(self._kept.popitem(last=False)[1])
        return content

    def _height(self, wanted: int | None) -> int:
        full = self._video.size[0]
        if wanted is None:
            return full
        return min((height for height in HEIGHTS if wanted <= height < full), default=full)


def _encode(frame: UInt8[np.ndarray, "h w 3"], height: int) -> bytes:
    image = Image.fromarray(frame)
    if height != image.height:
        width = max(round(image.width * height / image.height), 1)
        image = image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    content = io.BytesIO()
    # Keep the full chroma resolution, because the fill tool compares the colours of individual pixels.
    image.save(content, "JPEG", quality=QUALITY, subsampling=0)
    return content.getvalue()
