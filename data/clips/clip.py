"""One sample from its number: draw until an object is seen, then render."""

from typing import NamedTuple

import tensorflow as tf
from ml_collections import ConfigDict

from data.clips import colour
from data.clips.copy_paste import PASTE_NUMBERS, object_box, paste_maps
from data.clips.decode import Fetcher, decode_image, decode_mask
from data.clips.draws import ATTEMPTS, Draws, Topic
from data.clips.geometry import GEOMETRY_NUMBERS, clip_maps, find_anchor
from data.clips.hide import hidden_pixels
from data.clips.plan import Plan, make_plan, set_names
from data.clips.tables import CLIP
from data.clips.warp import DONOR_KEY, join_buffers, render, warp_keys


class Sketch(NamedTuple):
    """A clip whose masks are known, and all that its frames are rendered from.

    Attributes:
        plan: its frames.
        jpegs: bytes [s].
        maps: float32 [3,1+d,2,3], from output to image and donors.
        shrink: float32 [s], how many pixels of each source become one.
        keys: int32 [3,H,W], see `warp.py`.
        areas: int32 [256+d], pixels of each key in the first frame that count as an object, else 0.
    """

    plan: Plan
    jpegs: tf.Tensor
    maps: tf.Tensor
    shrink: tf.Tensor
    keys: tf.Tensor
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
    failure = f"drawn {ATTEMPTS} times without an object of {config.min_area} pixels in its first frame; set"
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_max(sketch.areas) > 0, [failure, name])]):
        attempt = tf.identity(attempt)
    return finish_clip(config, sample, sketch, Draws(seed, sample, attempt), fetcher)


def sketch_clip(config: ConfigDict, fetcher: Fetcher, sample: tf.Tensor, draws: Draws) -> Sketch:
    """Draws frames, objects and geometry of one attempt, and warps the masks."""
    tables = fetcher.tables
    plan = make_plan(config, tables, sample, draws)
    donors = plan.donor_id.shape[0]
    jpegs, pngs, ids = fetcher(plan.frames)
    sources = CLIP + donors
    values, sizes = zip(*(decode_mask(pngs[slot]) for slot in range(sources)), strict=True)
    masks = [tf.reshape(value, size) for value, size in zip(values, sizes, strict=True)]
    image_sizes = tf.cast(tf.gather(tables.size, tf.maximum(plan.frames, 0)), tf.float32)
    mask_sizes = tf.cast(tf.stack(sizes), tf.float32)
    ratio = (mask_sizes / image_sizes)[:, ::-1]  # of a mask to its image, in x and y; 1 but for a pixel more or less

    anchor = find_anchor(masks[0], ids[0], draws) / ratio[0]
    still = tf.gather(tables.still, plan.set)
    frame_maps, shrink = clip_maps(config, image_sizes[0], anchor, still, draws.uniform(Topic.GEOMETRY, GEOMETRY_NUMBERS))
    maps, shrinks = frame_maps[:, None], tf.fill([CLIP], shrink)
    if donors:
        boxes = tf.stack([object_box(masks[CLIP + d], ids[CLIP + d], plan.donor_id[d]) for d in range(donors)])
        boxes = boxes / tf.maximum(tf.tile(ratio[CLIP:], [1, 2]), 1e-3)  # absent donors have a ratio of 0
        pasted, donor_shrink = paste_maps(config, boxes, draws.uniform(Topic.PASTE, donors, PASTE_NUMBERS))
        maps, shrinks = tf.concat([maps, pasted], 1), tf.concat([shrinks, donor_shrink], 0)

    joined, start = join_buffers(values, channels=1)
    factors = tf.concat([tf.gather(ratio, plan.slot)[:, None], tf.tile(ratio[None, CLIP:], [CLIP, 1, 1])], 1)
    mask_maps = maps * factors[..., None]
    keys = warp_keys(joined, start, tf.stack(sizes), ids, plan.slot, mask_maps, plan.donor_id, *config.size)
    areas = tf.math.bincount(tf.reshape(keys[0], [-1]), minlength=DONOR_KEY + donors, maxlength=DONOR_KEY + donors)
    areas = tf.where((areas >= config.min_area) & (tf.range(DONOR_KEY + donors) > 0), areas, 0)
    areas = tf.ensure_shape(areas, [DONOR_KEY + donors])
    return Sketch(plan, jpegs, maps, shrinks, keys, areas)


def finish_clip(config: ConfigDict, sample: tf.Tensor, sketch: Sketch, draws: Draws, fetcher: Fetcher) -> dict[str, tf.Tensor]:
    """Decodes the images and renders a clip from its sketch."""
    sources = sketch.jpegs.shape[0]
    decoded = [decode_image(sketch.jpegs[slot], sketch.shrink[slot]) for slot in range(sources)]
    buffers, sizes, divisors = zip(*decoded, strict=True)
    divisor = tf.stack(divisors)
    factors = tf.concat([tf.gather(divisor, sketch.plan.slot)[:, None], tf.tile(divisor[None, CLIP:], [CLIP, 1])], 1)
    maps = sketch.maps / factors[..., None, None]
    joined, start = join_buffers(buffers, channels=3)
    means = tf.stack([_mean_colour(buffers[slot]) for slot in range(CLIP)])
    matrix, offset = _colours(config, tf.gather(means, sketch.plan.slot), draws.uniform(Topic.COLOUR, 1 + 4 * (CLIP + 1)))
    labels, valid = _label(config, sketch.areas, draws)
    fill = tf.constant(config.fill, tf.float32)
    frames, masks = render(
        joined, start, tf.stack(sizes), sketch.plan.slot, maps, sketch.keys, labels, matrix, offset, fill,
        hidden_pixels(config, draws),
    )  # fmt: skip
    rows = tf.gather(sketch.plan.frames, sketch.plan.slot)
    return {
        "frames": frames,
        "masks": masks,
        "valid": valid,
        "sample": sample,
        "rows": rows,
        "numbers": sketch.plan.numbers,
    }


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
    """The mean over every 16th pixel of a flat buffer, float32 [3]; zeros for none."""
    some = tf.cast(tf.reshape(rgb, [-1, 3])[::16], tf.float32)
    return tf.reduce_sum(some, 0) / tf.cast(tf.maximum(tf.shape(some)[0], 1), tf.float32)


def _colours(config: ConfigDict, means: tf.Tensor, uniform: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws the change of colour of each frame: first the clip's, then the frame's own."""
    numbers = tf.reshape(uniform[1:], [CLIP + 1, 4])
    whole = colour.random_jitter(config.colour.clip, tf.broadcast_to(numbers[0], [CLIP, 4]), means)
    own = colour.random_jitter(config.colour.frame, numbers[1:], means)
    changed = colour.after(own, whole)
    grey = colour.after(changed, colour.to_grey())
    return tuple(tf.where(uniform[0] < config.grey, new, old) for new, old in zip(grey, changed, strict=True))
