"""Segments a video with a `Session`, given the complete masks of one or more frames."""

from collections.abc import Callable, Iterator
from typing import SupportsIndex

import numpy as np
from jaxtyping import Integer, UInt8

from hmmn_jax.evaluation.clips import Clip
from hmmn_jax.inference import Segmenter
from hmmn_jax.inference.augmentation import Augmentation, Segmented, View
from hmmn_jax.io.video import Video
from hmmn_jax.session import Session
from hmmn_jax.session.timeline import BACKWARD, FORWARD


def count_steps(clip: Clip) -> int:
    """Returns the number of frames to compute for a clip, summed over the forward and the backward pass.

    With direction "both", a frame between two masks is computed once in each direction.
    """
    first, last = min(clip.masks), max(clip.masks)
    others = [t for t in range(len(clip)) if t not in clip.masks]
    forward = sum(t > first for t in others) if clip.direction != BACKWARD else 0
    backward = sum(t < last for t in others) if clip.direction != FORWARD else 0
    return forward + backward


class _Shown(Video):
    """A video whose frames are transformed with `View.show_frame`."""

    def __init__(self, video: Video, view: View):
        self.video, self.view = video, view
        self.name, self.fps, self.size = video.name, video.fps, (view.height, view.width)

    def __len__(self) -> int:
        return len(self.video)

    def __getitem__(self, index: SupportsIndex) -> UInt8[np.ndarray, "h w 3"]:
        return self.view.show_frame(self.video[index])

    def backwards(self, start: int, stop: int) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        return map(self.view.show_frame, self.video.backwards(start, stop))


def segment_annotated(
    segmenter: Segmenter, clip: Clip, augmentation: Augmentation, advance: Callable[[], None]
) -> Iterator[tuple[UInt8[np.ndarray, "H W 3"], Integer[np.ndarray, "H W"] | Segmented]]:
    """Propagates all masks of a clip in the clip's direction, then yields all frames in order.

    Each frame is yielded with its result, or with its mask if the mask is given. With direction "forward", frames before the
    first mask are background. With direction "backward", frames after the last mask are background.

    Args:
        segmenter: a segmenter for non-overlapping objects.
        clip: a clip whose masks are complete annotations.
        augmentation: an augmentation with a single view.
        advance: a function that is called after each computed frame. If `advance` raises an error, the segmentation stops.

    Raises:
        DataError: a frame or mask cannot be read.
    """
    height, width = clip.size
    (view,) = augmentation.views(height, width)
    given = clip.read_complete(height, width)
    session = Session(segmenter, _Shown(clip.video, view))
    for t, mask in given.items():
        session.annotate(t, view.show_mask(mask))
    for _ in session.propagate(direction=clip.direction):
        advance()
    for t in range(len(session)):
        result = session.find(t)
        if result is not None and t not in given:
            ids = np.array(result.ids, result.mask.dtype)
            yield clip.video[t], Segmented((result,), [view], ids, None, height, width)
        else:
            yield clip.video[t], given.get(t, np.zeros((height, width), np.uint8))
