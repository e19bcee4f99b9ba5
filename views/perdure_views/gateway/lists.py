"""Pagination of runs of many partitions, with page tokens as text."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Final

from perdure_schemas.answers.run_pages import ListTokenError, MergedRuns, Place
from perdure_schemas.replies import RunPage, RunSummary

PAGE_MAX: Final = 500
ROUNDS_MAX: Final = 200

Fetch = Callable[[Place, bytes, int], Awaitable["RunPage | None"]]
"""The page of a place from a token on, of so many runs; None when its partition is silent."""


async def merged(
    places: list[Place], fetch: Fetch, *, limit: int, token: str
) -> tuple[list[RunSummary], str, list[str]]:
    """A page of the runs of all places, the token of the next one, and who was silent.

    Raises ListTokenError.
    """
    merge = MergedRuns.of(places, _opened(token))
    runs: list[RunSummary] = []
    silent: list[str] = []
    for _ in range(ROUNDS_MAX):
        while len(runs) < limit and (run := merge.pop()) is not None:
            runs.append(run)
        dry = merge.dry if len(runs) < limit else []
        if not dry:
            break
        size = merge.share(limit)
        pages = await asyncio.gather(*(fetch(source.place, source.token, size) for source in dry))
        for source, page in zip(dry, pages, strict=True):
            source.take(page)
            if page is None:
                silent.append("{}/{}".format(*source.place))
    return runs, base64.urlsafe_b64encode(merge.token).decode().rstrip("="), silent


def _opened(token: str) -> bytes:
    try:
        return base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except ValueError as error:
        text = "the page token is none that a list gave: leave `page` out to begin again"
        raise ListTokenError(text) from error
