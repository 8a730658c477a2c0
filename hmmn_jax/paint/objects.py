"""The display properties of a project's objects: name, colour, visibility and lock."""

import dataclasses
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from hmmn_jax.io.palette import davis_palette

MOST, MOST_LETTERS = 1000, 80  # maximum number of objects in a project; maximum number of characters in a name
_COLOUR = re.compile(r"#[0-9a-f]{6}")


@dataclasses.dataclass(frozen=True)
class PaintObject:
    """One object. `colour` is "#rrggbb" in lower case."""

    id: int
    name: str
    colour: str
    visible: bool = True
    locked: bool = False

    @classmethod
    def make(cls, k: int, given: Mapping[str, Any]) -> "PaintObject":
        """Creates object `k`, with defaults for missing fields. Raises ValueError for unknown fields and invalid values."""
        rgb = davis_palette()[(k - 1) % 255 + 1].tolist()
        return cls(k, f"Object {k}", "#" + bytes(rgb).hex()).changed(given)

    def changed(self, given: Mapping[str, Any]) -> "PaintObject":
        """Returns a copy of the object with new field values. Raises ValueError for unknown fields and invalid values."""
        for name, value in given.items():
            if name not in ("name", "colour", "visible", "locked"):
                raise ValueError(f"{name!r} is not a field of an object, expected name, colour, visible or locked")
            if name in ("visible", "locked"):
                if not isinstance(value, bool):
                    raise ValueError(f"{name} is {value!r}, expected true or false")
            elif not isinstance(value, str):
                raise ValueError(f"{name} is {value!r}, expected a string")
        found = dataclasses.replace(self, **given)
        name = " ".join(found.name.split())
        if not (0 < len(name) <= MOST_LETTERS and name.isprintable()):
            raise ValueError(f"a name must have 1 to {MOST_LETTERS} printable characters")
        colour = found.colour.lower()
        if not _COLOUR.fullmatch(colour):
            raise ValueError(f"colour is {found.colour[:80]!r}, expected #rrggbb")
        return dataclasses.replace(found, name=name, colour=colour)


@dataclasses.dataclass(frozen=True)
class ObjectTable:
    """All objects of a project. A table is immutable: each change returns a new table.

    Attributes:
        known: objects by id, in ascending order.
        used: all ids ever assigned, including the ids of deleted objects. Ids are not reused.
    """

    known: Mapping[int, PaintObject] = dataclasses.field(default_factory=dict)
    used: frozenset[int] = frozenset()

    @property
    def as_json(self) -> list[dict[str, Any]]:
        """The objects in the format that is sent to the page."""
        return [dataclasses.asdict(found) for found in self.known.values()]

    @classmethod
    def from_json(cls, objects: Iterable[Mapping[str, Any]], used: Iterable[int]) -> "ObjectTable":
        """Restores a table from the output of `as_json` and from `used`.

        Raises ValueError, TypeError, KeyError or AttributeError for invalid input.
        """
        made = {}
        for given in objects:
            k = int(given["id"])
            made[k] = PaintObject.make(k, {name: value for name, value in given.items() if name != "id"})
        ids = frozenset([*map(int, used), *made])
        if not all(0 < k < 2**16 for k in ids):
            raise ValueError("object ids must be from 1 to 65535")
        return cls(dict(sorted(made.items())), ids)

    def with_ids(self, ids: Collection[int]) -> "ObjectTable":
        """Adds an object with default fields for each of `ids` that is not in the table.

        Such ids exist if the session was not created by `hmmn-jax paint`.
        """
        table = self
        for k in sorted(set(ids) - self.known.keys()):
            table = table._with(PaintObject.make(k, {}))
        return table

    def added(self, given: Mapping[str, Any]) -> tuple["ObjectTable", int]:
        """Adds an object. Returns the new table and the object's id: the largest id ever assigned, plus one.

        Raises ValueError for invalid fields, or if there are too many objects.
        """
        k = max(self.used, default=0) + 1
        if len(self.known) >= MOST or k >= 2**16:
            raise ValueError(f"a project can have at most {MOST} objects, and an object id can be at most 65535")
        return self._with(PaintObject.make(k, given)), k

    def changed(self, k: int, given: Mapping[str, Any]) -> "ObjectTable":
        """Changes fields of an object. Raises KeyError for an unknown object, and ValueError for invalid values."""
        return self._with(self.known[k].changed(given))

    def without(self, k: int) -> "ObjectTable":
        """Returns a table without the object `k`. Raises KeyError for an unknown object."""
        if k not in self.known:
            raise KeyError(k)
        return ObjectTable({i: found for i, found in self.known.items() if i != k}, self.used)

    def restored(self, objects: Iterable[PaintObject]) -> "ObjectTable":
        """Restores deleted objects."""
        table = self
        for found in objects:
            table = table._with(found)
        return table

    def _with(self, found: PaintObject) -> "ObjectTable":
        return ObjectTable(dict(sorted({**self.known, found.id: found}.items())), self.used | {found.id})
