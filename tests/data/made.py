"""Creates in-memory data sets and a small config for tests of clips."""

import io

import numpy as np
from ml_collections import ConfigDict
from PIL import ExifTags, Image
from PIL.Image import Transpose

from configs.train import data
from data.index import Index, identity_map

_TURNS = (None, Transpose.FLIP_LEFT_RIGHT, Transpose.ROTATE_180, Transpose.FLIP_TOP_BOTTOM)
_TURNS += (Transpose.TRANSPOSE, Transpose.ROTATE_90, Transpose.TRANSVERSE, Transpose.ROTATE_270)


def jpeg(rgb: np.ndarray, orientation: int = 1) -> bytes:
    """Encodes an upright image as a JPEG that is stored rotated or mirrored, with an EXIF orientation."""
    image, exif = Image.fromarray(rgb), Image.Exif()
    if orientation != 1:
        image, exif[ExifTags.Base.Orientation] = image.transpose(_TURNS[orientation - 1]), orientation
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=97, subsampling=0, exif=exif)
    return buffer.getvalue()


def indexed_png(ids: np.ndarray) -> bytes:
    image = Image.fromarray(ids)
    image.putpalette(bytes(3) + np.random.default_rng(0).integers(0, 256, 765, np.uint8).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def colour_of(ids: np.ndarray) -> np.ndarray:
    """Returns an image of a mask, with clearly different colours for the ids."""
    table = np.array([[20, 20, 20], [250, 20, 20], [20, 250, 20], [20, 20, 250], [250, 250, 20]], np.uint8)
    return table[ids]


def discs(video: int, frame: int, height: int, width: int, objects: int) -> np.ndarray:
    """Returns a mask of discs that move from frame to frame."""
    rows, columns = np.mgrid[:height, :width]
    ids = np.zeros((height, width), np.uint8)
    for k in range(objects):
        x = width * (0.25 + 0.5 * ((k * 0.37 + video * 0.13) % 1)) + 2 * frame
        y = height * (0.3 + 0.4 * ((k * 0.61 + video * 0.29) % 1)) + frame
        ids[np.hypot(rows - y, columns - x) < min(height, width) * 0.16] = k + 1
    return ids


class MadeSource:
    """An in-memory data source. Each video shows one disc per object, in the colour of the object."""

    def __init__(self, name="made", videos=4, frames=12, size=(96, 128), objects=2, step=1, empty=(), orientations=(1,)):
        self.name, self.size = name, size
        self.masks = [discs(v, f, *size, 0 if v in empty else objects) for v in range(videos) for f in range(frames)]
        rows = [(r, i, (mask == i).sum()) for r, mask in enumerate(self.masks) for i in np.unique(mask[mask > 0])]
        record, object_id, area = np.array(rows or np.zeros((0, 3), int)).T
        count = videos * frames
        numbers = np.tile(np.arange(frames) * step, videos)
        self.index = Index(
            videos=np.array([f"v{v}" for v in range(videos)]),
            starts=np.arange(videos + 1) * frames,
            names=np.array([f"{n:05d}" for n in numbers]),
            numbers=numbers.astype(np.int32),
            sizes=np.tile(np.int32([size]), (count, 1)),
            annotated=np.ones(count, bool),
            object_record=record.astype(np.int32),
            object_id=object_id.astype(np.uint8),
            object_area=area.astype(np.int32),
            binary=np.zeros(videos, bool),
            id_map=identity_map(),
            soft=np.array(False),
            orientation=np.resize(np.uint8(orientations), count),
        )

    def fetch(self, records):
        masks = [self.masks[record] for record in records]
        turns = self.index.orientation[records].tolist()
        images = [jpeg(colour_of(mask), turn) for mask, turn in zip(masks, turns, strict=True)]
        return images, [indexed_png(mask) for mask in masks]


def small(config: ConfigDict) -> ConfigDict:
    """Changes a config to clips of 64x80 pixels, and returns it."""
    config.size = (64, 80)
    config.resize = 64
    config.min_area = 20
    config.workers = 2
    return config


def video_config(**sets) -> ConfigDict:
    return small(data.videos(sets or {"made": data.source("made", still=False)}, ((0, 3),)))


def still_config(**sets) -> ConfigDict:
    return small(data.stills(sets or {"made": data.source("made", still=True)}))
