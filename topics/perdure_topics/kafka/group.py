"""Kafka consumer groups: a member that only learns what is its own, and a reader of what it got."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from confluent_kafka import (
    OFFSET_END,
    Consumer,
    KafkaException,
    Message,
    TopicPartition,
)

from perdure_topics.forks import keep_in_forks
from perdure_topics.kafka.reader import Queue
from perdure_topics.kafka.settings import HOST_POLL_INTERVAL_MAX_MS
from perdure_topics.ports import Change, StoredRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure_topics.kafka.settings import Settings
    from perdure_topics.kafka.watch import BrokerWatch

_LOG = logging.getLogger(__name__)
# How long an order may have to wait for a poll to end: where orders come, and elsewhere.
_POLL_S: Final = 0.05
_REST_POLL_S: Final = 0.25
_DRAIN: Final = 500
_RELEASE_S: Final = 1.0
STILL_S: Final = 5.0
"""A host whose thread has not turned for so long stands still."""
_COMMIT_S: Final = 0.5
# The end of a partition when the broker could not say: everything may come again.
UNKNOWN_END: Final = 2**63 - 1


class _Membership:
    """What both kinds share: the changes, the releases and the commits."""

    def __init__(
        self,
        settings: Settings,
        topic: str,
        *,
        on_ready: Callable[[], None],
        watch: BrokerWatch,
    ) -> None:
        self._topic = topic
        self._on_ready = on_ready
        self._changes: deque[Change] = deque()
        self._owned: set[int] = set()
        self._unreleased: set[int] = set()
        self._released = threading.Condition()
        self._commits: dict[int, int] = {}
        self._committed_at = time.monotonic()
        self._closed = False
        # Only the polling thread speaks to the consumer, as in a tail.
        self._orders: deque[Callable[[], None]] = deque()
        self._consumer = Consumer({**settings, "error_cb": watch.error})
        keep_in_forks(self)
        self._thread = threading.Thread(target=self._run, name="perdure-kafka-group", daemon=True)

    def changes(self) -> list[Change]:
        """Take the changes that have come in."""
        taken: list[Change] = []
        while self._changes:
            taken.append(self._changes.popleft())
        return taken

    def release(self, partition: int) -> None:
        """Say that a revoked partition is let go of; the group waits a second at most for it."""
        with self._released:
            self._unreleased.discard(partition)
            self._released.notify_all()

    def commit(self, partition: int, offset: int) -> None:
        """Commit a position: it goes out within half a second, and when the partition is left."""
        self._commits[partition] = offset

    def close(self) -> None:
        """Commit and leave the group."""
        self._closed = True
        with self._released:
            self._unreleased.clear()
            self._released.notify_all()
        self._thread.join(5.0)

    def _start(self) -> None:
        self._consumer.subscribe(
            [self._topic],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )
        self._thread.start()

    def _run(self) -> None:
        while not self._closed:
            try:
                while self._orders:
                    self._orders.popleft()()
                if not self._may_poll():
                    time.sleep(_POLL_S)
                    continue
                first = self._consumer.poll(self._poll_s())
                if first is not None:
                    self._received([first, *self._consumer.consume(_DRAIN, 0)])
                if self._commits and time.monotonic() - self._committed_at > _COMMIT_S:
                    self._send_commits(wait=False)
            except Exception:
                # A member that stops polling is silently dead; this one goes on and says why.
                _LOG.exception("group of %s: trying on", self._topic)
                time.sleep(_POLL_S)
        self._send_commits(wait=True)
        self._consumer.close()

    def _may_poll(self) -> bool:
        """Whether this member is still one."""
        return True

    def _poll_s(self) -> float:
        """How long a poll may take: only where orders may come must it end soon."""
        return _REST_POLL_S

    def _received(self, messages: list[Message]) -> None:
        for message in messages:
            error = message.error()
            if error is not None:
                _LOG.warning("group of %s: %s", self._topic, error)

    def _send_commits(self, *, wait: bool) -> None:
        offsets = [
            TopicPartition(self._topic, partition, self._commits.pop(partition))
            for partition in tuple(self._commits)
            if partition in self._owned
        ]
        self._commits.clear()
        self._committed_at = time.monotonic()
        if not offsets:
            return
        try:
            if wait:
                self._consumer.commit(offsets=offsets, asynchronous=False)
            else:
                self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            # The next commit says it all again, and what was not committed is read again.
            _LOG.info("commit to %s failed: %s", self._topic, error)

    def _tell(self, kind: str, partitions: list[TopicPartition]) -> None:
        for partition in partitions:
            self._changes.append(Change(kind, partition.partition))
        self._on_ready()

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        raise NotImplementedError

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Give notice and wait a moment for the owner to let go."""
        numbers = {partition.partition for partition in partitions}
        deadline = time.monotonic() + _RELEASE_S
        with self._released:
            if not self._closed:
                self._unreleased |= numbers
        self._tell("revoked", partitions)
        with self._released:
            while self._unreleased & numbers and (left := deadline - time.monotonic()) > 0:
                self._released.wait(left)
            self._unreleased -= numbers
        self._send_commits(wait=True)
        self._gone(numbers)
        with suppress(KafkaException):
            consumer.incremental_unassign(partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """They are gone: another may have them already."""
        numbers = {partition.partition for partition in partitions}
        for number in numbers:
            self._commits.pop(number, None)
        self._gone(numbers)
        self._tell("lost", partitions)
        with suppress(KafkaException):
            consumer.incremental_unassign(partitions)

    def _gone(self, numbers: set[int]) -> None:
        self._owned -= numbers


class KafkaMember(_Membership):
    """A member whose partitions stay paused: it learns what is its own, and reads nothing."""

    def __init__(
        self,
        settings: Settings,
        topic: str,
        *,
        on_ready: Callable[[], None],
        watch: BrokerWatch,
    ) -> None:
        super().__init__(settings, topic, on_ready=on_ready, watch=watch)
        self._turned_at = time.monotonic()
        self._is_still = False
        self._start()

    def changes(self) -> list[Change]:
        """Take the changes that have come in. An owner that does not ask any more owns nothing."""
        self._turned_at = time.monotonic()
        return super().changes()

    def _may_poll(self) -> bool:
        """Whether the owner turns: one that stands still must not go on as a member.

        Where nobody polls, the library leaves the group by itself after max.poll.interval.ms, even
        when no other thread of Python gets to run.
        """
        still_s = time.monotonic() - self._turned_at
        is_still = still_s > STILL_S
        if is_still and not self._is_still:
            _LOG.warning(
                "the owner of partitions of %s has stood still for %.1f s: in %.0f s more they go"
                " to other processes",
                self._topic,
                still_s,
                HOST_POLL_INTERVAL_MAX_MS / 1000,
            )
        elif self._is_still and not is_still:
            _LOG.warning("the owner of partitions of %s goes on", self._topic)
        self._is_still = is_still
        return not is_still

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        at_end = [TopicPartition(p.topic, p.partition, OFFSET_END) for p in partitions]
        consumer.incremental_assign(at_end)
        consumer.pause(at_end)
        self._owned |= {partition.partition for partition in partitions}
        self._tell("assigned", partitions)


class KafkaGroupReader(_Membership):
    """A member that reads the partitions it is given."""

    def __init__(
        self,
        settings: Settings,
        topic: str,
        *,
        on_ready: Callable[[], None],
        watch: BrokerWatch,
        ends: Callable[[str, list[int]], dict[int, int]],
    ) -> None:
        super().__init__(settings, topic, on_ready=on_ready, watch=watch)
        self._ends = ends
        self._queues: dict[int, Queue] = {}
        self._ends_seen: dict[int, int] = {}
        self._held: set[int] = set()
        self._turn: deque[int] = deque()
        self._start()

    def take(self, records_max: int) -> list[StoredRecord]:
        """Take what has come in, over all its partitions, in turn."""
        taken: list[StoredRecord] = []
        turn = self._turn
        for _ in range(len(turn)):
            partition = turn[0]
            turn.rotate(-1)
            queue = self._queues.get(partition)
            if queue is None or partition in self._held:
                continue
            queue.rung = False
            taken += queue.take(records_max - len(taken))
            if queue.paused and queue.low():
                queue.paused = False
                self._orders.append(partial(self._flow, partition))
            if len(taken) >= records_max:
                break
        return taken

    def redelivery_end(self, partition: int) -> int:
        """The partition's end as seen when it was assigned; below it a record may come again."""
        return self._ends_seen.get(partition, UNKNOWN_END)

    def pause(self, partition: int) -> None:
        """Take nothing from a partition until it is resumed."""
        self._held.add(partition)
        self._orders.append(partial(self._flow, partition))

    def resume(self, partition: int) -> None:
        """Take from a partition again."""
        self._held.discard(partition)
        self._orders.append(partial(self._flow, partition))
        queue = self._queues.get(partition)
        if queue is not None and queue.messages:
            self._on_ready()

    def _poll_s(self) -> float:
        # What is held or paused is resumed by an order, and somebody waits for its records.
        rests = not self._held and not any(queue.paused for queue in self._queues.values())
        return _REST_POLL_S if rests else _POLL_S

    def _flow(self, partition: int) -> None:
        """Let a partition come in, or not, as it now should."""
        queue = self._queues.get(partition)
        if queue is None:
            return
        where = [TopicPartition(self._topic, partition)]
        if queue.paused or partition in self._held:
            self._consumer.pause(where)
        else:
            self._consumer.resume(where)

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = [partition.partition for partition in partitions]
        # Of one that is not known all may come again, which costs a question each and no more.
        self._ends_seen.update(self._ends(self._topic, numbers))
        for number in numbers:
            self._queues[number] = Queue()
        self._held -= set(numbers)
        self._owned |= set(numbers)
        self._turn = deque(sorted(self._queues))
        consumer.incremental_assign(partitions)
        self._tell("assigned", partitions)

    def _gone(self, numbers: set[int]) -> None:
        super()._gone(numbers)
        for number in numbers:
            self._queues.pop(number, None)
            self._ends_seen.pop(number, None)
        self._turn = deque(sorted(self._queues))

    def _received(self, messages: list[Message]) -> None:
        ring = False
        for message in messages:
            error = message.error()
            if error is not None:
                _LOG.warning("group of %s: %s", self._topic, error)
                continue
            number = message.partition()
            queue = None if number is None else self._queues.get(number)
            if number is None or queue is None:
                continue
            queue.put(message)
            if not queue.rung:
                queue.rung = ring = True
            if not queue.paused and queue.full():
                queue.paused = True
                self._flow(number)
        if ring:
            self._on_ready()
