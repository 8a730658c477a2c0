"""Checks that each request has the token, originates from a page of this server, and is addressed to this machine."""

import hashlib
import hmac
import ipaddress
import math
import secrets
import socket
import time
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
ONCE_SECONDS = 60.0
_GO_ON = '<!doctype html><meta http-equiv="refresh" content="0; url=/"><title>hmmn-jax paint</title>'
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_READING = ("GET", "HEAD")


def new_token() -> str:
    """Returns a random token that cannot be guessed."""
    return secrets.token_urlsafe(32)


class Guard:
    """Wraps an application and rejects unauthorised requests.

    Rejected requests get status 403 and do not reach the application. Every response has the security headers in `HEADERS`.

    - The Host header must name this machine, because another site could make its own name resolve to 127.0.0.1 (DNS
      rebinding).
    - The Origin and Sec-Fetch-Site headers, if present, must match this server.
    - A request for `/?token=TOKEN` sets a cookie that all other requests need. The cookie is HttpOnly and SameSite=Strict.

    Attributes:
        once: a one-time code that can be used instead of the token and is valid for a minute. The code is passed on the
            browser's command line, which other users of this machine can read.
    """

    def __init__(self, app: ASGIApp, token: str, host: str):
        """Wraps `app`. `host` is the address that the server listens on."""
        self._app, self._token = app, token
        self.once = new_token()
        self._once_until = time.monotonic() + ONCE_SECONDS
        # Cookies are shared by all ports of a host, so each server uses its own cookie name.
        self._cookie = "hmmn_" + hashlib.sha256(token.encode()).hexdigest()[:12]
        self._names = {*_LOOPBACK, host.lower()}
        self._is_open = not _is_loopback(host)
        if self._is_open:
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        answer = self._answer(scope)
        await (self._app if answer is None else answer)(scope, receive, send_safely)

    def _answer(self, scope: Scope) -> Response | None:
        """Returns the response that rejects a request or sets the cookie, or None if the application handles the request."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._is_ours(host):
            return _refusal("the Host header does not name this server. Open the address that hmmn-jax paint printed.")
        origin = headers.get("origin")
        if origin is not None and origin.lower() != f"http://{host.lower()}":
            return _refusal("the request was sent by a page with a different origin")
        is_own = headers.get("sec-fetch-site", "none") in ("same-origin", "none")
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["path"] == "/" and scope["method"] in _READING and given:
            if not self._is_token(given):
                return _refusal(
                    "the token is not valid for this server, or was already used. Open the address that hmmn-jax paint printed."
                )
            # If the user followed a link on another page, a redirect would not work: the browser attributes the redirect to
            # that page and does not send SameSite=Strict cookies.
            answer = RedirectResponse("/", 303) if is_own else HTMLResponse(_GO_ON)
            answer.set_cookie(self._cookie, self._token, httponly=True, samesite="strict")
            return answer
        if not is_own:
            return _refusal("the request was sent by a page with a different origin")
        if not hmac.compare_digest(self._token_of(headers).encode(), self._token.encode()):
            return _refusal("this browser does not have access. Open the address that hmmn-jax paint printed.")
        return None

    def _is_token(self, given: str) -> bool:
        """Returns whether a token or one-time code is valid. Accepting a one-time code makes it invalid."""
        if self._once_until > time.monotonic() and hmac.compare_digest(given.encode(), self.once.encode()):
            self._once_until = -math.inf
            return True
        return hmac.compare_digest(given.encode(), self._token.encode())

    def _token_of(self, headers: Headers) -> str:
        for text in headers.getlist("cookie"):
            try:
                found = SimpleCookie(text)
            except CookieError:
                continue
            if self._cookie in found:
                return found[self._cookie].value
        return ""

    def _is_ours(self, host: str) -> bool:
        """Returns whether a Host header names this machine. Any port is accepted, because the port may be forwarded."""
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        name = name.strip("[]").lower()
        return name in self._names or (self._is_open and _is_address(name))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host.lower() == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _refusal(text: str) -> Response:
    return JSONResponse({"error": text}, 403)
