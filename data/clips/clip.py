"""Creates a training clip from a sample number.

Random clips are planned until a clip contains an object. Only this clip is rendered.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from data.clips import colour, warp
from data.clips.affine import corners, shifted
from data.clips.copy_paste import cut_out, paste_maps, paste_numbers
from data.clips.decode import Fetcher, decode_image, decode_mask
from data.clips.draws import ATTEMPTS, Draws, Topic
from data.clips.geometry import clip_maps, find_anchor, geometry_numbers
from data.clips.hide import hidden_pixels
from data.clips.plan import Plan, make_plan, set_names


class Sketch(NamedTuple):
    """A clip with its masks, and all data that is needed to render its frames.

    Attributes:
        plan: the frames of the clip.
        jpegs: bytes [s], the encoded image of each source.
        sizes: float32 [s,2], height and width of each source when upright.
        orientations: int32 [s], EXIF orientation of each source.
        windows: float32 [s,4], the visible part of each upright source: left, top, right and bottom in pixels.
        sources: int32 [t,1+d], the source of each frame, followed by the sources of its donors.
        maps: float32 [t,1+d,2,3], the maps from the output to each source in `sources`.
        shrink: float32 [s], the factor by which each source is reduced.
        seen: uint8 [t,H,W], the visible ids; 0 in pixels that a donor covers.
        donors: uint8 [t,H,W], 1 + d in pixels that donor d covers, otherwise 0.
        areas: int32 [256+d], the number of pixels of each id, then of each donor, in the first frame; 0 if the number is below
            `min_area`.
    """

    plan: Plan
    jpegs: tf.Tensor
    sizes: tf.Tensor
    orientations: tf.Tensor
    windows: tf.Tensor
    sources: tf.Tensor
    maps: tf.Tensor
    shrink: tf.Tensor
    seen: tf.Tensor
    donors: tf.Tensor
    areas: tf.Tensor


def make_clip(config: ConfigDict, fetcher: Fetcher, sample: tf.Tensor) -> dict[str, tf.Tensor]:
    """Creates the training clip with the number `sample` (int64 scalar). The result depends only on this number and the config.

    Returns:
        A dict with these tensors:
        `frames`: uint8 [t,H,W,3].
        `masks`: uint8 [t,H,W].
        `valid`: bool [o], whether each object exists.
        `sample`: int64 [], the argument.
        `rows`: int32 [t], the row of each frame in `Tables`.
        `numbers`: int32 [t], frame numbers in the original video.
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
    failure = (
        f"{ATTEMPTS} random clips contained no object of at least {config.min_area} pixels. "
        "Lower min_area, or remove the data set from data.sets."
    )
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_max(sketch.areas) > 0, [failure, name])]):
        attempt = tf.identity(attempt)
    return finish_clip(config, sample, sketch, Draws(seed, sample, attempt))


def sketch_clip(config: ConfigDict, fetcher: Fetcher, sample: tf.Tensor, draws: Draws) -> Sketch:
    """Randomly selects the frames, objects and geometry of a clip, and warps the masks."""
    tables = fetcher.tables
    plan = make_plan(config, tables, sample, draws)
    t, donors, pasted = config.frames, plan.donor_id.shape[0], plan.frames.shape[0] - config.frames
    jpegs, pngs, ids = fetcher(plan.frames)
    masks = [decode_mask(png) for png in tf.unstack(pngs)]
    rows = tf.maximum(plan.frames, 0)
    sizes = tf.cast(tf.gather(tables.size, rows), tf.float32)
    mask_sizes = tf.cast(tf.stack([tf.shape(mask) for mask in masks]), tf.float32)
    ratio = (mask_sizes / sizes)[:, ::-1]  # size of a mask divided by the size of its image, in x and y; about 1

    anchor = find_anchor(masks[0], ids[0], draws) / ratio[0]
    still = tf.gather(tables.still, plan.set)
    frame_maps, shrink = clip_maps(config, sizes[0], anchor, still, draws.uniform(Topic.GEOMETRY, geometry_numbers(t)))
    maps, shrinks = frame_maps[:, None], tf.fill([t], shrink)
    windows = _windows(frame_maps, plan.slot, config.size)
    mask_maps = maps * tf.gather(ratio, plan.slot)[:, None, :, None]
    if donors:
        each = pasted // donors  # number of slots per donor
        boxes, *masks[t:] = tf.numpy_function(
            cut_out, [ids[t:], tf.repeat(plan.donor_id, each), *masks[t:]], (tf.float32, *[tf.uint8] * pasted), stateful=False
        )
        boxes = tf.ensure_shape(boxes, [pasted, 4])
        ratio = tf.maximum(ratio[t:], 1e-3)  # the ratio is 0 if there is no donor
        windows = tf.concat([windows, boxes / tf.tile(ratio, [1, 2])], 0)
        donor_maps, donor_shrink = paste_maps(config, windows[t::each], draws.uniform(Topic.PASTE, donors, paste_numbers(t)))
        maps, shrinks = tf.concat([maps, donor_maps], 1), tf.concat([shrinks, tf.repeat(donor_shrink, each)], 0)
        ratio, corner = (tf.gather(part, plan.donor_slot - t) for part in (ratio, boxes[:, :2]))  # [t,d,2]
        mask_maps = tf.concat([mask_maps, shifted(donor_maps * ratio[..., None], -corner)], 1)

    def warp_masks(ids: np.ndarray, sources: np.ndarray, maps: np.ndarray, *masks: np.ndarray) -> tuple[np.ndarray, ...]:
        return warp.warp_masks(masks, ids, sources, maps, config.size)

    sources = tf.concat([plan.slot[:, None], plan.donor_slot], 1)
    inputs = [ids, sources, mask_maps, *masks]
    seen, donated, areas = tf.numpy_function(warp_masks, inputs, (tf.uint8, tf.uint8, tf.int32), stateful=False)
    seen, donated = (tf.ensure_shape(part, [t, *config.size]) for part in (seen, donated))
    areas = tf.ensure_shape(tf.where(areas >= config.min_area, areas, 0), [256 + donors])
    orientations = tf.gather(tables.orientation, rows)
    return Sketch(plan, jpegs, sizes, orientations, windows, sources, maps, shrinks, seen, donated, areas)


def finish_clip(config: ConfigDict, sample: tf.Tensor, sketch: Sketch, draws: Draws) -> dict[str, tf.Tensor]:
    """Decodes the images and renders a clip from its sketch."""
    plan, t = sketch.plan, config.frames
    inputs = (sketch.jpegs, sketch.sizes, sketch.windows, sketch.shrink, sketch.orientations)
    images = [decode_image(*(part[slot] for part in inputs)) for slot in range(sketch.jpegs.shape[0])]
    divisors, corners_there = (tf.gather(tf.stack(part), sketch.sources) for part in list(zip(*images, strict=True))[1:])
    maps = shifted(sketch.maps / divisors[..., None, None], -corners_there)
    means = tf.stack([_mean_colour(image.rgb) for image in images[:t]])
    colours = _colours(config, tf.gather(means, plan.slot), draws)

    labels, valid = _label(config, sketch.areas, draws)

    def render(seen, labels, sources, maps, donors, colours, hidden, *images) -> tuple[np.ndarray, np.ndarray]:
        frames = warp.render(images, sources, maps, donors, colours, hidden, config.fill)
        return frames, warp.relabel(seen, donors, labels)

    inputs = [sketch.seen, labels, sketch.sources, maps, sketch.donors, colours, hidden_pixels(config, draws)]
    inputs += [image.rgb for image in images]
    frames, masks = tf.numpy_function(render, inputs, (tf.uint8, tf.uint8), stateful=False)
    frames = tf.ensure_shape(frames, [t, *config.size, 3])
    masks = tf.ensure_shape(masks, [t, *config.size])
    rows = tf.gather(plan.frames, plan.slot)
    return {"frames": frames, "masks": masks, "valid": valid, "sample": sample, "rows": rows, "numbers": plan.numbers}


def _windows(maps: tf.Tensor, slot: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Returns the part of each source that is visible in the output: left, top, right, bottom, float32 [t,4].

    `maps` contains the map from the output to the source of each frame.
    """
    places = corners(maps, *size)  # [t,4,2]
    first, last = tf.reduce_min(places, 1), tf.reduce_max(places, 1)
    # All frames of a still image use slot 0.
    first = tf.math.unsorted_segment_min(first, slot, maps.shape[0])
    last = tf.math.unsorted_segment_max(last, slot, maps.shape[0])
    return tf.concat([first, last], 1)


def _label(config: ConfigDict, areas: tf.Tensor, draws: Draws) -> tuple[tf.Tensor, tf.Tensor]:
    """Randomly chooses up to `max_objects` objects from the ids and donors whose area is above 0.

    Returns the label of each id and donor, uint8 [256+d], and which labels are in use, bool [o].
    """
    most = config.max_objects
    order = draws.bits(Topic.LABELS, areas.shape[0])
    order = tf.where(areas > 0, order, -1)
    best, keys = tf.math.top_k(order, most)
    keys = tf.sort(tf.where(best >= 0, keys, areas.shape[0]))
    valid = keys < areas.shape[0]
    labels = tf.scatter_nd(keys[:, None], tf.range(1, most + 1), [areas.shape[0] + 1])[:-1]
    return tf.cast(labels, tf.uint8), valid


def _mean_colour(rgb: tf.Tensor) -> tf.Tensor:
    """Returns the mean colour over every 16th row of an image [h,w,3], float32 [3]; zeros for an empty image."""
    some = tf.reshape(tf.cast(rgb[::16], tf.int32), [-1, 3])  # a sum of integers does not depend on the order of summation
    return tf.cast(tf.reduce_sum(some, 0), tf.float32) / tf.cast(tf.maximum(tf.shape(some)[0], 1), tf.float32)


def _colours(config: ConfigDict, means: tf.Tensor, draws: Draws) -> tf.Tensor:
    """Randomly chooses a colour change for the whole clip, applied first, and a further colour change for each frame.

    `means` contains the mean colour of each frame, float32 [t,3]. Returns a matrix and an offset per frame, float32 [t,3,4].
    """
    uniform = draws.uniform(Topic.COLOUR, 1 + 4 * (config.frames + 1))
    numbers = tf.reshape(uniform[1:], [config.frames + 1, 4])
    whole = colour.random_jitter(config.colour.clip, tf.broadcast_to(numbers[0], [config.frames, 4]), means)
    own = colour.random_jitter(config.colour.frame, numbers[1:], means)
    changed = colour.after(own, whole)
    grey = colour.after(changed, colour.to_grey())
    matrix, offset = (tf.where(uniform[0] < config.grey, new, old) for new, old in zip(grey, changed, strict=True))
    return tf.concat([matrix, offset[..., None]], -1)
