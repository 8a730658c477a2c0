"""Several videos in one batch give what each gives alone."""

import numpy as np
import pytest

from hmmn_jax import Segmenter
from tests.small import TINY, rectangles, variables, video

SIZE = 32, 48


@pytest.mark.parametrize("fused", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_videos_together_equal_each_alone(x64, fused):
    """Two objects, ids that differ, a video that ends before."""
    segmenter = Segmenter(variables(TINY, "float64"), TINY, mem_every=1, objects_per_batch=2, fused=fused)
    videos = [video(length, *SIZE, seed) for seed, length in enumerate((4, 2, 4))]
    masks = [rectangles(ids, *SIZE) for ids in ((3, 255), (1, 2), (7, 8))]
    masks[2] = np.where(masks[2] == 8, 300, masks[2]).astype(np.uint16)
    alone = [list(segmenter.run(*each)) for each in zip(videos, masks, strict=True)]
    together = list(segmenter.run_together(videos, masks))
    assert len(together) == 3
    for t, found in enumerate(together):
        assert found.mask.shape == (3, *SIZE) and found.probs.shape == found.logits.shape == (3, 3, *SIZE)
        for v, wanted in enumerate(alone):
            if t < len(wanted):
                np.testing.assert_array_equal(found.ids[v], wanted[t].ids)
                np.testing.assert_array_equal(found.mask[v], wanted[t].mask)
                np.testing.assert_allclose(found.probs[v], wanted[t].probs, rtol=0, atol=1e-9)
                np.testing.assert_allclose(found.logits[v], wanted[t].logits, rtol=0, atol=1e-9)


def test_what_cannot_be_one_batch_is_told():
    segmenter = Segmenter(variables(TINY), TINY)
    frames, mask = video(2, *SIZE), rectangles((1,), *SIZE)

    def refusal(videos, masks):
        with pytest.raises(ValueError) as caught:
            next(segmenter.run_together(videos, masks))
        return str(caught.value)

    assert "a mask for each" in refusal([frames, frames], [mask])
    assert "a frame at least" in refusal([frames, []], [mask, mask])
    message = refusal([frames, frames], [mask, rectangles((1, 2), *SIZE)])
    assert "[32, 48, 3] with 1, [32, 48, 3] with 2; expected one size and one number of objects" in message
