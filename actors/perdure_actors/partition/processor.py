"""One owned partition and the only loop there is: read, decide, append, accept, act.

The loop knows no feature's name: what a command, an event or a deadline means stands in
core/rules.py. Everything between `decide` and `accept` is speculation and stays inside.
"""

from __future__ import annotations

import contextlib
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from perdure_actors import table_layout
from perdure_actors.core.decision import Step
from perdure_actors.partition.context import PartitionContext
from perdure_actors.partition.doubt import Doubt, add_mark, live, purge_marks
from perdure_actors.partition.eager_tasks import EagerTasks
from perdure_actors.partition.executor import Executor
from perdure_actors.partition.failed_input import told_of_refusal
from perdure_actors.partition.fence import AppendFailedError
from perdure_actors.partition.inbox import Inbox
from perdure_actors.partition.local_activities import LocalActivities
from perdure_actors.partition.observer import Observer
from perdure_actors.partition.outbox import Address, Outbox
from perdure_actors.partition.outbox_resend import resend_unacknowledged, task_again
from perdure_actors.partition.pending_requests import PendingRequests
from perdure_actors.partition.run_cache import RunCache
from perdure_actors.partition.timer_queue import TimerQueue
from perdure_actors.partition.timer_service import TimerService
from perdure_actors.partition.transition import (
    InFlight,
    PendingReplies,
    TransitionBuilder,
    body_of,
    closing_of,
    draft_step,
    pack_parts,
)
from perdure_actors.partition.upkeep import TableUpkeep
from perdure_actors.partition.watermark import Watermark
from perdure_actors.visibility.row_cache import Listed
from perdure_schemas.avro import encode
from perdure_schemas.events import InputLost, InputRewound
from perdure_schemas.transition import EpochBump, Transition
from perdure_topics.fold import Accepted, Cursor, Partial, fold
from perdure_topics.names import topic_name
from perdure_topics.ports import LogError, TableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure_actors.core.state import Run
    from perdure_actors.partition.doubt import Trial
    from perdure_actors.partition.fence import Fence
    from perdure_actors.partition.log_time import LogTime
    from perdure_actors.partition.run_cache import CachedRun, Ops
    from perdure_actors.partition.services import Services
    from perdure_schemas.commands import ReadHistory
    from perdure_schemas.payloads import Record, ReplyTo
    from perdure_topics.ports import Appender, Table

IN_FLIGHT_MAX = 2_000
PROGRESS_INPUTS = 1_000
PROGRESS_MS = 10_000


class PartitionProcessor:
    """A partition this process owns, from its accepted bump to its loss."""

    def __init__(
        self,
        services: Services,
        partition: int,
        table: Table,
        meta: table_layout.Meta,
        *,
        appender: Appender,
        on_ready: Callable[[], None],
        fence: Fence,
        log_time: LogTime,
    ) -> None:
        self.services, self.fence = services, fence
        self.task_queue, self.partition = services.task_queue, partition
        self.table, self.meta = table, meta
        self.cursor: Cursor = meta.cursor
        self.residents = RunCache(table, services.memory)
        self.world = PartitionContext(
            self.residents,
            self.cursor,
            log_time,
            limits=services.limits,
            task_queue=services.task_queue,
            engine_key=services.engine_key,
            types=services.types,
        )
        services.types.join(self.residents.attribute_type)
        self.activation = Executor(services, table)
        self.alarms, self.listed = TimerQueue(table), Listed()
        self.alarms.load()
        self.pending: deque[InFlight] = deque()
        self.counters: dict[str, int] = {}
        self._appender = appender
        self._events_topic = topic_name("events", services.namespace, services.task_queue)
        self._pseq, self.upto = self.cursor.pseq, self.cursor.upto
        """Inputs up to here are taken."""
        self._proposed_upto, self.input_leader_epoch = self.cursor.upto, -1
        """Inputs up to here are covered by what is proposed."""
        self._covered_at_ms = self.world.mono_ms
        self.owed = PendingReplies()
        self.upkeep = TableUpkeep(self, lambda: self._write({}))
        self.asking = PendingRequests(self)
        self.showing = Observer(self)
        self.horizon, self.doubt = Watermark(self), Doubt(self)
        self.intake = Inbox(self, self.asking, self.horizon)
        self.firing = TimerService(self, self.horizon)
        self.locals = LocalActivities(self, on_ready)
        self.eager = EagerTasks(self, self.horizon, on_ready)
        self.dispatch = Outbox(
            services.log,
            Address(services.namespace, services.task_queue, partition, services.events_topic_id),
            dispatched=max(meta.dispatched, self.cursor.dispatched),
            token=self.world.token,
            answer=self.answer,
            again=partial(task_again, self),
            on_ready=on_ready,
            tell=partial(fence.tell, services, "effect_parked"),
            refused=partial(told_of_refusal, self.world),
            eager=self.eager.take_over,
        )

    # -- the turn --

    def step(self) -> int | None:
        """One turn; when the next is due at the latest, in ms from now (None: at any news).

        Raises AppendFailedError when the shard must be taken over again, TableFullError when
        the disk is full, and UnreadableRecordError for a record that no reader may skip.
        """
        self.residents.begin_turn()
        try:
            return self._take_turn()
        finally:
            self.residents.end_turn()

    def _take_turn(self) -> int | None:
        self.world.now_ms()
        self._accept()
        self.eager.flush()
        self.dispatch.step()
        now_ms = self.world.now_ms()
        busy = self.locals.take(now_ms)
        busy |= self.eager.take(now_ms)
        busy |= self.intake.take()
        self.firing.keep_house(now_ms)
        busy |= self.firing.fire(now_ms)
        self.firing.resume()
        self.intake.keep_house(now_ms)
        self._cover()
        self.upkeep.step()
        if busy or self.firing.is_busy:
            return 0
        if self.upkeep.is_reading:
            return 1
        due_ms = self.alarms.next_ms()
        wait_ms = self.intake.wait_ms(now_ms)
        return wait_ms if due_ms is None else max(0, min(wait_ms, due_ms - now_ms))

    @property
    def has_room(self) -> bool:
        """Whether more may be decided before what is proposed is accepted."""
        return len(self.pending) < IN_FLIGHT_MAX and not self.dispatch.is_full

    def decide_taken(self, steps: list[Step], workflow_id: str) -> None:
        """Propose what a taken command brings: a record a step; the last covers its input.

        What is about a run that ended with a step before is left out.
        """
        for step in steps[:-1]:
            if not self._is_over(step):
                self.propose(step, workflow_id, covers=False)
        if steps and not self._is_over(steps[-1]):
            self.propose(steps[-1], workflow_id, covers=True)

    def _is_over(self, step: Step) -> bool:
        run = self.world.run(step.run_id)
        return run is not None and not run.state.is_open

    def propose(self, step: Step | None, workflow_id: str = "", *, covers: bool) -> None:
        """Append a transition, or without a step a Progress; `covers` takes in what is owed."""
        resident = None
        draft = self.draft()
        if step is not None:
            resident = draft_step(draft, self.residents, workflow_id, step)
        self.append_draft(resident, draft, covers=covers)

    def propose_events(self, run: Run, events: list[Record]) -> None:
        """Propose events of a run that no input brought."""
        state = run.state
        self.propose(Step(state.run_id, events), state.workflow_id, covers=False)

    def propose_mark(self, trial: Trial) -> None:
        """Say in the log that something is about to be run that may have killed its host."""
        event = trial.event()
        self._propose_word(event, covers=False)
        self.pending[-1].mark = event

    def propose_lost(self, first: int, end: int) -> None:
        """Say in the log that inputs are gone, or were cut back, and go on from there."""
        after, self.upto = self.upto, (first if first > self.upto else end) - 1
        if self.upto > after:
            self._propose_word(InputLost(after=after, upto=self.upto), covers=True)
        else:
            self._propose_word(InputRewound(offset=after, to_offset=self.upto), covers=True)

    def _propose_word(self, event: Record, *, covers: bool) -> None:
        """A record without a run that holds an event of the partition."""
        draft = self.draft()
        draft.events.append(encode(event))
        self.append_draft(None, draft, covers=covers)

    def draft(self) -> TransitionBuilder:
        """A transition in the making, with the number of the next record."""
        self.fence.drafts += 1
        at = (self.cursor.epoch, self.cursor.nonce, self._pseq + 1)
        self.world.next_record(self._pseq + 1)
        draft = TransitionBuilder(self.world, self.activation, at)
        draft.now_ms = self.world.time_ms
        return draft

    def append_draft(
        self, resident: CachedRun | None, draft: TransitionBuilder, *, covers: bool
    ) -> None:
        """Propose what a draft holds."""
        owed = self.owed if covers else None
        version, shown = self.services.code.version, self.showing.say()
        body = body_of(resident, draft, owed, code_version=version, shown=shown)
        after = self._proposed_upto
        upto = self.upto if covers else after
        fields = {
            "epoch": self.cursor.epoch,
            "nonce": self.cursor.nonce,
            "pseq": self._pseq + 1,
            "after": after,
            "upto": upto,
            "dispatched": self.dispatch.dispatched,
            "time_ms": self.world.time_ms,
            "input_leader_epoch": self.input_leader_epoch,
        }
        data = encode(body)
        parts = pack_parts(fields, data)
        key = body.workflow_id.encode() or None
        for envelope in parts:
            self._send(envelope, key)
        last = InFlight(parts[-1], data)
        last.sent_mono_ms = self.world.mono_ms
        for envelope in parts[:-1]:
            self.pending.append(InFlight(envelope, b""))
        self.pending.append(last)
        self._proposed_upto = upto
        if covers:
            last.owed = owed
            self.owed = PendingReplies()
            self._covered_at_ms = self.world.mono_ms
        if resident is not None:
            self._follow_up(last, resident, draft)
        self.intake.note(last)

    def _send(self, envelope: Transition, key: bytes | None) -> None:
        """Append a record; its pseq is spent once the log has taken it."""
        try:
            self._appender.append(
                self._events_topic, self.partition, encode(envelope), key=key, tag=envelope.pseq
            )
        except LogError as error:
            raise AppendFailedError(str(error)) from error
        self._pseq = envelope.pseq

    def _follow_up(self, pending: InFlight, resident: CachedRun, draft: TransitionBuilder) -> None:
        """What the acceptance of a transition of a run brings."""
        state = resident.run.state
        pending.resident = resident
        resident.pinned += 1
        pending.history_key = table_layout.history_key(state.run_id, draft.first_seq)
        pending.effects = draft.effects
        pending.events, pending.first_seq = draft.records, draft.first_seq
        pending.alarms = self.residents.save(resident, pending.ops, draft.now_ms)
        pending.closed = closing_of(resident)
        if pending.closed is not None:
            resident.drop_code()

    # -- accept and act --

    def _accept(self) -> None:
        """Take the log's reports in order; apply what is acknowledged and contiguous."""
        reports = self._appender.reports()
        if not reports:
            return
        accepted: list[InFlight] = []
        ops: Ops = {}
        for report in reports:
            if isinstance(report.tag, EpochBump) and report.error is None:
                # The own bump was read back before its report came.
                continue
            pending = self.pending.popleft() if self.pending else None
            if report.error is not None or report.offset is None or pending is None:
                raise AppendFailedError(report.error or "an append of unknown fate")
            if report.tag != pending.envelope.pseq:
                raise AppendFailedError("reports out of order")
            if report.offset != self.meta.offset + 1:
                raise AppendFailedError(f"a gap: offset {report.offset} after {self.meta.offset}")
            self._fold(pending, report.offset, ops)
            accepted.append(pending)
        if not accepted:
            return
        self.world.log_time.heard(report.timestamp_ms, accepted[-1].sent_mono_ms)
        self._write(ops)
        for pending in accepted:
            self._act(pending)

    def _fold(self, pending: InFlight, offset: int, ops: Ops) -> None:
        """The same fold as any reader's, over a record that this owner wrote."""
        self.cursor, verdict = fold(self.cursor, pending.envelope)
        if not isinstance(verdict, Accepted | Partial):
            raise AppendFailedError(f"the fold refuses a record of ours: {verdict}")
        self.meta.offset = offset
        self.meta.transitions += 1
        state = pending.resident.run.state if pending.resident is not None else None
        owners = (state.run_id, state.workflow_id) if state is not None else ()
        purge_marks(self.meta, pending.envelope.upto, *owners)
        live(self.meta, pending.envelope)
        if pending.mark is not None:
            add_mark(self.meta, pending.mark)
        ops.update(pending.ops)
        if pending.history_key is not None:
            envelope = pending.envelope
            ops[pending.history_key] = table_layout.pack_history(
                offset, envelope.pseq, envelope.time_ms, pending.body
            )

    def _write(self, ops: Ops) -> None:
        """One batch: state, history, indexes, timers, and how far the log is in it."""
        for pseq, place in self.dispatch.done:
            ops[table_layout.effect_key(pseq, place)] = None
        self.dispatch.done.clear()
        self.meta.cursor = self.cursor
        self.meta.dispatched = self.dispatch.dispatched
        self.meta.shown = self.showing.shown
        ops[table_layout.META] = table_layout.encode(self.meta)
        puts = [(key, value) for key, value in ops.items() if value is not None]
        self.table.write(puts, [key for key, value in ops.items() if value is None])

    def _act(self, pending: InFlight) -> None:
        """What an accepted record lets out: effects, answers, and word to those who wait."""
        envelope = pending.envelope
        self.fence.let_out(self.services, self.showing.accepted, pending)
        if pending.resident is not None:
            pending.resident.pinned -= 1
            self.asking.moved(pending.resident.run.state.run_id)
        for alarm in pending.alarms:
            self.alarms.add(alarm)
        self.eager.accepted(pending)
        if envelope.part == envelope.parts:
            # Parts without the last may be dropped, and their pseqs given to others.
            self.dispatch.send(pending.first_pseq, pending.effects, epoch=envelope.epoch)
            self.locals.act(pending.effects)
        if pending.owed is not None:
            for reply, record in pending.owed.answers:
                self.answer(reply, record)
            for reply, run_id, update_id in pending.owed.waits:
                self.fence.let_out(self.services, self.wait, reply, run_id, update_id)
        self.asking.updates.happened(pending.run_id, pending.events)
        if pending.closed is not None:
            self.asking.closed(pending.closed)

    def answer(self, reply: ReplyTo, record: Record) -> None:
        """Send an answer; only what is accepted may be in it."""
        self.services.answers.send(reply, record, self.partition, self.meta.offset)

    def wait(self, reply: ReplyTo, run_id: str, update_id: str = "", stage: str = "") -> None:
        """Answer an asker once a run has closed, or an update of it is so far."""
        if update_id:
            self.asking.updates.wait(reply, run_id, update_id, stage)
        else:
            self.asking.wait(reply, run_id)

    def watch(self, run_id: str, ask: ReadHistory) -> None:
        """Answer a history ask once there are events for it."""
        self.asking.watch(run_id, ask)

    def count(self, name: str) -> None:
        """Count something for the metrics."""
        self.counters[name] = self.counters.get(name, 0) + 1

    # -- inputs that change nothing --

    def _cover(self) -> None:
        """Append a Progress when an answer waits for one, or enough has gone uncovered."""
        uncovered = self.upto - self._proposed_upto
        asks = self.world.log_time.should_ask() and not self.pending
        if uncovered <= 0 and not self.showing.owes_word and not asks:
            return
        late = self.world.mono_ms - self._covered_at_ms >= PROGRESS_MS
        soon = self.owed or self.asking.reads_wait or uncovered >= PROGRESS_INPUTS
        if late or asks or (soon and uncovered > 0):
            self.propose(None, covers=True)

    def recover(self) -> None:
        """After a take-over: send again what may not have gone out; let blocked runs try."""
        resend_unacknowledged(self)
        for key, _ in self.table.scan(*table_layout.prefix_range(table_layout.BLOCKED)):
            self.firing.try_again(key[1:].decode())
        self.locals.recover()

    def close(self, *, flush_s: float = 0.0) -> None:
        """Let go: flush for so long, then close; what is not accepted is the next owner's."""
        self.eager.end()
        try:
            self._let_go(flush_s)
        finally:
            self.eager.close()

    def _let_go(self, flush_s: float) -> None:
        self.services.types.leave(self.residents.attribute_type)
        self.showing.flush(flush_s)
        if flush_s and self.showing.owes_word:
            with contextlib.suppress(AppendFailedError):
                self.propose(None, covers=True)
        self.locals.close()
        self._appender.close(flush_s=flush_s)
        if flush_s:
            with contextlib.suppress(AppendFailedError, TableError):
                self._accept()
        self.dispatch.close(flush_s=flush_s)
        self.upkeep.stop()
        self.residents.clear()
