"""Tests that masks are computed while the user paints.

Also tests that strokes are not lost if the page is reloaded or the server is killed.
"""

import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from hmmn_jax import Session
from tests.browser.serving import film
from tests.session.stub import Stub

ROOT = Path(__file__).parents[2]


def masks_of(folder, annotations, **options):
    """Returns the masks that a `Session` computes. `annotations` maps frame numbers to masks."""
    session = Session(Stub(), folder, weigh_by_reliability=True)
    for t, mask in annotations.items():
        session.annotate(t, mask)
    for _ in session.propagate(**options):
        pass
    return session.masks


def assert_equal(tab, masks, frames):
    for t in frames:
        np.testing.assert_array_equal(tab.mask(t), masks[t], err_msg=f"frame {t}")


def test_forward_backward_and_between_two_annotated_frames(open_film, tmp_path):
    tab = open_film()
    tab.press("ArrowRight", "ArrowRight")
    tab.shown(2)
    tab.stroke((10, 10), (30, 30))
    tab.run("f")
    first = tab.mask(2)
    assert tab.states() == "mmafffff"
    assert_equal(tab, masks_of(tmp_path / "film", {2: first}, direction="forward"), range(2, 8))

    tab.press("Home")
    tab.shown(0)
    tab.page.evaluate("app.go(2)")
    tab.run("b")
    assert tab.states() == "ffafffff"
    assert_equal(tab, masks_of(tmp_path / "film", {2: first}), range(8))

    tab.page.evaluate("app.go(6)")
    tab.shown(6)
    tab.stroke((20, 20), (50, 20), button="right")
    tab.saved()
    assert tab.states() == "ffasssas"
    tab.run("r")
    assert tab.states() == "ffafffaf"
    assert_equal(tab, masks_of(tmp_path / "film", {2: first, 6: tab.mask(6)}), range(8))


def test_stop_correct_and_continue(open_film, segmenter, tmp_path):
    """Masks appear while the job runs and the user paints. A stroke during the job affects the remaining frames."""
    tab = open_film(shape={"count": 12})
    tab.stroke((10, 10), (30, 30))
    segmenter.only(2)
    tab.press("f")
    tab.shown(2)  # the page shows each frame when its mask is computed
    assert re.match("2 of 11 frames", tab.page.text_content("#progress-text"))
    tab.press("Space")
    segmenter.only(1)  # finishes the frame that was being computed
    tab.wait("app.model.job.state === 'stopped'")
    assert tab.states() == "afffmmmmmmmm"

    tab.page.evaluate("app.go(3)")
    tab.shown(3)
    tab.stroke((20, 40), (50, 40))
    tab.saved()
    assert tab.states() == "assammmmmmmm"
    tab.press("Space")  # starts the job again in the same direction
    segmenter.only(1)
    tab.shown(4)
    before = tab.mask(4)
    tab.stroke((40, 5), (60, 5))  # corrects a computed mask while the job runs
    tab.saved()
    assert tab.states()[4] == "a" and not np.array_equal(tab.mask(4), before)
    segmenter.only(1000)
    tab.wait("!app.model.running")
    tab.run("r")
    assert tab.states() == "affaafffffff"
    anchors = {t: tab.mask(t) for t in (0, 3, 4)}
    assert_equal(tab, masks_of(tmp_path / "film", anchors), range(12))


def test_a_reload_during_a_job_shows_the_job(open_film, segmenter):
    tab = open_film(shape={"count": 10})
    tab.stroke((10, 10), (30, 30))
    tab.saved()
    before = tab.mask(0)
    segmenter.only(3)
    tab.press("f")
    tab.wait("app.model.job.done === 3")
    tab.page.reload()
    tab.ready()
    np.testing.assert_array_equal(tab.own_mask(0), before)
    assert tab.model("running") and tab.page.is_visible("#stop")
    segmenter.only(1000)
    tab.wait("app.model.job.state === 'done'")
    tab.wait("app.model.frames.every(({ state }) => state !== 'missing')")
    assert tab.states() == "a" + 9 * "f"


def start(folder, port):
    """Starts a server in a separate process. Returns the process and the URL that it prints."""
    command = [sys.executable, "-m", "tests.paint.stub_app", folder / "film", folder / "project", f"--port={port}"]
    process = subprocess.Popen(
        [*map(str, command), "--seconds-per-frame=0.5"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    for line in process.stdout:
        if line.startswith("Open "):
            return process, line.split()[1]
    raise AssertionError("the server did not start")


def end(process):
    """Kills a server with SIGKILL."""
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def test_kill_during_a_job(visit, tmp_path):
    """Saved masks are not lost if the server is killed. The page keeps strokes that are drawn while no server runs."""
    film(tmp_path / "film", count=10)
    process, url = start(tmp_path, 0)
    try:
        tab = visit(url)
        tab.stroke((10, 10), (30, 30))
        tab.press("f")
        tab.wait("app.model.job.done >= 2")
        tab.page.evaluate("app.go(0)")
        tab.shown(0)
        painted = tab.mask(0)
        end(process)
        tab.page.wait_for_selector("#banner:not([hidden])")
        tab.click((50, 40))
        own = tab.own_mask(0)
        assert tab.model("unsaved") == 1 and not np.array_equal(own, painted)

        process, url = start(tmp_path, int(urlsplit(url).port))
        other = visit(url, context=tab.page.context)
        np.testing.assert_array_equal(other.own_mask(0), painted)
        assert re.fullmatch("aff*m+", other.states())
        # The first tab reconnects. Its stroke is based on a mask from the killed server, so the user chooses which mask to
        # keep.
        tab.page.wait_for_selector("#question[open]")
        tab.page.click("#question button[value=mine]")
        tab.saved()
        np.testing.assert_array_equal(other.mask(0), own)
        tab.wait("app.model.connected && document.getElementById('banner').hidden")
        tab.run("r")
        assert tab.states() == "a" + 9 * "f"
        tab.page.context.close()
        tab.complaints.clear()  # browsers log lost connections as errors
    finally:
        end(process)
