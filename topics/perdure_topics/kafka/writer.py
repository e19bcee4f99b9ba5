"""Writing to Kafka: appenders, and the producers that several appenders share.

A producer of its own for every appender was measured at 85-200 µs more CPU a record than a shared
one, so appenders with the same timeout share. What makes that safe:

- an error purges and ends the whole producer, so nothing queued behind a failed record is sent;
  the other appenders on it get their errors too and are opened anew by their owners;
- a partition whose record was refused for good gets a producer of its own the next time, so it
  can fail again and again without taking the others along;
- an appender closed with records in flight retires its producer: nobody new gets it;
- an appender with nothing in flight moves to another producer without noticing.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from perdure_topics.forks import keep_in_forks
from perdure_topics.kafka.settings import PASSING, Settings
from perdure_topics.ports import (
    TOO_LARGE,
    Headers,
    LogError,
    LogFullError,
    RecordTooLargeError,
    Report,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure_topics.kafka.watch import BrokerWatch

_POLL_S: Final = 0.5
_FIRST_CALL_S: Final = 2.0
# An answer this late makes us look whether the broker is there.
_LATE_S: Final = 2.0
_QUARANTINE_S: Final = 600.0
# What a batch of one record takes beyond its key, value and headers.
_BATCH_BYTES: Final = 128

TopicPartitionKey = tuple[str, int]


class _Entry:
    """A record on its way, in the order of the calls within its partition."""

    __slots__ = ("lane", "queued_at", "report", "tag")

    def __init__(self, lane: _Lane, tag: object) -> None:
        self.lane = lane
        self.tag = tag
        self.queued_at = time.monotonic()
        self.report: Report | None = None


class _Lane:
    """What an appender has on its way to one partition, and through which producer."""

    __slots__ = ("entries", "key", "pipe")

    def __init__(self, key: TopicPartitionKey) -> None:
        self.key = key
        self.entries: deque[_Entry] = deque()
        self.pipe: Pipe | None = None


class Pipe:
    """A producer, and a thread that waits in it for reports while no owner asks for them."""

    def __init__(self, settings: Settings, watch: BrokerWatch, *, private: bool) -> None:
        self._watch = watch
        self._private = private
        self._stopped = threading.Event()
        self._users: set[_Lane] = set()
        # Held while a record is queued and while the producer is ended, so that nothing can
        # be queued behind a failed record.
        self.lock = threading.Lock()
        self.failed = False
        self.retired = False
        self.written_at = 0.0
        self.producer = Producer({**settings, "error_cb": watch.error})
        keep_in_forks(self)
        threading.Thread(target=self._serve, name="perdure-kafka-reports", daemon=True).start()

    def join(self, lane: _Lane) -> None:
        """Take a partition of an appender on."""
        self._users.add(lane)
        lane.pipe = self

    def leave(self, lane: _Lane) -> None:
        """Let it go; the last one out ends a producer that nobody else may use."""
        lane.pipe = None
        self._users.discard(lane)
        if not self._users and (self._private or self.retired or self.failed):
            self.stop()

    def fail(self) -> None:
        """End it: what is queued or in flight is reported as failed, nothing more is sent."""
        with self.lock:
            if not self.failed:
                self.failed = True
                self.producer.purge(in_queue=True, in_flight=True, blocking=False)

    def stop(self) -> None:
        """Purge it and let its own thread take it down."""
        self.fail()
        self._stopped.set()

    def _serve(self) -> None:
        # Without a question that needs the broker, librdkafka first looks for one, finds no
        # connection and sleeps half a second before the first record.
        with suppress(KafkaException):
            self.producer.list_topics(timeout=_FIRST_CALL_S)
        while not self._stopped.is_set():
            self.poll(_POLL_S)
            oldest = min(
                (entry.queued_at for lane in tuple(self._users) for entry in _first(lane)),
                default=None,
            )
            if oldest is not None and time.monotonic() - oldest > _LATE_S:
                self._watch.suspect(f"no answer to a write for {time.monotonic() - oldest:.1f} s")
        self.poll(0)
        # A fatal error that nobody polled for, such as that of a missing right, is raised again.
        with suppress(KafkaException):
            self.producer.close()

    def poll(self, timeout_s: float) -> None:
        """Have what came in reported, on this thread."""
        try:
            self.producer.poll(timeout_s)
        except KafkaException:
            # A fatal error, such as that of a purge in flight: it is raised here and never given
            # to the callback. What the failed producer still holds is reported by later polls.
            self.fail()


def _first(lane: _Lane) -> tuple[_Entry, ...]:
    try:
        return (lane.entries[0],)
    except IndexError:
        return ()


class PipePool:
    """The producers of a log, by timeout, and which partitions need one of their own."""

    def __init__(
        self,
        settings_for: Callable[[int], Settings],
        watch: BrokerWatch,
        bytes_max: Callable[[str], int | None],
    ) -> None:
        self._settings_for = settings_for
        self._watch = watch
        self._lock = threading.Lock()
        self._shared: dict[int, Pipe] = {}
        self._quarantined: dict[TopicPartitionKey, float] = {}
        self.bytes_max = bytes_max

    def pipe(self, timeout_ms: int, key: TopicPartitionKey) -> Pipe:
        """A producer for a partition: the shared one, or a new one of its own."""
        with self._lock:
            until = self._quarantined.get(key)
            if until is not None and time.monotonic() < until:
                return Pipe(self._settings_for(timeout_ms), self._watch, private=True)
            self._quarantined.pop(key, None)
            return self._usable(timeout_ms)

    def warm(self, timeout_ms: int) -> None:
        """Connect now, because records will follow."""
        with self._lock:
            self._usable(timeout_ms)

    def _usable(self, timeout_ms: int) -> Pipe:
        shared = self._shared.get(timeout_ms)
        if shared is None or shared.failed or shared.retired:
            shared = Pipe(self._settings_for(timeout_ms), self._watch, private=False)
            self._shared[timeout_ms] = shared
        return shared

    def quarantine(self, key: TopicPartitionKey) -> None:
        """Give a partition a producer of its own from now on."""
        with self._lock:
            self._quarantined[key] = time.monotonic() + _QUARANTINE_S

    def close(self) -> None:
        """End the shared producers."""
        with self._lock:
            for pipe in self._shared.values():
                pipe.stop()
            self._shared.clear()


class KafkaAppender:
    """One incarnation of a writer. Its owner calls it from one thread."""

    def __init__(self, pool: PipePool, *, on_ready: Callable[[], None], timeout_ms: int) -> None:
        self._pool = pool
        self._on_ready = on_ready
        self._timeout_ms = timeout_ms
        self._lanes: dict[TopicPartitionKey, _Lane] = {}
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
        entry = _Entry(lane, tag)
        with self._lock:
            lane.entries.append(entry)
            self._waiting += 1
        try:
            with pipe.lock:
                if not pipe.failed and not self._ended:
                    pipe.producer.produce(
                        topic,
                        value,
                        key,
                        partition,
                        partial(self._delivered, entry),
                        headers=list(headers) if headers else None,
                    )
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

        What shares a producer with others is left to it: it was queued in order, and nobody new
        writes through that producer.
        """
        deadline = time.monotonic() + flush_s
        while self._waiting and not self._ended and (left := deadline - time.monotonic()) > 0:
            for pipe in {lane.pipe for lane in self._lanes.values() if lane.entries}:
                if pipe is not None:
                    pipe.poll(min(left, 0.02))
        self._closed = True
        for lane in self._lanes.values():
            if lane.pipe is not None:
                if lane.entries:
                    lane.pipe.retired = True
                lane.pipe.leave(lane)
        self._lanes.clear()

    def _lane(self, key: TopicPartitionKey) -> _Lane:
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane(key)
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

    def _delivered(self, entry: _Entry, error: KafkaError | None, message: Message) -> None:
        """A delivery report, on the owner's thread or the waiting one."""
        lane = entry.lane
        if error is not None:
            too_large = TOO_LARGE if error.code() == KafkaError.MSG_SIZE_TOO_LARGE else ""
            report = Report(entry.tag, None, -1, f"{too_large}{error.name()}: {error.str()}")
            # A broker that is away fails all alike. This is trouble of the one partition when
            # the error says so, or when others were written while this one waited.
            others_pass = lane.pipe is not None and lane.pipe.written_at > entry.queued_at
            timed_out = error.code() == KafkaError._MSG_TIMED_OUT
            if error.code() not in PASSING or (timed_out and others_pass):
                self._pool.quarantine(lane.key)
            if lane.pipe is not None:
                lane.pipe.fail()
        else:
            if lane.pipe is not None:
                lane.pipe.written_at = time.monotonic()
            report = Report(entry.tag, message.offset(), message.timestamp()[1], None)
        self._settle(entry, report)

    def _settle(self, entry: _Entry, report: Report) -> None:
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
