"""Computing masks while the user paints, and what is left after reloads and killed servers."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

from hmmn_jax import Session
from tests.browser.serving import film
from tests.session.stub import Stub

ROOT = Path(__file__).parents[2]


def masks_of(folder, annotations, **options):
    """What a session in Python computes from annotations by frame."""
    session = Session(Stub(), folder)
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


def test_stop_correct_and_continue(open_film, tmp_path):
    """Masks appear while the job runs, and painting goes on; a stroke on a frame that the job replaces meanwhile counts."""
    tab = open_film(seconds=0.15, shape={"count": 12})
    tab.stroke((10, 10), (30, 30))
    tab.press("f")
    tab.wait("app.model.running && app.model.current >= 2")  # each new mask is shown
    tab.page.wait_for_selector("#progress:not([hidden])")
    assert re.search(r"\d+ of 11 frames", tab.page.text_content("#progress-text"))
    tab.press("Space")
    tab.wait("app.model.job.state === 'stopped'")
    states = tab.states()
    assert re.fullmatch("af+m+", states)
    t = states.rindex("f")

    tab.page.evaluate("t => app.go(t)", t)
    tab.shown(t)
    exact = tab.stroke((20, 40), (50, 40), lift=False)
    tab.page.mouse.up()
    tab.saved()
    assert len(exact) == 2 and tab.states()[t] == "a"
    tab.press("Space")  # again, in the same direction
    tab.wait("app.model.running")
    place, _ = tab.place((5, 5))
    tab.page.mouse.move(*place)
    tab.page.mouse.down()
    tab.page.mouse.move(place[0] + 30, place[1])  # in mid-job, on the frame that is shown
    tab.page.mouse.up()
    tab.saved()
    tab.wait("!app.model.running")
    tab.run("r")
    assert set(tab.states()) == {"a", "f"}
    anchors = {t: tab.mask(t) for t, state in enumerate(tab.states()) if state == "a"}
    assert_equal(tab, masks_of(tmp_path / "film", anchors), range(12))


def test_a_reload_in_mid_job_shows_the_job(open_film):
    tab = open_film(seconds=0.2, shape={"count": 10})
    tab.stroke((10, 10), (30, 30))
    tab.saved()
    before = tab.mask(0)
    tab.press("f")
    tab.wait("app.model.job.done >= 1")
    tab.page.reload()
    tab.ready()
    np.testing.assert_array_equal(tab.own_mask(0), before)
    assert tab.model("running") and tab.page.is_visible("#stop")
    tab.wait("app.model.job.state === 'done'")
    tab.wait("app.model.frames.every(({ state }) => state !== 'missing')")
    assert tab.states() == "a" + 9 * "f"


def start(folder, port):
    """A server in a process of its own, and the address that it prints."""
    command = [sys.executable, "-m", "tests.paint.stub_app", folder / "film", folder / "project", f"--port={port}"]
    process = subprocess.Popen(
        [*map(str, command), "--seconds-per-frame=0.2"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    for line in process.stdout:
        if line.startswith("open "):
            return process, line.split()[1]
    raise AssertionError("the server did not start")


def test_kill_in_mid_job(visit, tmp_path):
    """A killed server loses nothing that the page called saved; strokes made while it is away are kept, and the page says so."""
    film(tmp_path / "film", count=10)
    process, url = start(tmp_path, 0)
    try:
        tab = visit(url)
        tab.stroke((10, 10), (30, 30))
        tab.press("f")
        tab.wait("app.model.job.done >= 3")
        painted = tab.mask(0)
        process.send_signal(signal.SIGKILL)
        process.wait()
        tab.page.wait_for_selector("#banner:not([hidden])")
        place, _ = tab.place((50, 40))
        tab.page.mouse.click(*place)
        tab.wait("document.body.dataset.unsaved === '1'")
        tab.complaints.clear()  # the connection was lost, which browsers report
        tab.page.on("dialog", lambda dialog: dialog.accept())  # leaves the page with a stroke that is not saved
        process, url = start(tmp_path, 0)
        tab.page.goto(url)
        tab.complaints.clear()
        tab.ready()
        np.testing.assert_array_equal(tab.own_mask(0), painted)
        assert re.fullmatch("af*m+", tab.states())
        tab.run("r")
        assert tab.states() == "a" + 9 * "f"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
