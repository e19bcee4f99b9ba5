"""Writing to Kafka: appenders, whose records leave through producers that they share."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from confluent_kafka import KafkaError, KafkaException

from perdure_topics.kafka.producers import Entry, Lane, PipePool, TopicPartitionKey
from perdure_topics.ports import (
    Headers,
    LogError,
    LogFullError,
    RecordTooLargeError,
    Report,
)

if TYPE_CHECKING:
    from collections.abc import Callable

# What a batch of one record takes beyond its key, value and headers.
_BATCH_BYTES: Final = 128


class KafkaAppender:
    """One incarnation of a writer. Its owner calls it from one thread."""

    def __init__(self, pool: PipePool, *, on_ready: Callable[[], None], timeout_ms: int) -> None:
        self._pool = pool
        self._on_ready = on_ready
        self._timeout_ms = timeout_ms
        self._lanes: dict[TopicPartitionKey, Lane] = {}
        self._reports: deque[Report] = deque()
        self._lock = threading.Lock()
        self._waiting = 0
        self._rung = False
        self._ended = ""
        self._closed = False
        pool.warm(timeout_ms)

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
        """Queue a record; behind a failed one it fails, too.

        Raises LogFullError when it is too large for its topic or the queue is full: nothing was
        queued.
        """
        if self._closed:
            raise LogError(f"{topic}-{partition}: this writer is closed")
        self._check_size(topic, partition, value, key, headers)
        lane = self._lane((topic, partition))
        pipe = lane.pipe
        assert pipe is not None
        entry = Entry(lane, tag, value, key, headers)
        with self._lock:
            lane.entries.append(entry)
            self._waiting += 1
        try:
            if not self._ended and pipe.put(entry):
                return
        except BaseException as error:
            with self._lock:
                lane.entries.remove(entry)
                self._waiting -= 1
            raise self._refusal(topic, partition, error) from error
        self._settle(entry, Report(tag, None, -1, f"not sent: {self._ended or 'purged'}"))

    def reports(self) -> list[Report]:
        """Take the reports that have come in."""
        self._rung = False
        if self._waiting:
            # Taken on the owner's own thread: the waiting thread would have to fight it for the
            # interpreter, record by record, which was measured to delay reports tenfold.
            for pipe in {lane.pipe for lane in self._lanes.values() if lane.entries}:
                if pipe is not None:
                    pipe.poll(0)
        taken: list[Report] = []
        while self._reports:
            taken.append(self._reports.popleft())
        return taken

    def close(self, *, flush_s: float = 0.0) -> None:
        """End this incarnation: wait so long for what is queued, then purge the rest.

        What shares a producer with others and was given to it is left to it: it was queued in
        order, and nobody new writes through that producer.
        """
        deadline = time.monotonic() + flush_s
        while self._waiting and not self._ended and (left := deadline - time.monotonic()) > 0:
            for pipe in {lane.pipe for lane in self._lanes.values() if lane.entries}:
                if pipe is not None:
                    pipe.poll(min(left, 0.02))
        self._closed = True
        for lane in self._lanes.values():
            if lane.pipe is not None:
                lane.pipe.leave(lane)
        self._lanes.clear()

    def _lane(self, key: TopicPartitionKey) -> Lane:
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(key, self._settle)
        pipe = lane.pipe
        if pipe is None or ((pipe.failed or pipe.retired) and not lane.entries):
            if pipe is not None:
                pipe.leave(lane)
            self._pool.pipe(self._timeout_ms, key).join(lane)
        return lane

    def _check_size(
        self, topic: str, partition: int, value: bytes, key: bytes | None, headers: Headers
    ) -> None:
        limit = self._pool.bytes_max(topic)
        if limit is None:
            return
        size = len(value) + len(key or b"") + _BATCH_BYTES
        size += sum(len(name) + len(content) + 10 for name, content in headers)
        if size > limit:
            raise RecordTooLargeError(
                f"{topic}-{partition}: a record of {size} bytes; the topic takes {limit} at most "
                "(its max.message.bytes)"
            )

    def _refusal(self, topic: str, partition: int, error: BaseException) -> BaseException:
        """What a failed append raises: nothing was queued."""
        where = f"{topic}-{partition}"
        if isinstance(error, BufferError):
            return LogFullError(f"{where}: the writer's queue is full")
        if isinstance(error, KafkaException):
            cause: KafkaError = error.args[0]
            if cause.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                return RecordTooLargeError(f"{where}: {cause.str()}")
            return LogError(f"{where}: cannot be written: {cause.name()}: {cause.str()}")
        return error

    def _settle(self, entry: Entry, report: Report) -> None:
        """Let reports out as far as they are known without a gap."""
        lane = entry.lane
        with self._lock:
            entry.report = report
            # Two threads may deliver at once: reports leave in the order of the calls.
            while lane.entries and (first := lane.entries[0].report) is not None:
                lane.entries.popleft()
                self._waiting -= 1
                self._reports.append(first)
                if first.error is not None:
                    self._ended = self._ended or f"a record failed: {first.error}"
        if not self._rung and not self._closed:
            self._rung = True
            self._on_ready()
