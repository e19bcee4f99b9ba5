"""Where the partitions of a Kafka log begin and end, asked by consumers that read nothing.

A question has three answers: where the partition begins and ends, an error of the broker that
stays, or that nobody knows. The last is never given as an offset. Behind an epoch of a leader that
the broker refuses, and behind silence, metadata is fetched before the question is asked again: a
client that does not goes on with what it knew.

The admin client is not asked: its own look for a leader was found to end whole processes, by an
assertion, as a broker came back.
"""

from __future__ import annotations

import logging
import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from perdure_topics.forks import keep_in_forks
from perdure_topics.kafka.settings import PASSING, PASSING_ANSWERS, log_error
from perdure_topics.ports import LogError, LogUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

_LOG = logging.getLogger(__name__)
ATTEMPT_S: Final = 1.0
"""How long the first question to the broker may take; each further one may take twice as long."""
ATTEMPT_S_MAX: Final = 5.0
METADATA_S: Final = 1.0
SILENT_S: Final = 4.0
"""A client whose questions were not answered for so long is replaced."""
ENDS_S: Final = 2.0
"""How long the ends of several partitions are waited for."""
AGAIN_S: Final = 0.05
ASKERS: Final = 2
"""Threads for first questions, and as many for those that were not answered at once."""
_SPARE_S: Final = 5.0
"""How much longer than the asking threads whoever waits for them waits."""

Span = tuple[int, int]


class KafkaEndProbe:
    """A question for the ends of a partition that is on its way."""

    def __init__(self, topic: str, partition: int, on_ready: Callable[[], None]) -> None:
        self.topic = topic
        self.partition = partition
        self.asked_at = time.monotonic()
        self.attempts = 0
        self._on_ready = on_ready
        self._span: Span | None = None
        self._error: LogError | None = None
        self._settled = threading.Event()

    def end(self) -> int | None:
        """The offset after all that was appended, once answered; None until then.

        Raises LogError when that is not known.
        """
        span = self.span()
        return None if span is None else span[1]

    def span(self) -> Span | None:
        """The first offset that is there and the one after the last, once answered.

        Raises LogError when that is not known.
        """
        if self._error is not None:
            raise self._error
        return self._span

    def settle(self, answer: Span | LogError) -> None:
        """Take the answer."""
        if isinstance(answer, LogError):
            self._error = answer
        else:
            self._span = answer
        self._settled.set()
        self._on_ready()

    def wait(self, timeout_s: float) -> Span:
        """The answer, once it is there."""
        self._settled.wait(timeout_s)
        span = self.span()
        if span is None:
            raise LogUnavailableError(f"end of {self.topic}-{self.partition}: no answer")
        return span


class _Client:
    """A consumer that asks, and how many threads are in a question of it."""

    def __init__(self, consumer: Consumer) -> None:
        self.consumer = consumer
        self.users = 0
        self.is_retired = False
        keep_in_forks(self)


class OffsetQueries:
    """Asks where partitions begin and end, on threads of its own."""

    def __init__(self, make: Callable[[], Consumer], *, address: str, timeout_s: float) -> None:
        self._make = make
        self._address = address
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._client: _Client | None = None
        self._silent_since: float | None = None
        self._first: SimpleQueue[KafkaEndProbe | None] = SimpleQueue()
        self._again: SimpleQueue[KafkaEndProbe | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._is_closed = False
        self.replaced = 0
        """How many clients were given up because nothing answered them."""

    def ask(self, topic: str, partition: int, on_ready: Callable[[], None]) -> KafkaEndProbe:
        """Ask where a partition begins and ends now, without waiting."""
        probe = KafkaEndProbe(topic, partition, on_ready)
        self._start()
        if self._is_closed:
            probe.settle(LogUnavailableError(f"{topic}-{partition}: the log is closed"))
        else:
            self._first.put(probe)
        return probe

    def offsets(self, topic: str, partition: int) -> Span:
        """Where a partition begins and ends now. Raises LogError when that is not known."""
        return self.ask(topic, partition, _nobody).wait(self._timeout_s + _SPARE_S)

    def ends(self, topic: str, partitions: list[int]) -> dict[int, int]:
        """Where partitions end now, as far as that is known soon: the caller is waited for."""
        probes = [self.ask(topic, partition, _nobody) for partition in partitions]
        until = time.monotonic() + ENDS_S
        found: dict[int, int] = {}
        for probe in probes:
            try:
                found[probe.partition] = probe.wait(max(0.0, until - time.monotonic()))[1]
            except LogError as error:
                _LOG.info("%s", error)
        return found

    def close(self) -> None:
        """Ask no more: what is under way stays unknown."""
        with self._lock:
            self._is_closed = True
            threads, self._threads = self._threads, []
        for _ in threads:
            self._first.put(None)
            self._again.put(None)
        self._retire(self._client)

    # On the asking threads.

    def _start(self) -> None:
        with self._lock:
            if self._threads or self._is_closed:
                return
            for questions in (self._first, self._again):
                for _ in range(ASKERS):
                    thread = threading.Thread(
                        target=self._serve,
                        args=(questions,),
                        name="perdure-kafka-ends",
                        daemon=True,
                    )
                    self._threads.append(thread)
                    thread.start()

    def _serve(self, questions: SimpleQueue[KafkaEndProbe | None]) -> None:
        while (probe := questions.get()) is not None:
            try:
                answer = self._answer(probe)
            except Exception as error:
                _LOG.exception("asking for the end of %s-%d", probe.topic, probe.partition)
                answer = LogError(f"end of {probe.topic}-{probe.partition}: {error}")
            if answer is None:
                # Behind the first ones, so that a partition without a leader holds up no other.
                time.sleep(AGAIN_S)
                self._again.put(probe)
            else:
                probe.settle(answer)
        # What was put behind the word to end.
        while not questions.empty() and (left := questions.get()) is not None:
            left.settle(LogUnavailableError(f"{left.topic}-{left.partition}: the log is closed"))

    def _answer(self, probe: KafkaEndProbe) -> Span | LogError | None:
        """Ask once; None when it is to be asked again."""
        client = self._take()
        try:
            cause = self._ask(client.consumer, probe)
        finally:
            self._give_back(client)
        probe.attempts += 1
        if isinstance(cause, tuple):
            self._heard()
            return cause
        if cause.code() not in PASSING | PASSING_ANSWERS:
            self._heard()
        waited = time.monotonic() - probe.asked_at
        stays = cause.code() not in PASSING | PASSING_ANSWERS
        if stays or waited > self._timeout_s or self._is_closed:
            where = f"end of {probe.topic}-{probe.partition}"
            return log_error(where, self._address, waited, cause)
        return None

    def _ask(self, consumer: Consumer, probe: KafkaEndProbe) -> Span | KafkaError:
        """The broker's answer, or what stands in its place."""
        try:
            consumer.poll(0)
            where = TopicPartition(probe.topic, probe.partition)
            # None is not in its types, and is what it gives when its time is over.
            most_s = min(ATTEMPT_S * 2**probe.attempts, ATTEMPT_S_MAX)
            found: Span | None = consumer.get_watermark_offsets(where, timeout=most_s)
        except KafkaException as error:
            cause: KafkaError = error.args[0]
        else:
            # A negative offset is the library's word for one that it does not know.
            if found is not None and 0 <= found[0] <= found[1]:
                return found
            cause = KafkaError(KafkaError._TIMED_OUT)
        if cause.code() in PASSING | PASSING_ANSWERS:
            try:
                consumer.list_topics(probe.topic, timeout=METADATA_S)
            except KafkaException as error:
                _LOG.debug("metadata of %s: %s", probe.topic, error)
        return cause

    # The client.

    def _take(self) -> _Client:
        with self._lock:
            now = time.monotonic()
            if self._silent_since is not None and now - self._silent_since > SILENT_S:
                old, self._client, self._silent_since = self._client, None, None
                self.replaced += 1
                if old is not None and not old.users:
                    _end(old)
                elif old is not None:
                    old.is_retired = True
            if self._client is None:
                self._client = _Client(self._make())
            if self._silent_since is None:
                self._silent_since = now
            self._client.users += 1
            return self._client

    def _give_back(self, client: _Client) -> None:
        with self._lock:
            client.users -= 1
            if client.is_retired and not client.users:
                _end(client)

    def _retire(self, client: _Client | None) -> None:
        with self._lock:
            if client is None or client.is_retired:
                return
            client.is_retired = True
            if not client.users:
                _end(client)

    def _heard(self) -> None:
        with self._lock:
            self._silent_since = None


def _end(client: _Client) -> None:
    """Close a consumer on a thread of its own: one that hangs holds up nobody."""
    threading.Thread(
        target=client.consumer.close, name="perdure-kafka-ends-close", daemon=True
    ).start()


def _nobody() -> None:
    """Nobody waits for a bell."""
