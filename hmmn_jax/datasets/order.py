"""Sorts frames by their file names."""

import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

from hmmn_jax.errors import ConfigError, DataError
from hmmn_jax.io.files import same_name
from hmmn_jax.io.notes import Notes

ORDERS = ("natural", "decimal", "signed", "name")
_INTEGER = re.compile(r"(\d+)")
_DECIMAL = re.compile(r"(\d+(?:\.\d+)?)")
# `_FLOAT` also matches small numbers as Python formats them, such as 5e-05.
_FLOAT = re.compile(r"[+\-\u2212]?\d+(?:\.\d+)?(e[+\-\u2212]?\d{1,3})?", re.IGNORECASE)
_VERSION = re.compile(r"\d\.\d+\.\d")
_SIGN = re.compile(r"[+\-\u2212](?=\d)")  # U+2212 is the typographic minus sign
_SHOWN = 3  # number of names that an error message shows for each order

Key = Callable[[str], tuple]


def natural_key(text: str) -> tuple:
    """Returns a sort key that compares numbers by value and ignores the case of text.

    A name without a trailing number is sorted before the same name with a trailing number. An example of the
    order is frame, frame (1), frame (2), frame (10).
    """
    return _parts(text, _INTEGER), same_name(text), text


def sort_frames(folder: Path, paths: list[Path], order: str, notes: Notes) -> tuple[Path, ...]:
    """Sorts frames by their names without suffix.

    By default, names are sorted naturally: numbers in the names are compared by value. Numbers can also be interpreted as
    decimal numbers, or the number at the start of a name as a signed number. `_applies` decides from the names whether each of
    these two interpretations is possible. If every name is a number and at least one name has an exponent, such as 5e-05, both
    of these interpretations read each name as one number.

    Args:
        folder: the folder to show in errors and notes.
        paths: the image files to sort.
        order: one of `ORDERS`, or "" if all possible interpretations must lead to the same order.
        notes: receives a note if the order differs from plain alphabetical sorting.

    Raises:
        ConfigError: `order` is unknown.
        DataError: `order` is "", and the possible interpretations lead to different orders.
    """
    if order not in ("", *ORDERS):
        raise ConfigError(f"order is {order!r}, expected {', '.join(ORDERS)}, or ''")
    stems = [path.stem for path in paths]
    readings = (
        {order: _keys(stems)[order]} if order else {name: key for name, key in _keys(stems).items() if _applies(name, stems)}
    )
    sorted_by = {name: _sorted(paths, key) for name, key in readings.items()}
    name, frames = next(iter(sorted_by.items()))
    if any(other != frames for other in sorted_by.values()):
        raise DataError(_ambiguous(folder, sorted_by))
    for frame, plain in zip(frames, sorted(paths, key=lambda path: path.name), strict=True):
        if frame != plain:
            notes.add(
                "the order of frames differs from plain alphabetical sorting",
                f"folders in {name} order",
                f"{folder}: {frame.name} before {plain.name}",
            )
            break
    return tuple(frames)


def _sorted(paths: list[Path], key: Key) -> list[Path]:
    return sorted(paths, key=lambda path: (key(path.stem), path.name))


def _keys(stems: list[str]) -> dict[str, Key]:
    if _have_exponents(stems):
        return {"natural": natural_key, "decimal": _value_key, "signed": _value_key, "name": lambda stem: (stem,)}
    number = _DECIMAL if _applies("decimal", stems) else _INTEGER
    return {
        "natural": natural_key,
        "decimal": lambda stem: (_parts(stem, _DECIMAL), natural_key(stem)),
        "signed": lambda stem: (_signed_parts(stem, number), natural_key(stem)),
        "name": lambda stem: (stem,),
    }


def _applies(order: str, stems: list[str]) -> bool:
    if order == "decimal":
        if _have_exponents(stems):
            return True
        return any(re.search(r"\d\.\d", stem) for stem in stems) and not any(map(_VERSION.search, stems))
    if order == "signed":
        at_start = (re.match(r"[+\-\u2212]?\d", stem) or not re.search(r"\d", stem) for stem in stems)
        return any(map(_SIGN.match, stems)) and all(at_start)
    return order == "natural"


def _value_key(stem: str) -> tuple:
    return Decimal(stem.replace("\u2212", "-")), natural_key(stem)


def _have_exponents(stems: list[str]) -> bool:
    """Returns whether all names are numbers, and at least one number has an exponent."""
    found = [match for match in map(_FLOAT.fullmatch, stems) if match]
    return len(found) == len(stems) and any(match[1] for match in found)


def _parts(text: str, number: re.Pattern) -> list[str | Decimal]:
    """Splits a name into alternating text and numbers. The first part is always text, possibly empty."""
    folded = same_name(same_name(text).casefold())
    return [Decimal(part) if i % 2 else part for i, part in enumerate(number.split(folded))]


def _signed_parts(stem: str, number: re.Pattern) -> tuple:
    sign = _SIGN.match(stem)
    text, *rest = _parts(stem[1:] if sign else stem, number)
    if text or not rest:
        return (1, text, *rest)
    first = Decimal(rest[0])
    return (0, first.copy_negate() if sign and sign.group() != "+" else first, *rest[1:])


def _ambiguous(folder: Path, sorted_by: dict[str, list[Path]]) -> str:
    names = [[path.name for path in frames] for frames in sorted_by.values()]
    first = next(i for i, at_once in enumerate(zip(*names, strict=True)) if len(set(at_once)) > 1)
    start = 0 if first < _SHOWN else first
    orders = "; ".join(
        f"{order}: {'... ' if start else ''}{', '.join(path.name for path in frames[start : start + _SHOWN])}"
        for order, frames in sorted_by.items()
    )
    return f"{folder}: the order of the frame names is ambiguous ({orders}). Set order={'|'.join(ORDERS)}"
