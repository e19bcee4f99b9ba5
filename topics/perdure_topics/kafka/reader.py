"""Reading from Kafka: hand-assigned partitions, gathered on a thread and taken by the owner."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from contextlib import suppress
from functools import partial
from operator import methodcaller
from typing import TYPE_CHECKING, Final, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from perdure_topics.forks import keep_in_forks
from perdure_topics.kafka.settings import remedy_of
from perdure_topics.ports import Headers, LogError, PositionLostError, StoredRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure_topics.kafka.settings import Settings
    from perdure_topics.kafka.watch import BrokerWatch
    from perdure_topics.ports import EndProbe

_LOG = logging.getLogger(__name__)
_call_headers = methodcaller("headers")
# How long an order may have to wait for a poll to end: where orders come, and elsewhere.
_POLL_S: Final = 0.02
_REST_POLL_S: Final = 0.25
# So long after an order others are to be expected.
_BUSY_S: Final = 2.0
_FIRST_CALL_S: Final = 2.0
_IDLE_S: Final = 1.0
_CLOSE_S: Final = 5.0
_DRAIN: Final = 2_000
# Above these a group's partition is paused until half is taken.
QUEUED_RECORDS_MAX: Final = 4_096
QUEUED_BYTES_MAX: Final = 8 * 1024 * 1024
# What a tail holds of all its partitions; a host has two of them.
TAIL_BYTES_MAX: Final = 32 * 1024 * 1024
# What a message takes in memory beyond its key and value, by estimate.
_MESSAGE_BYTES: Final = 500

PartitionKey = tuple[str, int]

_LOST: Final = frozenset(
    {
        KafkaError._AUTO_OFFSET_RESET,
        KafkaError._LOG_TRUNCATION,
        KafkaError._NO_OFFSET,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError.OFFSET_OUT_OF_RANGE,
    }
)
# The library says the same of a position that is gone and of one it could not make sure of.
_DOUBTED: Final = _LOST - {KafkaError._LOG_TRUNCATION}
_TRUNCATED: Final = "truncat"
_DOUBT_AGAIN_S: Final = 1.0
_GONE: Final = frozenset(
    {
        KafkaError._UNKNOWN_TOPIC,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.UNKNOWN_TOPIC_ID,
        KafkaError.INCONSISTENT_TOPIC_ID,
    }
)


def stored(message: Message) -> StoredRecord:
    """A message as our record."""
    epoch = message.leader_epoch()
    return StoredRecord(
        message.topic() or "",
        _number(message.partition()),
        _number(message.offset()),
        _raw(message.key()),
        _raw(message.value()),
        _headers_of(message),
        message.timestamp()[1],
        -1 if epoch is None else epoch,
    )


def _headers_of(message: Message) -> Headers:
    """The headers of a message; none of one whose headers cannot be read.

    The client's C code makes a list with a hole in it where a name is no UTF-8, and leaves the
    error set: to touch that list ends the process. Called in this way, the interpreter looks for
    the error first, which it does not where it has specialized the call.
    """
    try:
        headers = cast("list[tuple[str, bytes | None]] | None", _call_headers(message))
    except (SystemError, UnicodeError) as error:
        where = (message.topic(), message.partition(), message.offset())
        _LOG.warning("%s, partition %s, offset %s: its headers are passed over: %s", *where, error)
        return ()
    return () if not headers else tuple((name, value or b"") for name, value in headers)


def _number(value: int | None) -> int:
    return -1 if value is None else value


def _raw(value: object) -> bytes | None:
    # The client's types allow for deserialized values, which this client never makes.
    assert value is None or isinstance(value, bytes)
    return value


class Queue:
    """What has come in of one partition."""

    __slots__ = (
        "bytes_in",
        "bytes_out",
        "come",
        "doubted_at",
        "end",
        "lost",
        "messages",
        "next",
        "paused",
        "rung",
    )

    def __init__(self, offset: int = 0) -> None:
        self.messages: deque[Message] = deque()
        # The owner's: behind what it took. The reading thread's: where the log last ended.
        self.next = self.end = offset
        # The reading thread's: behind what has come in, and when that was doubted last.
        self.come = offset
        self.doubted_at = 0.0
        # One counter a thread: the reading one adds, the owner's takes.
        self.bytes_in = 0
        self.bytes_out = 0
        self.paused = False
        self.lost = ""
        self.rung = False

    def put(self, message: Message) -> None:
        """Add a message; the reading thread calls it."""
        self.messages.append(message)
        self.come = _number(message.offset()) + 1
        self.bytes_in += len(message) + _MESSAGE_BYTES

    def bytes(self) -> int:
        """What it holds now."""
        return self.bytes_in - self.bytes_out

    def full(self) -> bool:
        """Whether no more should come in, of a group's partition."""
        return len(self.messages) >= QUEUED_RECORDS_MAX or self.bytes() >= QUEUED_BYTES_MAX

    def low(self) -> bool:
        """Whether there is room again."""
        few = len(self.messages) <= QUEUED_RECORDS_MAX // 2
        return few and self.bytes() <= QUEUED_BYTES_MAX // 2

    def take(self, records_max: int) -> list[StoredRecord]:
        """Take from the front; the owner calls it."""
        taken: list[StoredRecord] = []
        while self.messages and len(taken) < records_max:
            message = self.messages.popleft()
            self.bytes_out += len(message) + _MESSAGE_BYTES
            taken.append(stored(message))
        if taken:
            self.next = taken[-1].offset + 1
        return taken

    def position(self) -> int:
        """Below this all was taken, or is no record; the owner calls it."""
        # In this order: what precedes an end was put in before the end was noted.
        end = self.end
        if self.messages:
            return _number(self.messages[0].offset())
        return max(self.next, end)


class _Doubt:
    """A position that may be gone: only where the log begins and ends tells."""

    __slots__ = ("ask_at", "key", "probe", "queue", "why")

    def __init__(self, key: PartitionKey, queue: Queue, why: str) -> None:
        self.key = key
        self.queue = queue
        self.why = why
        self.probe: EndProbe | None = None
        self.ask_at = max(time.monotonic(), queue.doubted_at + _DOUBT_AGAIN_S)


class KafkaTail:
    """A reader of partitions that its owner assigned by hand.

    Only the reading thread speaks to the consumer: another thread that assigns while it polls
    was found to hang for ever. So the owner leaves orders, carried out between two polls. Each
    assignment has a queue of its own: what still comes in of an old one goes nowhere.

    What it holds is bounded by bytes, over all its partitions. Above that nothing is polled until
    the owner has taken half: a pause would throw away what librdkafka has fetched ahead, and was
    measured to make a take-over three times slower. Only where a partition has next to nothing
    left, and so would wait for others' owners, are those paused that hold more than their share.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        on_ready: Callable[[], None],
        watch: BrokerWatch,
        probe: Callable[[str, int, Callable[[], None]], EndProbe],
        exists: Callable[[str, Callable[[bool], None]], None],
    ) -> None:
        self._on_ready = on_ready
        self._probe = probe
        self._exists = exists
        # The owner's view, and the reading thread's.
        self._queues: dict[PartitionKey, Queue] = {}
        self._reading: dict[PartitionKey, Queue] = {}
        self._orders: deque[Callable[[], None]] = deque()
        self._doubts: list[_Doubt] = []
        self._ordered = threading.Event()
        self._ordered_at = time.monotonic()
        # The reading thread's: set while nothing is polled until half is taken.
        self._is_full = False
        self._closed = False
        self._consumer = Consumer({**settings, "error_cb": watch.error})
        keep_in_forks(self)
        self._thread = threading.Thread(target=self._read, name="perdure-kafka-tail", daemon=True)
        self._thread.start()

    def assign(self, topic: str, partition: int, offset: int) -> None:
        """Read a partition from an offset on; also moves a partition already read."""
        key = (topic, partition)
        queue = self._queues[key] = Queue(offset)
        self._order(partial(self._start, key, offset, queue))

    def unassign(self, topic: str, partition: int) -> None:
        """Stop reading a partition and forget what was fetched of it."""
        key = (topic, partition)
        if self._queues.pop(key, None) is not None:
            self._order(partial(self._stop, key))

    def take(self, topic: str, partition: int, records_max: int) -> list[StoredRecord]:
        """Take what has come in, in order.

        Raises PositionLostError when the position is not in the log any more.
        """
        key = (topic, partition)
        queue = self._queues.get(key)
        if queue is None:
            return []
        queue.rung = False
        taken = queue.take(records_max)
        if queue.paused and self._is_lean(queue):
            queue.paused = False
            self._order(partial(self._resume, key))
        elif self._is_full and (self._is_lean(queue) or self._bytes() <= TAIL_BYTES_MAX // 2):
            self._ordered.set()
        if not taken and queue.lost:
            raise PositionLostError(queue.lost)
        return taken

    def position(self, topic: str, partition: int) -> int:
        """Below this offset everything was taken, or is nothing that is ever given out."""
        queue = self._queues.get((topic, partition))
        return -1 if queue is None else queue.position()

    def ready(self) -> list[PartitionKey]:
        """The (topic, partition)s that have something to take, or to say."""
        return [key for key, queue in self._queues.items() if queue.messages or queue.lost]

    def probe_end(self, topic: str, partition: int) -> EndProbe:
        """Ask the log where a partition ends now, without waiting for the answer."""
        return self._probe(topic, partition, self._on_ready)

    def close(self) -> None:
        """Stop reading."""
        self._closed = True
        self._ordered.set()
        self._thread.join(_CLOSE_S)

    def _order(self, order: Callable[[], None]) -> None:
        self._ordered_at = time.monotonic()
        self._orders.append(order)
        self._ordered.set()

    def _bytes(self) -> int:
        return sum(queue.bytes() for queue in tuple(self._queues.values()))

    def _is_lean(self, queue: Queue) -> bool:
        """Whether a partition has so little that it may soon wait for more."""
        return queue.bytes() <= TAIL_BYTES_MAX // (4 * max(len(self._queues), 1))

    def _may_poll(self) -> bool:
        """Whether there is room for more; those that hold too much of it are paused for others."""
        limit = TAIL_BYTES_MAX // 2 if self._is_full else TAIL_BYTES_MAX
        if self._bytes() <= limit:
            self._is_full = False
            return True
        flowing = [(key, queue) for key, queue in self._reading.items() if not queue.paused]
        if not any(self._is_lean(queue) for _, queue in flowing):
            self._is_full = True
            return False
        self._is_full = False
        share = TAIL_BYTES_MAX // len(self._reading)
        fat = [(key, queue) for key, queue in flowing if queue.bytes() > share]
        for _, queue in fat:
            queue.paused = True
        if fat:
            self._consumer.pause([TopicPartition(*key) for key, _ in fat])
        return True

    def _poll_s(self) -> float:
        """How long a poll may take: only where orders come must it end soon."""
        is_busy = self._doubts or time.monotonic() - self._ordered_at < _BUSY_S
        if is_busy or any(queue.paused for queue in self._reading.values()):
            return _POLL_S
        return _REST_POLL_S

    def _read(self) -> None:
        consumer = self._consumer
        # As in the writers: without a question the first fetch finds no connection and waits.
        with suppress(KafkaException):
            consumer.list_topics(timeout=_FIRST_CALL_S)
        while not self._closed:
            try:
                while self._orders:
                    self._orders.popleft()()
                if not self._reading:
                    self._ordered.wait(_IDLE_S)
                    self._ordered.clear()
                    consumer.poll(0)
                    continue
                if self._doubts:
                    self._doubts = [one for one in self._doubts if not self._settle(one)]
                if not self._may_poll():
                    self._ordered.clear()
                    if self._is_full:
                        self._ordered.wait(_POLL_S)
                    continue
                first = consumer.poll(self._poll_s())
                if first is not None:
                    self._sort([first, *consumer.consume(_DRAIN, 0)])
            except Exception:
                # A reader that stops is silently stuck; this one goes on and says why.
                _LOG.exception("reading: trying on")
                time.sleep(_POLL_S)
        consumer.close()

    def _start(self, key: PartitionKey, offset: int, queue: Queue) -> None:
        self._stop(key)
        try:
            self._consumer.incremental_assign([TopicPartition(*key, offset)])
        except KafkaException as error:
            self._lose(queue, f"{key[0]}-{key[1]}: cannot be read from {offset}: {error}")
            return
        self._reading[key] = queue

    def _stop(self, key: PartitionKey) -> None:
        if self._reading.pop(key, None) is not None:
            self._consumer.incremental_unassign([TopicPartition(*key)])

    def _resume(self, key: PartitionKey) -> None:
        if key in self._reading:
            self._consumer.resume([TopicPartition(*key)])

    def _sort(self, messages: list[Message]) -> None:
        ring = False
        for message in messages:
            key = (message.topic() or "", _number(message.partition()))
            queue = self._reading.get(key)
            if queue is None:
                continue
            error = message.error()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    # Behind the marks of transactions, too, of which nothing else tells.
                    queue.end = queue.come = _number(message.offset())
                else:
                    self._trouble(key, queue, error)
                continue
            queue.put(message)
            if not queue.rung:
                queue.rung = ring = True
        if ring:
            self._on_ready()

    def _trouble(self, key: PartitionKey, queue: Queue, error: KafkaError) -> None:
        where = f"{key[0]}-{key[1]}"
        if error.code() in _LOST:
            why = f"{where}: the position is not in the log: {error.str()}"
            if error.code() in _DOUBTED and _TRUNCATED not in why.lower():
                if all(one.queue is not queue for one in self._doubts):
                    self._doubts.append(_Doubt(key, queue, why))
            else:
                self._lose(queue, why)
        elif error.code() in _GONE:
            # A topic that was just made is unknown for a moment; one that is gone stays so.
            gone = f"{where}: the topic does not exist any more"
            self._exists(key[0], lambda there: None if there else self._lose(queue, gone))
        else:
            _LOG.warning("reading %s: %s%s", where, error, remedy_of(error))

    def _settle(self, doubt: _Doubt) -> bool:
        """Ask whether a position is there, and go on from it if it is; whether that is settled."""
        key, queue = doubt.key, doubt.queue
        if self._reading.get(key) is not queue:
            return True
        now = time.monotonic()
        if doubt.probe is None:
            if now >= doubt.ask_at:
                doubt.probe = self._probe(*key, self._on_ready)
            return False
        try:
            span = doubt.probe.span()
        except LogError:
            # Not known is not lost.
            doubt.probe, doubt.ask_at = None, now + _DOUBT_AGAIN_S
            return False
        if span is None:
            return False
        if not span[0] <= queue.come <= span[1]:
            self._lose(queue, f"{doubt.why} (the log holds {span[0]} to {span[1] - 1})")
            return True
        _LOG.info("%s; it is, at %d: reading on", doubt.why, queue.come)
        queue.doubted_at = now
        self._start(key, queue.come, queue)
        return True

    def _lose(self, queue: Queue, why: str) -> None:
        queue.lost = why
        queue.rung = True
        self._on_ready()
