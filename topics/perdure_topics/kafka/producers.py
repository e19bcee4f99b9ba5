"""Kafka producers that several appenders share, and the gate before each.

A producer of its own for every appender was measured at 85-200 µs more CPU a record than a shared
one, so appenders with the same timeout share. What makes that safe:

- an error purges and ends the whole producer, so nothing queued behind a failed record is sent;
  the other appenders on it get their errors too and are opened anew by their owners;
- a partition whose record was refused for good gets a producer of its own the next time, so it
  can fail again and again without taking the others along;
- an appender closed with records in flight retires its producer: nobody new gets it;
- an appender with nothing in flight moves to another producer without noticing.

The gate: librdkafka is given records of a partition only while it has none of it. With five
messages of a partition in flight an idempotent producer may send no more of it, and its thread
then turns without sleeping until they are acknowledged (measured: 335 wake-ups a workflow, 50 with
the gate). So records gather here meanwhile, and leave together, as many as one request holds.
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
from perdure_topics.kafka.settings import PASSING, REQUEST_BYTES, REQUEST_RECORDS, Settings
from perdure_topics.ports import TOO_LARGE, Headers, Report

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure_topics.kafka.watch import BrokerWatch

_POLL_S: Final = 0.5
_FIRST_CALL_S: Final = 2.0
# An answer this late makes us look whether the broker is there.
_LATE_S: Final = 2.0
_QUARANTINE_S: Final = 600.0
# What waits before the gate of one producer, over all its partitions.
BACKLOG_RECORDS_MAX: Final = 100_000
BACKLOG_BYTES_MAX: Final = 256 * 1024 * 1024
# What a record takes of memory beyond its key, value and headers.
_RECORD_BYTES: Final = 200

TopicPartitionKey = tuple[str, int]


class Entry:
    """A record on its way, in the order of the calls within its partition."""

    __slots__ = ("headers", "key", "lane", "report", "sent_at", "size", "tag", "value")

    def __init__(
        self, lane: Lane, tag: object, value: bytes, key: bytes | None, headers: Headers
    ) -> None:
        self.lane = lane
        self.tag = tag
        self.value = value
        self.key = key
        self.headers = headers
        self.size = _RECORD_BYTES + len(value) + (len(key) if key else 0)
        if headers:
            self.size += sum(len(name) + len(content) for name, content in headers)
        # When librdkafka got it; 0 while it waits before the gate.
        self.sent_at = 0.0
        self.report: Report | None = None


class Lane:
    """What an appender has on its way to one partition, and through which producer."""

    __slots__ = ("entries", "key", "pipe", "settle")

    def __init__(self, key: TopicPartitionKey, settle: Callable[[Entry, Report], None]) -> None:
        self.key = key
        self.settle = settle
        self.entries: deque[Entry] = deque()
        self.pipe: Pipe | None = None


class _Place:
    """A partition at a producer's gate: how much librdkafka has of it, and what waits."""

    __slots__ = ("backlog", "under_way")

    def __init__(self) -> None:
        self.under_way = 0
        self.backlog: deque[Entry] = deque()


class Pipe:
    """A producer, its gate, and a thread that waits for reports while no owner asks for them."""

    def __init__(
        self,
        settings: Settings,
        watch: BrokerWatch,
        *,
        private: bool,
        on_refused: Callable[[TopicPartitionKey], None],
    ) -> None:
        self._watch = watch
        self._private = private
        self._on_refused = on_refused
        self._stopped = threading.Event()
        self._users: set[Lane] = set()
        # Held while a record is queued and while the producer is ended, so that nothing can
        # be queued behind a failed record.
        self._lock = threading.Lock()
        self._places: dict[TopicPartitionKey, _Place] = {}
        # Places that librdkafka had no room for although it has nothing of them.
        self._held_up: set[TopicPartitionKey] = set()
        self._backlog_records = 0
        self._backlog_bytes = 0
        self.failed = False
        self.retired = False
        self._written_at = 0.0
        self._producer = Producer({**settings, "error_cb": watch.error})
        keep_in_forks(self)
        threading.Thread(target=self._serve, name="perdure-kafka-reports", daemon=True).start()

    def join(self, lane: Lane) -> None:
        """Take a partition of an appender on."""
        self._users.add(lane)
        lane.pipe = self

    def leave(self, lane: Lane) -> None:
        """Let it go; the last one out ends a producer that nobody else may use.

        What librdkafka has of it is left to it: nobody new writes through this producer then.
        What waits before the gate is dropped, and told to nobody.
        """
        if lane.entries:
            self._forget(lane)
            # The first is the oldest: where that was not sent, nothing was.
            self.retired = self.retired or bool(_first_sent_at(lane))
        lane.pipe = None
        self._users.discard(lane)
        if not self._users and (self._private or self.retired or self.failed):
            self.stop()

    def put(self, entry: Entry) -> bool:
        """Queue a record behind all earlier ones of its partition; False when this has ended.

        Raises BufferError when there is no room, and what librdkafka raises: nothing was queued.
        """
        with self._lock:
            if self.failed:
                return False
            key = entry.lane.key
            place = self._places.get(key)
            if place is None:
                place = self._places[key] = _Place()
            if not place.under_way and not place.backlog:
                self._produce(key, place, entry)
                return True
            records, size = self._backlog_records + 1, self._backlog_bytes + entry.size
            if records > BACKLOG_RECORDS_MAX or size > BACKLOG_BYTES_MAX:
                raise BufferError("the backlog is full")
            place.backlog.append(entry)
            self._backlog_records, self._backlog_bytes = records, size
            return True

    def fail(self) -> None:
        """End it: what is queued or in flight is reported as failed, nothing more is sent."""
        with self._lock:
            if self.failed:
                return
            self.failed = True
            self._producer.purge(in_queue=True, in_flight=True, blocking=False)
            waiting = [entry for place in self._places.values() for entry in place.backlog]
            for place in self._places.values():
                place.backlog.clear()
            self._backlog_records = self._backlog_bytes = 0
            self._held_up.clear()
        # Each behind what librdkafka has of its partition, whose reports are still to come.
        for entry in waiting:
            entry.lane.settle(entry, Report(entry.tag, None, -1, "not sent: purged"))

    def stop(self) -> None:
        """Purge it and let its own thread take it down."""
        self.fail()
        self._stopped.set()

    def poll(self, timeout_s: float) -> None:
        """Have what came in reported, on this thread."""
        try:
            self._producer.poll(timeout_s)
        except KafkaException:
            # A fatal error, such as that of a purge in flight: it is raised here and never given
            # to the callback. What the failed producer still holds is reported by later polls.
            self.fail()
        if self._held_up:
            with self._lock:
                held_up = list(self._held_up)
                self._held_up.clear()
            for key in held_up:
                self._hand_over(key)

    def _serve(self) -> None:
        # Without a question that needs the broker, librdkafka first looks for one, finds no
        # connection and sleeps half a second before the first record.
        with suppress(KafkaException):
            self._producer.list_topics(timeout=_FIRST_CALL_S)
        while not self._stopped.is_set():
            self.poll(_POLL_S)
            sent = [at for lane in tuple(self._users) if (at := _first_sent_at(lane))]
            if sent and (late_s := time.monotonic() - min(sent)) > _LATE_S:
                self._watch.suspect(f"no answer to a write for {late_s:.1f} s")
        self.poll(0)
        # A fatal error that nobody polled for, such as that of a missing right, is raised again.
        with suppress(KafkaException):
            self._producer.close()

    def _produce(self, key: TopicPartitionKey, place: _Place, entry: Entry) -> None:
        """Give a record to librdkafka, under the lock; raises what it raises."""
        entry.sent_at = time.monotonic()
        self._producer.produce(
            key[0],
            entry.value,
            entry.key,
            key[1],
            partial(self._delivered, entry, place),
            headers=list(entry.headers) if entry.headers else None,
        )
        place.under_way += 1
        # librdkafka has a copy.
        entry.value, entry.headers = b"", ()

    def _hand_over(self, key: TopicPartitionKey) -> None:
        """Give librdkafka what gathered of a partition, as much as one request holds."""
        with self._lock:
            place = self._places[key]
            if place.under_way:
                return
            count = size = 0
            while place.backlog and count < REQUEST_RECORDS:
                entry = place.backlog[0]
                size += entry.size
                if count and size > REQUEST_BYTES:
                    return
                try:
                    self._produce(key, place, entry)
                except BufferError:
                    # Other partitions fill its queue; their reports make room.
                    if not count:
                        self._held_up.add(key)
                    return
                except Exception as error:
                    refusal = error
                    # Nothing passes the gate behind it.
                    place.under_way += 1
                    self._take_out(place.backlog.popleft())
                    break
                self._take_out(place.backlog.popleft())
                count += 1
            else:
                return
        self._refused(entry, _cause_of(refusal), str(refusal))

    def _take_out(self, entry: Entry) -> None:
        self._backlog_records -= 1
        self._backlog_bytes -= entry.size

    def _forget(self, lane: Lane) -> None:
        with self._lock:
            place = self._places.get(lane.key)
            if place is None:
                return
            waiting, place.backlog = place.backlog, deque()
            for entry in waiting:
                if entry.lane is lane:
                    self._take_out(entry)
                else:
                    place.backlog.append(entry)

    def _delivered(
        self, entry: Entry, place: _Place, error: KafkaError | None, message: Message
    ) -> None:
        """A delivery report, on an owner's thread or the waiting one."""
        if error is not None:
            # It stays under way until this has ended: nothing passes the gate behind it.
            self._refused(entry, error, error.str())
            return
        with self._lock:
            place.under_way -= 1
            is_free = not place.under_way and bool(place.backlog)
        self._written_at = time.monotonic()
        report = Report(entry.tag, message.offset(), message.timestamp()[1], None)
        entry.lane.settle(entry, report)
        if is_free:
            self._hand_over(entry.lane.key)

    def _refused(self, entry: Entry, error: KafkaError | None, text: str) -> None:
        """A record is not written, and so nothing behind it may be."""
        code = None if error is None else error.code()
        too_large = TOO_LARGE if code == KafkaError.MSG_SIZE_TOO_LARGE else ""
        name = "" if error is None else f"{error.name()}: "
        # A broker that is away fails all alike. This is trouble of the one partition when
        # the error says so, or when others were written while this one waited.
        others_pass = self._written_at > entry.sent_at
        timed_out = code == KafkaError._MSG_TIMED_OUT
        if code not in PASSING or (timed_out and others_pass):
            self._on_refused(entry.lane.key)
        self.fail()
        entry.lane.settle(entry, Report(entry.tag, None, -1, f"{too_large}{name}{text}"))


def _cause_of(error: Exception) -> KafkaError | None:
    """What librdkafka says of a record that it did not take."""
    cause = error.args[0] if isinstance(error, KafkaException) else None
    return cause if isinstance(cause, KafkaError) else None


def _first_sent_at(lane: Lane) -> float:
    try:
        return lane.entries[0].sent_at
    except IndexError:
        return 0.0


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
                return self._make(timeout_ms, private=True)
            self._quarantined.pop(key, None)
            return self._usable(timeout_ms)

    def warm(self, timeout_ms: int) -> None:
        """Connect now, because records will follow."""
        with self._lock:
            self._usable(timeout_ms)

    def _usable(self, timeout_ms: int) -> Pipe:
        shared = self._shared.get(timeout_ms)
        if shared is None or shared.failed or shared.retired:
            shared = self._shared[timeout_ms] = self._make(timeout_ms, private=False)
        return shared

    def _make(self, timeout_ms: int, *, private: bool) -> Pipe:
        settings = self._settings_for(timeout_ms)
        return Pipe(settings, self._watch, private=private, on_refused=self.quarantine)

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
