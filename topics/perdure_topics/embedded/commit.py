"""The writer's side of the embedded log: appenders, and the one thread that commits for all."""

from __future__ import annotations

import logging
import time
from collections import deque
from threading import Lock, Thread
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from perdure_topics.embedded.store import encode_value, pack_offset
from perdure_topics.ports import (
    Headers,
    LogDamagedError,
    LogError,
    LogFullError,
    RecordTooLargeError,
    Report,
    StoredRecord,
)
from perdure_topics.waker import Doorbell

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure_topics.embedded.partition import EmbeddedPartition, EmbeddedTopic
    from perdure_topics.embedded.store import EmbeddedStore

    _Given: TypeAlias = tuple["EmbeddedAppender", Report]

_LOG = logging.getLogger(__name__)
_MIB: Final = 1024 * 1024
QUEUE_RECORDS_MAX: Final = 100_000
QUEUE_BYTES_MAX: Final = 64 * _MIB
COMMIT_RECORDS_MAX: Final = 4_096
COMMIT_BYTES_MAX: Final = 8 * _MIB
ACK_DELAY_S: Final = 0.001
"""How long the acks of commands wait for an events record to share its sync with."""
COMMIT_DELAY_S: Final = 0.05
"""How long a committed group offset waits for a batch to ride in."""
REOPEN_EVERY_S: Final = 0.5
_ENTRY_BYTES: Final = 64


class _Entry(NamedTuple):
    appender: EmbeddedAppender
    partition: EmbeddedPartition
    key: bytes | None
    value: bytes
    headers: Headers
    tag: object


class _Batch(NamedTuple):
    """The records of one commit, by when they may be seen and reported."""

    puts: list[tuple[bytes, bytes]]
    early: dict[EmbeddedPartition, list[StoredRecord]]
    late: dict[EmbeddedPartition, list[StoredRecord]]
    done: list[_Given]
    held: list[_Given]
    urgent: list[_Given]


class Committer:
    """Gathers what all appenders queued and writes it in one batch, again and again.

    A record's life: queued, written, seen by readers, synced, reported. Commands are seen before
    the sync, everything that must survive a power failure is reported after it.
    """

    def __init__(
        self,
        store: EmbeddedStore,
        *,
        wall_ms: Callable[[], int],
        last_ms: int,
        on_reopened: Callable[[], None],
        on_damaged: Callable[[str], None],
    ) -> None:
        self.full: str | None = None
        """Why nothing is taken at present."""
        self.volatile_lock = Lock()
        self._time_lock = Lock()
        self._store = store
        self._wall_ms = wall_ms
        self._last_ms = last_ms
        self._on_reopened = on_reopened
        self._on_damaged = on_damaged
        self._damaged = False
        self._queue: deque[_Entry] = deque()
        self._group_offsets: dict[bytes, bytes] = {}
        self._group_due = float("inf")
        self._held: list[_Given] = []
        """Reports of commands that wait for a sync."""
        self._at_stake: list[_Given] = []
        """Reports that the present round has not given yet."""
        self._held_due = float("inf")
        self._bell = Doorbell()
        self._stopping = False
        self._thread = Thread(target=self._run, name="perdure-log-commit", daemon=True)

    def start(self) -> None:
        """Begin to commit."""
        self._thread.start()

    def stop(self) -> None:
        """Commit what is queued, sync, and end."""
        self._stopping = True
        self._bell.ring()
        self._thread.join()

    def put(self, entry: _Entry) -> None:
        """Queue an append."""
        self._queue.append(entry)
        self._bell.ring()

    def put_group_offset(self, key: bytes, offset: int) -> None:
        """Keep a committed offset with one of the next batches."""
        self._group_offsets[key] = pack_offset(offset)
        if self._group_due == float("inf"):
            self._group_due = time.monotonic() + COMMIT_DELAY_S
            self._bell.ring()

    def now_ms(self) -> int:
        """The time a record appended now bears; it never goes back."""
        with self._time_lock:
            self._last_ms = max(self._last_ms, self._wall_ms())
            return self._last_ms

    def _run(self) -> None:
        while True:
            due = min(self._held_due, self._group_due)
            if not self._queue and not self._stopping:
                self._bell.wait(None if due == float("inf") else due - time.monotonic())
            entries = self._take()
            try:
                self._round(entries)
            except Exception as error:
                self._fail(error)
            if self._stopping and not self._queue:
                self._finish()
                return

    def _take(self) -> list[_Entry]:
        entries: list[_Entry] = []
        size = 0
        queue = self._queue
        while queue and len(entries) < COMMIT_RECORDS_MAX and size < COMMIT_BYTES_MAX:
            entry = queue.popleft()
            entry.appender.left(entry)
            if not entry.appender.closed:
                entries.append(entry)
                size += len(entry.value)
        return entries

    def _round(self, entries: list[_Entry]) -> None:
        """One commit: write, show, sync when something asks for it, report."""
        now = time.monotonic()
        batch = self._sort(entries)
        self._at_stake = [*self._held, *batch.done, *batch.held, *batch.urgent]
        offsets: dict[bytes, bytes] = {}
        if self._group_offsets and (entries or now >= self._group_due or self._stopping):
            offsets, self._group_offsets = self._group_offsets, {}
            self._group_due = float("inf")
        if batch.puts or offsets:
            try:
                self._store.write([*batch.puts, *offsets.items()])
            except BaseException:
                self._group_offsets = offsets | self._group_offsets
                raise
            self._show(batch.early, batch.done)
        self._held += batch.held
        self._at_stake = [*self._held, *batch.urgent]
        if self._held and self._held_due == float("inf"):
            self._held_due = now + ACK_DELAY_S
        if batch.urgent or now >= self._held_due or (self._held and self._stopping):
            self._store.sync()
            reports, self._held, self._held_due = self._at_stake, [], float("inf")
            self._show(batch.late, reports)

    def _sort(self, entries: list[_Entry]) -> _Batch:
        """Give every record its offset, and tell apart when each may be seen and reported."""
        batch = _Batch([], {}, {}, [], [], [])
        at_ms = self.now_ms()
        for appender, partition, key, value, headers, tag in entries:
            topic = partition.topic
            offset = partition.next_offset
            partition.next_offset = offset + 1
            stored = encode_value(at_ms, key, value, headers)
            batch.puts.append((partition.prefix + pack_offset(offset), stored))
            record = StoredRecord(topic.name, partition.number, offset, key, value, headers, at_ms)
            report = (appender, Report(tag, offset, at_ms, None))
            if topic.synced and not topic.early:
                batch.late.setdefault(partition, []).append(record)
                batch.urgent.append(report)
                continue
            batch.early.setdefault(partition, []).append(record)
            (batch.held if topic.synced else batch.done).append(report)
        return batch

    def _show(
        self,
        records: dict[EmbeddedPartition, list[StoredRecord]],
        reports: list[_Given],
    ) -> None:
        bells: dict[Callable[[], None], None] = {}
        for partition, new in records.items():
            partition.publish(new)
            bells.update(dict.fromkeys(partition.listeners))
        for appender, report in reports:
            appender.report(report)
            bells[appender.on_ready] = None
        ring(bells)

    def _fail(self, error: Exception) -> None:
        """A write failed: report all that is not sure, then reopen as soon as that is possible."""
        directory = self._store.directory
        message = f"the log in {directory} cannot be written: {error}"
        damaged = self._damaged or isinstance(error, LogDamagedError) or "Corruption" in str(error)
        if damaged:
            message += ". Restore the directory from a copy, or check the disk"
            self._give_up(message)
        else:
            self.full = f"{message}. It goes on by itself when there is space"
            _LOG.error("%s; nothing is taken until there is space", message)
        self._store.suspend()
        bells: dict[Callable[[], None], None] = {}
        for appender, report in self._at_stake:
            # Even what was written may be lost or found when the log is opened again.
            appender.report(Report(report.tag, None, 0, message))
            bells[appender.on_ready] = None
        self._at_stake, self._held, self._held_due = [], [], float("inf")
        while self._queue:
            entry = self._queue.popleft()
            entry.appender.left(entry)
            entry.appender.report(Report(entry.tag, None, 0, message))
            bells[entry.appender.on_ready] = None
        ring(bells)
        if not damaged:
            self._reopen()

    def _give_up(self, message: str) -> None:
        """Take nothing more: it is no use to open a damaged log again and again."""
        if self._damaged:
            return
        self._damaged = True
        self.full = message
        self._on_damaged(message)
        _LOG.critical("%s. Nothing is taken any more", message)

    def _reopen(self) -> None:
        told = time.monotonic()
        while not self._stopping:
            self._bell.wait(REOPEN_EVERY_S)
            if time.monotonic() - told >= 5:
                told = time.monotonic()
                _LOG.error("the log in %s is still waiting for space", self._store.directory)
            if not self._store.has_space():
                continue
            try:
                self._store.resume()
                self._on_reopened()
            except LogDamagedError as error:
                self._give_up(str(error))
                self._store.suspend()
                return
            except (LogError, OSError) as error:
                _LOG.warning("the log in %s: %s", self._store.directory, error)
                self._store.suspend()
                continue
            self.full = None
            _LOG.warning("the log in %s takes records again", self._store.directory)
            return

    def _finish(self) -> None:
        """Whatever came after the last round has nobody to commit it."""
        while self._queue:
            entry = self._queue.popleft()
            entry.appender.report(Report(entry.tag, None, 0, "the log was closed"))


class EmbeddedAppender:
    """One incarnation of a writer on the embedded log."""

    def __init__(
        self,
        committer: Committer,
        topics: Callable[[str], EmbeddedTopic],
        *,
        on_ready: Callable[[], None],
    ) -> None:
        self.on_ready = on_ready
        self.closed = False
        self._committer = committer
        self._topics = topics
        self._reports: deque[Report] = deque()
        # One thread adds to each of these, so neither needs a lock.
        self._put_records = self._put_bytes = 0
        self._left_records = self._left_bytes = self._settled_records = 0

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
        """Queue a record.

        Raises LogFullError when nothing was queued, LogError for a place that does not exist.
        """
        found = self._topics(topic)
        size = _ENTRY_BYTES + len(value) + len(key or b"")
        if self.closed:
            raise LogError("this appender is closed: open another")
        if not 0 <= partition < len(found.partitions):
            msg = f"{topic} has partitions 0 to {len(found.partitions) - 1}, not {partition}"
            raise LogError(msg)
        if size > found.bytes_max:
            msg = f"a record of {size} bytes for {topic}, which takes {found.bytes_max}"
            raise RecordTooLargeError(msg)
        if self._committer.full is not None:
            raise LogFullError(self._committer.full)
        if (
            self._put_records - self._left_records >= QUEUE_RECORDS_MAX
            or self._put_bytes - self._left_bytes + size > QUEUE_BYTES_MAX
        ):
            msg = f"this writer has {QUEUE_RECORDS_MAX} records or {QUEUE_BYTES_MAX} bytes queued"
            raise LogFullError(msg)
        entry = _Entry(self, found.partitions[partition], key, value, headers, tag)
        if found.volatile:
            self._append_volatile(entry)
            return
        self._put_records += 1
        self._put_bytes += size
        self._committer.put(entry)

    def reports(self) -> list[Report]:
        """Take the reports that have come in."""
        reports = self._reports
        return [reports.popleft() for _ in range(len(reports))]

    def close(self, *, flush_s: float = 0.0) -> None:
        """End this incarnation: wait so long for what is queued, then purge the rest."""
        until = time.monotonic() + flush_s
        while self._put_records > self._settled_records and time.monotonic() < until:
            time.sleep(0.001)
        self.closed = True

    def report(self, report: Report) -> None:
        """Note what became of an append; the committer calls this."""
        self._reports.append(report)
        self._settled_records += 1

    def left(self, entry: _Entry) -> None:
        """Note that a record has left the queue; the committer calls this."""
        self._left_records += 1
        self._left_bytes += _ENTRY_BYTES + len(entry.value) + len(entry.key or b"")

    def _append_volatile(self, entry: _Entry) -> None:
        """What is not stored needs no commit: readers see it at once."""
        _, partition, key, value, headers, tag = entry
        topic = partition.topic.name
        with self._committer.volatile_lock:
            at_ms = self._committer.now_ms()
            offset = partition.next_offset
            partition.next_offset = offset + 1
            record = StoredRecord(topic, partition.number, offset, key, value, headers, at_ms)
            partition.publish([record])
        self._reports.append(Report(tag, offset, at_ms, None))
        ring(dict.fromkeys((*partition.listeners, self.on_ready)))


def ring(bells: dict[Callable[[], None], None]) -> None:
    """Ring each bell once; one that fails must not keep the others from ringing."""
    for bell in bells:
        try:
            bell()
        except Exception:
            _LOG.exception("a bell of the embedded log failed")
