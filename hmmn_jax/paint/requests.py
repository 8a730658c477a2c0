"""Parses the page's requests: bodies of limited size, JSON fields, and the revision to edit."""

import contextlib
import json
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

MOST_JSON = 1 << 16  # maximum size of a JSON request, in bytes


async def read_body(request: Request, most: int) -> bytes:
    """Returns the body of a request. Raises HTTPException if the body has more than `most` bytes."""
    parts, count = [], 0
    with contextlib.suppress(ClientDisconnect):
        async for part in request.stream():
            count += len(part)
            if count > most:
                raise HTTPException(413, f"the request has more than {most} bytes")
            parts.append(part)
        return b"".join(parts)
    raise HTTPException(400, "the request body is incomplete")


async def read_json(request: Request, *fields: str) -> dict[str, Any]:
    """Returns the request body, a JSON object that may contain only the given `fields`."""
    try:
        found = json.loads(await read_body(request, MOST_JSON) or b"{}")
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "the request body is not valid JSON") from error
    if not isinstance(found, dict):
        raise ValueError("the request body must be a JSON object")
    if wrong := found.keys() - set(fields):
        raise ValueError(f"the request has the unknown field {min(wrong)[:80]!r}, expected only {', '.join(fields)}")
    return found


def integers(given: dict[Any, Any], *names: Any) -> list[int]:
    """Returns the values of the fields `names`. Raises ValueError for a field that is missing or not an integer."""
    for name in names:
        if type(given.get(name)) is not int:
            raise ValueError(f"field {name} is {str(given.get(name))[:80]}, expected an integer")
    return [given[name] for name in names]


def expected_revision(request: Request) -> str | None:
    """Returns the revision that the client expects the annotation of a frame to have, from the If-Match header.

    Returns None if the client expects that the frame has no annotation (`If-None-Match: *`).
    """
    if request.headers.get("if-none-match") == "*":
        return None
    return _if_match(request)


def project_revision(request: Request) -> int:
    """Returns the revision that the client expects the project to have, from the If-Match header.

    Returns -1, which is never valid, if the header is not a number.
    """
    found = _if_match(request)
    return int(found) if found.isascii() and found.isdigit() and len(found) < 18 else -1


def _if_match(request: Request) -> str:
    found = request.headers.get("if-match")
    if found is None:
        raise HTTPException(428, "the If-Match header is missing. The request must specify the revision that it edits.")
    return found.removeprefix("W/").strip('"')
