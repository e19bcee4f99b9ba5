"""Requests that wait for an answer: for a record that covers them, a run's end, an update."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Protocol, TypeVar

from msgspec.structs import replace

from perdure_actors import table_layout
from perdure_actors.core.messages import abandoned
from perdure_actors.partition.fence import PASSING, internal, reason_of
from perdure_actors.partition.queries import READS, WAITS, Queries
from perdure_actors.partition.transition import closing_of
from perdure_schemas.command_headers import sending_in
from perdure_schemas.commands import AwaitResult, ReadHistory
from perdure_schemas.message_commands import AwaitUpdate
from perdure_schemas.message_events import WorkflowUpdateCompleted
from perdure_schemas.replies import Refused, UpdateAnswer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from collections.abc import Set as AbstractSet

    from perdure_actors.partition.context import PartitionContext
    from perdure_actors.partition.executor import Executor
    from perdure_actors.partition.fence import Fence
    from perdure_actors.partition.journal import Journal
    from perdure_actors.partition.queries import CodeQueries
    from perdure_actors.partition.run_cache import RunCache
    from perdure_actors.partition.services import Services
    from perdure_actors.partition.transition import InFlight
    from perdure_schemas.command_headers import Command, ReadCommand
    from perdure_schemas.message_commands import QueryWorkflow
    from perdure_schemas.payloads import Record, ReplyTo
    from perdure_schemas.replies import RunClosed
    from perdure_topics.ports import StoredRecord, Table

ACCEPTED = "accepted"
COMPLETED = "completed"


class ReadsEvents(Protocol):
    """Whoever reads histories."""

    def event_at(self, run_id: str, seq: int) -> Record | None:
        """An event of a run's history by its seq."""


def update_answer(
    table: Table, events: ReadsEvents, run_id: str, update_id: str, stage: str
) -> Record | None:
    """How far an update is, by the table; None while it has not reached the stage."""
    data = table.get(table_layout.update_key(run_id, update_id))
    state = table.get(table_layout.run_key(run_id))
    if data is None or state is None:
        text = f"run {run_id} has no update {update_id!r}"
        return Refused(code="not_found", message=text, run_id=run_id)
    update = table_layout.decode_update(data)
    if update.completed_seq:
        event = events.event_at(run_id, update.completed_seq)
        assert isinstance(event, WorkflowUpdateCompleted), "an outcome is where its row says"
        return _answer_of(run_id, event)
    if not table_layout.decode_run(state).is_open:
        return _abandoned(run_id, update_id)
    if stage == ACCEPTED:
        return UpdateAnswer(update_id=update_id, run_id=run_id, stage=ACCEPTED)
    return None


def _answer_of(run_id: str, event: WorkflowUpdateCompleted) -> UpdateAnswer:
    return UpdateAnswer(
        update_id=event.update_id,
        run_id=run_id,
        stage=COMPLETED,
        result=event.result,
        failure=event.failure,
    )


def _abandoned(run_id: str, update_id: str) -> UpdateAnswer:
    return UpdateAnswer(update_id=update_id, run_id=run_id, stage=COMPLETED, failure=abandoned())


class UpdateWaits:
    """The askers of one partition that wait for an update."""

    def __init__(
        self, table: Table, events: ReadsEvents, answer: Callable[[ReplyTo, Record], None]
    ) -> None:
        self._table = table
        self._events = events
        self._answer = answer
        self._waiting: dict[str, dict[str, dict[str, ReplyTo]]] = {}
        """By run, update and correlation id."""

    def wait(self, reply: ReplyTo, run_id: str, update_id: str, stage: str = "") -> None:
        """Answer an asker once an update is so far; at once if that is accepted."""
        answer = update_answer(self._table, self._events, run_id, update_id, stage or reply.wait)
        if answer is not None:
            self._answer(reply, answer)
            return
        updates = self._waiting.setdefault(run_id, {})
        updates.setdefault(update_id, {})[reply.correlation_id] = reply

    @property
    def runs(self) -> Iterable[str]:
        """The runs of which somebody waits for an update."""
        return self._waiting

    @property
    def count(self) -> int:
        """How many wait."""
        return sum(len(one) for updates in self._waiting.values() for one in updates.values())

    def of_run(self, run_id: str) -> list[ReplyTo]:
        """Who waits for an update of a run."""
        waiting = self._waiting.get(run_id, {}).values()
        return [reply for replies in waiting for reply in replies.values()]

    def happened(self, run_id: str, events: Sequence[Record]) -> None:
        """Events of a run are accepted: tell those who wait for outcomes among them."""
        updates = self._waiting.get(run_id)
        if updates is None:
            return
        for event in events:
            if isinstance(event, WorkflowUpdateCompleted):
                for reply in updates.pop(event.update_id, {}).values():
                    self._answer(reply, _answer_of(run_id, event))
        if not updates:
            del self._waiting[run_id]

    def closed(self, run_id: str) -> None:
        """A run has ended: its handlers will not."""
        for update_id, waiting in self._waiting.pop(run_id, {}).items():
            for reply in waiting.values():
                self._answer(reply, _abandoned(run_id, update_id))

    def keep_house(self, now_ms: int) -> None:
        """Forget who has given up waiting."""
        for run_id, updates in list(self._waiting.items()):
            for update_id, waiting in list(updates.items()):
                for correlation_id, reply in list(waiting.items()):
                    if reply.deadline_ms and reply.deadline_ms < now_ms:
                        del waiting[correlation_id]
                if not waiting:
                    del updates[update_id]
            if not updates:
                del self._waiting[run_id]


FORGET_EVERY_MS = 1_000
WAITS_MAX = 100_000
"""So many asks wait in a partition for what is yet to happen; counted anew when some are forgotten.
"""
WAITING = frozenset({AwaitResult, AwaitUpdate, ReadHistory})
WAITERS_NOTICED = 50
"""Runs that somebody waits for and that are looked at each time, in turn."""
NOTICED_HELD = 20_000
HELD_MAX = 1_000
"""Queries that wait for a first step."""

UNKNOWN_WAIT_MS = 60_000
"""How long an asker waits whose deadline is before its sending: its clock is far off."""


C = TypeVar("C", bound="Command")


def in_log_time(record: StoredRecord, ask: C) -> C:
    """A command whose deadline is by the log's clock: its sender's own may be days off."""
    reply = ask.reply
    if reply is None or reply.deadline_ms <= 0:
        return ask
    sending = sending_in(record.headers)
    if sending is not None and sending.left_ms >= 0:
        left_ms = sending.left_ms
    elif reply.deadline_ms <= record.timestamp_ms:
        left_ms = UNKNOWN_WAIT_MS
    else:
        return ask
    return replace(ask, reply=replace(reply, deadline_ms=record.timestamp_ms + left_ms))


class PendingRequests:
    """The asks of one partition."""

    def __init__(
        self,
        services: Services,
        partition: int,
        table: Table,
        *,
        journal: Journal[InFlight],
        world: PartitionContext,
        run_cache: RunCache,
        executor: Executor,
        code: CodeQueries,
        fence: Fence,
        missing: AbstractSet[str],
        answer: Callable[[ReplyTo, Record], None],
    ) -> None:
        self._services = services
        self._partition = partition
        self._journal = journal
        self._world = world
        self._run_cache = run_cache
        self._code = code
        self._fence = fence
        self._answer = answer
        self._queries = Queries(
            table,
            partition,
            world,
            host=services,
            position=journal,
            waits=self,
            code=code,
            missing=missing,
        )
        self._reads: deque[tuple[int, ReadCommand, bool]] = deque()
        self._watchers: dict[str, dict[str, ReadHistory]] = {}
        """By run and correlation id."""
        self._waiters: dict[str, dict[str, ReplyTo]] = {}
        self._noticed: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._held: dict[str, list[QueryWorkflow]] = {}
        """Queries that wait for the first step of a run, by workflow id."""
        self._count = 0
        """How many wait, at most."""
        self._forgot_at_ms = 0
        self._notice_next: deque[str] = deque()
        self._updates = UpdateWaits(table, executor, answer)

    @property
    def reads_wait(self) -> bool:
        """Whether asks wait for a record that covers them."""
        return bool(self._reads)

    @property
    def is_waited_for(self) -> bool:
        """Whether anybody waits for anything here."""
        return bool(self._waiters or self._held or self._reads or any(self._updates.runs))

    def ask(self, offset: int, ask: ReadCommand) -> None:
        """Take an ask; one whose asker has given up is passed over."""
        reply = ask.reply
        if reply.deadline_ms and reply.deadline_ms < self._world.time_ms:
            return
        waits = WAITS.get(type(ask))
        is_full = self._count >= WAITS_MAX and type(ask) in WAITING
        if is_full:
            # Its refusal waits for a record that covers it, as every answer does.
            self._reads.append((offset, ask, is_full))
            return
        self._count += type(ask) in WAITING
        run_id = waits(self._queries, ask) if waits else ""
        if run_id:
            self._waiters.setdefault(run_id, {})[reply.correlation_id] = reply
        else:
            self._reads.append((offset, ask, False))

    def answer_reads(self) -> None:
        """Answer the asks that an accepted record covers."""
        upto = self._journal.cursor.upto
        while self._reads and self._reads[0][0] <= upto:
            _, ask, is_refused = self._reads.popleft()
            if is_refused:
                text = f"{WAITS_MAX} asks wait in partition {self._partition}: try again later"
                self._answer(ask.reply, Refused(code="too_many", message=text))
            else:
                self._read(ask)

    def _read(self, ask: ReadCommand) -> None:
        """Answer an ask. One that cannot be is answered all the same, and those behind it go on."""
        try:
            answer = READS[type(ask)](self._queries, ask)
        except PASSING:
            raise
        except Exception as error:
            answer = internal(reason_of(error))
            where = f"partition {self._partition} of {self._services.task_queue!r}"
            text = f"a {type(ask).__name__} could not be answered in {where}: {reason_of(error)}"
            self._fence.tell(self._services, "ask_failed", text, error)
        if answer is not None:
            self._answer(ask.reply, answer)

    def watch(self, run_id: str, ask: ReadHistory) -> None:
        """Answer a history ask once there are events for it."""
        self._watchers.setdefault(run_id, {})[ask.reply.correlation_id] = ask

    def moved(self, run_id: str) -> None:
        """A run has new accepted events."""
        for ask in self._watchers.pop(run_id, {}).values():
            self._read(ask)
        if self._held:
            self._ask_held(run_id)

    def hold(self, ask: QueryWorkflow) -> bool:
        """Keep a query until the run that it asks has begun; False when too many wait."""
        if sum(map(len, self._held.values())) >= HELD_MAX:
            return False
        self._held.setdefault(ask.workflow_id, []).append(ask)
        return True

    def _ask_held(self, run_id: str) -> None:
        """A run has taken a step, and that is accepted: queries that waited for its first."""
        resident = self._run_cache.peek(run_id)
        if resident is None or resident.pinned:
            # What its code has done since is not accepted yet.
            return
        for ask in self._held.pop(resident.run.state.workflow_id, ()):
            if self._code.begins_soon(ask):
                self.hold(ask)
                continue
            answer = self._code.ask_run(ask)
            if answer is None:
                self._read(self._code.named(ask))
            else:
                self._answer(ask.reply, answer)

    def wait(self, reply: ReplyTo, run_id: str, update_id: str = "", stage: str = "") -> None:
        """Answer an asker once a run has closed, or an update of it is so far.

        At once if that is accepted.
        """
        if update_id:
            self._updates.wait(reply, run_id, update_id, stage)
            return
        resident = self._run_cache.find(run_id)
        closed = closing_of(resident.run.state) if resident and not resident.pinned else None
        if closed is not None:
            self._answer(reply, closed)
        else:
            self._waiters.setdefault(run_id, {})[reply.correlation_id] = reply

    def happened(self, run_id: str, events: list[Record]) -> None:
        """Events of a run are accepted: tell those who wait for outcomes among them."""
        self._updates.happened(run_id, events)

    def closed(self, closed: RunClosed) -> None:
        """A run has closed, and that is accepted: tell those who wait."""
        for reply in self._waiters.pop(closed.run_id, {}).values():
            self._answer(reply, closed)
        self._updates.closed(closed.run_id)

    def keep_house(self) -> None:
        """Tell those who wait why a run stands; once a second, forget who has given up."""
        now_ms = self._services.clock.monotonic_ms()
        if now_ms - self._forgot_at_ms >= FORGET_EVERY_MS:
            self._forgot_at_ms = now_ms
            self._forget(self._world.time_ms)
        if not self._notice_next:
            self._notice_next.extend((*self._waiters, *self._updates.runs))
        for _ in range(min(WAITERS_NOTICED, len(self._notice_next))):
            run_id = self._notice_next.popleft()
            self._fence.let_out(self._services, self._notice, run_id)
        while len(self._noticed) > NOTICED_HELD:
            self._noticed.popitem(last=False)

    def _forget(self, now_ms: int) -> None:
        for run_id, waiting in list(self._waiters.items()):
            for correlation_id, reply in list(waiting.items()):
                if reply.deadline_ms and reply.deadline_ms < now_ms:
                    del waiting[correlation_id]
            if not waiting:
                del self._waiters[run_id]
        for run_id, watching in list(self._watchers.items()):
            for correlation_id, ask in list(watching.items()):
                if 0 < ask.reply.deadline_ms < now_ms:
                    del watching[correlation_id]
            if not watching:
                del self._watchers[run_id]
        waiters, watchers = self._waiters.values(), self._watchers.values()
        self._count = sum(len(one) for one in waiters) + sum(len(one) for one in watchers)
        self._count += self._updates.count
        for workflow_id, asks in list(self._held.items()):
            left = [ask for ask in asks if not 0 < ask.reply.deadline_ms < now_ms]
            if left:
                self._held[workflow_id] = left
            else:
                del self._held[workflow_id]
        self._updates.keep_house(now_ms)

    def _notice(self, run_id: str) -> None:
        # Only what is in memory: a look must not push out runs that are at work.
        resident = self._run_cache.peek(run_id)
        if resident is None:
            return
        run = resident.run
        for notice in self._queries.notices_of(
            run.state, list(run.activities.values()), list(run.children.values())
        ):
            for reply in (*self._waiters.get(run_id, {}).values(), *self._updates.of_run(run_id)):
                key = (reply.correlation_id, notice.code)
                if key not in self._noticed:
                    self._noticed[key] = None
                    self._answer(reply, notice)
