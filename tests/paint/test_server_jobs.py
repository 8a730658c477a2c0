"""Tests the HTTP API of the page: jobs, events and exports."""

import io
import zipfile

import numpy as np

from hmmn_jax.io.images import read_mask
from tests.paint.harness import box, error, loaded

# Jobs


def test_a_job_forward_and_its_events(page, served):
    page.add("koi")
    page.put(2, box(1))
    event = page.json("/api/timeline")["event"]
    job = page.start(direction="forward").json()["job"]
    assert (job["state"], job["done"], job["total"], job["seconds_left"]) == ("compiling", 0, 6, None)
    served.segmenter.gate.release(6)
    events = page.wait("done", after=event)
    frames = [entry for _, name, data in events if name == "frames" for entry in data]
    assert [(entry["t"], entry["state"], entry["revision"]) for entry in frames] == [(t, "final", "0.1") for t in range(3, 9)]
    jobs = [data for _, name, data in events if name == "job"]
    assert [(job["state"], job["done"]) for job in jobs] == [
        *[("compiling", 0)],
        *[("running", t) for t in range(1, 7)],
        *[("done", 6)],
    ]
    assert all(job["total"] == 6 for job in jobs) and jobs[-1]["seconds_left"] == 0 and jobs[-2]["frames_per_second"] > 0
    assert page.states == "mmaffffff" and page.json("/api/project")["job"] == jobs[-1]
    assert page.start(direction="backward").json()["job"]["state"] == "running"  # nothing needs to be compiled


def test_stop_correct_and_go_on(page, served, frames):
    page.add("koi", "other")
    page.put(0, box(1))
    page.start(direction="forward")
    assert served.segmenter.at.acquire(timeout=20)
    served.segmenter.let(2)
    assert "running" in error(page.start(), 409)
    assert page.http.delete("/api/jobs/current").status_code == 202
    served.segmenter.gate.release()  # lets the current frame finish
    assert page.wait("stopped")[-1][2]["done"] == 3
    assert page.states == "afffmmmmm" and served.segmenter.steps == 3
    assert len(loaded(served, frames).masks) == 4
    error(page.http.delete("/api/jobs/current"), 404)
    page.put(2, box(1, 2), page.etag(2))
    event = page.json("/api/timeline")["event"]
    page.start()
    served.segmenter.gate.release(100)
    page.wait("done", after=event)
    assert page.states == "afaffffff"


def test_painting_while_it_runs(page, served):
    """The server responds while frames are computed, and the remaining frames use the new annotation."""
    page.add("koi", "other")
    page.put(0, box(1))
    page.start(direction="forward")
    assert served.segmenter.at.acquire(timeout=20)
    served.segmenter.let(1)
    assert page.put(5, box(2)).status_code == 204 and page.states == "asmmmammm"
    assert page.edit("PATCH", "/api/objects/2", json={"name": "late"}).status_code == 200
    served.segmenter.gate.release(100)
    page.wait("done")
    assert page.states == "appppafff" and page.json("/api/timeline")["frames"][7]["ids"] == [2]


def test_a_job_that_fails_does_not_end_the_server(page, served, capfd):
    page.add("koi")
    page.put(0, box(1))
    served.segmenter.init = lambda *_: 1 / 0
    page.start()
    assert page.wait("failed")[-1][2]["message"] == "ZeroDivisionError: division by zero"
    assert "Traceback" in capfd.readouterr().err
    del served.segmenter.init
    event = page.json("/api/timeline")["event"]
    page.start()
    served.segmenter.gate.release(100)
    page.wait("done", after=event)


# Events


def test_events_after_a_connection_that_broke(page, served):
    page.add("a", "b", "c")
    numbers = [number for number, name, _ in page.events(0, lambda _, data: data["revision"] == 4)]
    assert numbers == [1, 2, 3]
    caught_up = page.events(0, lambda *_: True, {"Last-Event-ID": "2"})
    assert [(number, data["revision"]) for number, _, data in caught_up] == [(3, 4)]
    assert page.events(77, lambda *_: True) == [(None, "gone", {})]
    error(page.get("/api/events", params={"after": "x"}), 422)


# Exports


def test_an_export_is_made_listed_and_downloaded(page, served):
    page.add("koi")
    page.put(0, box(1))
    event = page.json("/api/timeline")["event"]
    name = page.http.post("/api/exports", json={"kind": "davis", "start": 0, "stop": 2}).json()["name"]
    assert name.startswith("pond-davis-") and name.endswith(".zip")
    found = page.events(event, lambda name, data: name == "exports" and data[0]["state"] in ("done", "failed"))[-1][2]
    assert [(one["name"], one["state"], one["done"]) for one in found] == [(name, "done", 2)]
    assert "1 of 2 frames have no mask" in found[0]["message"] and found == page.json("/api/exports")
    answer = page.get(f"/api/exports/{name}")
    assert (
        answer.headers["content-disposition"] == f'attachment; filename="{name}"' and len(answer.content) == found[0]["bytes"]
    )
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        (path,) = (path for path in archive.namelist() if path.endswith("00000.png"))
        archive.extract(path, served.folder)
    assert np.array_equal(read_mask(served.folder / path), box(1))
    error(page.get("/api/exports/other.zip"), 404)
