"""Converts timelines, or the differences between two timelines, to JSON that refers to pictures by name."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from hmmn_jax.session.damage import as_id
from hmmn_jax.session.picture import Picture
from hmmn_jax.session.timeline import BACKWARD, FORWARD, Basis, Prediction, Stamp, Timeline

KEYS = ("gone", "anchors", "predictions")
State = dict[str, dict[str, Any]]  # for each key of `KEYS`, the entries by id or frame; None in a difference means "removed"


def as_state(timeline: Timeline) -> State:
    """Converts a timeline to JSON."""
    return {
        "gone": {str(k): into for k, into in timeline.gone.items()},
        "anchors": {str(t): _saved(picture) for t, picture in sorted(timeline.anchors.items())},
        "predictions": {str(t): _predicted(prediction) for t, prediction in sorted(timeline.predictions.items())},
    }


def difference(old: Timeline, new: Timeline) -> State:
    """The difference between the states of two timelines. `update` applies this difference to the state of `old`."""
    return {
        "gone": _changed(old.gone, new.gone, lambda into: into),
        "anchors": _changed(old.anchors, new.anchors, _saved),
        "predictions": _changed(old.predictions, new.predictions, _predicted),
    }


def update(state: State, change: Mapping[str, Any]) -> None:
    """Applies a difference to a state. Raises KeyError or AttributeError for a damaged difference."""
    for key in KEYS:
        for name, found in change[key].items():
            if found is None:
                state[key].pop(name, None)
            else:
                state[key][name] = found


def from_state(state: State, read: Callable[[str, list[int]], Picture]) -> Timeline:
    """Converts a state to a timeline.

    Args:
        state: a state in the format of `as_state`. A state that was read from a file may be damaged.
        read: returns a picture, given its name and the ids of its channels.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: the state is damaged.
    """

    def picture(saved: Mapping[str, Any]) -> Picture:
        return read(saved["file"], saved["names"])

    anchors = {int(t): picture(saved) for t, saved in state["anchors"].items()}
    predictions = {int(t): _prediction(saved, picture(saved["picture"])) for t, saved in state["predictions"].items()}
    if anchors.keys() & predictions.keys() or min([*anchors, *predictions], default=0) < 0:
        raise ValueError("frame numbers must be at least 0, and a frame cannot be both annotated and predicted")
    return Timeline(anchors, predictions, {as_id(old): as_id(new, 0) for old, new in state["gone"].items()})


def pictures(timeline: Timeline, among: State | None = None) -> Iterator[Picture]:
    """The pictures of all frames in a timeline, or only of the frames in the difference `among`."""
    anchors, predictions = timeline.anchors, timeline.predictions
    yield from (anchors[t] for t in _frames(anchors, among and among["anchors"]))
    yield from (predictions[t].picture for t in _frames(predictions, among and among["predictions"]))


def _frames(known: Mapping[int, Any], among: Mapping[str, Any] | None) -> Iterable[int]:
    return known if among is None else (t for t in map(int, among) if t in known)


def _changed(old: Mapping[int, Any], new: Mapping[int, Any], save: Callable[[Any], Any]) -> dict[str, Any]:
    """The entries that differ between `old` and `new`, converted by `save`, by key. A removed entry is None.

    Pictures and predictions are immutable, so comparing object identity is sufficient.
    """
    keys = [key for key in {**old, **new} if old.get(key) is not new.get(key)]
    return {str(key): save(new[key]) if key in new else None for key in sorted(keys)}


def _saved(picture: Picture) -> dict[str, Any]:
    return {"file": picture.content, "names": picture.names}


def _predicted(prediction: Prediction) -> dict[str, Any]:
    return {
        "basis": prediction.basis,
        "passes": sorted(prediction.passes),
        "confidence": prediction.confidence,
        "picture": _saved(prediction.picture),
    }


def _prediction(saved: Mapping[str, Any], picture: Picture) -> Prediction:
    basis = saved["basis"]
    if basis is not None:
        before, after = (None if stamp is None else Stamp(int(stamp[0]), str(stamp[1])) for stamp in basis)
        basis = Basis(before, after)
    passes = frozenset(saved["passes"])
    if not passes or passes - ({FORWARD, BACKWARD} if basis is None else basis.passes):
        raise ValueError(f"passes is {saved['passes']}, expected one or more of the passes that basis allows")
    return Prediction(basis, passes, picture, {as_id(k): float(c) for k, c in saved["confidence"].items()})
