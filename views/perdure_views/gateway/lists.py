"""Runs of many partitions as one list: merged, in pages of a bounded size, tokens included."""

from __future__ import annotations

import asyncio
import base64
import zlib
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from perdure_schemas.replies import RunPage, RunSummary

PAGE_MAX: Final = 500
PLACES_MAX: Final = 2048
"""So many partitions are merged into one list."""
TOKEN_BYTES_MAX: Final = 32 * 1024
TOKEN_OPENED_MAX: Final = 1024 * 1024
SHARE_MIN: Final = 8
ROUNDS_MAX: Final = 200

Place = tuple[str, int]
Fetch = Callable[[Place, bytes, int], Awaitable["RunPage | None"]]
"""The page of a place from a token on, of so many runs; None when its partition is silent."""


class PageTokenError(ValueError):
    """A page token that this gateway did not write."""


class _Mark(msgspec.Struct, frozen=True, array_like=True):
    """Where a partition's list goes on: its page's token, and the run that was shown last."""

    queue: str
    partition: int
    token: bytes = b""
    last_run_id: str = ""
    last_start_ms: int = 0
    last_blocked: bool = False
    is_done: bool = False


class _Source:
    """One partition's part of the list."""

    def __init__(self, mark: _Mark) -> None:
        self.place: Place = (mark.queue, mark.partition)
        self._mark = mark
        self._page_token = mark.token
        self._runs: list[RunSummary] = []
        self._next: bytes | None = None if mark.is_done else mark.token
        self._at = 0
        self._skips = bool(mark.last_run_id)
        self.is_silent = False

    @property
    def head(self) -> RunSummary | None:
        """The run that comes next, where it is known."""
        return self._runs[self._at] if self._at < len(self._runs) else None

    def rank(self) -> tuple[bool, int]:
        """Where that run stands among those of other partitions."""
        return _rank(self._runs[self._at])

    @property
    def is_dry(self) -> bool:
        """Whether more must be fetched before it can be compared with the others."""
        return self.head is None and self._next is not None

    @property
    def token(self) -> bytes:
        """What to fetch."""
        return self._next or b""

    def take_in(self, page: RunPage | None) -> None:
        """A page that was fetched; None when nobody answered."""
        if page is None:
            self.is_silent, self._next = True, None
            return
        self._page_token = self.token
        self._runs, self._at = page.runs, 0
        self._next = page.next_page_token or None
        if self._skips:
            self._skip()

    def _skip(self) -> None:
        """Leave out what stood on earlier pages; runs may have come and gone since."""
        mark = self._mark
        ids = [run.run_id for run in self._runs]
        if mark.last_run_id in ids:
            self._at = ids.index(mark.last_run_id) + 1
            self._skips = False
            return
        if mark.last_blocked:
            # It is blocked no more: what stood before it cannot be told, so it may come twice.
            self._skips = False
            return
        last = (True, -mark.last_start_ms)
        while (run := self.head) is not None and _rank(run) <= last:
            self._at += 1
        self._skips = self.head is None

    def pop(self) -> RunSummary:
        """The run that comes next, shown now."""
        run = self._runs[self._at]
        self._at += 1
        self._mark = _Mark(
            *self.place, self._page_token, run.run_id, run.start_ms, run.status == "blocked"
        )
        return run

    def mark(self) -> _Mark:
        """Where to go on."""
        if self.head is None:
            return _Mark(*self.place, self._next or b"", is_done=self._next is None)
        shown = self._mark
        return _Mark(
            *self.place,
            self._page_token,
            shown.last_run_id,
            shown.last_start_ms,
            shown.last_blocked,
        )


def _rank(run: RunSummary) -> tuple[bool, int]:
    """Blocked runs first, then the newest."""
    return run.status != "blocked", -run.start_ms


async def merged(
    places: list[Place], fetch: Fetch, *, limit: int, token: str
) -> tuple[list[RunSummary], str, list[str]]:
    """A page of the runs of all places, the token of the next one, and who was silent.

    Raises PageTokenError.
    """
    marks = _open(token) if token else [_Mark(*place) for place in places]
    sources = [_Source(mark) for mark in marks]
    size = max(SHARE_MIN, 2 * limit // max(len(sources), 1))
    runs: list[RunSummary] = []
    for _ in range(ROUNDS_MAX):
        dry = [source for source in sources if source.is_dry]
        if dry:
            pages = await asyncio.gather(
                *(fetch(source.place, source.token, min(size, limit + 1)) for source in dry)
            )
            for source, page in zip(dry, pages, strict=True):
                source.take_in(page)
            continue
        while len(runs) < limit:
            heads = [source for source in sources if source.head is not None]
            if not heads or any(source.is_dry for source in sources):
                break
            runs.append(min(heads, key=_Source.rank).pop())
        if len(runs) >= limit or not any(source.is_dry for source in sources):
            break
    left = [source.mark() for source in sources]
    silent = [f"{queue}/{number}" for (queue, number) in _silent(sources)]
    return runs, "" if all(mark.is_done for mark in left) else _seal(left), silent


def _silent(sources: list[_Source]) -> list[Place]:
    return [source.place for source in sources if source.is_silent]


def _seal(marks: list[_Mark]) -> str:
    raw = zlib.compress(msgspec.msgpack.encode(marks), 6)
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _open(token: str) -> list[_Mark]:
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        opener = zlib.decompressobj()
        opened = opener.decompress(raw, TOKEN_OPENED_MAX)
        if opener.unconsumed_tail:
            raise PageTokenError("the page token is too large")
        marks = msgspec.msgpack.decode(opened, type=list[_Mark])
    except (ValueError, zlib.error) as error:
        raise PageTokenError(
            "the page token is none that this gateway gave: leave `page` out to begin again"
        ) from error
    if len(marks) > PLACES_MAX:
        raise PageTokenError(f"the page token names more than {PLACES_MAX} partitions")
    return marks
