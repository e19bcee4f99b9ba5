"""What the log itself says of its ground: with how many partitions a task queue was used."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from perdure_actors.retention.checkpoint_reader import slices_in
from perdure_schemas.avro import UnreadableRecordError
from perdure_schemas.transition import EpochBump
from perdure_topics.fold import CHECKPOINT_KIND, Accepted, read_envelope
from perdure_topics.names import topic_name
from perdure_topics.ports import LogError, PositionLostError, TopicMismatchError
from perdure_topics.requirements import FIXED

if TYPE_CHECKING:
    from perdure_actors.partition.services import Services
    from perdure_schemas.transition import Transition
    from perdure_topics.ports import Log, Tail, TopicInfo

logger = logging.getLogger("perdure.host")
LOOK_EVERY_MS = 300_000
LOOK_S = 5.0
PAUSE_S = 0.005


def check_recorded(log: Log, events: TopicInfo) -> None:
    """Refuse a topic that was used with another number of partitions than it has now.

    The first record of a partition is the bump of its first owner, or a checkpoint. A partition
    that is new has none, so the others are asked: one that was raised to must not be owned.

    Raises TopicMismatchError, LogUnavailableError.
    """
    tail = log.tail(on_ready=_nothing, committed=False)
    try:
        for number in range(events.partitions):
            start, end = log.offsets(events.name, number)
            if start == end:
                continue
            said = _said_by(tail, events.name, number, start)
            if said not in (0, events.partitions):
                text = f"{events.name} has {events.partitions} partitions where the log was begun"
                raise TopicMismatchError(f"{text} with {said}. {FIXED}")
            return
    finally:
        tail.close()


def _said_by(tail: Tail, topic: str, number: int, start: int) -> int:
    """The number that the first record of a partition names; 0 where it names none, or is late."""
    tail.assign(topic, number, start)
    until_s = time.monotonic() + LOOK_S
    try:
        while time.monotonic() < until_s:
            for record in tail.take(topic, number, 1):
                envelope = read_envelope(record.value)
                if isinstance(envelope, EpochBump):
                    return envelope.partitions
                return _partitions_in(envelope) if envelope is not None else 0
            time.sleep(PAUSE_S)
    except (PositionLostError, UnreadableRecordError):
        pass
    finally:
        tail.unassign(topic, number)
    return 0


def _partitions_in(first: Transition) -> int:
    """What the checkpoint says that a log begins with; 0 where it is none."""
    if first.kind != CHECKPOINT_KIND or first.parts != 1:
        return 0
    return sum(one.partitions for one in slices_in(Accepted(first, first.body)))


class PartitionCountCheck:
    """Looks now and then whether a task queue still has the partitions that a host began with."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._at_ms = services.clock.monotonic_ms() + LOOK_EVERY_MS
        self._said = ""

    def step(self, now_ms: int) -> None:
        """Look, when it is time."""
        if now_ms >= self._at_ms:
            self.look()

    def look(self) -> None:
        """Look now, on another thread where there is one: it waits for the log."""
        self._at_ms = self._services.clock.monotonic_ms() + LOOK_EVERY_MS
        self._services.run(self._look)

    def _look(self) -> None:
        services = self._services
        try:
            commands, events, tasks = (
                services.log.topic(topic_name(role, services.namespace, services.task_queue))
                for role in ("commands", "events", "tasks")
            )
        except LogError as error:
            logger.debug("the topics of %r cannot be looked at: %s", services.task_queue, error)
            return
        there = [info for info in (commands, events, tasks) if info is not None]
        numbers = {info.partitions for info in (commands, events) if info is not None}
        each = ", ".join(f"{info.name} has {info.partitions}" for info in there)
        text = each if numbers - {services.partitions} else ""
        if text and text != self._said:
            services.finding(
                "partitions",
                f"task queue {services.task_queue!r} was begun with {services.partitions}"
                f" partitions, and now {text}. This host goes on with those there were and owns"
                f" no other. {FIXED}",
            )
        self._said = text


def _nothing() -> None:
    """It is looked at again and again."""
