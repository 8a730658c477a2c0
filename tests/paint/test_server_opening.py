"""Tests that projects can be reopened, and that unsuitable or damaged folders are rejected."""

import json

import numpy as np
import pytest

from hmmn_jax.errors import ConfigError, DataError
from tests.paint.harness import COUNT, Page, box, make_frames, open_again, serving


def test_a_reopened_project_is_complete(tmp_path, frames):
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
    with pytest.raises(DataError, match="If the video was moved"), serving(folder, None):
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
        assert page.json("/api/project")["objects"][-1]["id"] == 3  # object 2 was deleted, and its id is not reused
    with serving(folder, None) as server:
        assert Page(server.url).json("/api/project")["name"] == "moved"
    moved.rename(frames)


def test_folders_that_are_rejected(tmp_path, frames):
    other = make_frames(tmp_path / "other", 3)
    with serving(tmp_path / "project", frames):
        pass
    with pytest.raises(DataError, match=r"created for another video, .*pond"), serving(tmp_path / "project", other):
        pass
    with pytest.raises(DataError, match=r"contains files, such as 0000.*but no project"), serving(other, frames):
        pass
    assert len(list(other.iterdir())) == 3
    with pytest.raises(DataError, match="a file, but a project must be a folder"), serving(other / "00000.png", frames):
        pass
    with pytest.raises(DataError, match="does not contain a project"), serving(tmp_path / "nothing", None):
        pass
    assert not (tmp_path / "nothing").exists()
    path = tmp_path / "project" / "project.json"
    for text in ("{", json.dumps({**json.loads(path.read_text()), "format": 2})):
        path.write_text(text)
        with pytest.raises(DataError, match=r"project\.json: the file is not a project file, or is damaged"):
            open_again(tmp_path / "project", frames)
