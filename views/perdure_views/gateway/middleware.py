"""ASGI middleware: host and origin checks, size limits, and security headers.

Nothing here knows what is asked; a request that comes through may still lack a role or a token.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

import msgspec
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from perdure_views.gateway.problems import ProblemError
from perdure_views.gateway.settings import BODY_BYTES_MAX, Settings, host_of, is_loopback
from perdure_views.gateway.shapes import Problem

API: Final = "/api/"
SOCKET: Final = "/log"
CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; font-src 'self'; manifest-src 'self'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'"
)
_ALWAYS: Final = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


class RequestChecks:
    """ASGI middleware around the whole gateway."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._names = {name.lower() for name in settings.host_names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it here."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            self._check(scope, headers)
        except ProblemError as problem:
            await _refuse(scope, send, problem)
            return
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for name, value in _ALWAYS.items():
                    answer[name] = value
                if scope["path"].startswith(API):
                    answer["cache-control"] = "no-store"
            await send(message)

        await self._app(scope, receive, guarded)

    def _check(self, scope: Scope, headers: Headers) -> None:
        hosts = headers.getlist("host")
        origins = headers.getlist("origin")
        if len(hosts) != 1 or len(origins) > 1:
            raise ProblemError("invalid", "a request has one Host and at most one Origin")
        host = host_of(hosts[0])
        if not (is_loopback(host) or host in self._names):
            raise ProblemError(
                "misdirected",
                f"this gateway is not called {host!r}: use localhost, or start it with --host-name",
            )
        calls_api = scope["path"].startswith((API, SOCKET))
        if origins and (calls_api or scope.get("method") not in ("GET", "HEAD")):
            _check_origin(origins[0], hosts[0])
        site = headers.get("sec-fetch-site", "none")
        if calls_api and site not in ("same-origin", "none"):
            raise ProblemError("foreign", f"a page of another site ({site}) asked for this")
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit() or int(length[:20]) > BODY_BYTES_MAX:
            raise ProblemError("too_large", f"a body has at most {BODY_BYTES_MAX} bytes")


def _check_origin(origin: str, host: str) -> None:
    try:
        netloc = urlsplit(origin).netloc.lower()
    except ValueError:
        netloc = ""
    if not netloc or netloc != host.lower():
        raise ProblemError("foreign", f"a page of {origin!r} asked for this")


async def _refuse(scope: Scope, send: Send, problem: ProblemError) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": problem.code})
        return
    body = msgspec.json.encode(
        Problem(code=problem.code, message=problem.message, status=problem.status)
    )
    headers = {"content-type": "application/json", "content-length": str(len(body)), **_ALWAYS}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": problem.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
