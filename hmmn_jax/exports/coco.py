"""Exports run-length encoded masks as JSON in COCO or YouTube-VIS format. In COCO format, each frame is an image."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from hmmn_jax.exports.exporter import Exporter, MaskedFrame, VideoFacts
from hmmn_jax.exports.rle import bounding_box, encode
from hmmn_jax.io.files import write_file
from hmmn_jax.version import __version__


class _Json(Exporter):
    """Writes one JSON file. Each object has its own category, and the id of the category is the id of the object."""

    suffix = ".json"

    def __init__(self, folder: Path, facts: VideoFacts):
        super().__init__(folder, facts)
        self._objects: set[int] = set(facts.labels)

    def _file_name(self, frame: MaskedFrame) -> str:
        return f"{self.facts.name}/{frame.file_name}"

    def _write(self, content: dict[str, Any]) -> None:
        info = {"description": f"masks of {self.facts.name}", "version": __version__}
        categories = [{"id": k, "name": self.facts.name_of(k), "supercategory": "object"} for k in sorted(self._objects)]
        path = self.folder / f"{self.facts.name}{self.suffix}"
        write_file(path, json.dumps({"info": info, **content, "categories": categories}) + "\n")


class Coco(_Json):
    """Writes `VIDEO.json` in COCO's instance format: the images that have a mask, and one annotation per object and image.

    The `id` of an image is the index of the frame plus 1. The `track_id` of an annotation is the id of the object.
    """

    def __init__(self, folder: Path, facts: VideoFacts):
        super().__init__(folder, facts)
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def add(self, frame: MaskedFrame) -> None:
        """Encodes the objects of a frame."""
        if frame.mask is None:
            return
        height, width = frame.mask.shape
        image = {"id": frame.index + 1, "file_name": self._file_name(frame), "width": width, "height": height}
        self._images.append(image)
        for k in frame.ids:
            self._objects.add(k)
            found = {"id": len(self._annotations) + 1, "image_id": frame.index + 1, "category_id": k, "track_id": k}
            self._annotations.append(found | _described(frame, k) | {"iscrowd": 0})

    def finish(self) -> None:
        """Writes the file."""
        self._write({"images": self._images, "annotations": self._annotations})


class YouTubeVis(_Json):
    """Writes `VIDEO.json` in YouTube-VIS format. Each object has a list of masks, with null for frames without the object."""

    without_mask = "The list of each object contains null for these frames."

    def __init__(self, folder: Path, facts: VideoFacts):
        super().__init__(folder, facts)
        self._file_names: list[str] = []
        self._tracks: dict[int, dict[int, dict[str, Any]]] = {}  # by object id and index in `_file_names`

    def add(self, frame: MaskedFrame) -> None:
        """Encodes the objects of a frame."""
        for k in frame.ids:
            self._tracks.setdefault(k, {})[len(self._file_names)] = _described(frame, k)
        self._file_names.append(self._file_name(frame))

    def finish(self) -> None:
        """Writes the file."""
        height, width = self.facts.size
        shared = {"height": height, "width": width, "length": self.frames}
        videos = [{"id": 1, "file_names": self._file_names, **shared}]
        annotations = []
        for number, (k, track) in enumerate(sorted(self._tracks.items()), 1):
            self._objects.add(k)
            lists = {
                plural: [track[i][name] if i in track else None for i in range(self.frames)]
                for plural, name in (("segmentations", "segmentation"), ("areas", "area"), ("bboxes", "bbox"))
            }
            annotations.append({"id": number, "video_id": 1, "category_id": k, "iscrowd": 0, **shared, **lists})
        self._write({"videos": videos, "annotations": annotations})


def _described(frame: MaskedFrame, k: int) -> dict[str, Any]:
    """Returns the fields that describe the mask of an object."""
    mask = np.asarray(frame.mask) == k
    return {"segmentation": encode(mask), "area": int(mask.sum()), "bbox": bounding_box(mask)}
