"""Tests the memory use with many objects. Each program processes one batch of objects.

An additional object needs only its memory bank and a few images.
"""

import jax
import numpy as np
import pytest

from hmmn_jax.inference import Segmenter, compiled
from tests.small import TINY, variables

HEIGHT, WIDTH, BATCH = 64, 96, 2
PLANES = 6  # maximum number of float32 images per object that are in memory in addition to the banks


class Watched:
    """Records the peak number of bytes in live arrays, and the number of objects in each call of a program."""

    def __init__(self, monkeypatch):
        self.most, self.sizes = 0, {"memorize": set(), "match": set(), "decode": set()}
        for name, place in (("memorize", 3), ("match", 1), ("decode", 3), ("combine", None), ("decide", None)):
            monkeypatch.setattr(compiled, name, self.watch(name, getattr(compiled, name), place))

    def watch(self, name, program, place):
        def run(*args, **kwargs):
            if place is not None:
                self.sizes[name].add(jax.tree.leaves(args[place])[0].shape[1])
            found = program(*args, **kwargs)
            self.most = max(self.most, sum(x.nbytes for x in jax.live_arrays()))
            return found

        return run


def masks_of(objects):
    """Returns a mask with a vertical stripe for each object. There are gaps between the stripes and between the ids."""
    ids = np.zeros((HEIGHT, WIDTH), np.uint16)
    for k in range(objects):
        ids[:, 4 * k : 4 * k + 3] = 3 * k + 1
    return ids


def peak(objects, monkeypatch, **settings):
    """Returns the peak number of live bytes over three frames, the bytes of the banks at the end, and the batch sizes."""
    frames = np.random.default_rng(0).integers(0, 255, (4, HEIGHT, WIDTH, 3), np.uint8)
    segmenter = Segmenter(variables(TINY), TINY, winograd=False, objects_per_batch=BATCH, fused=False, **settings)
    with monkeypatch.context() as patch:
        watched = Watched(patch)
        state = segmenter.init(frames[0], masks_of(objects))
        for frame in frames[1:]:
            state, result = segmenter.step(state, frame, donate=True)
            ids = result.ids
            del result
    assert ids.tolist() == [0, *range(1, 3 * objects, 3)]
    banks = sum(x.nbytes for group in state.groups for x in jax.tree.leaves(group.bank))
    return watched.most, banks, watched.sizes


@pytest.mark.slow
def test_programs_take_a_batch_of_objects_and_what_grows_is_banks_and_few_images(monkeypatch):
    few, many = 4, 20
    (most, banks, sizes), (most2, banks2, sizes2) = (peak(n, monkeypatch) for n in (few, many))
    assert sizes == sizes2 == {"memorize": {BATCH}, "match": {BATCH}, "decode": {BATCH}}
    bank, image = (banks2 - banks) / (many - few), 4 * HEIGHT * WIDTH
    assert (most2 - most) / (many - few) <= bank + PLANES * image
    # With a small max_memory_frames, new banks are allocated with fewer slots.
    assert peak(few, monkeypatch, max_memory_frames=1)[1] < banks
