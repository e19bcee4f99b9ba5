"""A partition of the embedded log as it lives in memory: its ends and its newest records."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple

from perdure_topics.embedded.store import record_prefix, start_key
from perdure_topics.names import role_of
from perdure_topics.ports import PositionLostError, StoredRecord, TopicInfo, size_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure_topics.embedded.store import EmbeddedStore, TopicRow

_MIB: Final = 1024 * 1024


class Bounds(NamedTuple):
    """How much of a partition is kept in memory."""

    records: int
    size_bytes: int


RECENT: Final = Bounds(500, _MIB)
"""Of a stored topic: older records are read from the store."""
RING: Final = Bounds(8_000, 16 * _MIB)
"""Of replies, which are nowhere else: an asker asks again."""


class EmbeddedPartition:
    """The offsets of one partition and a window over its newest records.

    One thread at a time publishes; any thread reads without a lock, because the window is
    replaced and never cut in place.
    """

    __slots__ = (
        "_bounds",
        "_bytes",
        "_recent",
        "end",
        "listeners",
        "next_offset",
        "number",
        "prefix",
        "start",
        "start_key",
        "topic",
    )

    def __init__(self, topic: EmbeddedTopic, number: int, *, start: int, end: int) -> None:
        self.topic = topic
        self.number = number
        self.prefix = record_prefix(topic.row.number, number)
        self.start_key = start_key(topic.row.number, number)
        self.start = start
        self.end = end
        self.next_offset = end
        self.listeners: tuple[Callable[[], None], ...] = ()
        self._bounds = RING if topic.volatile else RECENT
        self._recent: tuple[int, list[StoredRecord]] = (end, [])
        self._bytes = 0

    def publish(self, records: list[StoredRecord]) -> None:
        """Let readers see records; they follow on those before."""
        kept = self._recent[1]
        kept.extend(records)
        for record in records:
            self._bytes += size_of(record)
        self.end += len(records)
        bounds = self._bounds
        if len(kept) > 2 * bounds.records or self._bytes > 2 * bounds.size_bytes:
            self._trim()

    def reset(self, end: int) -> None:
        """Forget the window and go on at an end that was read from the store."""
        self.next_offset = end
        self._recent = (end, [])
        self._bytes = 0
        self.end = end

    def cut(self, offset: int) -> None:
        """Forget the records below an offset."""
        self.start = max(self.start, offset)

    def read(self, store: EmbeddedStore, offset: int, count: int) -> list[StoredRecord]:
        """Up to so many records from an offset on; none at the end.

        Raises PositionLostError for an offset that is not in the log, LogError as the store does.
        """
        end = self.end
        if offset == end:
            return []
        if not self.start <= offset < end:
            raise self._lost(offset)
        first, recent = self._recent
        if offset >= first:
            return recent[offset - first : min(offset + count, end) - first]
        if self.topic.volatile:
            raise self._lost(offset)
        count = min(count, first - offset, end - offset)
        return store.read(self.topic.name, self.number, self.prefix, offset, count)

    def add_listener(self, bell: Callable[[], None]) -> None:
        """Ring this whenever there is something new."""
        with self.topic.lock:
            self.listeners = (*self.listeners, bell)

    def remove_listener(self, bell: Callable[[], None]) -> None:
        """Ring this no more."""
        with self.topic.lock:
            rest = list(self.listeners)
            if bell in rest:
                rest.remove(bell)
            self.listeners = tuple(rest)

    def _lost(self, offset: int) -> PositionLostError:
        return PositionLostError(
            f"{self.topic.name} partition {self.number} has offsets {self.start} to {self.end}; "
            f"{offset} is not among them"
        )

    def _trim(self) -> None:
        first, kept = self._recent
        bounds = self._bounds
        size = 0
        at = len(kept)
        # The newest record stays, however large.
        while at > 0 and len(kept) - at < bounds.records:
            size += size_of(kept[at - 1])
            if size > bounds.size_bytes and at < len(kept):
                break
            at -= 1
        rest = kept[at:]
        self._bytes = sum(map(size_of, rest))
        if self.topic.volatile:
            self.start = first + at
        self._recent = (first + at, rest)


class EmbeddedTopic:
    """A topic: its row on disk, how its records are treated, its partitions."""

    __slots__ = (
        "bytes_max",
        "early",
        "lock",
        "name",
        "partitions",
        "retention_ms",
        "row",
        "synced",
        "volatile",
    )

    def __init__(self, name: str, row: TopicRow) -> None:
        self.name = name
        self.row = row
        self.lock = Lock()
        role = role_of(name)
        self.volatile = role == "replies"
        """Never stored: whoever waits for a reply asks again."""
        self.early = role == "commands"
        """Seen by readers before it is synced, reported after. What a reader makes of it is
        written behind it in the same WAL, so nothing can survive that was made of less."""
        self.synced = role not in ("replies", "tasks", "dead", "findings")
        """Reported only when it survives a power failure. What is not synced was made from
        events that are, and is made again from them."""
        self.retention_ms = int(row.settings.get("retention.ms", "-1"))
        self.bytes_max = int(row.settings.get("max.message.bytes", str(_MIB)))
        self.partitions: list[EmbeddedPartition] = []

    def info(self) -> TopicInfo:
        """What the log says of this topic."""
        row = self.row
        return TopicInfo(self.name, row.topic_id, row.partitions, 1, dict(row.settings))
