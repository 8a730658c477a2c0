"""Creates a short video, its masks, and sessions with a stub segmenter."""

import numpy as np

from hmmn_jax import Session
from tests.session.stub import Stub, clip

FRAMES = clip(9)
EMPTY = np.zeros((5, 6), np.uint8)


def box(*ids, top=1):
    """Returns a mask with objects side by side, each two columns wide."""
    mask = EMPTY.astype(np.uint16 if max(ids) > 255 else np.uint8)
    for i, k in enumerate(ids):
        mask[top : top + 3, 2 * i : 2 * i + 2] = k
    return mask


def make(anchors, frames=FRAMES, **options):
    session = Session(Stub(), frames, **options)
    for t, mask in anchors.items():
        session.annotate(t, mask)
    return session


def states(session):
    """Returns the state of each frame as one letter: annotated, final, provisional, stale or missing."""
    return "".join(session.state(t)[0] for t in range(len(session)))


def run(session, *args, **options):
    return [(t, result.final) for t, result in session.propagate(*args, **options)]
