"""The HTTP API of the page, as an ASGI application. Errors are returned as JSON: `{"error": "message"}`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from hmmn_jax.errors import HMMNError
from hmmn_jax.exports import KINDS
from hmmn_jax.paint import wire
from hmmn_jax.paint.exports import Exports
from hmmn_jax.paint.pictures import FramePictures
from hmmn_jax.paint.project import Project, Stale
from hmmn_jax.paint.requests import expected_revision, integers, project_revision, read_body, read_json
from hmmn_jax.paint.worker import Busy, Worker

STATIC = Path(__file__).parent / "static"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".json": "application/json",
}


class Calls:
    """The API of one project. Slow operations run in threads so that they do not delay events."""

    def __init__(self, project: Project, worker: Worker, pictures: FramePictures, exports: Exports, model: str):
        """`model` is the model name that the page displays."""
        self._project, self._worker, self._pictures, self._exports = project, worker, pictures, exports
        self._model = model

    # Reading

    async def project(self, request: Request) -> Response:
        """Returns a description of the project: the video, the objects and the revision."""
        found = await run_in_threadpool(self._project.describe)
        return JSONResponse({**found, "model": self._model, "job": self._worker.job, "export_kinds": list(KINDS)})

    async def timeline(self, request: Request) -> Response:
        """Returns the states of all frames."""
        return JSONResponse(await run_in_threadpool(self._project.timeline))

    async def next(self, request: Request) -> Response:
        """Returns the index of the frame to annotate next."""
        return JSONResponse({"next": await run_in_threadpool(self._project.next_to_annotate)})

    async def frame(self, request: Request) -> Response:
        """Returns a frame as a JPEG. The browser caches the JPEG permanently if the URL contains the version of the video."""
        version = self._project.version
        headers = {"ETag": f'"{version}"', "Cache-Control": "private, no-cache"}
        if request.query_params.get("v") == version:
            headers["Cache-Control"] = "private, max-age=31536000, immutable"
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(None, 304, headers)
        height = request.query_params.get("h")
        if height is not None and not (height.isascii() and height.isdigit() and len(height) < 6 and int(height) > 0):
            raise ValueError("h must be a height in pixels, from 1 to 99999")
        t = request.path_params["t"]
        content = await run_in_threadpool(self._pictures.jpeg, t, None if height is None else int(height))
        return Response(content, 200, headers, "image/jpeg")

    async def mask(self, request: Request) -> Response:
        """Returns the mask of a frame, as ids."""
        picture, revision = await run_in_threadpool(self._project.picture, request.path_params["t"])
        headers = {"ETag": f'"{revision}"', "Cache-Control": "private, no-cache"}
        if picture is None:
            return JSONResponse({"error": "the frame has no mask"}, 404, headers)
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(None, 304, headers)
        content, dtype = await run_in_threadpool(lambda: wire.encode(picture.mask))
        headers |= {"Content-Encoding": "gzip", "X-Dtype": dtype}
        return Response(content, 200, headers, "application/octet-stream")

    async def events(self, request: Request) -> Response:
        """Streams the events after the event number in the request, or only new events if the request has no number."""
        known = request.headers.get("last-event-id") or request.query_params.get("after")
        if known is not None and not (known.isascii() and known.isdigit() and len(known) < 18):
            raise ValueError("the parameter 'after' or the header 'Last-Event-ID' must be the number of an event")
        stream = self._project.log.stream(None if known is None else int(known))
        return StreamingResponse(stream, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    # Masks

    async def put_mask(self, request: Request) -> Response:
        """Annotates a frame."""
        t, expected = request.path_params["t"], expected_revision(request)
        size = self._project.session.video.size
        body = await read_body(request, wire.most_bytes(size))
        with_unknown = request.query_params.get("unknown") == "1"

        def annotate() -> str:
            mask, unknown = wire.decode(body, size, with_unknown)
            return self._project.annotate(t, mask, unknown, expected)

        return self._changed(204, etag=await run_in_threadpool(annotate))

    async def delete_mask(self, request: Request) -> Response:
        """Removes the annotation of a frame."""
        t, expected = request.path_params["t"], expected_revision(request)
        return self._changed(204, etag=await run_in_threadpool(self._project.unannotate, t, expected))

    # Objects

    async def add_object(self, request: Request) -> Response:
        """Adds an object."""
        given = await read_json(request, "name", "colour")
        found = await run_in_threadpool(self._project.add_object, given, project_revision(request))
        return self._changed(201, {"id": found.id, "name": found.name, "colour": found.colour})

    async def change_object(self, request: Request) -> Response:
        """Changes the name, colour, visibility or lock of an object."""
        given = await read_json(request, "name", "colour", "visible", "locked")
        await run_in_threadpool(self._project.change_object, request.path_params["k"], given, project_revision(request))
        return self._changed(200, {})

    async def remove_object(self, request: Request) -> Response:
        """Removes an object from all frames."""
        await run_in_threadpool(self._project.remove_object, request.path_params["k"], project_revision(request))
        return self._changed(200, {})

    async def merge(self, request: Request) -> Response:
        """Merges two objects."""
        given = await read_json(request, "into", "from")
        into, other = integers(given, "into", "from")
        await run_in_threadpool(self._project.merge_objects, into, other, project_revision(request))
        return self._changed(200, {})

    async def undo(self, request: Request) -> Response:
        """Undoes the last annotation, removal or merge."""
        undone = await run_in_threadpool(self._project.undo, project_revision(request))
        return self._changed(200, {"undone": undone})

    async def change_project(self, request: Request) -> Response:
        """Saves the in and out points."""
        given = await read_json(request, "range")
        found = given.get("range")
        if not isinstance(found, list) or len(found) != 2:
            raise ValueError("range must be [start, stop]")
        start, stop = integers(dict(enumerate(found)), 0, 1)
        await run_in_threadpool(self._project.set_range, start, stop)
        return self._changed(200, {})

    # Jobs and exports

    async def start_job(self, request: Request) -> Response:
        """Starts propagation."""
        given = await read_json(request, "start", "stop", "direction")
        start, stop = integers(given, "start", "stop")
        job = await run_in_threadpool(self._worker.start, start, stop, str(given.get("direction")))
        return JSONResponse({"job": job}, 202)

    async def stop_job(self, request: Request) -> Response:
        """Stops propagation after the current frame."""
        if not self._worker.stop():
            raise HTTPException(404, "no job is running")
        return JSONResponse({"job": self._worker.job}, 202)

    async def exports(self, request: Request) -> Response:
        """Lists the exports."""
        return JSONResponse(self._exports.listing())

    async def start_export(self, request: Request) -> Response:
        """Starts an export."""
        given = await read_json(request, "kind", "start", "stop")
        start, stop = integers(given, "start", "stop")
        name = await run_in_threadpool(self._exports.start, str(given.get("kind")), start, stop)
        return JSONResponse({"name": name}, 202)

    async def export(self, request: Request) -> Response:
        """Sends a finished export as a download."""
        path = self._exports.find(request.path_params["name"])
        return FileResponse(path, filename=path.name)

    def _changed(self, status: int, content: dict[str, Any] | None = None, etag: str | None = None) -> Response:
        revision = self._project.revision
        headers = {"X-Project-Revision": str(revision)}
        if etag is not None:
            headers["ETag"] = f'"{etag}"'
        if content is None:
            return Response(None, status, headers)
        return JSONResponse({**content, "revision": revision}, status, headers)


def make_app(calls: Calls) -> Starlette:
    """Builds the application, without access control."""
    routes = [
        Route("/api/project", calls.project),
        Route("/api/project", calls.change_project, methods=["PATCH"]),
        Route("/api/timeline", calls.timeline),
        Route("/api/next", calls.next),
        Route("/api/frames/{t:int}.jpg", calls.frame),
        Route("/api/masks/{t:int}", calls.mask),
        Route("/api/masks/{t:int}", calls.put_mask, methods=["PUT"]),
        Route("/api/masks/{t:int}", calls.delete_mask, methods=["DELETE"]),
        Route("/api/objects", calls.add_object, methods=["POST"]),
        Route("/api/objects/merge", calls.merge, methods=["POST"]),
        Route("/api/objects/{k:int}", calls.change_object, methods=["PATCH"]),
        Route("/api/objects/{k:int}", calls.remove_object, methods=["DELETE"]),
        Route("/api/undo", calls.undo, methods=["POST"]),
        Route("/api/jobs", calls.start_job, methods=["POST"]),
        Route("/api/jobs/current", calls.stop_job, methods=["DELETE"]),
        Route("/api/events", calls.events),
        Route("/api/exports", calls.exports),
        Route("/api/exports", calls.start_export, methods=["POST"]),
        Route("/api/exports/{name}", calls.export),
        Route("/", _static),
        Route("/static/{name}", _static),
        Route("/{name}", _static),
    ]
    handlers: dict[Any, Callable] = {
        Stale: lambda _, error: JSONResponse({"error": str(error), "revision": error.revision}, 412, _etag(error.revision)),
        Busy: lambda _, error: _error(409, error),
        HTTPException: lambda _, error: _error(error.status_code, error.detail),
        HMMNError: lambda _, error: _error(500, error),
        IndexError: lambda _, error: _error(404, error),
        KeyError: lambda _, error: _error(404, f"there is no object or export {error.args[0]!r}"),
        ValueError: lambda _, error: _error(422, error),
        Exception: lambda _, error: _error(500, f"{type(error).__name__}: {error}"),
    }
    return Starlette(routes=routes, exception_handlers=handlers)


async def _static(request: Request) -> Response:
    """Returns a static file of the page. Names are looked up in the list of files, and never used as paths."""
    name = request.path_params.get("name", "index.html")
    for path in STATIC.iterdir():
        if path.name == name and path.suffix in _TYPES:
            content = await run_in_threadpool(path.read_bytes)
            return Response(content, 200, {"Cache-Control": "no-cache", "Content-Type": _TYPES[path.suffix]})
    raise HTTPException(404, "the file does not exist")


def _etag(revision: str) -> dict[str, str]:
    return {"ETag": f'"{revision}"'}


def _error(status: int, error: object) -> Response:
    return JSONResponse({"error": str(error)}, status)
