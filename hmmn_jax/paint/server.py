"""Serves a project on this machine until it is interrupted."""

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
from hmmn_jax.paint.app import Calls, make_app
from hmmn_jax.paint.events import EventLog
from hmmn_jax.paint.exports import Exports
from hmmn_jax.paint.folder import EXPORTS
from hmmn_jax.paint.guard import Guard, new_token
from hmmn_jax.paint.opening import open_project
from hmmn_jax.paint.pictures import FramePictures
from hmmn_jax.paint.worker import Worker

LAST_FRAME_SECONDS = 2.0  # that an interruption waits for the frame that is being computed


@contextlib.contextmanager
def listen(host: str, port: int) -> Iterator[socket.socket]:
    """Gives a socket that is bound to an address; port 0: any free port. Raises ConfigError where it is taken or not ours."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as found:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind((host, port))
            yield found
    except (OSError, OverflowError, UnicodeError) as error:
        raise ConfigError(f"{host}:{port}: cannot be listened on: {reason(error)}; choose another --host or --port") from error


def paint(
    folder: Path,
    video: Path | None,
    make_segmenter: Callable[[], Segmenter],
    model: str,
    host: str = "127.0.0.1",
    port: int = 0,
    browser: bool = False,
) -> None:
    """Opens a project and serves its page until the process is interrupted; then stops the job after its frame.

    Args:
        folder: of the project.
        video: a video file or a folder of frames; None: that of the project.
        make_segmenter: gives what propagates.
        model: the name of the model, for the page.
        host: the address to listen on.
        port: 0: any that is free.
        browser: whether to open a browser.

    Raises:
        DataError, ConfigError: as `open_project` and `listen`.
    """
    with listen(host, port) as sock, open_project(folder, video, make_segmenter) as project:
        print(f"project: {folder}; everything is saved at once; Ctrl-C ends", flush=True)
        host, port = sock.getsockname()[:2]
        token = new_token()
        worker = Worker(project)
        video = project.session.video.second_reader()  # the worker does not wait for what pages look at
        exports, pictures = Exports(project, video, folder / EXPORTS), FramePictures(video)
        calls = Calls(project, worker, pictures, exports, model)
        app = Guard(make_app(calls), token, host)
        config = uvicorn.Config(
            app, http="h11", ws="none", loop="asyncio", lifespan="off", log_level="warning", access_log=False
        )
        config.server_header, config.timeout_graceful_shutdown = False, 1
        name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
        url = f"http://{name}:{port}/?token={token}"
        print(f"open {url}", flush=True)
        if browser:
            webbrowser.open(url)
        try:
            _Server(config, project.log).run([sock])
        finally:
            project.log.close()
            exports.close()
            worker.close(LAST_FRAME_SECONDS)


class _Server(uvicorn.Server):
    """Ends the streams of events at an interruption, for which it would wait."""

    def __init__(self, config: uvicorn.Config, log: EventLog):
        super().__init__(config)
        self._log = log

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._log.close()
        super().handle_exit(sig, frame)
