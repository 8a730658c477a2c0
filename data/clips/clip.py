"""One sample from its number: draw until an object is seen, then render."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from data.clips import colour, warp
from data.clips.affine import corners, shifted
from data.clips.copy_paste import PASTE_NUMBERS, cut_out, paste_maps
from data.clips.decode import Fetcher, decode_image, decode_mask
from data.clips.draws import ATTEMPTS, Draws, Topic
from data.clips.geometry import GEOMETRY_NUMBERS, clip_maps, find_anchor
from data.clips.hide import hidden_pixels
from data.clips.plan import Plan, make_plan, set_names
from data.clips.tables import CLIP


class Sketch(NamedTuple):
    """A clip whose masks are known, and all that its frames are rendered from.

    Attributes:
        plan: its frames.
        jpegs: bytes [s].
        sizes: float32 [s,2], height and width of each source, upright.
        orientations: int32 [s], EXIF orientation of each source.
        windows: float32 [s,4], what of each source is seen: left, top, right, bottom.
        maps: float32 [3,1+d,2,3], from output to image and donors.
        shrink: float32 [s], how many pixels of each source become one.
        seen: uint8 [3,H,W], ids that are seen, 0 where a donor is.
        donors: uint8 [3,H,W], 1 + d where donor d is.
        areas: int32 [256+d], pixels of each id, then of each donor, in the first frame; 0 if too few to count as an object.
    """

    plan: Plan
    jpegs: tf.Tensor
    sizes: tf.Tensor
    orientations: tf.Tensor
    windows: tf.Tensor
    maps: tf.Tensor
    shrink: tf.Tensor
    seen: tf.Tensor
    donors: tf.Tensor
    areas: tf.Tensor


def make_clip(config: ConfigDict, fetcher: Fetcher, sample: tf.Tensor) -> dict[str, tf.Tensor]:
    """Makes sample number `sample`, an int64 scalar, a function of it and of `config.seed` alone.

    Returns frames uint8 [3,H,W,3], masks uint8 [3,H,W], valid bool [o], sample int64 [], rows and numbers int32 [3].
    """
    seed = tf.constant(config.seed, tf.int64)

    @tf.function(autograph=False)
    def attempt_at(attempt: tf.Tensor) -> Sketch:
        return sketch_clip(config, fetcher, sample, Draws(seed, sample, attempt))

    def fails(attempt: tf.Tensor, sketch: Sketch) -> tf.Tensor:
        return (attempt < ATTEMPTS - 1) & (tf.reduce_max(sketch.areas) == 0)

    first = attempt_at(tf.constant(0))
    attempt, sketch = tf.while_loop(fails, lambda attempt, _: (attempt + 1, attempt_at(attempt + 1)), (tf.constant(0), first))
    name = tf.gather(tf.constant(set_names(config)), sketch.plan.set)
    failure = f"{ATTEMPTS} draws of a clip gave no object of {config.min_area} pixels; lower min_area, or leave the set out"
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_max(sketch.areas) > 0, [failure, name])]):
        attempt = tf.identity(attempt)
    return finish_clip(config, sample, sketch, Draws(seed, sample, attempt))


def sketch_clip(config: ConfigDict, fetcher: Fetcher, sample: tf.Tensor, draws: Draws) -> Sketch:
    """Draws frames, objects and geometry of one attempt, and warps the masks."""
    tables = fetcher.tables
    plan = make_plan(config, tables, sample, draws)
    donors = range(plan.donor_id.shape[0])
    jpegs, pngs, ids = fetcher(plan.frames)
    masks = [decode_mask(png) for png in tf.unstack(pngs)]
    rows = tf.maximum(plan.frames, 0)
    sizes = tf.cast(tf.gather(tables.size, rows), tf.float32)
    mask_sizes = tf.cast(tf.stack([tf.shape(mask) for mask in masks]), tf.float32)
    ratio = (mask_sizes / sizes)[:, ::-1]  # of a mask to its image, in x and y; 1 but for a pixel more or less

    anchor = find_anchor(masks[0], ids[0], draws) / ratio[0]
    still = tf.gather(tables.still, plan.set)
    frame_maps, shrink = clip_maps(config, sizes[0], anchor, still, draws.uniform(Topic.GEOMETRY, GEOMETRY_NUMBERS))
    maps, shrinks = frame_maps[:, None], tf.fill([CLIP], shrink)
    windows = _windows(frame_maps, plan.slot, config.size)
    mask_maps = maps * tf.gather(ratio, plan.slot)[:, None, :, None]
    if donors:
        boxes, *masks[CLIP:] = tf.numpy_function(
            cut_out, [ids[CLIP:], plan.donor_id, *masks[CLIP:]], (tf.float32, *(tf.uint8 for _ in donors)), stateful=False
        )
        boxes = tf.ensure_shape(boxes, [len(donors), 4])
        ratio = tf.maximum(ratio[CLIP:], 1e-3)  # 0 where a donor is absent
        windows = tf.concat([windows, boxes / tf.tile(ratio, [1, 2])], 0)
        pasted, donor_shrink = paste_maps(config, windows[CLIP:], draws.uniform(Topic.PASTE, len(donors), PASTE_NUMBERS))
        maps, shrinks = tf.concat([maps, pasted], 1), tf.concat([shrinks, donor_shrink], 0)
        mask_maps = tf.concat([mask_maps, shifted(pasted * ratio[..., None], -boxes[:, :2])], 1)

    def warp_masks(ids: np.ndarray, slot: np.ndarray, maps: np.ndarray, *masks: np.ndarray) -> tuple[np.ndarray, ...]:
        return warp.warp_masks(masks, ids, slot, maps, config.size)

    inputs = [ids, plan.slot, mask_maps, *masks]
    seen, pasted, areas = tf.numpy_function(warp_masks, inputs, (tf.uint8, tf.uint8, tf.int32), stateful=False)
    seen, pasted = (tf.ensure_shape(part, [CLIP, *config.size]) for part in (seen, pasted))
    areas = tf.ensure_shape(tf.where(areas >= config.min_area, areas, 0), [256 + len(donors)])
    return Sketch(plan, jpegs, sizes, tf.gather(tables.orientation, rows), windows, maps, shrinks, seen, pasted, areas)


def finish_clip(config: ConfigDict, sample: tf.Tensor, sketch: Sketch, draws: Draws) -> dict[str, tf.Tensor]:
    """Decodes the images and renders a clip from its sketch."""
    plan = sketch.plan
    inputs = (sketch.jpegs, sketch.sizes, sketch.windows, sketch.shrink, sketch.orientations)
    images = [decode_image(*(part[slot] for part in inputs)) for slot in range(sketch.jpegs.shape[0])]
    sources = tf.concat([plan.slot[:, None], tf.tile(tf.range(CLIP, len(images))[None], [CLIP, 1])], 1)  # [3,1+d]
    divisors, corners_there = (tf.gather(tf.stack(part), sources) for part in list(zip(*images, strict=True))[1:])
    maps = shifted(sketch.maps / divisors[..., None, None], -corners_there)
    means = tf.stack([_mean_colour(image.rgb) for image in images[:CLIP]])
    colours = _colours(config, tf.gather(means, plan.slot), draws)

    labels, valid = _label(config, sketch.areas, draws)

    def render(seen, labels, slot, maps, donors, colours, hidden, *images) -> tuple[np.ndarray, np.ndarray]:
        frames = warp.render(images, slot, maps, donors, colours, hidden, config.fill)
        return frames, warp.relabel(seen, donors, labels)

    inputs = [sketch.seen, labels, plan.slot, maps, sketch.donors, colours, hidden_pixels(config, draws)]
    inputs += [image.rgb for image in images]
    frames, masks = tf.numpy_function(render, inputs, (tf.uint8, tf.uint8), stateful=False)
    frames = tf.ensure_shape(frames, [CLIP, *config.size, 3])
    masks = tf.ensure_shape(masks, [CLIP, *config.size])
    rows = tf.gather(plan.frames, plan.slot)
    return {"frames": frames, "masks": masks, "valid": valid, "sample": sample, "rows": rows, "numbers": plan.numbers}


def _windows(maps: tf.Tensor, slot: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """What of the sources 0 to 2 the output shows: left, top, right, bottom, float32 [3,4]; `maps` are those of the frames."""
    places = corners(maps, *size)  # [3,4,2]
    first, last = tf.reduce_min(places, 1), tf.reduce_max(places, 1)
    # A still image, slot 0, is seen by all three frames.
    first = tf.math.unsorted_segment_min(first, slot, CLIP)
    last = tf.math.unsorted_segment_max(last, slot, CLIP)
    return tf.concat([first, last], 1)


def _label(config: ConfigDict, areas: tf.Tensor, draws: Draws) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws up to `max_objects` of the keys that are objects. Returns labels uint8 [256+d] and valid bool [o]."""
    most = config.max_objects
    order = draws.bits(Topic.LABELS, areas.shape[0])
    order = tf.where(areas > 0, order, -1)
    best, keys = tf.math.top_k(order, most)
    keys = tf.sort(tf.where(best >= 0, keys, areas.shape[0]))
    valid = keys < areas.shape[0]
    labels = tf.scatter_nd(keys[:, None], tf.range(1, most + 1), [areas.shape[0] + 1])[:-1]
    return tf.cast(labels, tf.uint8), valid


def _mean_colour(rgb: tf.Tensor) -> tf.Tensor:
    """The mean over every 16th row of an image [h,w,3], float32 [3]; zeros for none."""
    some = tf.reshape(tf.cast(rgb[::16], tf.int32), [-1, 3])  # the sum of integers is the same in any order
    return tf.cast(tf.reduce_sum(some, 0), tf.float32) / tf.cast(tf.maximum(tf.shape(some)[0], 1), tf.float32)


def _colours(config: ConfigDict, means: tf.Tensor, draws: Draws) -> tf.Tensor:
    """Draws the change of colour of each frame: first the clip's, then the frame's own.

    Takes the mean colour of each, float32 [3,3]. Returns matrices and offsets, float32 [3,3,4].
    """
    uniform = draws.uniform(Topic.COLOUR, 1 + 4 * (CLIP + 1))
    numbers = tf.reshape(uniform[1:], [CLIP + 1, 4])
    whole = colour.random_jitter(config.colour.clip, tf.broadcast_to(numbers[0], [CLIP, 4]), means)
    own = colour.random_jitter(config.colour.frame, numbers[1:], means)
    changed = colour.after(own, whole)
    grey = colour.after(changed, colour.to_grey())
    matrix, offset = (tf.where(uniform[0] < config.grey, new, old) for new, old in zip(grey, changed, strict=True))
    return tf.concat([matrix, offset[..., None]], -1)
