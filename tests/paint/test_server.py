"""The HTTP API of the page, with a server on this machine."""

import contextlib
import gzip
import io
import json
import zipfile

import httpx
import numpy as np
import pytest
from PIL import Image

from hmmn_jax import Session
from hmmn_jax.errors import ConfigError, DataError
from hmmn_jax.io.images import read_mask
from hmmn_jax.paint import guard, opening
from hmmn_jax.paint.guard import HEADERS
from hmmn_jax.paint.server import open_page
from tests.paint.harness import COUNT, HEIGHT, WIDTH, Gated, Page, box, make_frames, serving
from tests.session.stub import Stub


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    return make_frames(tmp_path_factory.mktemp("video") / "pond")


@pytest.fixture(scope="module")
def shared(tmp_path_factory, frames):
    """A tab of a project with one object, which tests must not change."""
    with serving(tmp_path_factory.mktemp("shared") / "project", frames) as server:
        page = Page(server.url)
        page.add("koi")
        yield page


@pytest.fixture
def served(tmp_path, frames):
    """A new project whose frames are computed when the test allows it."""
    segmenter = Gated()
    with serving(tmp_path / "project", frames, segmenter) as server:
        server.segmenter, server.folder = segmenter, tmp_path / "project"
        yield server


@pytest.fixture
def page(served):
    return Page(served.url)


def error(answer, status):
    assert answer.status_code == status, answer.text
    found = answer.json()["error"]
    assert found and "\n" not in found
    return found


def open_again(folder, frames, port=0):
    """Opens a page, and closes it."""
    with open_page(folder, frames, lambda _: Stub(), "stub", "127.0.0.1", port):
        pass


def loaded(served, frames):
    """The session that another process would read."""
    return Session.load(served.folder / "session", Stub(), frames)


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


def test_what_the_worker_finds_does_not_refuse_a_stroke(page, served):
    page.add("koi")
    page.put(0, box(1))
    seen = page.etag(2)
    page.start()
    assert served.segmenter.at.acquire(timeout=20)
    served.segmenter.let(3)
    assert page.etag(2) != seen
    assert page.put(2, box(1, top=5), seen).status_code == 204
    assert np.array_equal(page.mask(2), box(1, top=5)) and page.states == "asa" + "s" + "mmmmm"


def test_an_annotation_taken_away_and_back(page, served, frames):
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
        (gzip.compress(bytes(HEIGHT * WIDTH))[:-9], 422, "cut off"),
        (gzip.compress(bytes(10_000_000)), 413, "more than"),
        (gzip.compress(bytes(1_000_000)), 422, "for 30x20 pixels"),
        (bytes(10_000), 413, "more than"),
        (gzip.compress(bytes([7]) * HEIGHT * WIDTH), 422, "id 7, which is not the id of an object"),
    ],
    ids=["no gzip", "a pixel too few", "a pixel too many", "cut off", "a bomb", "more pixels", "many bytes", "no object"],
)
def test_masks_that_are_refused(shared, body, status, expected):
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
    page.edit("DELETE", "/api/objects/4")  # no pixel was painted
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
        ("POST", "/api/jobs", {"start": 0, "stop": 9, "direction": "both"}, 422),  # nothing is annotated
        ("DELETE", "/api/jobs/current", {}, 404),
        ("PUT", "/api/project", {}, 405),
        ("GET", "/api/exports/../project.json", {}, 404),
        ("GET", "/api/exports/..%2Fproject.json", {}, 404),
        ("GET", "/static/..%2Fapp.py", {}, 404),
        ("GET", "/app.py", {}, 404),
    ],
)
def test_requests_that_are_refused(shared, method, path, content, status):
    error(shared.edit(method, path, json=content), status)
    assert shared.json("/api/project")["revision"] == 2


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b"[" * 60_000, b" " * 70_000])
def test_bodies_that_are_not_json(shared, body):
    answer = shared.http.post("/api/objects", content=body, headers={"If-Match": '"2"'})
    assert answer.status_code in (400, 413, 422) and answer.json()["error"]


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
    assert page.start(direction="backward").json()["job"]["state"] == "running"  # compiled already


def test_stop_correct_and_go_on(page, served, frames):
    page.add("koi", "other")
    page.put(0, box(1))
    page.start(direction="forward")
    assert served.segmenter.at.acquire(timeout=20)
    served.segmenter.let(2)
    assert "running" in error(page.start(), 409)
    assert page.http.delete("/api/jobs/current").status_code == 202
    served.segmenter.gate.release()  # the current frame
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
    """No response waits for the worker, and remaining frames use the new annotation."""
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


# Reopening


def test_opened_again_all_is_there(tmp_path, frames):
    folder = tmp_path / "project"
    with serving(folder, frames) as server:
        page = Page(server.url)
        page.add("koi", "other")
        page.put(4, box(1, 2))
        page.start(3, 7)
        page.wait("done")
        page.edit("DELETE", "/api/objects/2")
        assert page.edit("PATCH", "/api/project", json={"range": [2, 8]}).status_code == 200
        page.http.post("/api/exports", json={"kind": "coco", "start": 0, "stop": 9})
        page.events(0, lambda name, data: name == "exports" and data[0]["state"] == "done")
        before = page.json("/api/project"), page.json("/api/timeline"), [page.mask(t) for t in range(COUNT)]
        with pytest.raises(ConfigError, match="is in use by process"), serving(folder, frames):
            pass
    moved = frames.rename(tmp_path / "moved")
    with pytest.raises(DataError, match="if it was moved"), serving(folder, None):
        pass
    with serving(folder, moved) as server:
        page = Page(server.url)
        after = page.json("/api/project")
        assert [after[key] for key in ("objects", "range")] == [before[0][key] for key in ("objects", "range")]
        for one, other in zip(page.json("/api/timeline")["frames"], before[1]["frames"], strict=True):
            assert {**one, "revision": ""} == {**other, "revision": ""}
        for t in range(COUNT):
            assert np.array_equal(page.mask(t), before[2][t]) if before[2][t] is not None else page.mask(t) is None
        (name,) = (one["name"] for one in page.json("/api/exports"))
        assert page.get(f"/api/exports/{name}").json()["categories"][0]["name"] == "koi"
        page.add("third")
        assert page.json("/api/project")["objects"][-1]["id"] == 3  # 2 was deleted and is not reused
    with serving(folder, None) as server:
        assert Page(server.url).json("/api/project")["name"] == "moved"
    moved.rename(frames)


def test_folders_that_are_refused(tmp_path, frames):
    other = make_frames(tmp_path / "other", 3)
    with serving(tmp_path / "project", frames):
        pass
    with pytest.raises(DataError, match=r"a project of another video, .*pond"), serving(tmp_path / "project", other):
        pass
    with pytest.raises(DataError, match=r"has files, such as 0000.*is not a project"), serving(other, frames):
        pass
    assert len(list(other.iterdir())) == 3
    with pytest.raises(DataError, match="a file; a project is a folder"), serving(other / "00000.png", frames):
        pass
    with pytest.raises(DataError, match="there is no project; give its VIDEO"), serving(tmp_path / "nothing", None):
        pass
    assert not (tmp_path / "nothing").exists()
    path = tmp_path / "project" / "project.json"
    for text in ("{", json.dumps({**json.loads(path.read_text()), "format": 2})):
        path.write_text(text)
        with pytest.raises(DataError, match=r"project\.json: not of a project, or damaged"):
            open_again(tmp_path / "project", frames)


# Access control


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:1"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Host": "127.0.0.1"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example:80"}, 403),
        ({"Host": "192.168.0.7:80"}, 403),
        ({"Host": "localhost.evil.example"}, 403),
        ({"Host": ""}, 403),
        ({"Host": "localhost:5", "Origin": "http://localhost:5"}, 200),
        ({"Host": "localhost:5", "Origin": "http://localhost:6"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Cookie": "hmmn=1"}, 403),
        ({"Cookie": ""}, 403),
    ],
)
def test_who_may_ask(shared, headers, status):
    for path in ("/api/project", "/"):
        answer = shared.get(path, headers=headers)
        assert answer.status_code == status
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
        if status == 403:
            error(answer, 403)


def test_the_token_is_needed_once(shared):
    base = shared.http.base_url
    (cookie,) = shared.http.cookies.jar
    assert cookie.has_nonstandard_attr("HttpOnly") and cookie.get_nonstandard_attr("SameSite") == "strict"
    for path in ("/", "/api/project", "/api/events", "/index.html", "/?token=", "/?token=x", "/api/project?token=x"):
        answer = httpx.get(base.join(path))
        error(answer, 403)
        assert "set-cookie" not in answer.headers


def test_a_code_works_once_in_place_of_the_token(tmp_path, frames, monkeypatch):
    with serving(tmp_path / "project", frames) as server:
        assert server.url_once != server.url
        with contextlib.closing(Page(server.url_once)) as page:
            page.json("/api/project")
        for url, status in ((server.url_once, 403), (server.url, 303), (server.url, 303)):
            assert httpx.get(url).status_code == status
    monkeypatch.setattr(guard, "ONCE_SECONDS", 0)
    with serving(tmp_path / "project", frames) as server:
        assert httpx.get(server.url_once).status_code == 403


def test_a_link_on_another_page_opens_this_one(shared):
    """A redirection would have no cookie, because the browser attributes it to the other page."""
    answer = httpx.get(f"{shared.http.base_url}/?token={shared.token}", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 200 and 'content="0; url=/"' in answer.text and "HttpOnly" in answer.headers["set-cookie"]


def test_files_of_the_page(shared):
    answer = shared.get("/")
    assert answer.status_code == 200 and answer.headers["content-type"] == "text/html; charset=utf-8"
    assert shared.get("/static/index.html").content == shared.get("/index.html").content == answer.content


def test_a_server_for_a_network_takes_addresses_and_its_name(tmp_path, frames):
    with serving(tmp_path / "project", frames, host="0.0.0.0") as server:
        assert server.url.startswith("http://127.0.0.1:")
        page = Page(server.url)
        for host, status in (("192.168.0.7:80", 200), ("evil.example", 403), ("[fe80::1]:80", 200)):
            assert page.get("/api/next", headers={"Host": host}).status_code == status


def test_an_address_that_is_taken(tmp_path, frames, shared):
    port = shared.http.base_url.port
    with pytest.raises(ConfigError, match=f"127.0.0.1:{port}: cannot listen on this address"):
        open_again(tmp_path / "project", frames, port)
    assert not (tmp_path / "project").exists()


def test_a_tab_of_an_earlier_server_is_refused(tmp_path, frames):
    """The browser has access again after opening the new address."""
    first = opening.first_number()
    with serving(tmp_path / "project", frames) as server, contextlib.closing(Page(server.url)) as page:
        page.add("koi")
        page.put(3, box(1))
    with serving(tmp_path / "project", frames, first=first) as server, contextlib.closing(Page(server.url)) as page:
        error(page.put(3, box(1), '"1.0"'), 412)
        error(page.edit("POST", "/api/objects", revision=3, json={}), 412)
        assert page.events(2, lambda *_: True) == [(None, "gone", {})]
        assert page.json("/api/project")["revision"] == first + 1 and page.put(3, box(1), page.etag(3)).status_code == 204
    assert opening.first_number() > first
