"""Runs passes. A pass runs the segmenter from an annotated frame, either forwards or backwards."""

from collections.abc import Iterator, Mapping

import jax.numpy as jnp
import numpy as np

from hmmn_jax.inference import Segmenter, State
from hmmn_jax.inference.augmentation import View
from hmmn_jax.io.packed import ArrayPool
from hmmn_jax.io.video import Video
from hmmn_jax.session.confidence import agreement, expected_j
from hmmn_jax.session.picture import Pass, Picture, blend, winners, with_background
from hmmn_jax.session.queries import Queries
from hmmn_jax.session.timeline import BACKWARD, FORWARD, Basis, Prediction


def run_pass(
    segmenter: Segmenter,
    video: Video,
    anchor: int,
    picture: Picture,
    last: int,
    pool: ArrayPool,
    queries: Queries,
    view: View | None = None,
) -> Iterator[tuple[int, Picture]]:
    """Segments the frames from an anchor (excluded) to `last` (included). Runs backwards if `last` is before the anchor.

    The segmenter restarts with the mask of the anchor, as if the anchor were the first frame of a video. If the anchor contains
    pixels with uncertain ids, the segmenter starts with the probabilities of the anchor instead of its mask. The next frame is
    read while the device processes the current frame.

    Args:
        segmenter: the segmenter of the session.
        video: the frames.
        anchor: the annotated frame.
        picture: the mask of the anchor.
        last: the last frame to segment.
        pool: the pool that stores the arrays of the results.
        queries: the cache of encoded frames.
        view: resizes frames to the size of the network's input; None if the frames and the input have the same size. Results
            have the size of the frames.

    Yields:
        The index of a frame and the segmenter's result.
    """
    step = 1 if last > anchor else -1
    order = range(anchor + step, last + step, step)
    frames = (video[t] for t in order) if step == 1 else video.backwards(last, anchor)
    frames = frames if view is None else map(view.show_frame, frames)
    state = _start(segmenter, video[anchor], picture, view)
    upcoming = next(frames)
    for t in order:
        query = queries.of(t, upcoming) if picture.ids else None  # without objects, the frame is not encoded
        state, result = segmenter.step(state, upcoming, donate=True, query=query)
        if t != last:
            upcoming = next(frames)
        objects = np.argsort(result.ids)[1:]  # the background, id 0, comes first
        if view is None:
            mask, probs = np.asarray(result.mask), np.asarray(result.probs)
        else:
            probs = view.restore(np.asarray(result.probs, np.float32), *video.size)
            mask = result.ids[np.argmax(probs, axis=0)]
        yield t, Picture.pack(pool, result.ids[objects].tolist(), mask, probs[objects])


def _start(segmenter: Segmenter, frame: np.ndarray, picture: Picture, view: View | None) -> State:
    if view is None:
        state = segmenter.init(frame, picture.mask)
    else:
        state = segmenter.init(view.show_frame(frame), view.show_mask(picture.mask))
    if picture.is_certain:
        return state
    order = [(0, *picture.ids).index(k) for k in state.ids.tolist()]
    probs = with_background(picture.objects())[order]
    if view is not None:
        probs = view.restore(probs, view.height, view.width)
        probs /= probs.sum(axis=0)  # if an object vanishes when the mask is resized, its probability is missing here
    return state.replace(probs=jnp.asarray(probs, state.probs.dtype)[None])


def merge_pass(
    basis: Basis,
    t: int,
    current: Prediction | None,
    direction: str,
    picture: Picture,
    pool: ArrayPool,
    areas: Mapping[str, Mapping[int, int]] | None = None,
) -> Prediction:
    """Combines the result of a pass with the current prediction of a frame.

    Args:
        basis: the anchors that the frame depends on.
        t: index of the frame.
        current: the current prediction of the frame; None if it is stale or missing.
        direction: direction of the pass, "forward" or "backward".
        picture: the result of the pass.
        pool: the pool that stores the arrays of the results.
        areas: for each direction, the number of pixels of each object in the annotated frame where the pass starts. If `areas`
            is given, each pass is also weighted by its reliability: the confidence of the object times the number of the
            object's pixels in `areas`.

    Returns:
        `current` if it already contains this pass. If `current` contains only the other pass, the result is the combination of
        both passes. Without a current prediction, the result is a prediction from this pass only.
    """
    if current is not None and direction in current.passes:
        return current
    confidence = expected_j(picture.mask, picture.ids, picture.objects())
    if current is None or not current.passes:
        return Prediction(basis, frozenset((direction,)), picture, confidence)
    (other,) = current.passes
    pair = {}
    for way, one, found in ((direction, picture, confidence), (other, current.picture, current.confidence)):
        weights = {k: 1.0 if areas is None else found.get(k, 0.0) * areas[way][k] for k in one.ids}
        pair[way] = Pass(one.ids, one.objects(), weights)
    return _blended(basis, basis.position(t), pair[FORWARD], pair[BACKWARD], pool)


def _blended(basis: Basis, u: float, forward: Pass, backward: Pass, pool: ArrayPool) -> Prediction:
    ids, probs = blend(u, forward, backward)
    mask = winners(ids, probs)
    confidence = expected_j(mask, ids, probs[1:])
    for k in confidence.keys() & set(forward.ids) & set(backward.ids):
        confidence[k] *= agreement(u, forward.p[forward.ids.index(k)], backward.p[backward.ids.index(k)])
    return Prediction(basis, frozenset((FORWARD, BACKWARD)), Picture.pack(pool, ids, mask, probs[1:]), confidence)
