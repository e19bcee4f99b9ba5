"""Runs of many partitions as one list: their pages merged by rank, and where each goes on."""

from __future__ import annotations

import zlib
from bisect import bisect_right
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import replace

from perdure_schemas.avro import decode_as
from perdure_schemas.replies import RunSummary

if TYPE_CHECKING:
    from collections.abc import Iterable

    from perdure_schemas.replies import RunDescription, RunPage

PLACES_MAX: Final = 2_048
"""So many partitions are merged into one list."""
TOKEN_BYTES_MAX: Final = 512 * 1024
TOKEN_OPENED_MAX: Final = 2 * 1024 * 1024
SHARE_MIN: Final = 8

Place = tuple[str, int]
"""A task queue and a partition of it."""


class ListTokenError(ValueError):
    """A page token that no list gave."""


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """Where a partition's list goes on: its page's token, and the rank that was given last."""

    queue: str
    partition: int
    token: bytes = b""
    last_rank: bytes = b""
    is_done: bool = False


_decode_marks = msgspec.msgpack.Decoder(list[Mark]).decode


class RunSource:
    """One partition's part of the list."""

    def __init__(self, mark: Mark) -> None:
        self.place: Place = (mark.queue, mark.partition)
        self._runs: list[bytes] = []
        self._ranks: list[bytes] = []
        self._at = 0
        self._page_token = mark.token
        self._next: bytes | None = None if mark.is_done else mark.token
        self._last_rank = mark.last_rank
        self.rank: bytes | None = None
        """Where the run that comes next stands in the list; None when it is not known."""
        self.is_dry = self._next is not None
        """Whether more must be fetched before it can be compared with the others."""

    def _stand(self, at: int) -> None:
        """Go to a run of the page."""
        self._at = at
        self.rank = self._ranks[at] if at < len(self._ranks) else None
        self.is_dry = self._next is not None and self.rank is None

    @property
    def token(self) -> bytes:
        """What to fetch."""
        return self._next or b""

    def take(self, page: RunPage | None) -> None:
        """A page that was fetched, without what was given before; None when nobody answered."""
        if page is None:
            self._next = None
            self._stand(self._at)
            return
        self._page_token = self.token
        self._runs, self._ranks = page.runs, page.ranks
        self._next = page.next_page_token or None
        self._stand(bisect_right(page.ranks, self._last_rank))

    def pop(self) -> RunSummary:
        """The run that comes next, given now."""
        run, self._last_rank = self._runs[self._at], self._ranks[self._at]
        self._stand(self._at + 1)
        return decode_as(RunSummary, run)

    @property
    def mark(self) -> Mark:
        """Where to go on."""
        token = self._page_token if self.rank is not None else self.token
        is_done = self.rank is None and self._next is None
        return Mark(*self.place, token, b"" if is_done else self._last_rank, is_done)


class MergedRuns:
    """The list over all partitions."""

    def __init__(self, marks: Iterable[Mark]) -> None:
        self.sources = [RunSource(mark) for mark in marks]

    @classmethod
    def of(cls, places: Iterable[Place], token: bytes) -> MergedRuns:
        """The list of some partitions from its beginning, or from a token on.

        Raises ListTokenError: a token also may only name what this list is of, each once, or it
        would send questions wherever whoever made it likes.
        """
        if not token:
            return cls(Mark(*place) for place in places)
        marks = _open(token)
        left = set(places)
        for mark in marks:
            if (place := (mark.queue, mark.partition)) not in left:
                text = "the page token is of another list: leave it out to begin again"
                raise ListTokenError(text)
            left.discard(place)
        return cls(marks)

    @property
    def dry(self) -> list[RunSource]:
        """The partitions to fetch from before the next run is known."""
        return [source for source in self.sources if source.is_dry]

    def share(self, size: int) -> int:
        """How many runs to ask each partition for, to make so many."""
        return min(size, max(SHARE_MIN, 2 * size // max(len(self.sources), 1)))

    def pop(self) -> RunSummary | None:
        """The run that comes next; None when there is none, or some partition is dry."""
        best: RunSource | None = None
        least: bytes | None = None
        for source in self.sources:
            if source.is_dry:
                return None
            rank = source.rank
            if rank is not None and (least is None or rank < least):
                best, least = source, rank
        return best.pop() if best else None

    @property
    def is_done(self) -> bool:
        """Whether every run has been given."""
        return all(source.rank is None and not source.is_dry for source in self.sources)

    @property
    def token(self) -> bytes:
        """Where the list goes on; empty at its end."""
        if self.is_done:
            return b""
        marks = [source.mark for source in self.sources]
        return zlib.compress(msgspec.msgpack.encode(marks), 6)


def _open(token: bytes) -> list[Mark]:
    try:
        opener = zlib.decompressobj()
        opened = opener.decompress(token[: TOKEN_BYTES_MAX + 1], TOKEN_OPENED_MAX)
        if len(token) > TOKEN_BYTES_MAX or opener.unconsumed_tail:
            raise ListTokenError("the page token is too large")
        marks = _decode_marks(opened)
    except (zlib.error, msgspec.MsgspecError) as error:
        text = "the page token is none that a list gave: leave it out to begin again"
        raise ListTokenError(text) from error
    if len(marks) > PLACES_MAX:
        raise ListTokenError(f"the page token names more than {PLACES_MAX} partitions")
    return marks


def joined(first: RunDescription, page: RunDescription) -> RunDescription:
    """A description with what its next page adds."""
    return replace(
        first,
        pending_activities=[*first.pending_activities, *page.pending_activities],
        next_page_token=page.next_page_token,
    )


def grouped(pages: Iterable[RunPage]) -> list[tuple[list[Any], int]]:
    """The groups of a count over all its pages, the largest first."""
    counts: dict[tuple[bytes, ...], int] = {}
    for page in pages:
        for group in page.groups:
            key = tuple(payload.data for payload in group.values)
            counts[key] = counts.get(key, 0) + group.count
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [
        ([msgspec.json.decode(data) if data else None for data in key], n) for key, n in ordered
    ]
