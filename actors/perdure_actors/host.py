"""The stream processor: owns partitions as a group suggests them and gives each shard its turns.

Membership only suggests; the log decides who owns. A host is stepped: a thread, or a simulation,
calls `step` and waits as long as it says, or until its bell rings.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from perdure_actors.recovery import TableDivergedError
from perdure_actors.shard import AppendFailedError, Shard
from perdure_actors.takeover import LostError, Takeover, open_table, table_name
from perdure_schemas.avro import UnreadableRecordError, encode
from perdure_schemas.replies import Reply
from perdure_topics.names import group_name, topic_name
from perdure_topics.ports import (
    LogError,
    LogFullError,
    PositionLostError,
    TableError,
    TableFullError,
)

if TYPE_CHECKING:
    from concurrent.futures import Future

    from perdure_actors.services import Services
    from perdure_schemas.payloads import Record, ReplyTo
    from perdure_topics.ports import Appender, Change, Log, Member, Table, Tail

logger = logging.getLogger("perdure.host")
REVOKE_FLUSH_S = 1.0
RETRY_MS = 2_000
UNREADABLE_MS = 30_000
IDLE_MS = 1_000
COMMIT_EVERY_MS = 1_000
ANSWER_TIMEOUT_MS = 10_000


class AnswerSender:
    """Sends answers to the replies topic; one that is lost is asked for again.

    Those of a turn leave together at its end, so that they share messages and wake-ups.
    """

    def __init__(self, log: Log, namespace: str) -> None:
        self._log = log
        self._topic = topic_name("replies", namespace)
        self._appender: Appender | None = None
        self._waiting: list[tuple[int, bytes]] = []

    def send(self, reply: ReplyTo, record: Record, partition: int, offset: int) -> None:
        """Send one answer, at the end of this turn."""
        answer = Reply(
            correlation_id=reply.correlation_id,
            partition=partition,
            offset=offset,
            body=encode(record),
        )
        self._waiting.append((reply.partition, encode(answer)))

    def step(self) -> None:
        """Let out the answers of this turn, and take reports; a failed appender is replaced."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for partition, answer in waiting:
                self._append(partition, answer)
        if self._appender is not None:
            reports = self._appender.reports()
            if any(report.error for report in reports):
                self._appender.close()
                self._appender = None

    def _append(self, partition: int, answer: bytes) -> None:
        if self._appender is None:
            self._appender = self._log.appender(on_ready=_nothing, timeout_ms=ANSWER_TIMEOUT_MS)
        try:
            self._appender.append(self._topic, partition, answer)
        except LogError as error:
            logger.warning("an answer was dropped; its asker will ask again: %s", error)
            if not isinstance(error, LogFullError):
                self._appender.close()
                self._appender = None

    def close(self) -> None:
        """Flush for a moment and end."""
        self.step()
        if self._appender is not None:
            self._appender.close(flush_s=1.0)
            self._appender = None


def _nothing() -> None:
    """No news is needed of answers."""


def counts_of(shard: Shard) -> Counter[str]:
    """What a shard has counted so far, by name."""
    activation = shard.activation
    return Counter(
        {
            **shard.counters,
            "transitions": shard.showing.accepted_count,
            "activations": activation.activations,
            "cache hits": activation.cache_hits,
            "replays": activation.replays,
            "replayed events": activation.replayed_events,
        }
    )


class _Slot:
    """An assigned partition: being taken over, owned, or waiting to be tried again."""

    __slots__ = ("committed", "due_ms", "opening", "shard", "takeover", "was_epoch")

    def __init__(self) -> None:
        self.opening: Future[Table] | None = None
        self.takeover: Takeover | None = None
        self.shard: Shard | None = None
        self.due_ms = 0
        self.committed = -1
        """Up to which input the group was told that commands are read."""
        self.was_epoch = 0
        """The epoch of a shard whose append failed here, until it is settled who goes on."""


class Host:
    """Everything one process owns of one task queue."""

    def __init__(
        self,
        services: Services,
        answers: AnswerSender,
        *,
        ring: Callable[[], None],
    ) -> None:
        self.services = services
        self._answers = answers
        self._ring = ring
        self._topic = topic_name("commands", services.namespace, services.task_queue)
        self._events: Tail = services.log.tail(on_ready=ring, committed=False)
        group = group_name("hosts", services.namespace, services.task_queue)
        self._member: Member = services.log.member(group, self._topic, on_ready=ring)
        self.slots: dict[int, _Slot] = {}
        self._ready: deque[int] = deque()
        self._commit_at_ms = 0
        self.takeovers = 0
        self.past_counts: Counter[str] = Counter()
        """What shards counted that are gone."""

    def _ready_now(self, partition: int) -> None:
        """Ring for one partition; may be called from any thread."""
        self._ready.append(partition)
        self._ring()

    def step(self) -> int:
        """One turn over what has news or is due; how long to wait for the next, in ms."""
        for change in self._member.changes():
            self._change(change)
        clock = self.services.clock
        ready = {self._ready.popleft() for _ in range(len(self._ready))}
        ready.update(p for _, p in self.services.inputs.ready())
        ready.update(p for _, p in self._events.ready())
        now_ms = clock.monotonic_ms()
        wait_ms = IDLE_MS
        for number, slot in list(self.slots.items()):
            if number in ready or slot.due_ms <= now_ms:
                slot.due_ms = now_ms + self._turn(number, slot)
            wait_ms = min(wait_ms, slot.due_ms - now_ms)
        self._answers.step()
        if now_ms >= self._commit_at_ms:
            self._commit_at_ms = now_ms + COMMIT_EVERY_MS
            self._commit()
        return 0 if self._ready else max(0, wait_ms)

    def _commit(self) -> None:
        """Show lag tools how far commands are read. Nobody goes on from there."""
        for number, slot in self.slots.items():
            if slot.shard is not None and slot.shard.cursor.upto != slot.committed:
                slot.committed = slot.shard.cursor.upto
                self._member.commit(number, slot.committed + 1)

    def _turn(self, number: int, slot: _Slot) -> int:
        """One slot's turn; in how many ms the next is due."""
        try:
            if slot.shard is not None:
                due_ms = slot.shard.step()
                return IDLE_MS if due_ms is None else due_ms
            if slot.takeover is None:
                table = self._opened(number, slot)
                if table is None:
                    return IDLE_MS
                slot.takeover = Takeover(
                    self.services,
                    number,
                    self._events,
                    table=table,
                    on_ready=partial(self._ready_now, number),
                    was_epoch=slot.was_epoch,
                )
            slot.shard = slot.takeover.step()
            if slot.shard is not None:
                slot.takeover = None
                slot.was_epoch = 0
                self.takeovers += 1
                return 0
        except AppendFailedError as error:
            logger.warning("partition %d is taken over again: %s", number, error)
            slot.was_epoch = slot.shard.cursor.epoch if slot.shard else 0
            self._drop(number, slot)
            return 0
        except LostError as error:
            logger.info("partition %d has another owner: %s", number, error)
            slot.was_epoch = 0
            self._drop(number, slot)
            session_ms = self.services.session_ms
            return session_ms + self.services.random.randrange(session_ms)
        except TableFullError as error:
            self.services.finding("disk_full", f"the state disk is full; work stops: {error}")
            self._drop(number, slot)
            return RETRY_MS
        except UnreadableRecordError as error:
            self.services.finding("unreadable", f"partition {number} is given up: {error}")
            self._drop(number, slot)
            return UNREADABLE_MS
        except (TableDivergedError, PositionLostError) as error:
            self.services.finding("table_wiped", f"partition {number} is rebuilt: {error}")
            self._drop(number, slot)
            self.services.store.wipe(table_name(self.services, number))
            return 0
        except (TableError, LogError) as error:
            logger.warning("partition %d is tried again in %d ms: %s", number, RETRY_MS, error)
            self._drop(number, slot)
            return RETRY_MS
        return IDLE_MS

    def _opened(self, number: int, slot: _Slot) -> Table | None:
        """The slot's table, once it is open; opening waits for disks, so others go on meanwhile.

        Raises TableError when it cannot be opened.
        """
        if slot.opening is None:
            slot.opening = self.services.run(partial(open_table, self.services, number))
            slot.opening.add_done_callback(lambda _: self._ready_now(number))
        if not slot.opening.done():
            return None
        opening, slot.opening = slot.opening, None
        return opening.result()

    def _drop(self, number: int, slot: _Slot, *, flush_s: float = 0.0) -> None:
        """Let go of a partition's shard and table; nothing of it leaves any more."""
        self.services.inputs.unassign(self._topic, number)
        try:
            if slot.shard is not None:
                self.past_counts.update(counts_of(slot.shard))
                slot.shard.close(flush_s=flush_s)
                slot.shard.table.close()
            if slot.takeover is not None:
                slot.takeover.close()
            if slot.opening is not None:
                opening, slot.opening = slot.opening, None
                opening.result().close()
        except (TableError, LogError) as error:
            logger.warning("partition %d did not close cleanly: %s", number, error)
        slot.shard = None
        slot.takeover = None

    def _change(self, change: Change) -> None:
        number = change.partition
        logger.info("partition %d of %s is %s", number, self._topic, change.kind)
        if change.kind == "assigned":
            self.slots.setdefault(number, _Slot())
            return
        if change.kind == "revoked":
            self._commit()
        slot = self.slots.pop(number, None)
        if slot is not None:
            self._drop(number, slot, flush_s=REVOKE_FLUSH_S if change.kind == "revoked" else 0.0)
        if change.kind == "revoked":
            self._member.release(number)

    def counts(self) -> Counter[str]:
        """What has been counted so far. May be called from any thread."""
        total = Counter(self.past_counts)
        for slot in list(self.slots.values()):
            if slot.shard is not None:
                total.update(counts_of(slot.shard))
        return total

    @property
    def is_settled(self) -> bool:
        """Whether every assigned partition is owned."""
        return bool(self.slots) and all(slot.shard for slot in self.slots.values())

    def close(self) -> None:
        """Let go of everything and leave the group."""
        for number, slot in list(self.slots.items()):
            self._drop(number, slot, flush_s=REVOKE_FLUSH_S)
        self.slots.clear()
        self._member.close()
        self._events.close()
        self.services.inputs.close()
        self._answers.close()
