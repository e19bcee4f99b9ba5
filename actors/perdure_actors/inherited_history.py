"""What a run that was made by a reset has of another's history: its rows, its state, what is due.

Played from the rows of the run before, in life and in recovery alike, so nothing of it is in the
log again and none of its effects is sent again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from perdure_actors import table_layout
from perdure_actors.core.activity_states import BACKING_OFF, FREE
from perdure_actors.core.deadlines import set_alarm
from perdure_actors.core.external_workflows import OUTCOMES
from perdure_actors.core.rules import apply
from perdure_actors.core.start import set_run_alarm
from perdure_actors.core.state import ActivityState, RecordId
from perdure_schemas.avro import decode, decode_as, encode
from perdure_schemas.bounds import MESSAGE_CHARS_MAX, cut
from perdure_schemas.child_events import (
    ChildWorkflowCanceled,
    ChildWorkflowCompleted,
    ChildWorkflowFailed,
    ChildWorkflowStarted,
    ChildWorkflowStartFailed,
    ChildWorkflowTerminated,
    ChildWorkflowTimedOut,
    ExternalCancelFailed,
    ExternalCancelRequested,
    ExternalSignaled,
    ExternalSignalFailed,
    ExternalStarted,
    ExternalStartFailed,
)
from perdure_schemas.events import INPUTS
from perdure_schemas.message_events import WorkflowSignaled, WorkflowUpdateAccepted
from perdure_schemas.payloads import Failure, FailureCause
from perdure_schemas.transition import TransitionBody

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from perdure_actors.core.state import Run
    from perdure_schemas.payloads import Record
    from perdure_topics.ports import Table

_NOWHERE = RecordId(0, b"", 0, 0)
"""The place of an event that is not in the log a second time."""
_CHILD_OUTCOMES = (
    ChildWorkflowStartFailed,
    ChildWorkflowCompleted,
    ChildWorkflowFailed,
    ChildWorkflowCanceled,
    ChildWorkflowTimedOut,
    ChildWorkflowTerminated,
)
_ANSWERS = (
    ExternalSignaled,
    ExternalSignalFailed,
    ExternalCancelRequested,
    ExternalCancelFailed,
    ExternalStarted,
    ExternalStartFailed,
)
UNKNOWN = "unknown"
"""The code of a failure whose cause nobody knows."""


class HistoryRow(NamedTuple):
    """A transition of a run, as the table keeps it."""

    offset: int
    pseq: int
    time_ms: int
    body: TransitionBody


class Inherited(NamedTuple):
    """What a run has of another's history."""

    rows: list[HistoryRow]
    """The transitions before the input that the code takes again, as the run's own."""
    event: Record
    """That input; the start itself where nothing is before it."""
    later: list[Record]
    """What came after it and happens again: messages, and what was waited for."""

    def rows_to_write(self, run_id: str) -> dict[bytes, bytes]:
        """The rows of the table that the run begins with."""
        return {
            table_layout.history_key(run_id, row.body.seq): table_layout.pack_history(
                row.offset, row.pseq, row.time_ms, encode(row.body)
            )
            for row in self.rows
        }

    def stored(self, body: TransitionBody) -> bytes:
        """The run's first transition as the table keeps it: with the input, not the start."""
        return encode(replace(body, events=[encode(self.event), *body.events[1:]]))


def unpack_row(data: bytes) -> HistoryRow:
    """A row of the table."""
    offset, pseq, time_ms, body = table_layout.unpack_history(data)
    return HistoryRow(offset, pseq, time_ms, decode_as(TransitionBody, body))


def last_record(table: Table, run_id: str) -> int:
    """The number of the last accepted record of a run; -1 when there is none."""
    start, end = table_layout.history_range(run_id)
    for _, data in table.scan(start, end, reverse=True, limit=1):
        return unpack_row(data).pseq
    return -1


def input_at(rows: Iterable[HistoryRow], seq: int) -> int:
    """The newest input of a history up to an event; 0 when it has none."""
    newest = 0
    for row in rows:
        for place, data in enumerate(row.body.events):
            at = row.body.seq + place
            if at > seq:
                return newest
            if type(decode(data)) in INPUTS:
                newest = at
    return newest


def begin_time_ms(rows: list[HistoryRow], now_ms: int) -> int:
    """When a history begins, for what is counted from there."""
    return rows[0].time_ms if rows else now_ms


def inherit(run: Run, rows: list[HistoryRow], now_ms: int) -> Inherited:
    """Bring a new run to where a history stands at the event that it was reset to.

    The run is then as if its next event were that one. What is pending has its new place: an
    activity begins with attempt 1, a timer keeps its due time, a child and a call are this run's.

    Raises ValueError for a history that does not reach there, or that no code has taken so far.
    """
    started = run.started
    origin = started.reset
    assert origin is not None, "a run that inherits says from whom"
    if origin.seq <= 1:
        # All that is kept is its own start.
        carried = {child.child_id for child in started.children}
        later = list(_later(run, rows, children=carried, calls=set()))
        return Inherited([], started, later)
    kept: list[HistoryRow] = []
    taken: Record | None = None
    for row in rows:
        events = [decode(data) for data in row.body.events]
        left = origin.seq + 1 - row.body.seq
        if left <= 0:
            break
        for place, event in enumerate(events[:left]):
            mine = replace(started, reset=None) if row.body.seq + place == 1 else event
            apply(run, mine, _NOWHERE, row.time_ms)
            run.state.history_bytes += len(row.body.events[place])
        if left <= len(events):
            taken = events[left - 1]
        if cut_row := _cut(row, run, before=origin.seq):
            kept.append(cut_row)
    if taken is None or run.state.seq != origin.seq or type(taken) not in INPUTS:
        msg = f"the history of run {origin.run_id} has no input {origin.seq}"
        raise ValueError(msg)
    if run.state.block is not None or not run.state.is_open:
        msg = (
            f"event {origin.seq} of run {origin.run_id} waited while that was blocked, and no code"
            f" has taken it: reset to event {min(run.state.waiting, default=1)} or before"
        )
        raise ValueError(msg)
    later = list(_later(run, rows, children=set(run.children), calls=set(run.calls)))
    _settle(run, now_ms)
    run.state.seq = origin.seq - 1
    return Inherited(kept, taken, later)


def _cut(row: HistoryRow, run: Run, *, before: int) -> HistoryRow | None:
    """The part of a transition that is before an event, as a run's own; None when none is."""
    body = row.body
    events = body.events[: max(0, before - body.seq)]
    if not events:
        return None
    if body.seq == 1:
        events = [encode(run.started), *events[1:]]
    return row._replace(body=replace(body, run_id=run.state.run_id, events=events, outcomes=[]))


def _settle(run: Run, now_ms: int) -> None:
    """What is pending is this run's now."""
    state, started = run.state, run.started
    origin = started.reset
    assert origin is not None, "a run that inherits says from whom"
    for activity_id, activity in list(run.activities.items()):
        run.activities[activity_id] = again = _first_attempt(activity, now_ms)
        set_alarm(run, again)
    state.parked, state.parked_ms = [], 0
    for child_id, child in list(run.children.items()):
        parent_run_id = child.parent_run_id or origin.run_id
        run.children[child_id] = replace(child, parent_run_id=parent_run_id)
    for call_id, call in list(run.calls.items()):
        caller_run_id = call.caller_run_id or origin.run_id
        run.calls[call_id] = replace(call, caller_run_id=caller_run_id)
    state.start_ms = now_ms
    held_ms = max(state.begin_ms, now_ms)
    state.run_expires_ms = held_ms + started.run_timeout_ms if started.run_timeout_ms else 0
    set_run_alarm(state)


def _first_attempt(activity: ActivityState, now_ms: int) -> ActivityState:
    """An activity whose first attempt is due: those of the run before are not this run's."""
    return ActivityState(
        scheduled=activity.scheduled,
        scheduled_seq=activity.scheduled_seq,
        scheduled_ms=now_ms,
        attempt=0,
        issued=_NOWHERE,
        attempt_ms=now_ms,
        state=BACKING_OFF,
        hold=FREE,
        retry_ms=max(now_ms, 1),
        cancel_requested=activity.cancel_requested,
        original=activity.original,
    )


def _later(
    run: Run, rows: list[HistoryRow], *, children: set[str], calls: set[str]
) -> Iterator[Record]:
    """What came after the event that is gone back to, and happens again."""
    origin = run.started.reset
    assert origin is not None, "a run that inherits says from whom"
    known = set(run.updates)
    waits, asks = set(children), set(calls)
    began = {child_id for child_id in children if _runs(run, child_id)}
    for event in _after(rows, origin.seq):
        if isinstance(event, WorkflowSignaled):
            if "signal" not in origin.exclude:
                yield event
        elif isinstance(event, WorkflowUpdateAccepted):
            if "update" not in origin.exclude and event.update_id not in known:
                known.add(event.update_id)
                yield event
        elif isinstance(event, ChildWorkflowStarted):
            if event.child_id in waits - began:
                began.add(event.child_id)
                yield event
        elif isinstance(event, _CHILD_OUTCOMES):
            if event.child_id in waits:
                waits.discard(event.child_id)
                yield event
        elif isinstance(event, _ANSWERS) and event.call_id in asks:
            asks.discard(event.call_id)
            yield event
    if origin.was_closed:
        yield from _left(run, waits, began, asks)


def _runs(run: Run, child_id: str) -> bool:
    child = run.children.get(child_id)
    if child is not None:
        return bool(child.run_id)
    return any(one.child_id == child_id and one.run_id for one in run.started.children)


def _after(rows: list[HistoryRow], seq: int) -> Iterator[Record]:
    for row in rows:
        for place, data in enumerate(row.body.events):
            if row.body.seq + place > seq:
                yield decode(data)


def _left(run: Run, children: set[str], began: set[str], calls: set[str]) -> Iterator[Record]:
    """What the run before left behind as it ended: whatever came of it, it was not told."""
    origin = run.started.reset
    assert origin is not None, "a run that inherits says from whom"
    text = cut(
        f"what came of it is not known: run {origin.run_id} had ended before it was reset",
        MESSAGE_CHARS_MAX,
    )
    failure = Failure(chain=[FailureCause(message=text, type="OutcomeUnknown")])
    for child_id in sorted(children):
        if child_id in began:
            yield ChildWorkflowFailed(child_id=child_id, failure=failure)
        else:
            yield ChildWorkflowStartFailed(child_id=child_id, code=UNKNOWN, message=text)
    for call_id in sorted(calls):
        _, failed = OUTCOMES[run.calls[call_id].kind]
        yield failed(call_id=call_id, code=UNKNOWN, message=text)
