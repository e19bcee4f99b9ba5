"""The static files of the pages: a closed table, read once."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

VIEWS: Final = (
    "/",
    "/workflows",
    "/run",
    "/start",
    "/task-queues",
    "/schedules",
    "/schedule",
    "/health",
    "/sign-in",
)
"""Each view of the pages has an address; all are the same document."""
_MEDIA: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def page_routes() -> list[BaseRoute]:
    """A route for each file and each view."""
    root = files("perdure_views") / "pages"
    found = dict(_files(root, ""))
    index = found.pop("/index.html")
    routes = [Route(path, _serving(body, media)) for path, (body, media) in found.items()]
    return [*routes, *(Route(path, _serving(*index)) for path in VIEWS)]


def _files(folder: Traversable, at: str) -> Iterator[tuple[str, tuple[bytes, str]]]:
    for item in folder.iterdir():
        if item.is_dir():
            yield from _files(item, f"{at}/{item.name}")
            continue
        media = _MEDIA.get(item.name[item.name.rfind(".") :])
        if media is not None:
            yield f"{at}/{item.name}", (item.read_bytes(), media)


def _serving(body: bytes, media: str) -> Callable[[Request], Awaitable[Response]]:
    etag = f'"{hashlib.sha256(body).hexdigest()[:20]}"'
    headers = {"etag": etag, "cache-control": "no-cache"}

    async def serve(request: Request) -> Response:
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers, media_type=media)

    return serve
