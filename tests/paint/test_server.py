"""Tests the HTTP API of the page with a local server: reading, annotations and objects."""

import gzip
import io

import numpy as np
import pytest
from PIL import Image

from tests.paint.harness import COUNT, HEIGHT, WIDTH, Page, box, error, loaded

# Reading


def test_a_new_project(page):
    found = page.json("/api/project")
    assert found.pop("version") and found.pop("event") == 0
    assert found == {
        "name": "pond",
        "frames": COUNT,
        "height": HEIGHT,
        "width": WIDTH,
        "rate": None,
        "revision": 1,
        "range": [0, COUNT],
        "undo": 0,
        "objects": [],
        "model": "stub",
        "job": {"state": "idle"},
        "export_kinds": ["davis", "binary", "rgba", "coco", "ytvis", "mp4", "gif"],
    }
    timeline = page.json("/api/timeline")
    missing = {"state": "missing", "revision": "0.0", "ids": [], "confidence": {}}
    assert timeline["frames"] == [{"t": t, **missing} for t in range(COUNT)]
    assert timeline["next"] == page.json("/api/next")["next"] == 0
    assert "no mask" in error(page.get("/api/masks/3"), 404)
    assert "9 frames" in error(page.get("/api/masks/9"), 404)


def test_frames_of_several_sizes(shared, frames):
    page, version = shared, shared.json("/api/project")["version"]
    whole = page.get("/api/frames/3.jpg")
    image = Image.open(io.BytesIO(whole.content))
    assert image.size == (WIDTH, HEIGHT) and whole.headers["cache-control"] == "private, no-cache"
    expected = np.asarray(Image.open(frames / "00003.png")).astype(int)
    assert np.abs(np.asarray(image).astype(int) - expected).mean() < 8
    kept = page.get("/api/frames/3.jpg", params={"v": version})
    assert "immutable" in kept.headers["cache-control"] and kept.content == whole.content
    assert page.get("/api/frames/3.jpg", headers={"If-None-Match": whole.headers["etag"]}).status_code == 304
    for path in ("/api/frames/9.jpg", "/api/frames/-1.jpg", "/api/frames/x.jpg"):
        error(page.get(path), 404)
    for height in ("0", "x", "-4", "1e3", "99999999"):
        error(page.get("/api/frames/3.jpg", params={"h": height}), 422)


# Annotations


def test_a_mask_is_saved_and_told(page, served, frames):
    page.add("koi", "other")
    event = page.json("/api/timeline")["event"]
    answer = page.put(3, box(1, 2))
    assert answer.status_code == 204 and answer.headers["etag"] == '"1.0"'
    project = page.json("/api/project")
    assert project["revision"] == int(answer.headers["x-project-revision"]) == 4 and project["undo"] == 1
    assert np.array_equal(page.mask(3), box(1, 2)) and np.array_equal(loaded(served, frames).masks[3], box(1, 2))
    entry = {"t": 3, "state": "annotated", "revision": "1.0", "ids": [1, 2], "confidence": {"1": 1.0, "2": 1.0}}
    assert page.json("/api/timeline")["frames"][3] == entry
    events = page.events(event, lambda name, _: name == "project")
    assert [name for _, name, _ in events] == ["frames", "project"]
    assert events[0][2] == [entry] and events[1][2]["revision"] == 4
    assert page.get("/api/masks/3", headers={"If-None-Match": '"1.0"'}).status_code == 304


def test_two_tabs(page, served):
    other = Page(served.url)
    page.add("koi")
    assert page.put(3, box(1)).status_code == 204
    found = other.put(3, box())
    assert "changed in the meantime" in error(found, 412) and found.json()["revision"] == "1.0"
    assert found.headers["etag"] == '"1.0"'
    assert other.put(3, box(1, top=4), '"1.0"').status_code == 204
    error(page.put(3, box(1), '"1.0"'), 412)
    error(page.http.delete("/api/masks/3", headers={"If-Match": '"1.0"'}), 412)
    assert np.array_equal(page.mask(3), box(1, top=4))
    error(page.edit("POST", "/api/objects", revision=2, json={}), 412)
    assert "If-Match" in error(page.http.put("/api/masks/3", content=b""), 428)
    assert "If-Match" in error(page.http.post("/api/undo"), 428)
    error(page.edit("POST", "/api/undo", revision="x"), 412)


def test_what_the_worker_finds_does_not_reject_a_stroke(page, served):
    page.add("koi")
    page.put(0, box(1))
    seen = page.etag(2)
    page.start()
    assert served.segmenter.at.acquire(timeout=20)
    served.segmenter.let(3)
    assert page.etag(2) != seen
    assert page.put(2, box(1, top=5), seen).status_code == 204
    assert np.array_equal(page.mask(2), box(1, top=5)) and page.states == "asa" + "s" + "mmmmm"


def test_an_annotation_removed_and_back(page, served, frames):
    page.add("koi")
    page.put(3, box(1))
    assert page.http.delete("/api/masks/3", headers={"If-Match": page.etag(3)}).status_code == 204
    assert page.states == "m" * COUNT and page.mask(3) is None and loaded(served, frames).annotated == ()
    assert "not annotated" in error(page.http.delete("/api/masks/3", headers={"If-Match": page.etag(3)}), 422)
    assert page.edit("POST", "/api/undo").json()["undone"]
    assert np.array_equal(page.mask(3), box(1)) and loaded(served, frames).annotated == (3,)
    assert page.edit("POST", "/api/undo").json()["undone"] and page.states == "m" * COUNT
    assert not page.edit("POST", "/api/undo").json()["undone"]


def test_pixels_left_to_the_model(page):
    page.add("koi")
    unknown = np.zeros((HEIGHT, WIDTH), bool)
    unknown[:5] = True
    assert page.put(3, box(1), unknown=unknown).status_code == 204
    assert np.array_equal(page.mask(3), np.where(unknown, 0, box(1)))


@pytest.mark.parametrize(
    ("body", "status", "expected"),
    [
        (b"no gzip", 422, "not a gzip"),
        (gzip.compress(bytes(HEIGHT * WIDTH - 1)), 422, "for 30x20 pixels"),
        (gzip.compress(bytes(HEIGHT * WIDTH + 1)), 422, "for 30x20 pixels"),
        (gzip.compress(bytes(HEIGHT * WIDTH))[:-9], 422, "truncated"),
        (gzip.compress(bytes(10_000_000)), 413, "more than"),
        (gzip.compress(bytes(1_000_000)), 422, "for 30x20 pixels"),
        (bytes(10_000), 413, "more than"),
        (gzip.compress(bytes([7]) * HEIGHT * WIDTH), 422, "id 7, which is not the id of an object"),
    ],
    ids=["no gzip", "a pixel too few", "a pixel too many", "cut off", "a bomb", "more pixels", "many bytes", "no object"],
)
def test_masks_that_are_rejected(shared, body, status, expected):
    answer = shared.http.put("/api/masks/3", content=body, headers={"If-None-Match": "*"})
    assert expected in error(answer, status)
    assert shared.states == "m" * COUNT


# Objects


def test_objects(page, served, frames):
    page.add("koi", "  red   fish ")
    page.edit("POST", "/api/objects", json={"colour": "#00FF7f"})
    names = [(found["id"], found["name"]) for found in page.json("/api/project")["objects"]]
    assert names == [(1, "koi"), (2, "red fish"), (3, "Object 3")]
    page.put(3, box(1, 2, 3))
    assert page.edit("PATCH", "/api/objects/2", json={"visible": False, "locked": True}).status_code == 200
    found = page.json("/api/project")["objects"][1]
    assert found == {"id": 2, "name": "red fish", "colour": "#008000", "visible": False, "locked": True}
    assert page.edit("DELETE", "/api/objects/1").status_code == 200
    assert np.array_equal(page.mask(3), box(0, 2, 3))
    assert page.edit("POST", "/api/objects/merge", json={"into": 3, "from": 2}).status_code == 200
    assert np.array_equal(page.mask(3), box(0, 3, 3))
    assert [found["id"] for found in page.json("/api/project")["objects"]] == [3]
    assert "id 2" in error(page.put(3, box(2), page.etag(3)), 422)
    page.add("new")
    assert [found["id"] for found in page.json("/api/project")["objects"]] == [3, 4]
    page.edit("DELETE", "/api/objects/4")  # object 4 has no pixels
    for expected in ([3, 4], [2, 3, 4], [1, 2, 3, 4]):
        assert page.edit("POST", "/api/undo").json()["undone"]
        assert [found["id"] for found in page.json("/api/project")["objects"]] == expected
    assert np.array_equal(page.mask(3), box(1, 2, 3)) and np.array_equal(loaded(served, frames).masks[3], box(1, 2, 3))
    assert page.json("/api/project")["objects"][1]["locked"]


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("POST", "/api/objects", {"name": ""}, 422),
        ("POST", "/api/objects", {"name": "x" * 81}, 422),
        ("POST", "/api/objects", {"name": 3}, 422),
        ("POST", "/api/objects", {"name": "a\u0000b"}, 422),
        ("POST", "/api/objects", {"colour": "red"}, 422),
        ("POST", "/api/objects", {"id": 9}, 422),
        ("PATCH", "/api/objects/1", {"visible": 1}, 422),
        ("PATCH", "/api/objects/5", {"visible": True}, 404),
        ("DELETE", "/api/objects/5", {}, 404),
        ("POST", "/api/objects/merge", {"into": 1, "from": 1}, 422),
        ("POST", "/api/objects/merge", {"into": 1, "from": 5}, 404),
        ("POST", "/api/objects/merge", {"into": 5, "from": 1}, 404),
        ("POST", "/api/objects/merge", {"into": True, "from": 1}, 422),
        ("PATCH", "/api/project", {"range": [3, 3]}, 422),
        ("PATCH", "/api/project", {"range": 3}, 422),
        ("POST", "/api/exports", {"kind": "tiff", "start": 0, "stop": 9}, 422),
        ("POST", "/api/exports", {"kind": "davis", "start": 0, "stop": 10}, 422),
        ("POST", "/api/jobs", {"start": 0, "stop": 9, "direction": "up"}, 422),
        ("POST", "/api/jobs", {"start": 0, "stop": "9", "direction": "both"}, 422),
        ("POST", "/api/jobs", {"start": 0, "stop": 9, "direction": "both"}, 422),  # no frame is annotated
        ("DELETE", "/api/jobs/current", {}, 404),
        ("PUT", "/api/project", {}, 405),
        ("GET", "/api/exports/../project.json", {}, 404),
        ("GET", "/api/exports/..%2Fproject.json", {}, 404),
        ("GET", "/static/..%2Fapp.py", {}, 404),
        ("GET", "/app.py", {}, 404),
    ],
)
def test_requests_that_are_rejected(shared, method, path, content, status):
    error(shared.edit(method, path, json=content), status)
    assert shared.json("/api/project")["revision"] == 2


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b"[" * 60_000, b" " * 70_000])
def test_bodies_that_are_not_json(shared, body):
    answer = shared.http.post("/api/objects", content=body, headers={"If-Match": '"2"'})
    assert answer.status_code in (400, 413, 422) and answer.json()["error"]
