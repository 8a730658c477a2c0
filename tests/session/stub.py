"""A stub segmenter that computes with integers. Its probabilities are multiples of 1/255, so a session stores them exactly."""

import numpy as np

from hmmn_jax.inference import Result, Segmenter, State

LEVELS = 255


def advance(levels, frame):
    """Returns the probabilities of the next frame in steps of 1/255, `int [k+1,h,w]`, background first.

    Each object moves one pixel to the right, and its probability is mixed with the brightness of the frame.
    """
    left, out = np.full(levels.shape[1:], LEVELS), []
    for i, level in enumerate(levels[1:]):
        mixed = (3 * np.roll(level, 1, axis=1) + frame[..., i % 3].astype(int)) // 4
        out.append(np.minimum(mixed, left))
        left = left - out[-1]
    return np.stack([left, *out])


class Stub(Segmenter):
    """A stub that counts its steps and records the frames passed to `init` and `encode`. `encode` returns the frame itself."""

    def __init__(self):
        self.independent, self.steps, self.starts, self.encoded = False, 0, [], []

    def init(self, frame, mask):
        ids = np.unique(np.append(mask, mask.dtype.type(0)))
        self.starts.append(frame)
        probs = (mask == ids[:, None, None]).astype(np.float32)
        return State(0, frame[None], probs[None], ids, ())

    def encode(self, frame):
        self.encoded.append(frame)
        return frame

    def step(self, state, frame, mask=None, *, donate=False, query=None):
        self.steps += 1
        assert query is None or np.array_equal(query, frame)
        levels = advance(np.rint(np.asarray(state.probs[0]) * LEVELS).astype(int), frame)
        probs = (levels / LEVELS).astype(np.float32)
        state = State(state.index + 1, frame[None], probs[None], state.ids, ())
        return state, Result(state.ids[levels.argmax(0)], state.probs[0], None, state.ids)


def clip(count=7, height=5, width=6, seed=0):
    """Returns frames of noise, `uint8 [t,h,w,3]`."""
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), np.uint8)


def blobs(rng, ids, height=5, width=6):
    """Returns a mask with a square of 3x3 pixels at a random position for each id. Later squares may cover earlier ones."""
    mask = np.zeros((height, width), np.uint16 if max(ids, default=0) > 255 else np.uint8)
    for k in ids:
        top, left = rng.integers(0, height), rng.integers(0, width)
        mask[top : top + 3, left : left + 3] = k
    return mask
