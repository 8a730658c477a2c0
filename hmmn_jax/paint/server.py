"""Serves the page of a project from this machine until it is interrupted."""

import contextlib
import socket
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import uvicorn

from hmmn_jax.errors import ConfigError
from hmmn_jax.inference import Segmenter
from hmmn_jax.io.files import reason
from hmmn_jax.io.video import Video
from hmmn_jax.paint.app import Calls, make_app
from hmmn_jax.paint.events import EventLog
from hmmn_jax.paint.exports import Exports
from hmmn_jax.paint.folder import EXPORTS
from hmmn_jax.paint.guard import Guard, new_token
from hmmn_jax.paint.opening import open_project
from hmmn_jax.paint.pictures import FramePictures
from hmmn_jax.paint.worker import Worker

LAST_FRAME_SECONDS = 2.0  # seconds to wait at exit for the current frame
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # wildcard addresses, and a corresponding one to open


class Server(uvicorn.Server):
    """A listening server.

    Attributes:
        url: the address to open, with the token.
        url_once: a one-time address, valid for a minute.
    """

    def __init__(self, guard: Guard, sock: socket.socket, token: str, log: EventLog):
        """`log` contains the events. Its streams end with the server."""
        super().__init__(
            uvicorn.Config(
                guard,
                http="h11",
                ws="none",
                loop="asyncio",
                lifespan="off",
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=1,
            )
        )
        self._sock, self._log = sock, log
        host, port = sock.getsockname()[:2]
        host = _ANY.get(host, host)
        base = f"http://{f'[{host}]' if ':' in host else host}:{port}/?token="
        self.url, self.url_once = base + token, base + guard.once

    def serve_page(self) -> None:
        """Serves until `stop` or, in the main thread, until Ctrl-C or SIGTERM, and raises the signal again."""
        self.run([self._sock])

    def stop(self) -> None:
        """Stops `serve_page`. Call it from another thread."""
        self._log.close()
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Handles a signal."""
        self._log.close()
        super().handle_exit(sig, frame)


@contextlib.contextmanager
def open_page(
    folder: Path,
    video: Path | None,
    make_segmenter: Callable[[Video], Segmenter],
    model: str,
    host: str,
    port: int,
    takeover: bool = False,
    size: int | None = None,
) -> Iterator[Server]:
    """Opens a project and returns the server of its page. On exit, the job is stopped after its current frame.

    Args:
        folder: the project folder.
        video: a video file or a folder of frames; None: the video of the project.
        make_segmenter: returns the segmenter for a video.
        model: the name of the model, for the page.
        host: the address to listen on.
        port: the port; 0: any free port.
        takeover: take over the project from a process that appears to be alive.
        size: size of the network's input, as for `open_project`.

    Raises:
        DataError: as for `open_project`.
        ConfigError: as for `open_project`; or the server cannot listen on the address.
    """
    with _listen(host, port) as sock, open_project(folder, video, make_segmenter, takeover, size) as project:
        token = new_token()
        worker = Worker(project)
        # A second reader, so that the worker does not wait for frames that pages request.
        reader = project.session.video.second_reader()
        exports = Exports(project, reader, folder / EXPORTS)
        calls = Calls(project, worker, FramePictures(reader), exports, model)
        try:
            yield Server(Guard(make_app(calls), token, sock.getsockname()[0]), sock, token, project.log)
        finally:
            project.log.close()
            exports.close()
            worker.close(LAST_FRAME_SECONDS)


def paint(
    folder: Path,
    video: Path | None,
    make_segmenter: Callable[[Video], Segmenter],
    model: str,
    host: str = "127.0.0.1",
    port: int = 0,
    browser: bool = False,
    takeover: bool = False,
    size: int | None = None,
) -> None:
    """Serves the page of a project until the process is interrupted. Arguments and errors as in `open_page`.

    Prints the project folder and the address to open; `browser`: also opens the address.
    """
    with open_page(folder, video, make_segmenter, model, host, port, takeover, size) as server:
        print(f"project: {folder}; all changes are saved immediately; press Ctrl-C to stop", flush=True)
        print(f"open {server.url}", flush=True)
        if browser:
            webbrowser.open(server.url_once)
        server.serve_page()


@contextlib.contextmanager
def _listen(host: str, port: int) -> Iterator[socket.socket]:
    """Returns a socket that listens on an address.

    Raises ConfigError if the address is in use or does not belong to this machine.
    """
    with contextlib.ExitStack() as opened:
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            sock = opened.enter_context(socket.socket(family, socket.SOCK_STREAM))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port))
            sock.listen()  # listens now, so that a browser that connects before the server has started waits instead of failing
        except (OSError, OverflowError, UnicodeError) as error:
            way_out = "choose another --host or --port"
            raise ConfigError(f"{host}:{port}: cannot listen on this address: {reason(error)}; {way_out}") from error
        yield sock
