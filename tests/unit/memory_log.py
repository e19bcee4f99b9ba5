"""A log in memory that keeps the port's contract, with knobs for what may go wrong.

Append reports may be held back, failed or lost; partitions of a group move when a test says so.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

from perdure_topics.ports import (
    Change,
    Headers,
    LogFullError,
    LogUnavailableError,
    Member,
    Report,
    StoredRecord,
    TopicInfo,
    TopicSpec,
)


class MemoryLog:
    """Topics as lists. All of it is one process's, and any thread may use it."""

    address = "memory"
    cluster_id = "memory"

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.topics: dict[str, list[list[StoredRecord]]] = {}
        self.readers: list[MemoryGroupReader] = []
        self.tails: list[MemoryTail] = []
        self.appenders: list[MemoryAppender] = []
        self.holds_reports = False
        self.failing: list[tuple[str, bool]] = []
        """The errors of the next appends, each with whether the record landed all the same."""
        self.full = 0
        """How many of the next appends find the queue full."""
        self.ended_appenders = 0
        """How many of the next appends find that their appender is over."""
        self.bytes_max: dict[str, int] = {}
        self._watchers: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    @property
    def has_one_copy(self) -> bool:
        return False

    def topic(self, name: str) -> TopicInfo | None:
        found = self.topics.get(name)
        return None if found is None else TopicInfo(name, name, len(found), 1, {})

    def topic_names(self) -> list[str]:
        return sorted(self.topics)

    def create_topics(self, specs: Sequence[TopicSpec]) -> None:
        for spec in specs:
            self.topics.setdefault(spec.name, [[] for _ in range(spec.partitions)])

    def broker_count(self) -> int:
        return 1

    def offsets(self, topic: str, partition: int) -> tuple[int, int]:
        return 0, len(self.topics[topic][partition])

    def group_members(self, group: str) -> int:
        return len(self.readers)

    def appender(self, *, on_ready: Callable[[], None], timeout_ms: int = 0) -> MemoryAppender:
        appender = MemoryAppender(self, on_ready)
        self.appenders.append(appender)
        return appender

    def tail(self, *, on_ready: Callable[[], None], committed: bool) -> MemoryTail:
        tail = MemoryTail(self, on_ready)
        self.tails.append(tail)
        return tail

    def member(self, group: str, topic: str, *, on_ready: Callable[[], None]) -> Member:
        raise NotImplementedError("workers read; they do not only join")

    def group_reader(
        self, group: str, topic: str, *, on_ready: Callable[[], None]
    ) -> MemoryGroupReader:
        reader = MemoryGroupReader(self, topic, on_ready)
        self.readers.append(reader)
        return reader

    def delete_before(self, topic: str, partition: int, offset: int) -> None:
        raise NotImplementedError("workers delete nothing")

    def close(self) -> None:
        """Nothing to let go of."""

    # What tests do.

    def put(
        self,
        topic: str,
        partition: int,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Headers = (),
    ) -> int:
        """Store a record and ring whoever reads."""
        with self.lock:
            records = self.topics[topic][partition]
            offset = len(records)
            records.append(
                StoredRecord(topic, partition, offset, key, value, headers, 1_700_000_000_000)
            )
            rings = [reader.ring for reader in self.readers] + [tail.ring for tail in self.tails]
            watchers = list(self._watchers)
        for ring in rings:
            ring()
        for loop, event in watchers:
            loop.call_soon_threadsafe(event.set)
        return offset

    def ring_all(self) -> None:
        """Ring as an adapter does when reports come in."""
        for appender in list(self.appenders):
            appender.ring()

    async def until(self, is_true: Callable[[], Any]) -> None:
        """Wait until something is true, looking whenever a record was stored."""
        event = asyncio.Event()
        self._watchers.append((asyncio.get_running_loop(), event))
        while not is_true():
            event.clear()
            await event.wait()


class MemoryAppender:
    def __init__(self, log: MemoryLog, on_ready: Callable[[], None]) -> None:
        self._log = log
        self.ring = on_ready
        self._reports: list[Report] = []
        self.closed = False

    def append(
        self,
        topic: str,
        partition: int,
        value: bytes,
        *,
        key: bytes | None = None,
        headers: Headers = (),
        tag: object = None,
    ) -> None:
        assert not self.closed, "an appender that was closed is used"
        log = self._log
        if log.full:
            log.full -= 1
            raise LogFullError("the queue is full")
        if log.ended_appenders:
            log.ended_appenders -= 1
            raise LogUnavailableError("this appender is over")
        fails = bool(log.failing)
        error, landed = log.failing.pop(0) if fails else (None, True)
        if len(value) > log.bytes_max.get(topic, len(value)):
            fails, landed = True, False
            error = "MSG_SIZE_TOO_LARGE: Broker: Message size too large"
        offset = log.put(topic, partition, value, key=key, headers=headers) if landed else None
        self._reports.append(Report(tag, None if fails else offset, 0, error or None))
        self.ring()

    def reports(self) -> list[Report]:
        if self._log.holds_reports:
            return []
        taken, self._reports = self._reports, []
        return taken

    def close(self, *, flush_s: float = 0.0) -> None:
        self.closed = True


class KnownEnd:
    def __init__(self, end: int) -> None:
        self._end = end

    def end(self) -> int | None:
        return self._end

    def span(self) -> tuple[int, int] | None:
        return 0, self._end


class MemoryTail:
    def __init__(self, log: MemoryLog, on_ready: Callable[[], None]) -> None:
        self._log = log
        self.ring = on_ready
        self._at: dict[tuple[str, int], int] = {}

    def assign(self, topic: str, partition: int, offset: int) -> None:
        self._at[topic, partition] = offset

    def unassign(self, topic: str, partition: int) -> None:
        self._at.pop((topic, partition), None)

    def take(self, topic: str, partition: int, records_max: int) -> list[StoredRecord]:
        at = self._at[topic, partition]
        found = self._log.topics[topic][partition][at : at + records_max]
        self._at[topic, partition] = at + len(found)
        return found

    def ready(self) -> list[tuple[str, int]]:
        return list(self._at)

    def position(self, topic: str, partition: int) -> int:
        return self._at.get((topic, partition), -1)

    def probe_end(self, topic: str, partition: int) -> KnownEnd:
        return KnownEnd(len(self._log.topics[topic][partition]))

    def close(self) -> None:
        self._log.tails.remove(self)


class MemoryGroupReader:
    """A member that owns what a test assigns it."""

    def __init__(self, log: MemoryLog, topic: str, on_ready: Callable[[], None]) -> None:
        self._log = log
        self._topic = topic
        self.ring = on_ready
        self._changes: list[Change] = []
        self._at: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self.committed: dict[int, int] = {}
        self.paused: set[int] = set()
        self.released: list[int] = []
        self.closed = False

    def assign(self, partition: int, *, at: int = 0, redelivery_end: int = 0) -> None:
        self._at[partition] = at
        self._ends[partition] = redelivery_end
        self._changes.append(Change("assigned", partition))
        self.ring()

    def revoke(self, partition: int, kind: str = "revoked") -> None:
        self._at.pop(partition)
        self._changes.append(Change(kind, partition))
        self.ring()

    def changes(self) -> list[Change]:
        taken, self._changes = self._changes, []
        return taken

    def take(self, records_max: int) -> list[StoredRecord]:
        taken: list[StoredRecord] = []
        for partition, at in self._at.items():
            if partition not in self.paused:
                records = self._log.topics[self._topic][partition]
                found = records[at : at + records_max - len(taken)]
                self._at[partition] = at + len(found)
                taken += found
        return taken

    def redelivery_end(self, partition: int) -> int:
        return self._ends[partition]

    def commit(self, partition: int, offset: int) -> None:
        assert offset > self.committed.get(partition, 0), "a commit went back"
        self.committed[partition] = offset

    def pause(self, partition: int) -> None:
        self.paused.add(partition)

    def resume(self, partition: int) -> None:
        self.paused.discard(partition)

    def release(self, partition: int) -> None:
        self.released.append(partition)

    def close(self) -> None:
        self.closed = True
        self._log.readers.remove(self)
