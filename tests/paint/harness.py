"""Runs the server of the page in a thread of the test process, and provides a client in place of a browser."""

import contextlib
import gzip
import json
import re
import threading
from unittest import mock

import httpx
import numpy as np
from PIL import Image

from hmmn_jax import Session
from hmmn_jax.paint import opening
from hmmn_jax.paint.server import open_page
from tests.session.stub import Stub, clip

COUNT, HEIGHT, WIDTH = 9, 20, 30


def make_frames(folder, count=COUNT, height=HEIGHT, width=WIDTH):
    """Writes frames of noise as PNG files to a new folder, and returns the folder."""
    folder.mkdir(parents=True)
    for t, frame in enumerate(clip(count, height, width)):
        Image.fromarray(frame).save(folder / f"{t:05d}.png")
    return folder


def box(*ids, top=1):
    """Returns a mask with objects side by side, each eight columns wide."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for i, k in enumerate(ids):
        mask[top : top + 9, 9 * i + 1 : 9 * i + 9] = k
    return mask


class Gated(Stub):
    """A stub segmenter that computes each frame only when the test allows it."""

    def __init__(self):
        super().__init__()
        self.gate, self.at = threading.Semaphore(0), threading.Semaphore(0)

    def step(self, *args, **options):
        self.at.release()
        assert self.gate.acquire(timeout=20)
        return super().step(*args, **options)

    def let(self, frames):
        """Allows the computation of `frames` frames, and waits until the computation of the next frame starts."""
        for _ in range(frames):
            self.gate.release()
            assert self.at.acquire(timeout=20)


class Page:
    """A client that sends the same requests as a browser tab. The client is closed when its server stops."""

    opened = []  # noqa: RUF012

    def __init__(self, url):
        base, _, self.token = url.partition("/?token=")
        self.http = httpx.Client(base_url=base, timeout=20)
        self.opened.append(self)
        answer = self.http.get("/", params={"token": self.token})
        assert answer.status_code == 303 and answer.headers["location"] == "/"

    def close(self):
        self.http.close()
        self.opened.remove(self)

    def get(self, path, **options):
        return self.http.get(path, **options)

    def json(self, path):
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    @property
    def states(self):
        """The state of each frame as one letter: annotated, final, provisional, stale or missing."""
        return "".join(frame["state"][0] for frame in self.json("/api/timeline")["frames"])

    def edit(self, method, path, revision=None, **options):
        """Sends a request that edits the project. The default of `revision` is the project's current revision."""
        revision = self.json("/api/project")["revision"] if revision is None else revision
        return self.http.request(method, path, headers={"If-Match": f'"{revision}"'}, **options)

    def add(self, *names):
        for name in names:
            assert self.edit("POST", "/api/objects", json={"name": name}).status_code == 201

    def put(self, t, mask, match=None, unknown=None):
        """Annotates frame `t`. `match` is the revision of the edited frame, or None for a frame without an annotation."""
        body = mask.astype(mask.dtype.newbyteorder("<")).tobytes()
        body += b"" if unknown is None else unknown.astype(np.uint8).tobytes()
        headers = {"If-None-Match": "*"} if match is None else {"If-Match": match}
        parameters = {} if unknown is None else {"unknown": "1"}
        return self.http.put(f"/api/masks/{t}", content=gzip.compress(body), headers=headers, params=parameters)

    def mask(self, t):
        answer = self.get(f"/api/masks/{t}")
        if answer.status_code == 404:
            return None
        return np.frombuffer(answer.content, answer.headers["X-Dtype"]).reshape(HEIGHT, WIDTH)

    def etag(self, t):
        return self.get(f"/api/masks/{t}").headers["ETag"]

    def start(self, start=0, stop=COUNT, direction="both"):
        return self.http.post("/api/jobs", json={"start": start, "stop": stop, "direction": direction})

    def events(self, after=0, until=lambda name, data: False, headers=None):
        """Returns (number, name, data) of the events after number `after`, up to the first event for which `until` is true."""
        found = []
        with self.http.stream("GET", "/api/events", params={"after": after}, headers=headers) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            text = ""
            for part in answer.iter_text():
                text += part
                while "\n\n" in text:
                    event, _, text = text.partition("\n\n")
                    if match := re.fullmatch(r"(?:id: (\d+)\n)?event: (\w+)\ndata: (.*)", event):
                        number, name, data = match.groups()
                        found.append((number and int(number), name, json.loads(data)))
                        if until(name, found[-1][2]):
                            return found
        return found

    def wait(self, *states, after=0):
        """Returns the events after number `after`, until the job has one of the given states."""
        return self.events(after, lambda name, data: name == "job" and data["state"] in states)


@contextlib.contextmanager
def serving(folder, video, segmenter=None, host="127.0.0.1", first=0):
    """Serves a project in a thread, and yields the server. Revisions and events are numbered from `first`."""
    with contextlib.ExitStack() as opened:
        with mock.patch.object(opening, "first_number", lambda: first):
            server = opened.enter_context(open_page(folder, video, lambda _: segmenter or Stub(), "stub", host, 0))
        thread = threading.Thread(target=server.serve_page)
        thread.start()
        try:
            yield server
        finally:
            if isinstance(segmenter, Gated):
                segmenter.gate.release(1000)
            server.stop()
            base = server.url.partition("/?")[0]
            for page in [page for page in Page.opened if str(page.http.base_url).rstrip("/") == base]:
                page.close()
            thread.join(20)
            assert not thread.is_alive()


def error(answer, status):
    assert answer.status_code == status, answer.text
    found = answer.json()["error"]
    assert found and "\n" not in found
    return found


def open_again(folder, frames, port=0):
    """Opens a project and its server, and closes both."""
    with open_page(folder, frames, lambda _: Stub(), "stub", "127.0.0.1", port):
        pass


def loaded(served, frames):
    """Loads the saved session from its folder into a new `Session`."""
    return Session.load(served.folder / "session", Stub(), frames)
