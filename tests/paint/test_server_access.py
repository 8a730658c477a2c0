"""Tests the server's access control, and the address on which it listens."""

import contextlib

import httpx
import pytest

from hmmn_jax.errors import ConfigError
from hmmn_jax.paint import guard, opening
from hmmn_jax.paint.guard import HEADERS
from tests.paint.harness import Page, box, error, open_again, serving


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
def test_access_control(shared, headers, status):
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
    """The response is a page that opens `/`. After a redirect, the browser would not send the cookie."""
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
    with pytest.raises(ConfigError, match=f"the server cannot listen on 127.0.0.1:{port}: "):
        open_again(tmp_path / "project", frames, port)
    assert not (tmp_path / "project").exists()


def test_a_tab_of_an_earlier_server_is_rejected(tmp_path, frames):
    """A new server at the same address rejects revisions of the earlier server.

    Clients that continue after an event of the earlier server receive the event `gone`.
    """
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
