"""Measures latency, speed and memory of `hmmn-jax paint` over HTTP, with the server in a separate process.

    python benchmarks/paint.py latency                    # the bundled model at 480x864
    python benchmarks/paint.py memory --frames 2000       # a long video, with a segmenter that runs no network

`latency` prints these figures:

- The time from the request with the mask of a stroke to the response. The server responds after it has saved the annotation.
- The time from the start of a forward job until the client has received the first new mask. The time is measured in three
  cases: in a new process, including compilation; after compilation; and after a correction, when the frame has already been
  encoded.
- The frames per second of a job, compared with `evaluate.py` on the same frames.

Times are printed in milliseconds, and as multiples of the time per frame of `Segmenter.run` in a process without a server. Run
`latency` on an otherwise idle machine.

`memory` propagates masks through a long video while a client requests frames, thumbnails and masks. The resident memory of the
server is printed every hundred frames. The segmenter returns the mask of the previous frame, moved by one pixel, with soft
edges.
"""

import argparse
import contextlib
import gzip
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np

sys.path.insert(0, str(ROOT := Path(__file__).parents[1]))
from benchmarks.beside import frames_per_second
from hmmn_jax.cli.launch import set_compiler_flags
from hmmn_jax.io.bundled import DEMO_CLIP
from hmmn_jax.io.images import read_image, read_mask

HEIGHT, WIDTH = 480, 864
STARTS = 4  # number of jobs for which `latency` measures the time to the first mask
SHIFT = 1  # motion of the mask in `memory`, in pixels per frame


def main() -> None:
    """Runs the measurement that is given on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("latency", "memory"))
    parser.add_argument("--frames", type=int, default=40, help="number of frames of a job (default: %(default)s)")
    parser.add_argument("--strokes", type=int, default=20, help="number of masks to send (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        {"latency": latency, "memory": memory}[options.kind](Path(folder), options)


def latency(folder: Path, options: argparse.Namespace) -> None:
    """Measures the latency of strokes, and the latency and speed of jobs, with the bundled model."""
    video, clip, mask, count = folder / "koi", folder / "clip", make_mask(), options.frames
    from PIL import Image

    koi = sorted((DEMO_CLIP / "JPEGImages/240p/koi").iterdir())
    for path, frames in ((video, 2 * count + 10 * STARTS), (clip, count)):
        path.mkdir()
        for t in range(frames):
            frame = Image.fromarray(read_image(koi[t % count % len(koi)]))
            frame.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(path / f"{t:05d}.jpg", quality=90)
    Image.fromarray(mask).save(folder / "first.png")
    seconds = in_process(run_segmenter, clip, mask)
    print(f"Segmenter.run: {1 / seconds:.2f} frames/s, {1000 * seconds:.0f} ms per frame", flush=True)
    alone = frames_per_second(ROOT, "lite", clip, folder / "first.png")
    print(f"evaluate.py: {alone:.2f} frames/s", flush=True)
    with served(folder / "project", video, "lite") as page:
        page.add_object(), page.add_object()
        page.put(0, mask)
        told("from the start of a forward job to the first new mask, including compilation", [page.first_mask(0)], seconds)
        page.wait("done", "stopped")
        page.start(0, count)  # compiles all programs that a longer job needs
        page.wait("done")
        for what, shift in (("after compilation", 0), ("after a correction", 1)):
            times = []
            for t in range(2 * count, 2 * count + 10 * STARTS, 10):
                page.put(t, np.roll(mask, shift, axis=1))
                times.append(page.first_mask(t))
                page.wait("done", "stopped")
            told(f"from the start of a forward job to the first new mask, {what}", times, seconds)
        for what, shift in (("a job", 0), ("a job after a correction", 1)):
            page.put(count, np.roll(mask, shift, axis=1))
            start = time.perf_counter()
            page.start(count, 2 * count)
            page.wait("done")
            rate = (count - 1) / (time.perf_counter() - start)
            print(f"{what}: {rate:.2f} frames/s, {rate / alone:.2f} times the rate of evaluate.py", flush=True)
        strokes = [page.put(5, np.roll(mask, i, axis=0)) for i in range(options.strokes)]
        told("from the end of a stroke to the saved annotation", strokes, seconds)
        page.start(0, count)
        strokes = [page.put(5, np.roll(mask, i, axis=1)) for i in range(options.strokes)]
        told("from the end of a stroke to the saved annotation while a job runs", strokes, seconds)


def memory(folder: Path, options: argparse.Namespace) -> None:
    """Measures the resident memory of the server over a long video."""
    from hmmn_jax.io.movies import MovieWriter

    film, rng = folder / "film.mp4", np.random.default_rng(0)
    scene = rng.integers(0, 256, (HEIGHT // 16, 4 * WIDTH // 16, 3), np.uint8).repeat(16, 0).repeat(16, 1)
    with MovieWriter(film, 25) as movie:
        for t in range(options.frames):
            left = 2 * t % (3 * WIDTH)
            movie.write(scene[:, left : left + WIDTH])
    with served(folder / "project", film, "moved") as page:
        print(f"memory after opening: {page.megabytes:.0f} MiB")
        page.add_object(), page.add_object()
        page.put(0, make_mask())
        start = time.perf_counter()
        page.start(0, options.frames)
        for done in range(100, options.frames, 100):
            page.wait_for(done)
            page.look((*range(0, options.frames, 40), *range(max(done - 60, 0), done)))
            print(f"{done} frames: {page.megabytes:.0f} MiB, {done / (time.perf_counter() - start):.1f} frames/s", flush=True)
        page.wait("done")
        print(f"memory at the end: {page.megabytes:.0f} MiB. Time of a stroke at frame 1000 of {options.frames}:")
        told("from the end of a stroke to the saved annotation", [page.put(1000, make_mask()) for _ in range(10)])
        megabytes = sum(path.stat().st_size for path in (folder / "project").rglob("*.npz")) / 2**20
        print(f"masks and probabilities on disk: {megabytes:.0f} MiB")


class Page:
    """An HTTP client that sends the same requests as the web page."""

    def __init__(self, url: str, number: int):
        """`number` is the process id of the server."""
        base, _, token = url.partition("/?token=")
        self._http, self._number = httpx.Client(base_url=base, timeout=600), number
        self._http.get("/", params={"token": token})

    @property
    def megabytes(self) -> float:
        """The resident memory of the server in MiB."""
        pages = int(Path(f"/proc/{self._number}/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 2**20

    def get(self, path: str) -> Any:
        """Sends a GET request and returns the JSON response."""
        return self._http.get(path).raise_for_status().json()

    def add_object(self) -> None:
        """Adds an object."""
        revision = self.get("/api/project")["revision"]
        self._http.post("/api/objects", json={}, headers={"If-Match": f'"{revision}"'}).raise_for_status()

    def put(self, t: int, mask: np.ndarray) -> float:
        """Annotates a frame. Returns the seconds from the request to the response, without the time to compress the mask."""
        body, tag = gzip.compress(mask.tobytes(), 6), self._http.get(f"/api/masks/{t}").headers["ETag"]
        start = time.perf_counter()
        self._http.put(f"/api/masks/{t}", content=body, headers={"If-Match": tag}).raise_for_status()
        return time.perf_counter() - start

    def start(self, start: int, stop: int) -> None:
        """Starts a forward job for the frames from `start` to `stop`."""
        content = {"start": start, "stop": stop, "direction": "forward"}
        self._http.post("/api/jobs", json=content).raise_for_status()

    def first_mask(self, t: int) -> float:
        """Starts a short forward job at a frame. Returns the seconds until the client has received the first new mask."""
        after = self.get("/api/timeline")["event"]
        start = time.perf_counter()
        self.start(t, t + 3)
        with self._http.stream("GET", "/api/events", params={"after": after}) as events:
            for line in events.iter_lines():
                if line == "event: frames":
                    break
        self._http.get(f"/api/masks/{t + 1}").raise_for_status()
        return time.perf_counter() - start

    def wait(self, *states: str) -> None:
        """Waits until the job is in one of the given states."""
        while self.get("/api/project")["job"]["state"] not in states:
            time.sleep(0.05)

    def wait_for(self, done: int) -> None:
        """Waits until the job has computed the given number of frames."""
        while self.get("/api/project")["job"]["done"] < done:
            time.sleep(0.2)

    def look(self, frames: tuple[int, ...]) -> None:
        """Loads thumbnails, frames and masks."""
        for t in frames:
            self._http.get(f"/api/frames/{t}.jpg", params={"h": 96}).raise_for_status()
            self._http.get(f"/api/masks/{t}")
        for t in frames[-10:]:
            self._http.get(f"/api/frames/{t}.jpg").raise_for_status()
        self.get("/api/timeline")


@contextlib.contextmanager
def served(project: Path, video: Path, model: str) -> Iterator[Page]:
    """Serves a project in a separate process, and yields a client."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(False)
    process = context.Process(target=serve, args=(project, video, model, sender), daemon=True)
    process.start()
    try:
        assert process.pid is not None
        yield Page(receiver.recv(), process.pid)
    finally:
        process.kill()
        process.join()


def serve(project: Path, video: Path, model: str, sender: Any) -> None:
    """Serves a project with the settings of `hmmn-jax paint`, and sends the address through `sender`."""
    set_compiler_flags(quick=True)
    from hmmn_jax import load_checkpoint
    from hmmn_jax.inference.host_memory import keep_host_memory_small
    from hmmn_jax.paint.fitting import fitted_segmenter
    from hmmn_jax.paint.server import open_page

    keep_host_memory_small()
    make = moved_segmenter if model == "moved" else lambda video: fitted_segmenter(*load_checkpoint(model), video)
    with open_page(project, video, make, model, "127.0.0.1", 0) as server:
        sender.send(server.url)
        server.serve_page()


def moved_segmenter(_: Any) -> Any:
    """Returns a segmenter that runs no network and moves the mask of the previous frame."""
    from hmmn_jax.inference import Result, Segmenter, State

    class Moved(Segmenter):
        def __init__(self) -> None:
            self.independent = False

        def init(self, frame: np.ndarray, mask: np.ndarray) -> State:
            ids = np.unique(np.append(mask, mask.dtype.type(0)))
            return State(0, frame[None], (mask == ids[:, None, None]).astype(np.float32)[None], ids, ())

        def encode(self, frame: np.ndarray) -> None:
            pass

        def step(self, state: State, frame: np.ndarray, *_: Any, **__: Any) -> tuple[State, Result]:
            moved = np.roll(state.probs[0], SHIFT, axis=2)
            probs = (0.9 * moved + 0.1 * np.roll(moved, 1, axis=1)).astype(np.float32)
            state = State(state.index + 1, frame[None], moved[None], state.ids, ())
            return state, Result(state.ids[probs.argmax(0)], probs, None, state.ids)

    return Moved()


def run_segmenter(video: Path, mask: np.ndarray, sender: Any) -> None:
    """Measures the seconds per frame without a server, excluding compilation, and sends them through `sender`."""
    set_compiler_flags(quick=True)
    from hmmn_jax.inference.host_memory import keep_host_memory_small

    keep_host_memory_small()
    from hmmn_jax import Segmenter, load_checkpoint

    segmenter, times = Segmenter(*load_checkpoint("lite")), []
    for result in segmenter.run((read_image(path) for path in sorted(video.iterdir())), mask):
        np.asarray(result.mask)
        times.append(time.perf_counter())
    half = len(times) // 3  # the first third, which includes compilation, is skipped
    sender.send((times[-1] - times[half]) / (len(times) - 1 - half))


def in_process(work: Any, *args: Any) -> Any:
    """Runs a function in a separate process, and returns the value that it sends."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(False)
    process = context.Process(target=work, args=(*args, sender))
    process.start()
    found = receiver.recv()
    process.join()
    return found


def make_mask() -> np.ndarray:
    """Returns the mask of the two koi in the first frame of the bundled clip."""
    mask = read_mask(DEMO_CLIP / "Annotations/240p/koi/00000.png")
    rows, columns = np.arange(HEIGHT) * mask.shape[0] // HEIGHT, np.arange(WIDTH) * mask.shape[1] // WIDTH
    return mask[rows[:, None], columns]


def told(what: str, seconds: list[float], frame: float | None = None) -> None:
    """Prints the median and the maximum of the measured times."""
    found, most = statistics.median(seconds), max(seconds)
    frames = "" if frame is None else f", {found / frame:.2f} times the time per frame of Segmenter.run"
    print(f"{what}: {1000 * found:.0f} ms{frames} (median of {len(seconds)}; maximum {1000 * most:.0f} ms)", flush=True)


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    main()
