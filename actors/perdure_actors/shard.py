"""One owned partition and the only loop there is: read, decide, append, accept, act.

The loop knows no feature's name: what a command, an event or a deadline means stands in
core/rules.py. Everything between `decide` and `accept` is speculation and stays inside.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import deque
from typing import TYPE_CHECKING

from perdure_actors import rows
from perdure_actors.activation import Activation
from perdure_actors.alarms import Alarms
from perdure_actors.core.decision import Due, Later, SendTask, Step
from perdure_actors.core.execution import decide_next_run
from perdure_actors.core.rules import ALARMS
from perdure_actors.core.soft import Soft
from perdure_actors.dispatch import Address, Dispatch
from perdure_actors.intake import Intake
from perdure_actors.outcomes import kept_effect
from perdure_actors.proposal import (
    Draft,
    Owed,
    Pending,
    body_of,
    closing_of,
    draft_step,
    pack_parts,
)
from perdure_actors.recovery import add_mark, purge_marks
from perdure_actors.residents import Residents
from perdure_schemas.avro import encode
from perdure_schemas.events import InputLost, InputRewound, InputTrying
from perdure_schemas.transition import Transition
from perdure_topics.fold import Accepted, Cursor, Partial, fold
from perdure_topics.names import topic_name
from perdure_topics.ports import LogFullError, TableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure_actors.checkpoints import Checkpoints
    from perdure_actors.core.decision import Decision
    from perdure_actors.core.state import ActivityState, ActorState, RecordId, Run
    from perdure_actors.residents import Ops, Resident
    from perdure_actors.services import Services
    from perdure_actors.trailing import Trailing
    from perdure_schemas.payloads import Record, ReplyTo
    from perdure_topics.ports import Appender, Table

IN_FLIGHT_MAX = 2_000
PROGRESS_INPUTS = 1_000
PROGRESS_MS = 10_000


class AppendFailedError(Exception):
    """An append failed, or its fate is unknown: the shard must be taken over again."""


class Shard:
    """A partition this process owns, from its accepted bump to its loss."""

    def __init__(
        self,
        services: Services,
        partition: int,
        table: Table,
        meta: rows.Meta,
        *,
        appender: Appender,
        on_ready: Callable[[], None],
    ) -> None:
        clock = services.clock
        self.services = services
        self.limits = services.limits
        self.task_queue = services.task_queue
        self.partition = partition
        self.table = table
        self.meta = meta
        self.cursor: Cursor = meta.cursor
        self.soft = Soft(clock.wall_ms())
        self.residents = Residents(table, residents_max=services.residents_max)
        self.activation = Activation(services, table)
        self.alarms = Alarms(table)
        self.alarms.load()
        self.pending: deque[Pending] = deque()
        self.counters: dict[str, int] = {}
        self.waiters: dict[str, dict[str, ReplyTo]] = {}
        self._appender = appender
        self._events_topic = topic_name("events", services.namespace, services.task_queue)
        self._pseq = self.cursor.pseq
        self.upto = self.cursor.upto
        """Inputs up to here are taken."""
        self._proposed_upto = self.cursor.upto
        """Inputs up to here are covered by what is proposed."""
        self._time_ms = max(self.cursor.time_ms, clock.wall_ms())
        self._time_at_ms = clock.monotonic_ms()
        self._covered_at_ms = self._time_at_ms
        self._run_ids = 0
        self.owed = Owed()
        self.resumes: deque[str] = deque()
        self.trailing: Trailing | None = None
        self.checkpoints: Checkpoints | None = None
        self._checkpoint_at = meta.transitions
        self._kept: deque[tuple[int, bytes]] = deque()
        self.intake = Intake(self)
        self.dispatch = Dispatch(
            services.log,
            Address(services.namespace, services.task_queue, partition, services.events_topic_id),
            dispatched=max(meta.dispatched, self.cursor.dispatched),
            token=self.token,
            answer=self.answer,
            on_ready=on_ready,
        )

    # -- what deciding may ask (core.decision.World) --

    def token(self, issued: RecordId) -> bytes:
        """The token of an attempt: derived from its record, so the same on every resend."""
        text = b"%d/%d/%d/" % (issued.epoch, issued.pseq, issued.place) + issued.nonce
        return hashlib.blake2b(text, digest_size=16, key=self.services.engine_key).digest()

    def new_run_id(self) -> str:
        """A run id derived from the record that is being decided: a UUID of version 7's form."""
        self._run_ids += 1
        text = b"%d/%d/" % (self._pseq + 1, self._run_ids) + self.cursor.nonce
        digest = hashlib.blake2b(text, digest_size=10).hexdigest()
        head = f"{self._time_ms:012x}"
        variant = "89ab"[int(digest[3], 16) & 3]
        return f"{head[:8]}-{head[8:]}-7{digest[:3]}-{variant}{digest[4:7]}-{digest[7:19]}"

    def run(self, run_id: str) -> Run | None:
        """A run of this partition."""
        resident = self.residents.find(run_id)
        return resident.run if resident else None

    def current(self, workflow_id: str) -> Run | None:
        """The newest run of a workflow id."""
        resident = self.residents.current(workflow_id)
        return resident.run if resident else None

    def actor(self, workflow_id: str) -> ActorState | None:
        """What is known of a workflow id over its runs."""
        resident = self.residents.current(workflow_id)
        return resident.run.actor if resident else None

    # -- time --

    def now_ms(self) -> int:
        """Recorded time: never behind what was recorded, at the true rate after a bad clock."""
        clock = self.services.clock
        mono_ms = clock.monotonic_ms()
        self._time_ms = max(clock.wall_ms(), self._time_ms + mono_ms - self._time_at_ms)
        self._time_at_ms = mono_ms
        return self._time_ms

    # -- the turn --

    def step(self) -> int | None:
        """One turn; when the next is due at the latest, in ms from now (None: at any news).

        Raises AppendFailedError when the shard must be taken over again, TableFullError when
        the disk is full, and UnreadableRecordError for a record that no reader may skip.
        """
        self._accept()
        self.dispatch.step()
        now_ms = self.now_ms()
        busy = self.intake.take(now_ms)
        self._fire(now_ms)
        self._resume()
        self.intake.keep_house(now_ms)
        self._cover()
        self._look_back()
        if busy or self.resumes:
            return 0
        if self.trailing is not None and self.trailing.is_reading:
            return 1
        due_ms = self.alarms.next_ms()
        wait_ms = self.intake.wait_ms(now_ms)
        return wait_ms if due_ms is None else max(0, min(wait_ms, due_ms - now_ms))

    @property
    def has_room(self) -> bool:
        """Whether more may be decided before what is proposed is accepted."""
        return len(self.pending) < IN_FLIGHT_MAX and not self.dispatch.is_full

    def decide_taken(self, decision: Decision, workflow_id: str) -> None:
        """Propose what a taken command brings: a record a step; the last covers its input."""
        for step in decision.steps[:-1]:
            self.propose(step, workflow_id, covers=False)
        if decision.steps:
            self.propose(decision.steps[-1], workflow_id, covers=True)

    def propose(self, step: Step | None, workflow_id: str = "", *, covers: bool) -> None:
        """Append a transition, or without a step a Progress; `covers` takes in what is owed."""
        resident = None
        draft = self._draft()
        if step is not None:
            resident = draft_step(draft, self.residents, workflow_id, step)
        self._append(resident, draft, covers=covers)

    def propose_mark(self, offset: int) -> None:
        """Say in the log that an input is about to run that may have killed its host."""
        self._propose_word(InputTrying(offset=offset), covers=False)
        self.pending[-1].mark = offset

    def propose_lost(self, first: int, end: int) -> None:
        """Say in the log that inputs are gone, or were cut back, and go on from there."""
        after, self.upto = self.upto, (first if first > self.upto else end) - 1
        if self.upto > after:
            self._propose_word(InputLost(after=after, upto=self.upto), covers=True)
        else:
            self._propose_word(InputRewound(offset=after, to_offset=self.upto), covers=True)

    def _propose_word(self, event: Record, *, covers: bool) -> None:
        """A record without a run that holds an event of the partition."""
        draft = self._draft()
        draft.events.append(encode(event))
        self._append(None, draft, covers=covers)

    def _draft(self) -> Draft:
        at = (self.cursor.epoch, self.cursor.nonce, self._pseq + 1)
        draft = Draft(self, self.activation, at)
        draft.now_ms = self._time_ms
        self._run_ids = 0
        return draft

    def _append(self, resident: Resident | None, draft: Draft, *, covers: bool) -> None:
        owed = self.owed if covers else None
        body = body_of(resident, draft, owed, self.services.code.version)
        after = self._proposed_upto
        upto = self.upto if covers else after
        fields = {
            "epoch": self.cursor.epoch,
            "nonce": self.cursor.nonce,
            "pseq": self._pseq + 1,
            "after": after,
            "upto": upto,
            "dispatched": self.dispatch.dispatched,
            "time_ms": self._time_ms,
        }
        data = encode(body)
        parts = pack_parts(fields, data)
        key = body.workflow_id.encode() or None
        for envelope in parts:
            self._send(envelope, key)
        last = Pending(parts[-1], data)
        for envelope in parts[:-1]:
            self.pending.append(Pending(envelope, b""))
        self.pending.append(last)
        self._proposed_upto = upto
        if covers:
            last.owed = owed
            self.owed = Owed()
            self._covered_at_ms = self._time_at_ms
        if resident is not None:
            self._follow_up(last, resident, draft)
        self.intake.note(last)

    def _send(self, envelope: Transition, key: bytes | None) -> None:
        """Append a record; its pseq is spent once the log has taken it."""
        try:
            self._appender.append(
                self._events_topic, self.partition, encode(envelope), key=key, tag=envelope.pseq
            )
        except LogFullError as error:
            raise AppendFailedError(str(error)) from error
        self._pseq = envelope.pseq

    def _follow_up(self, pending: Pending, resident: Resident, draft: Draft) -> None:
        """What the acceptance of a transition of a run brings."""
        state = resident.run.state
        pending.resident = resident
        resident.pinned += 1
        pending.history_key = rows.history_key(state.run_id, draft.first_seq)
        pending.effects = draft.effects
        pending.alarms = self.residents.save(resident, pending.ops)
        pending.closed = closing_of(resident)
        if pending.closed is not None:
            resident.drop_code()

    # -- accept and act --

    def _accept(self) -> None:
        """Take the log's reports in order; apply what is acknowledged and contiguous."""
        reports = self._appender.reports()
        if not reports:
            return
        accepted: list[Pending] = []
        ops: Ops = {}
        for report in reports:
            pending = self.pending.popleft() if self.pending else None
            if report.error is not None or report.offset is None or pending is None:
                raise AppendFailedError(report.error or "an append of unknown fate")
            if report.tag != pending.envelope.pseq:
                raise AppendFailedError("reports out of order")
            if report.offset != self.meta.offset + 1:
                raise AppendFailedError(f"a gap: offset {report.offset} after {self.meta.offset}")
            self._fold(pending, report.offset, ops)
            accepted.append(pending)
        self._write(ops)
        for pending in accepted:
            self._act(pending)

    def _fold(self, pending: Pending, offset: int, ops: Ops) -> None:
        """The same fold as any reader's, over a record that this owner wrote."""
        self.cursor, verdict = fold(self.cursor, pending.envelope)
        if not isinstance(verdict, Accepted | Partial):
            raise AppendFailedError(f"the fold refuses a record of ours: {verdict}")
        self.meta.offset = offset
        self.meta.transitions += 1
        purge_marks(self.meta, pending.envelope.upto)
        if pending.mark >= 0:
            add_mark(self.meta, pending.mark)
        ops.update(pending.ops)
        if pending.history_key is not None:
            envelope = pending.envelope
            ops[pending.history_key] = rows.pack_history(
                offset, envelope.pseq, envelope.time_ms, pending.body
            )

    def _write(self, ops: Ops) -> None:
        """One batch: state, history, indexes, timers, and how far the log is in it."""
        dispatched = self.dispatch.dispatched
        while self._kept and self._kept[0][0] <= dispatched:
            ops[self._kept.popleft()[1]] = None
        self.meta.cursor = self.cursor
        self.meta.dispatched = dispatched
        ops[rows.META] = rows.encode(self.meta)
        puts = [(key, value) for key, value in ops.items() if value is not None]
        self.table.write(puts, [key for key, value in ops.items() if value is None])

    def _act(self, pending: Pending) -> None:
        """What an accepted record lets out: effects, answers, and word to those who wait."""
        envelope = pending.envelope
        if pending.resident is not None:
            pending.resident.pinned -= 1
            self.intake.moved(pending.resident.run.state.run_id)
        for alarm in pending.alarms:
            self.alarms.add(alarm)
        self.dispatch.send(envelope.pseq, pending.effects, epoch=envelope.epoch)
        for key in pending.ops:
            if key.startswith(rows.EFFECTS):
                self._kept.append((envelope.pseq, key))
        if pending.owed is not None:
            for reply, record in pending.owed.answers:
                self.answer(reply, record)
            for reply, run_id in pending.owed.waits:
                self.wait(reply, run_id)
        closed = pending.closed
        if closed is not None:
            for reply in self.waiters.pop(closed.run_id, {}).values():
                self.answer(reply, closed)

    def answer(self, reply: ReplyTo, record: Record) -> None:
        """Send an answer; only what is accepted may be in it."""
        self.services.answers.send(reply, record, self.partition, self.meta.offset)

    def wait(self, reply: ReplyTo, run_id: str) -> None:
        """Answer an asker once a run has closed; at once if it has."""
        resident = self.residents.find(run_id)
        closed = closing_of(resident) if resident and not resident.pinned else None
        if closed is not None:
            self.answer(reply, closed)
        else:
            self.waiters.setdefault(run_id, {})[reply.correlation_id] = reply

    def count(self, name: str) -> None:
        """Count something for the metrics."""
        self.counters[name] = self.counters.get(name, 0) + 1

    # -- time's part --

    def _fire(self, now_ms: int) -> None:
        """Fire what is due, as far as there is room."""
        while self.has_room:
            alarm = self.alarms.take(now_ms)
            if alarm is None:
                return
            if alarm.kind == "actor":
                self._fire_actor(alarm, now_ms)
            else:
                self._fire_run(alarm, now_ms)

    def _fire_actor(self, alarm: rows.Alarm, now_ms: int) -> None:
        actor = self.actor(alarm.owner)
        verdict = decide_next_run(actor, now_ms) if actor else Later()
        if isinstance(verdict, Step):
            self.propose(verdict, alarm.owner, covers=False)
        elif verdict.at_ms:
            self.alarms.add(alarm._replace(due_ms=verdict.at_ms))

    def _fire_run(self, alarm: rows.Alarm, now_ms: int) -> None:
        run = self.run(alarm.owner)
        if run is None or not run.state.is_open:
            return
        verdict = ALARMS[alarm.kind](self, run, alarm.id, now_ms)
        if isinstance(verdict, Later):
            if verdict.at_ms:
                self.alarms.add(alarm._replace(due_ms=verdict.at_ms))
            return
        self.fire_due(verdict, run, alarm)

    def fire_due(self, due: Due, run: Run, alarm: rows.Alarm) -> None:
        """Propose what a deadline brings, once no unread input could refute it."""
        if due.refutable and not self.intake.has_read_to(alarm.due_ms):
            self.intake.hold_back(alarm)
            return
        self.propose_events(run, due.events)

    def propose_events(self, run: Run, events: list[Record]) -> None:
        """Propose events of a run that no input brought."""
        state = run.state
        self.propose(Step(state.run_id, events), state.workflow_id, covers=False)

    # -- blocked runs --

    def _resume(self) -> None:
        """Let the code of blocked runs try again; one input a transition."""
        for _ in range(min(len(self.resumes), 16)):
            run_id = self.resumes.popleft()
            resident = self.residents.find(run_id)
            if resident is None or resident.run.state.block is None:
                continue
            if resident.pinned:
                self.resumes.append(run_id)
                continue
            self._resume_one(run_id, resident)

    def _resume_one(self, run_id: str, resident: Resident) -> None:
        state = resident.run.state
        seq = state.waiting[0] if state.waiting else 0
        event = self.activation.event_at(run_id, seq) if seq else None
        if event is None:
            return
        draft = self._draft()
        if draft.resume(resident, event, seq):
            self._append(resident, draft, covers=False)
            if resident.run.state.block is not None:
                self.resumes.append(run_id)

    # -- inputs that change nothing --

    def _cover(self) -> None:
        """Append a Progress when an answer waits for one, or enough has gone uncovered."""
        uncovered = self.upto - self._proposed_upto
        if uncovered <= 0:
            return
        late = self._time_at_ms - self._covered_at_ms >= PROGRESS_MS
        if self.owed or self.intake.reads_wait or uncovered >= PROGRESS_INPUTS or late:
            self.propose(None, covers=True)

    def _look_back(self) -> None:
        """Compare the log with the table, some time later; copy the table, now and then."""
        if self.trailing is not None:
            verified = self.trailing.step(self.meta.offset, self.cursor, self._time_at_ms)
            if verified is not None:
                self.table.write([(rows.VERIFIED, rows.encode(verified))], ())
        every = self.services.checkpoint_every
        if every and self.checkpoints and self.meta.transitions - self._checkpoint_at >= every:
            self._checkpoint_at = self.meta.transitions
            self.checkpoints.write(self.table, self.cursor.pseq)

    def resend_stale(self, now_ms: int) -> None:
        """Send again, same token, what was not started while its task may still exist."""
        limit_ms = now_ms - self.limits.retention_resend_ms
        for key, value in self.table.scan(*rows.prefix_range(rows.ACTIVITIES)):
            activity = rows.decode_activity(value)
            if activity.state == "scheduled" and activity.attempt_ms < limit_ms:
                self._resend(rows.run_of_activity(key), activity)

    def recover(self) -> None:
        """After a take-over: send again what may not have gone out, and let blocked runs try."""
        dispatched = self.dispatch.dispatched
        for key, value in self.table.scan(*rows.prefix_range(rows.ACTIVITIES)):
            activity = rows.decode_activity(value)
            run_id = rows.run_of_activity(key)
            if activity.state == "started":
                self.soft.hold(activity.worker_id, run_id, activity.scheduled.activity_id)
            elif activity.state == "scheduled" and activity.issued.pseq > dispatched:
                self._resend(run_id, activity)
        for key, value in self.table.scan(*rows.effects_range()):
            pseq = rows.pseq_of_effect(key)
            self._kept.append((pseq, key))
            if pseq > dispatched:
                self.dispatch.send(pseq, [kept_effect(value)], epoch=self.cursor.epoch)
        self.dispatch.send(self.cursor.pseq, [], epoch=self.cursor.epoch)
        for key, _ in self.table.scan(*rows.prefix_range(rows.BLOCKED)):
            self.resumes.append(key[1:].decode())

    def _resend(self, run_id: str, activity: ActivityState) -> None:
        run = self.run(run_id)
        if run is None:
            return
        task = SendTask(
            run.state.workflow_id, run_id, run.started.workflow_type, activity, resent=True
        )
        self.dispatch.send(activity.issued.pseq, [task], epoch=activity.issued.epoch)

    def close(self, *, flush_s: float = 0.0) -> None:
        """Let go: flush for so long, then close; what is not accepted is the next owner's."""
        self._appender.close(flush_s=flush_s)
        if flush_s:
            with contextlib.suppress(AppendFailedError, TableError):
                self._accept()
        self.dispatch.close(flush_s=flush_s)
        if self.trailing is not None:
            self.trailing.stop()
        self.residents.clear()
