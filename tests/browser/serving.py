"""Projects on small films, served by threads of the test's process."""

import contextlib
import threading

import numpy as np
import uvicorn
from PIL import Image

from hmmn_jax.paint.app import Calls, make_app
from hmmn_jax.paint.exports import Exports
from hmmn_jax.paint.guard import Guard, new_token
from hmmn_jax.paint.opening import open_project
from hmmn_jax.paint.pictures import FramePictures
from hmmn_jax.paint.server import listen
from hmmn_jax.paint.worker import Worker
from tests.session.stub import Stub


def film(folder, count=8, height=48, width=64, seed=0):
    """A folder of frames, and the frames `uint8 [t,h,w,3]`: a smooth background that drifts, with some noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    frames = []
    folder.mkdir(parents=True)
    for t in range(count):
        waves = [128 + 90 * np.sin((columns + 2 * t) / 9 + c) * np.cos(rows / (7 + c)) for c in range(3)]
        frames.append(np.clip(np.stack(waves, -1) + rng.normal(0, 6, (height, width, 3)), 0, 255).astype(np.uint8))
        Image.fromarray(frames[-1]).save(folder / f"{t:05d}.png")
    return np.stack(frames)


class PatientStub(Stub):
    """Computes as many frames as the test allows; any number at first."""

    def __init__(self):
        super().__init__()
        self._allowed = threading.Semaphore(10**6)

    def only(self, count):
        """Lets no more than `count` frames be computed from now on."""
        self._allowed = threading.Semaphore(count)

    def step(self, *args, **options):
        # Looks at the present semaphore again and again: `only` puts another in its place.
        while not self._allowed.acquire(timeout=0.02):
            pass
        return super().step(*args, **options)


@contextlib.contextmanager
def served(folder, video, segmenter):
    """Serves a project; gives the address to open."""
    with listen("127.0.0.1", 0) as sock, open_project(folder, video, lambda: segmenter) as project:
        token, worker = new_token(), Worker(project)
        reader = project.session.video.second_reader()
        calls = Calls(project, worker, FramePictures(reader), Exports(project, reader, folder / "exports"), "stub")
        config = uvicorn.Config(
            Guard(make_app(calls), token, "127.0.0.1"), http="h11", ws="none", lifespan="off", log_level="warning"
        )
        config.timeout_graceful_shutdown = 1
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([sock],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{sock.getsockname()[1]}/?token={token}"
        finally:
            segmenter.only(10**6)
            project.log.close()
            server.should_exit = True
            thread.join(10)
            assert worker.close(10.0)
