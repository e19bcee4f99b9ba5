"""Bugs to plant: each a small change of the real code, for as long as its context lasts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from msgspec.structs import replace

from perdure_actors import table_layout
from perdure_actors.core import activities, attempts, timers
from perdure_actors.core.rules import APPLY, COMMANDS
from perdure_actors.core.state import ActorState
from perdure_actors.partition import outbox, processor
from perdure_actors.partition.input_outcomes import InputOutcomes
from perdure_actors.partition.journal import Journal
from perdure_actors.partition.outbox import Outbox
from perdure_actors.partition.pending_requests import PendingRequests
from perdure_actors.partition.processor import PartitionProcessor
from perdure_actors.partition.recovery import Recovery
from perdure_actors.partition.run_cache import RunCache, RunMemory
from perdure_actors.partition.scrubber import Scrubber
from perdure_actors.partition.takeover import Takeover
from perdure_actors.partition.timer_service import TimerQueue
from perdure_actors.partition.transition import Transitions
from perdure_topics import fold
from perdure_topics.fold import Accepted, Bumped, Cursor, Stale
from perdure_topics.simulated.probes import SimulatedEndProbe
from tests.simulation.workers import SimWorker

Plant = Callable[[], Any]
"""Makes the context in which the bug is there."""


def patched(target: Any, name: str, value: Any) -> Plant:
    return lambda: patch.object(target, name, value)


@contextmanager
def together(*plants: Plant) -> Iterator[None]:
    with ExitStack() as stack:
        for plant in plants:
            stack.enter_context(plant())
        yield


# -- acceptance --


def bump_by_position(cursor: Cursor, bump: Any) -> Any:
    pseq = cursor.parts_from - 1 if cursor.parts else cursor.pseq
    kept: dict[str, Any] = {
        "upto": cursor.upto,
        "dispatched": cursor.dispatched,
        "time_ms": cursor.time_ms,
    }
    after = Cursor(epoch=bump.epoch, nonce=bump.nonce, pseq=pseq, **kept)
    return replace(after, input_topic_id=bump.input_topic_id), Bumped(bump)


_fold_bump = fold._fold_bump
_fold_transition = fold._fold_transition


def pseq_restarts(cursor: Cursor, bump: Any) -> Any:
    after, verdict = _fold_bump(cursor, bump)
    return (after if isinstance(verdict, Stale) else replace(after, pseq=0)), verdict


def parts_kept(cursor: Cursor, bump: Any) -> Any:
    after, verdict = _fold_bump(cursor, bump)
    kept = after if isinstance(verdict, Stale) else replace(after, pseq=cursor.pseq)
    return kept, verdict


def no_epoch(cursor: Cursor, envelope: Any) -> Any:
    if envelope.pseq == cursor.pseq + 1 and envelope.after == cursor.upto:
        cursor = replace(cursor, epoch=envelope.epoch, nonce=envelope.nonce)
    return _fold_transition(cursor, envelope)


def no_pseq(cursor: Cursor, envelope: Any) -> Any:
    if not cursor.parts and envelope.part == 1:
        cursor = replace(cursor, pseq=envelope.pseq - 1)
    return _fold_transition(cursor, envelope)


def parts_singly(cursor: Cursor, envelope: Any) -> Any:
    if envelope.parts == 1:
        return _fold_transition(cursor, envelope)
    after, verdict = _fold_transition(cursor, replace(envelope, part=1, parts=1))
    return after, (verdict if envelope.part == envelope.parts else fold.Partial())


# -- the owner --

_accept = Journal.accept


def successes_only(self: Journal[Any]) -> list[Any]:
    """Errors are logged, and that is all."""
    accepted = []
    for report in self._appender.reports():
        for entry in [one for one in self.in_flight if one.envelope.pseq == report.tag]:
            self.in_flight.remove(entry)
            if report.error is None and report.offset is not None:
                _take(self, entry, report.offset)
                accepted.append(entry)
    return accepted


def _take(self: Journal[Any], entry: Any, offset: int) -> None:
    ops: dict[bytes, bytes | None] = {}
    envelope = entry.envelope
    self.cursor = replace(self.cursor, pseq=envelope.pseq - 1, upto=envelope.after)
    self._fold(entry, offset, ops)
    self.write(ops)


def none_is_fine(self: Journal[Any]) -> list[Any]:
    """A success without an offset is one."""
    taken = self._appender.reports()
    at = self.meta.offset
    mended = []
    for report in taken:
        at += 1
        unknown = report.error is None and report.offset is None
        mended.append(report._replace(offset=at) if unknown else report)
    with patch.object(self._appender, "reports", lambda: mended):
        return _accept(self)


def gaps_are_fine(self: Journal[Any]) -> list[Any]:
    """Where a record landed is not looked at."""
    at = self.meta.offset
    mended = []
    for number, report in enumerate(self._appender.reports(), at + 1):
        mended.append(report if report.offset is None else report._replace(offset=number))
    real = {report.tag: report for report in mended}
    with patch.object(self._appender, "reports", lambda: list(real.values())):
        return _accept(self)


def unknown_is_an_offset(self: SimulatedEndProbe) -> tuple[int, int] | None:
    """What the client library says of an end it does not know is believed."""
    return (-1001, -1001) if self.is_unknown else self.answer


_read = Takeover._read


def own_at_ack(self: Takeover, recovery: Recovery) -> Any:
    """What was read before the bump will do."""
    found = _read(self, recovery)
    bump = self._bump
    if found is None and bump is not None and self._bump_offset >= 0:
        recovery.cursor, _ = fold.fold(recovery.cursor, bump)
        recovery.next_offset = self._bump_offset + 1
        recovery.meta.offset = self._bump_offset
        recovery.meta.cursor = recovery.cursor
        record = self._services.log.broker.partition(  # type: ignore[attr-defined]
            self._topic, self._partition
        ).records[self._bump_offset]
        return self._own(record, recovery)
    return found


_append = Transitions.append


def act_first(self: Any, resident: Any, draft: Any, **more: Any) -> Any:
    """Tasks go out as soon as they are decided."""
    last = _append(self, resident, draft, **more)
    self._outbox.send(last.first_pseq, last.effects, epoch=last.envelope.epoch)
    last.effects = []
    return last


def write_first(self: Any, resident: Any, draft: Any, **more: Any) -> Any:
    """The table is written as soon as it is decided."""
    last = _append(self, resident, draft, **more)
    puts = [(key, value) for key, value in last.ops.items() if value is not None]
    self._journal._table.write(puts, [key for key, value in last.ops.items() if value is None])
    return last


_write = Journal.write


def effects_kept(self: Journal[Any], ops: Any) -> None:
    """The row of an effect stays when it has been acknowledged."""
    self._sent.done.clear()
    _write(self, ops)


def only_late(self: PartitionProcessor) -> None:
    """Asks are not worth a Progress."""
    if self.owed or self.journal.uncovered >= processor.PROGRESS_INPUTS:
        self._transitions.propose(None, covers=True)


def one_too_far(self: Any, topic: str, partition: int, offset: int) -> None:
    _assign(self, topic, partition, offset + 1 if topic.endswith(".commands") else offset)


def assign_of() -> Any:
    from perdure_topics.simulated.clients import SimulatedTail

    return SimulatedTail


_assign = assign_of().assign


# -- recovery --

_recovery_apply = Recovery._apply


def skip_tail(self: Recovery, accepted: Accepted, record: Any) -> None:
    """The table alone: what the log has beyond it is not applied."""
    if self.meta.offset < 0 or self.meta.transitions == 0:
        _recovery_apply(self, accepted, record)


_rows_of = outbox.outcome_rows


def requests_forgotten(found: list[Any], time_ms: int, ops: Any) -> Any:
    """Recovery does not read which requests were taken."""
    return _rows_of([replace(one, request_id="") for one in found], time_ms, ops)


def take_anyway(self: Recovery, record: Any) -> None:
    self._compares = False
    if record.offset >= self.next_offset:
        _recovery_take(self, record)


_recovery_take = Recovery.take


def last_part_names(self: Recovery, accepted: Accepted, record: Any) -> None:
    _recovery_apply(self, replace(accepted, envelope=replace(accepted.envelope, part=1)), record)


# -- effects and answers --


def dispatched_when_sent(self: Outbox) -> int:
    return self._accepted


def skips_errors(self: Outbox) -> None:
    """An effect that failed is skipped."""
    if self._appender is None:
        for serial, outgoing in list(self._unacked.items()):
            self._append(serial, outgoing)
        return
    for report in self._appender.reports():
        done = self._unacked.pop(report.tag, None)  # type: ignore[call-overload]
        if done is not None:
            self._open[done.pseq] -= 1
        if report.error is not None:
            self._restart()
            return


def without_a_fence(_self: Any, _kind: str, _key: object) -> Any:
    """What an input raises goes on."""
    return nullcontext(SimpleNamespace(error=None))


def says_nothing(*_what: Any) -> None:
    """An input that fails leaves no trace."""


_refuse = InputOutcomes.refuse


def refuses_at_once(self: Any, *what: Any) -> None:
    answers = self._owed.answers
    before = len(answers)
    _refuse(self, *what)
    late = answers[before:]
    del answers[before:]
    for reply, answer in late:
        self._services.answers.send(reply, answer, self._partition, 0)


def answers_at_once(self: PendingRequests, _offset: int, ask: Any) -> None:
    self._read(ask)


# -- activities, timers, workers --


def any_attempt(world: Any, command: Any) -> Any:
    run = world.run(command.run_id)
    activity = run.activities.get(command.activity_id) if run else None
    return "gone" if activity is None else (run, activity)


def claims_uncounted(world: Any, command: Any, now_ms: int) -> Any:
    """A second claim is as good as the first."""
    found = attempts._attempt(world, command)
    if not isinstance(found, str) and found[1].state == "started":
        world.run(command.run_id).activities[command.activity_id].worker_id = command.worker_id
    return _decide_claim(world, command, now_ms)


_decide_claim = attempts.decide_claim


def timer_early(run: Any, event: Any, at: Any, now_ms: int) -> None:
    shorter = replace(event, duration_ms=event.duration_ms * 9 // 10)
    timers.apply_timer_started(run, shorter, at, now_ms)


def retry_early(run: Any, event: Any, at: Any, now_ms: int) -> None:
    _apply_retry(run, event, at, now_ms)
    activity = run.activities[event.activity_id]
    activity.retry_ms = activity.alarm_ms = now_ms + (event.due_ms - now_ms) // 2


_apply_retry = activities.apply_activity_retry_scheduled


def evict_any(self: RunMemory) -> Any:
    runs = (*self._idle.items(), *self._busy.items())
    return iter([(run, holder) for run, holder in runs if not holder.is_held])


def evict_in_a_turn(self: RunCache, resident: Any) -> None:
    """A run that is taken in pushes others out, in the middle of a turn."""
    _residents_add(self, resident)
    held, self.is_held = self.is_held, False
    resident.pinned += 1
    self._memory.make_room()
    resident.pinned -= 1
    self.is_held = held


_residents_add = RunCache._add


def own_actor(self: RunCache, run_id: str) -> Any:
    """A run that is loaded by its id does not share what is known of its workflow id."""
    if run_id in self._runs:
        return _residents_find(self, run_id)
    data = self._table.get(table_layout.run_key(run_id))
    if data is None:
        return None
    workflow_id = table_layout.decode_run(data).workflow_id
    actor = self._load_actor(workflow_id)
    return self._load(data, actor or ActorState(workflow_id, run_id))


_residents_find = RunCache.find


def released_on_send(self: SimWorker, attempt: Any) -> None:
    _worker_start(self, attempt)
    self._intake.done(*attempt.place)


_worker_start = SimWorker._start


def runs_ungranted(self: SimWorker, record: Any) -> None:
    _worker_take(self, record)
    for attempt in list(self._attempts.values()):
        if attempt.phase == "claiming":
            self._start(attempt)


_worker_take = SimWorker._take_task


def command_row(kind: str, value: Any) -> Plant:
    found = next(cls for cls in COMMANDS if cls.__name__ == kind)
    return lambda: patch.dict(COMMANDS, {found: value})


def apply_row(kind: str, value: Any) -> Plant:
    found = next(cls for cls in APPLY if cls.__name__ == kind)
    return lambda: patch.dict(APPLY, {found: value})


def row_kind(kind: str, **fields: Any) -> Plant:
    return lambda: patch.dict(
        table_layout.KINDS, {kind: table_layout.KINDS[kind]._replace(**fields)}
    )


def no_step(_self: Scrubber, _offset: int, _cursor: Cursor, _mono_ms: int) -> None:
    return None


def forget_alarms(self: TimerQueue) -> None:
    self._window.clear()
    self._next = b""


@contextmanager
def committed() -> Iterator[None]:
    from perdure_topics.simulated.simulated_log import SimulatedLog

    tail = SimulatedLog.tail

    def committed_tail(self: Any, *, on_ready: Any, committed: bool) -> Any:
        return tail(self, on_ready=on_ready, committed=True)

    with patch.object(SimulatedLog, "tail", committed_tail):
        yield
