"""The host (rule 11): owns partitions as a group suggests them, and gives each its turns.

Membership only suggests; the log decides who owns. A host is stepped: a thread, or a simulation,
calls `step` and waits as long as it says, or until its bell rings.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from perdure_actors.definitions.payload_codecs import EDGE_S_MAX, GRACE_S
from perdure_actors.definitions.turn import Turn
from perdure_actors.host.partition_count import PartitionCountCheck
from perdure_actors.partition.fence import AppendFailedError, Fence, reason_of
from perdure_actors.partition.processor import PartitionProcessor
from perdure_actors.partition.recovery import TableDivergedError
from perdure_actors.partition.takeover import LostError, Takeover, open_table, table_name
from perdure_schemas.avro import UnreadableRecordError
from perdure_topics.names import group_name, topic_name
from perdure_topics.ports import (
    HeadLostError,
    LogEndLostError,
    LogError,
    PositionLostError,
    TableDamagedError,
    TableError,
    TableFullError,
    TopicMismatchError,
)

if TYPE_CHECKING:
    from concurrent.futures import Future

    from perdure_actors.host.answers import AnswerSender
    from perdure_actors.partition.fence import Deed
    from perdure_actors.partition.services import Services
    from perdure_topics.ports import Change, Member, Table, Tail

logger = logging.getLogger("perdure.host")
REVOKE_FLUSH_S = 1.0
RETRY_MS = 2_000
UNREADABLE_MS = 30_000
IDLE_MS = 1_000
ANSWER_MS = 5
"""How often to look whether the log has said where a partition begins."""
COMMIT_EVERY_MS = 1_000
WAITING_MS = 20
TURN_WAITS_MS = int(1000 * (EDGE_S_MAX + GRACE_S))


def counts_of(shard: PartitionProcessor) -> Counter[str]:
    """What a shard has counted so far, by name."""
    activation = shard.executor
    return Counter(
        {
            **shard.counters,
            "transitions": shard.observer.accepted_count,
            "activations": activation.activations,
            "cache hits": activation.cache_hits,
            "replays": activation.replays,
            "replayed events": activation.replayed_events,
        }
    )


def _due_ms(now_ms: int, wait_ms: int) -> int:
    """When a slot has its next turn: with all others at the full second, where that is sooner."""
    due_ms = now_ms + wait_ms
    together_ms = due_ms // IDLE_MS * IDLE_MS
    return together_ms if together_ms > now_ms else due_ms


class _Slot:
    """An assigned partition: being taken over, owned, or waiting to be tried again."""

    __slots__ = (
        "committed",
        "due_ms",
        "fence",
        "is_damaged",
        "late_ms",
        "opening",
        "shard",
        "takeover",
        "turn",
        "was_epoch",
    )

    def __init__(self) -> None:
        self.fence = Fence()
        self.is_damaged = False
        """Whether its table was found to be damaged, so that it is made anew."""
        self.turn: Turn | None = None
        """The shard's turn that waits for a codec, or for a store of large payloads."""
        self.late_ms = 0
        """When it is told that what it waits for does not come."""
        self.opening: Future[Table] | None = None
        self.takeover: Takeover | None = None
        self.shard: PartitionProcessor | None = None
        self.due_ms = 0
        self.committed = -1
        """Up to which input the group was told that commands are read."""
        self.was_epoch = 0
        """The epoch of a shard whose append failed here, until it is settled who goes on."""

    @property
    def is_at_work(self) -> bool:
        """Whether anything is under way here that news may help."""
        return not (self.shard is None and self.takeover is None and self.opening is None)


class Host:
    """Everything one process owns of one task queue."""

    def __init__(
        self,
        services: Services,
        answers: AnswerSender,
        *,
        ring: Callable[[], None],
        announces: bool = False,
    ) -> None:
        """Join; one that announces tells askers of each partition that it comes to own."""
        self._announces = announces
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
        self._ground = PartitionCountCheck(services)
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
            # News is nothing to a slot that waits to be tried again.
            if slot.due_ms <= now_ms or (number in ready and slot.is_at_work):
                slot.due_ms = _due_ms(now_ms, self._turn(number, slot))
            wait_ms = min(wait_ms, slot.due_ms - now_ms)
        self._answers.step()
        self._ground.step(now_ms)
        if now_ms >= self._commit_at_ms:
            self._commit_at_ms = now_ms + COMMIT_EVERY_MS
            self._commit()
        return 0 if self._ready else max(0, wait_ms)

    def _commit(self) -> None:
        """Show lag tools how far commands are read. Nobody goes on from there."""
        for number, slot in self.slots.items():
            if slot.shard is not None and slot.shard.journal.cursor.upto != slot.committed:
                slot.committed = slot.shard.journal.cursor.upto
                self._member.commit(number, slot.committed + 1)

    def _turn(self, number: int, slot: _Slot) -> int:
        """One slot's turn; in how many ms the next is due. Whatever it raises stays in the slot."""
        try:
            return self._advance(number, slot)
        except (KeyboardInterrupt, LogEndLostError):
            # A person must see what a log has lost before anything is done: the host ends with it.
            raise
        except BaseException as error:
            was_epoch = slot.shard.journal.cursor.epoch if slot.shard else 0
            deed = slot.fence.escaped(error)
            wait_ms = self._fallen(number, slot, error, deed)
            self._drop(number, slot)
            slot.was_epoch = 0 if isinstance(error, LostError) else was_epoch
            if isinstance(error, TableDivergedError):
                self.services.store.wipe(table_name(self.services, number))
            return wait_ms

    def _advance(self, number: int, slot: _Slot) -> int:
        if slot.shard is not None:
            due_ms = self._step(number, slot, slot.shard)
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
                fence=slot.fence,
                was_epoch=slot.was_epoch,
            )
        slot.shard = slot.takeover.step()
        if slot.shard is None:
            return ANSWER_MS if slot.takeover.is_asking else IDLE_MS
        slot.takeover = None
        slot.was_epoch = 0
        self.takeovers += 1
        if self._announces:
            self._answers.announce(self._topic, number)
        return 0

    def _step(self, number: int, slot: _Slot, shard: PartitionProcessor) -> int | None:
        """A shard's turn, or the rest of one that waits for a codec."""
        if not self.services.code.boundary.has_codecs:
            return shard.step()
        now_ms = self.services.clock.monotonic_ms()
        turn = slot.turn
        if turn is None:
            turn = Turn(shard.step)
        elif turn.waits_for is not None and not turn.waits_for.done() and now_ms < slot.late_ms:
            return WAITING_MS
        slot.turn = None
        due_ms: int | None = turn.advance()
        if turn.waits_for is None:
            return due_ms
        slot.turn = turn
        slot.late_ms = now_ms + TURN_WAITS_MS
        turn.waits_for.add_done_callback(lambda _: self._ready_now(number))
        return WAITING_MS

    def _fallen(self, number: int, slot: _Slot, error: BaseException, deed: Deed | None) -> int:
        """Say why a slot's shard is let go of; in how many ms it is tried again."""
        services = self.services
        if isinstance(error, AppendFailedError):
            logger.warning("partition %d is taken over again: %s", number, error)
            return 0
        if isinstance(error, LostError):
            logger.info("partition %d has another owner: %s", number, error)
            return services.session_ms + services.random.randrange(services.session_ms)
        if isinstance(error, TableFullError):
            services.finding("disk_full", f"the state disk is full; work stops: {error}")
            return RETRY_MS
        if isinstance(error, PositionLostError):
            # A table may know what the log has lost: the take-over looks at which end that is.
            logger.warning("partition %d is looked at again: %s", number, error)
            return 0
        if isinstance(error, TableDivergedError):
            services.finding("table_wiped", f"partition {number} is rebuilt: {error}")
            return 0
        if isinstance(error, UnreadableRecordError) and deed is None:
            services.finding("unreadable", f"partition {number} is given up: {error}")
            return UNREADABLE_MS
        if isinstance(error, HeadLostError | TopicMismatchError):
            services.finding("refused", f"partition {number} is not taken over: {error}")
            return UNREADABLE_MS
        if isinstance(error, TableDamagedError):
            slot.is_damaged = True
            services.finding("table_damaged", f"partition {number} is rebuilt: {error}")
            return 0
        if isinstance(error, TableError | LogError):
            logger.warning("partition %d is tried again in %d ms: %s", number, RETRY_MS, error)
            return RETRY_MS
        what = f"{deed} failed" if deed is not None else "it failed"
        text = (
            f"partition {number} of {self._topic} is given back, because {what}:"
            f" {reason_of(error)}. It is taken over again; other partitions go on. What fails so"
            " three times is not given to code again, and then set aside"
        )
        slot.fence.tell(services, "given_back", text, error)
        return slot.fence.back_off_ms(deed, services.clock.monotonic_ms())

    def _opened(self, number: int, slot: _Slot) -> Table | None:
        """The slot's table, once it is open; opening waits for disks, so others go on meanwhile.

        Raises TableError when it cannot be opened.
        """
        if slot.opening is None:
            opens = partial(open_table, self.services, number, anew=slot.is_damaged)
            slot.opening = self.services.run(opens)
            slot.opening.add_done_callback(lambda _: self._ready_now(number))
        if not slot.opening.done():
            return None
        opening, slot.opening = slot.opening, None
        table = opening.result()
        slot.is_damaged = False
        return table

    def _drop(self, number: int, slot: _Slot, *, flush_s: float = 0.0) -> None:
        """Let go of a partition's shard and table; nothing of it leaves any more."""
        shard, takeover, opening = slot.shard, slot.takeover, slot.opening
        turn = slot.turn
        slot.shard = slot.takeover = slot.opening = slot.turn = None
        if turn is not None:
            # It has taken what it has not proposed: nothing may cover that now.
            turn.end()
            flush_s = 0.0
        closing: list[Callable[[], None]] = [
            partial(self.services.inputs.unassign, self._topic, number)
        ]
        if shard is not None:
            self.past_counts.update(counts_of(shard))
            closing += [partial(shard.close, flush_s=flush_s), shard.table.close]
        if takeover is not None:
            closing.append(takeover.close)
        if opening is not None:
            closing.append(lambda: opening.result().close())
        for close in closing:
            try:
                close()
            except (TableError, LogError) as error:
                logger.warning("partition %d did not close cleanly: %s", number, error)
            except KeyboardInterrupt:
                raise
            except BaseException:
                # Of a user's code that is let go of, perhaps: the rest is closed all the same.
                logger.exception("partition %d did not close cleanly", number)

    def _change(self, change: Change) -> None:
        number = change.partition
        logger.info("partition %d of %s is %s", number, self._topic, change.kind)
        if change.kind == "assigned" and number >= self.services.partitions:
            # Added while this host ran: owned by nobody, and said.
            self._ground.look()
            return
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
