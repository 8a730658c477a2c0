"""Test-time augmentation: segments scaled and mirrored views of a video, and averages their probabilities."""

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8
from PIL import Image

from hmmn_jax.errors import ConfigError
from hmmn_jax.inference import Result, Segmenter
from hmmn_jax.inference.inputs import join_ids

Given = Integer[np.ndarray, "H W"] | Mapping[int, Bool[np.ndarray, "H W"]]  # an array of ids, or masks by id


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """The views of a video for test-time augmentation. Views are segmented separately; their probabilities are averaged.

    size: shorter side of the network's input, in pixels; 0 means the size of the video.
    scales: factors by which `size` is multiplied; there is one view for each factor.
    flip: whether to also segment each view mirrored left to right.
    """

    size: int = 0
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def __post_init__(self) -> None:
        if self.size < 0 or not self.scales or min(self.scales) <= 0:
            raise ConfigError(f"size is {self.size} and scales are {self.scales}, expected size >= 0 and scales above 0")

    def views(self, height: int, width: int) -> list["View"]:
        """Returns the views for frames of this size."""
        shorter = min(height, width)
        sides = [(self.size or shorter) * scale / shorter for scale in self.scales]
        sizes = [(max(round(height * side), 1), max(round(width * side), 1)) for side in sides]
        return [View(*size, mirrored) for size in sizes for mirrored in ((False, True) if self.flip else (False,))]


@dataclasses.dataclass(frozen=True)
class View:
    """A view: the height and width of the network's input, and whether the view is mirrored."""

    height: int
    width: int
    mirrored: bool

    def show_frame(self, frame: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "h w 3"]:
        """Converts a frame to the network's input."""
        return self._mirror(_resize(frame, self.height, self.width, Image.Resampling.BILINEAR))

    def show_mask(self, given: Given) -> Integer[np.ndarray, "h w"] | Mapping[int, Bool[np.ndarray, "h w"]]:
        """Converts a mask to the network's input. Objects that are smaller than one pixel of the input may disappear."""
        if isinstance(given, Mapping):
            return {i: self._show_ids(mask.astype(np.uint8)) > 0 for i, mask in given.items()}
        return self._show_ids(given)

    def _show_ids(self, ids: Integer[np.ndarray, "H W"]) -> Integer[np.ndarray, "h w"]:
        return self._mirror(_resize(ids, self.height, self.width, Image.Resampling.NEAREST))

    def restore(self, probs: Float[np.ndarray, "c h w"], height: int, width: int) -> Float[np.ndarray, "c H W"]:
        """Converts probabilities to the size of the video."""
        return np.stack([_resize(self._mirror(p), height, width, Image.Resampling.BILINEAR) for p in probs])

    def _mirror(self, image: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(image[:, ::-1]) if self.mirrored else image


@dataclasses.dataclass(frozen=True)
class _MaskOnly:
    """A result that contains only the mask."""

    mask: Any


@dataclasses.dataclass(frozen=True)
class Segmented:
    """The combined result for one frame, computed on demand so that another thread can run the computation.

    results: the result of each view. Results of a `Session` are also accepted, although they have no logits.
    views: the views, in the same order as `results`.
    ids: 0 for the background, then the ids of all objects so far, in the order in which they were given.
    given: the given mask of this frame, which replaces the prediction; None if no mask was given.
    height, width: size of the video.
    """

    results: tuple[Any, ...]  # a Result, or an object with the same fields mask, probs and ids
    views: list[View]
    ids: Integer[np.ndarray, " c"]
    given: Given | None
    height: int
    width: int

    @functools.cached_property
    def probs(self) -> Float[np.ndarray, "c H W"]:
        """The probabilities of `ids` in float32, resized to the size of the video and averaged over the views.

        The sum of the probabilities of a pixel is 1 unless objects are independent.
        """
        channel = {int(k): i for i, k in enumerate(self.ids)}
        total = np.zeros((len(self.ids), self.height, self.width), np.float32)
        for result, view in zip(self.results, self.views, strict=True):
            # Rows are matched by id, because a view may lack an object that is too small.
            rows = [channel[int(k)] for k in result.ids]
            total[rows] += view.restore(np.asarray(result.probs, np.float32), self.height, self.width)
        total /= len(self.views)
        if isinstance(self.given, Mapping):
            for i, mask in self.given.items():
                total[channel[i]] = np.where(mask, 1, total[channel[i]])
        elif self.given is not None:
            total = np.where(self.given == 0, total, self.given == self.ids[:, None, None]).astype(np.float32)
        return total

    def without_probs(self) -> "Segmented":
        """Returns the result without probabilities, or the unchanged result if the mask is computed from probabilities."""
        if self.views != [View(self.height, self.width, False)]:
            return self
        return dataclasses.replace(self, results=(_MaskOnly(self.results[0].mask),))

    @functools.cached_property
    def mask(self) -> Integer[np.ndarray, "H W"] | Bool[np.ndarray, "k H W"]:
        """The most probable id of each pixel, or for independent objects, whether each probability is above 0.5."""
        own = self.results[0].mask
        if self.views == [View(self.height, self.width, False)]:
            return np.asarray(own)
        if own.ndim == 3:
            return self.probs[1:] > 0.5
        return self.ids[np.argmax(self.probs, axis=0)]


def segment_augmented(
    segmenter: Segmenter,
    frames: Iterable[UInt8[np.ndarray, "H W 3"]],
    given: Mapping[int, Given],
    augmentation: Augmentation,
) -> Iterator[Segmented]:
    """Segments all views of a video frame by frame. Yields the combined result for each frame after the first.

    `given` maps frame indices to given masks of the same size as the frames. A mask for frame 0 is required.
    """
    frames = iter(frames)
    if (first := next(frames, None)) is None:
        return
    frames = itertools.chain([first], frames)
    height, width = first.shape[:2]
    views = augmentation.views(height, width)

    def run(view: View, frames: Iterator[np.ndarray]) -> Iterator[Result]:
        masks = {t: view.show_mask(mask) for t, mask in given.items()}
        return segmenter.run(map(view.show_frame, frames), masks.pop(0), masks)

    # All views process a frame before the next frame is read, so that each frame is read only once and released early.
    runs = [run(view, copy) for view, copy in zip(views, itertools.tee(frames, len(views)), strict=True)]
    ids = join_ids(np.zeros(1, np.uint8), _ids_of(given[0]))
    for t in itertools.count(1):
        found: list[Any] = [next(run, None) for run in runs]
        if (results := tuple(result._replace(logits=None) for result in found if result is not None)) == ():
            return
        if t in given:
            ids = join_ids(ids, _ids_of(given[t]))
        segmented = Segmented(results, views, ids, given.get(t), height, width)
        del found, results
        yield segmented
        del segmented  # with many objects, this result is large, and the next frame needs the memory


def _ids_of(given: Given) -> Integer[np.ndarray, " k"]:
    return np.array(sorted(given), np.uint16) if isinstance(given, Mapping) else np.unique(given)


def _resize(image: np.ndarray, height: int, width: int, by: Image.Resampling) -> np.ndarray:
    if image.shape[:2] == (height, width):
        return image
    return np.array(Image.fromarray(image).resize((width, height), by))
