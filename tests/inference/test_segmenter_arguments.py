"""Tests the errors for invalid arguments of `Segmenter`."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests.inference.runs import MASK, make
from tests.small import untyped, video


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (np.zeros((90, 100), np.uint8), r"uint8 \[90, 100\], expected an RGB image \[H, W, 3\]"),
        (np.zeros((90, 100, 4), np.uint8), r"uint8 \[90, 100, 4\], expected an RGB image \[H, W, 3\]"),
        (np.zeros((1, 90, 100, 3), np.uint8), r"uint8 \[1, 90, 100, 3\]"),
        (np.zeros((90, 100, 3), np.int64), r"int64 \[90, 100, 3\], expected .* uint8 or float"),
        (np.zeros((90, 100, 3), bool), r"bool \[90, 100, 3\]"),
        (np.zeros((0, 100, 3), np.float32), r"float32 \[0, 100, 3\]"),
        ("a picture", "expected"),
        (
            np.full((90, 100, 3), 200, np.float32),
            r"float32 \[90, 100, 3\] with values from 200 to 200, .* Divide",
        ),
        (np.linspace(-1, 1, 27000, dtype=np.float16).reshape(90, 100, 3), "values from -1 to 1, expected float in"),
        (np.where(np.arange(27000) == 5, np.nan, 0.5).reshape(90, 100, 3), "values that are not finite"),
        (np.where(np.arange(27000) == 5, np.inf, 0.5).reshape(90, 100, 3), "values that are not finite"),
        (jnp.full((90, 100, 3), 1.01), "values from 1.01 to 1.01"),
        (jnp.full((90, 100, 3), jnp.nan), "values that are not finite"),
    ],
)
def test_what_is_no_frame_is_rejected(frame, told):
    with untyped():
        with pytest.raises(ValueError, match=told):
            make().init(frame, None)
        with pytest.raises(ValueError, match=told):
            make().step(make().init(video(1)[0], MASK), frame)


def test_a_frame_of_another_size_is_rejected():
    with pytest.raises(ValueError, match=r"the frame has the shape \[90, 101, 3\], expected \[90, 100, 3\]"):
        make().step(make().init(video(1)[0], MASK), video(1, 90, 101)[0])


@pytest.mark.parametrize(
    ("mask", "told"),
    [
        (MASK[:, 1:], r"uint8 \[90, 99\], expected ids .* \[90, 100\]"),
        (MASK.T, r"uint8 \[100, 90\], expected ids .* \[90, 100\]"),
        (MASK[..., None], r"uint8 \[90, 100, 1\], expected ids .* \[90, 100\]"),
        (MASK.astype(np.int64), r"int64 \[90, 100\], expected ids \(uint8 or uint16\) or a mask"),
        (MASK.astype(np.float32), r"float32 \[90, 100\]"),
    ],
)
def test_what_is_no_mask_of_its_frame_is_rejected(mask, told):
    frames = video(2)
    with untyped():
        with pytest.raises(ValueError, match=told):
            make().init(frames[0], mask)
        with pytest.raises(ValueError, match=told):
            make().step(make().init(frames[0], None), frames[1], mask)


@pytest.mark.parametrize("name", ["mem_every", "max_memory_frames", "objects_per_batch"])
@pytest.mark.parametrize("value", [0, 2.5])
def test_counts_are_integers_from_one_on(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value}, expected an integer of at least 1"), untyped():
        make(**{name: value})


@pytest.mark.parametrize("key", [0, -1, 1.5, "00002"])
def test_later_masks_of_what_is_no_later_frame(key):
    with pytest.raises(ValueError, match=f"later has the key {key!r}, expected indices of later frames"), untyped():
        next(make().run(video(2), MASK, {key: MASK}))


def test_a_later_mask_beyond_the_end_is_reported_when_all_frames_are_done():
    results = make().run(video(3), MASK, {2: MASK, 7: MASK})
    assert len([next(results), next(results)]) == 2
    with pytest.raises(ValueError, match=r"later has masks for frames \[7\], but the last frame is 2"):
        next(results)
