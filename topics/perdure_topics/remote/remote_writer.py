"""The writer of a remote log: what it queues while the engine is away, and what it reports."""

from __future__ import annotations

import time
from collections import deque
from threading import Lock
from typing import TYPE_CHECKING, Final

from perdure_topics.names import role_of, topic_settings
from perdure_topics.ports import (
    Headers,
    LogFullError,
    LogUnavailableError,
    RecordTooLargeError,
    Report,
)
from perdure_topics.wire import frames

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure_topics.remote.link import Link
    from perdure_topics.wire.frame_queue import Batch

_MIB: Final = 1024 * 1024
QUEUE_RECORDS_MAX: Final = 50_000
QUEUE_BYTES_MAX: Final = 32 * _MIB
FLIGHT_BYTES_MAX: Final = 8 * _MIB
FLIGHT_RECORDS_MAX: Final = 5_000
_RECORD_BYTES: Final = 64
_UNKNOWN_TOPIC_BYTES: Final = 8 * _MIB


class RemoteAppender:
    """One incarnation of a writer in another process than the log.

    Records wait while the engine is away, up to the timeout. When the connection goes, what was
    on its way is reported without an offset: it may have landed; and this incarnation is over.
    """

    def __init__(self, link: Link, *, on_ready: Callable[[], None], timeout_ms: int) -> None:
        self.marked = False
        self._link = link
        self._on_ready = on_ready
        self._timeout_s = timeout_ms / 1000
        self._lock = Lock()
        self._queue: deque[tuple[frames.AppendRow, object, int, float]] = deque()
        self._queued_bytes = 0
        self._flight: dict[int, tuple[object, int]] = {}
        self._flight_bytes = 0
        self._next = 0
        self._reports: deque[Report] = deque()
        self._over: str | None = None
        self._number = link.number()
        link.writers[self._number] = self._acks
        self._part = link.register(self)

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

        Raises LogFullError when nothing was queued, LogUnavailableError when this incarnation
        is over.
        """
        size = _RECORD_BYTES + len(value) + len(key or b"")
        limit = _bytes_max(topic)
        if size > limit:
            msg = f"a record of {size} bytes for {topic}, which takes {limit}"
            raise RecordTooLargeError(msg)
        until = time.monotonic() + self._timeout_s if self._timeout_s else float("inf")
        with self._lock:
            if self._over is not None:
                msg = f"{self._over}. This writer is over: open another"
                raise LogUnavailableError(msg)
            if len(self._queue) >= QUEUE_RECORDS_MAX or self._queued_bytes + size > QUEUE_BYTES_MAX:
                msg = (
                    f"this writer has {QUEUE_RECORDS_MAX} records or {QUEUE_BYTES_MAX} bytes "
                    f"waiting for the engine at {self._link.address}"
                )
                raise LogFullError(msg)
            self._queue.append(((topic, partition, value, key, headers), tag, size, until))
            self._queued_bytes += size
        self._link.mark(self)

    def reports(self) -> list[Report]:
        """Take the reports that have come in."""
        reports = self._reports
        return [reports.popleft() for _ in range(len(reports))]

    def close(self, *, flush_s: float = 0.0) -> None:
        """End this incarnation: wait so long for what is queued, then purge the rest."""
        until = time.monotonic() + flush_s
        while (self._queue or self._flight) and time.monotonic() < until:
            time.sleep(0.001)
        with self._lock:
            self._over = self._over or "it was closed"
            self._queue.clear()
        self._link.forget(self._part)
        self._link.writers.pop(self._number, None)
        self._link.send(frames.CloseWriter(self._number))

    def collect(self, out: Batch) -> None:
        """Hand over as many records as may be on their way."""
        rows: list[frames.AppendRow] = []
        size = 0
        with self._lock:
            first = self._next
            while (
                self._queue
                and size < frames.BATCH_BYTES
                and self._flight_bytes < FLIGHT_BYTES_MAX
                and len(self._flight) < FLIGHT_RECORDS_MAX
            ):
                row, tag, row_size, _ = self._queue.popleft()
                self._queued_bytes -= row_size
                self._flight[self._next] = (tag, row_size)
                self._flight_bytes += row_size
                self._next += 1
                size += row_size
                rows.append(row)
            more = bool(self._queue) and size >= frames.BATCH_BYTES
        if rows:
            out.add(frames.Append(self._number, first, rows), size)
        if more:
            self._link.mark(self)

    def came_up(self) -> None:
        """Send what waited."""
        self.marked = False
        self._link.mark(self)

    def went_down(self, reason: str, *, final: bool) -> None:
        """Report what was on its way: nobody knows whether it landed."""
        with self._lock:
            if not self._flight and not final:
                return
            self._over = f"the connection to the engine at {self._link.address} ended: {reason}"
            for tag, _ in self._flight.values():
                self._reports.append(Report(tag, None, 0, None))
            self._flight.clear()
            while self._queue:
                _, tag, _, _ = self._queue.popleft()
                self._reports.append(Report(tag, None, 0, f"not sent: {self._over}"))
        self._on_ready()

    def tick(self) -> None:
        """Give up what waited too long for the engine."""
        now = time.monotonic()
        with self._lock:
            if not self._queue or self._queue[0][3] > now:
                return
            message = str(self._link.away())
            self._over = message
            while self._queue:
                _, tag, _, _ = self._queue.popleft()
                self._reports.append(Report(tag, None, 0, message))
        self._on_ready()

    def _acks(self, rows: list[frames.AckRow]) -> None:
        with self._lock:
            for number, offset, at_ms, error in rows:
                found = self._flight.pop(number, None)
                if found is not None:
                    self._flight_bytes -= found[1]
                    self._reports.append(Report(found[0], offset, at_ms, error))
            more = bool(self._queue)
        if more:
            self._link.mark(self)
        self._on_ready()


def _bytes_max(topic: str) -> int:
    role = role_of(topic)
    return _UNKNOWN_TOPIC_BYTES if role is None else int(topic_settings(role)["max.message.bytes"])
