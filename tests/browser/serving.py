"""Creates small videos, and serves them as projects in threads of the test process."""

import contextlib
import threading

import numpy as np
from PIL import Image

from tests.paint.harness import serving
from tests.session.stub import Stub


def film(folder, count=8, height=48, width=64, seed=0):
    """Writes a folder of frames, and returns them as `uint8 [t,h,w,3]`. The frames show a moving pattern with noise."""
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
    """A stub segmenter that computes only as many frames as the test allows. Initially, all frames are allowed."""

    def __init__(self):
        super().__init__()
        self._allowed = threading.Semaphore(10**6)

    def only(self, count):
        """Allows only `count` more frames."""
        self._allowed = threading.Semaphore(count)

    def step(self, *args, **options):
        # Each iteration reads the attribute again, because `only` replaces the semaphore.
        while not self._allowed.acquire(timeout=0.02):
            pass
        return super().step(*args, **options)


@contextlib.contextmanager
def served(folder, video, segmenter):
    """Serves a project, and yields the URL to open."""
    with serving(folder, video, segmenter) as server:
        try:
            yield server.url
        finally:
            segmenter.only(10**6)
