"""Serves the page of a project from this machine until the process is interrupted."""

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

LAST_FRAME_SECONDS = 2.0  # maximum time to wait for the current frame at exit, in seconds
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # for each wildcard address, an address that a browser can open


class Server(uvicorn.Server):
    """An HTTP server that listens on a socket.

    Attributes:
        url: the address to open, including the token.
        url_once: a one-time address that is valid for a minute.
    """

    def __init__(self, guard: Guard, sock: socket.socket, token: str, log: EventLog):
        """`log` is the event log. The streams of the log end when the server stops."""
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
        """Serves the page until `stop` is called. In the main thread, Ctrl-C and SIGTERM stop the server and are re-raised."""
        self.run([self._sock])

    def stop(self) -> None:
        """Stops `serve_page`. Call this method from another thread."""
        self._log.close()
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Ends all event streams, then calls uvicorn's handler for the signal."""
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
    """Opens a project and yields the server of its page. On exit, the running job is stopped after its current frame.

    Args:
        folder: the project folder.
        video: a video file or a folder of frames; None: the video of the existing project.
        make_segmenter: returns the segmenter for a video.
        model: the model name that the page displays.
        host: the address to listen on.
        port: the port; 0: any free port.
        takeover: whether to take over the project from another process, even if that process appears to be running.
        size: shorter side of the network's input; see `open_project`.

    Raises:
        DataError: see `open_project`.
        ConfigError: another process has the project open, or the server cannot listen on the address.
    """
    with _listen(host, port) as sock, open_project(folder, video, make_segmenter, takeover, size) as project:
        token = new_token()
        worker = Worker(project)
        # Use a second reader, so that the worker does not have to wait while frames for the page are read.
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
    """Serves the page of a project until the process is interrupted. See `open_page` for arguments and errors.

    Prints the project folder and the address to open. If `browser` is true, the address is also opened in a browser.
    """
    with open_page(folder, video, make_segmenter, model, host, port, takeover, size) as server:
        print(
            f"The project folder is {folder}. All changes are saved immediately. Press Ctrl-C to stop the server.", flush=True
        )
        print(f"Open {server.url}", flush=True)
        if browser:
            webbrowser.open(server.url_once)
        server.serve_page()


@contextlib.contextmanager
def _listen(host: str, port: int) -> Iterator[socket.socket]:
    """Yields a socket that listens on an address.

    Raises ConfigError if the address is in use or does not belong to this machine.
    """
    with contextlib.ExitStack() as opened:
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            sock = opened.enter_context(socket.socket(family, socket.SOCK_STREAM))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port))
            sock.listen()  # early connections wait until the server has started
        except (OSError, OverflowError, UnicodeError) as error:
            way_out = "Choose another --host or --port."
            raise ConfigError(f"the server cannot listen on {host}:{port}: {reason(error)}. {way_out}") from error
        yield sock
