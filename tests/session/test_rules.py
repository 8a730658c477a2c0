"""Compares sessions with an oracle after random edits and propagations. The segmenter is a stub."""

import itertools

import numpy as np
import pytest

from hmmn_jax import Session
from tests.session.oracle import Oracle
from tests.session.stub import LEVELS, Stub, blobs, clip

COUNT = 7
IDS = (1, 2, 3, 300)
KINDS = ("annotate", "unknown", "propagate", "propagate", "propagate", "remove", "merge", "unannotate", "undo")
TOLERANCE = 2 / LEVELS  # allows for two roundings of at most half a step each, and for the division by the sum


def assert_same(session, oracle, seed):
    for t in range(COUNT):
        assert session.state(t) == oracle.state(t), (seed, t)
        assert (t in session.masks) == (oracle.shown(t) is not None)
        if t in session.masks:
            compare(session.result(t), oracle.shown(t), (seed, t))
            assert np.array_equal(session.masks[t], session.result(t).mask)
    known = [oracle.shown(t)["p"] for t in range(COUNT) if oracle.shown(t)]
    assert session.objects == tuple(sorted(set().union(*known)))


def compare(result, expected, place):
    ids = sorted(expected["p"])
    assert result.ids == (0, *ids), place
    objects = np.stack([expected["p"][k] for k in ids]) if ids else np.zeros((0, 5, 6))
    probs = np.concatenate([np.maximum(1 - objects.sum(0), 0)[None], objects])
    np.testing.assert_allclose(result.probs, probs / probs.sum(0), rtol=0, atol=TOLERANCE, err_msg=str(place))
    if len(probs) > 1:
        best = np.sort(probs, axis=0)
        clear = best[-1] - best[-2] > 1e-5  # two probabilities may be equal in float32 but not in float64
        assert np.array_equal(result.mask[clear], expected["mask"][clear]), place
    else:
        assert not result.mask.any()


def adopt(session, oracle, t):
    """Copies the annotation of frame `t` to the oracle, because the session rounds probabilities to steps of 1/255."""
    result = session.result(t)
    oracle.anchors[t]["mask"] = result.mask.astype(int)
    picture = session._ledger.timeline.anchors[t]
    oracle.anchors[t]["p"] = dict(zip(picture.ids, picture.objects().astype(float), strict=True))


def propagate(session, oracle, rng):
    start = int(rng.integers(0, COUNT))
    stop = int(rng.integers(start + 1, COUNT + 1))
    direction = ("forward", "backward", "both", "both")[rng.integers(0, 4)]
    most = int(rng.integers(1, 6)) if rng.random() < 0.4 else 99
    if not oracle.anchors:
        with pytest.raises(ValueError, match="no frame is annotated"):
            session.propagate(start, stop, direction)
        return
    found, expected = session.propagate(start, stop, direction), oracle.propagate(start, stop, direction)
    for (t, result), (s, final) in itertools.islice(zip(found, expected, strict=True), most):
        assert (t, result.final) == (s, final) and start <= t < stop
        compare(result, oracle.shown(t), t)
    found.close()


@pytest.mark.parametrize("seed", range(24))
def test_any_edits_and_propagations(seed):
    rng = np.random.default_rng(seed)
    frames = clip(COUNT, seed=seed)
    session, oracle = Session(Stub(), frames, memory=0 if seed % 8 == 0 else 1 << 20), Oracle(frames)
    for _ in range(14):
        objects = list(session.objects)
        kind = rng.choice(KINDS)
        if kind in ("annotate", "unknown"):
            t = int(rng.integers(0, COUNT))
            allowed = [k for k in IDS if k not in oracle.gone and rng.random() < 0.6]
            mask = blobs(rng, allowed)
            unknown = rng.random(mask.shape) < 0.4 if kind == "unknown" else None
            session.annotate(t, mask, unknown)
            oracle.annotate(t, mask, unknown)
            compare(session.result(t), oracle.shown(t), (seed, t))
            adopt(session, oracle, t)
        elif kind == "propagate":
            propagate(session, oracle, rng)
        elif kind == "remove" and objects:
            k = int(rng.choice(objects))
            session.remove(k)
            oracle.rename(k, 0)
        elif kind == "merge" and len(objects) > 1:
            a, b = map(int, rng.permutation(objects)[:2])
            session.merge(a, b)
            oracle.rename(b, a)
        elif kind == "unannotate" and session.annotated:
            t = int(rng.choice(session.annotated))
            session.unannotate(t)
            oracle.unannotate(t)
        elif kind == "undo":
            assert session.undo() == oracle.undo()
        assert_same(session, oracle, (seed, kind))
