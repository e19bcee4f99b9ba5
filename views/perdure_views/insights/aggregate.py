"""The pure aggregation of an events topic: one record in, changed rows and findings out.

`take` reads rows through a function and returns changes in the order in which they must be
written. It knows no clock, no table and no Kafka; Faust, a test and the command all call it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from perdure_schemas import events as ev
from perdure_schemas.avro import decode, decode_as
from perdure_schemas.operator_events import ActivityPaused, ActivityReset, ActivityUnpaused
from perdure_schemas.payloads import Failure, Record
from perdure_schemas.transition import TransitionBody
from perdure_topics.fold import Accepted, fold_record
from perdure_views.insights.rows import (
    CURSOR,
    FAILURE_TYPES_MAX,
    OTHER_TYPES,
    Figures,
    OpenActivity,
    OpenRun,
    Place,
    bucket_of,
    decode_figures,
    decode_place,
    decode_run,
    encode,
    run_key,
    window_key,
    windows_at,
)
from perdure_views.insights.rules import notice

if TYPE_CHECKING:
    from perdure_schemas.findings import Finding
    from perdure_topics.ports import StoredRecord

Get = Callable[[bytes], bytes | None]
Change = tuple[bytes, bytes | None]
CLOSED = {
    ev.WorkflowCompleted: "completed",
    ev.WorkflowFailed: "failed",
    ev.WorkflowCanceled: "canceled",
    ev.WorkflowTerminated: "terminated",
    ev.WorkflowTimedOut: "timed_out",
    ev.WorkflowContinuedAsNew: "continued_as_new",
}
ENDED = (ev.ActivityCompleted, ev.ActivityFailed, ev.ActivityTimedOut, ev.ActivityCanceled)


def place_of(get: Get) -> Place:
    """How far a partition has been read."""
    data = get(CURSOR)
    return decode_place(data) if data is not None else Place()


def take(get: Get, record: StoredRecord, task_queue: str) -> tuple[list[Change], list[Finding]]:
    """The rows that a record changes, in order, and what it shows.

    A record below the cursor changes nothing.

    Raises UnreadableRecordError for a record that may count and cannot be read.
    """
    place = place_of(get)
    if record.offset < place.next_offset:
        return [], []
    cursor, verdict = fold_record(place.cursor, record)
    changes: list[Change] = []
    found: list[Finding] = []
    if isinstance(verdict, Accepted):
        body = decode_as(TransitionBody, verdict.body)
        time_ms = verdict.envelope.time_ms
        found += _dead(body, record, task_queue, time_ms)
        if body.run_id:
            taken = _Taking(get, record.offset, body, task_queue, time_ms)
            changes += taken.changes()
            found += taken.found
    changes.append((CURSOR, encode(Place(record.offset + 1, cursor))))
    return changes, found


def _dead(
    body: TransitionBody, record: StoredRecord, task_queue: str, time_ms: int
) -> Iterator[Finding]:
    """Inputs that nobody could take."""
    for outcome in body.outcomes:
        if outcome.outcome == "dead":
            where = f"{task_queue}/{record.partition}/{outcome.offset}"
            yield notice(
                "poison", task_queue, where, time_ms, offset=outcome.offset, reason=outcome.reason
            )


class _Taking:
    """One transition of one run on its way into the rows."""

    def __init__(
        self, get: Get, offset: int, body: TransitionBody, task_queue: str, time_ms: int
    ) -> None:
        self._get = get
        self._offset = offset
        self._body = body
        self._queue = task_queue
        self._now_ms = time_ms
        data = get(run_key(body.run_id))
        self._run = decode_run(data) if data is not None else None
        self._is_new = self._run is None or self._run.offset < offset
        self._windows: dict[bytes, Figures] = {}
        self._closed = False
        self.found: list[Finding] = []

    def changes(self) -> list[Change]:
        """Windows first, then the run: a run that is gone has been counted."""
        body = self._body
        for seq, data in enumerate(body.events, body.seq):
            event = decode(data)
            if isinstance(event, ev.WorkflowStarted) and self._run is None:
                self._run = OpenRun(
                    -1, body.workflow_id, body.run_id, event.workflow_type, self._now_ms, 0
                )
            if self._run is not None:
                self._count(event)
                if self._is_new:
                    self._move(event, seq, len(data))
        if self._run is None:
            return []
        out: list[Change] = [(key, encode(figures)) for key, figures in self._windows.items()]
        self._run.offset, self._run.moved_ms = self._offset, self._now_ms
        out.append((run_key(body.run_id), None if self._closed else encode(self._run)))
        return out

    # -- figures --

    def _count(self, event: Record) -> None:
        run = self._run
        assert run is not None
        kind = type(event)
        if kind is ev.WorkflowStarted:
            self._add(started=1)
        elif kind is ev.WorkflowBlocked:
            self._add(blocked=1)
        elif kind is ev.ActivityCompleted:
            self._add(activities=1)
        elif isinstance(event, ev.ActivityFailed | ev.ActivityRetryScheduled | ev.ActivityTimedOut):
            self._add(attempts_failed=1, failure=_type_of(event))
        elif kind in CLOSED:
            self._closed = True
            latency_ms = self._now_ms - run.start_ms
            self._add(outcome=CLOSED[kind], latency_ms=latency_ms)

    def _add(
        self,
        *,
        outcome: str = "",
        latency_ms: int = -1,
        failure: str = "",
        **counts: int,
    ) -> None:
        run = self._run
        assert run is not None
        for length_s, start_s in windows_at(self._now_ms):
            key = window_key(length_s, start_s, run.workflow_type)
            figures = self._windows.get(key)
            if figures is None:
                data = self._get(key)
                figures = decode_figures(data) if data is not None else Figures()
                if figures.offset >= self._offset:
                    continue
                self._windows[key] = figures = replace(figures, offset=self._offset)
            for name, count in counts.items():
                setattr(figures, name, getattr(figures, name) + count)
            if outcome:
                figures.closed = _plus(figures.closed, outcome)
                figures.latency = _plus(figures.latency, bucket_of(latency_ms))
            if failure:
                known = failure in figures.failures or len(figures.failures) < FAILURE_TYPES_MAX
                figures.failures = _plus(figures.failures, failure if known else OTHER_TYPES)

    # -- the run --

    def _move(self, event: Record, seq: int, size: int) -> None:
        run = self._run
        assert run is not None
        before = run.size
        run.events, run.size = seq, run.size + size
        if isinstance(event, ev.ActivityScheduled):
            run.activities[event.activity_id] = OpenActivity(
                event.activity_type,
                event.task_queue or self._queue,
                self._now_ms,
                limit_ms=event.start_to_close_ms,
            )
        elif isinstance(event, ENDED):
            run.activities.pop(event.activity_id, None)
        elif isinstance(event, ev.TimerStarted):
            run.timers[event.timer_id] = self._now_ms + event.duration_ms
        elif isinstance(event, ev.TimerCanceled):
            run.timers.pop(event.timer_id, None)
        elif isinstance(event, ev.WorkflowBlocked):
            run.blocked = event.cause
        elif isinstance(event, ev.WorkflowResumed):
            run.blocked = ""
        else:
            self._move_attempt(event, run)
        self._notice(event, run, before)

    def _move_attempt(self, event: Record, run: OpenRun) -> None:
        activity = run.activities.get(getattr(event, "activity_id", ""))
        if activity is None:
            return
        if isinstance(event, ev.ActivityStarted):
            activity.started = True
        elif isinstance(event, ev.ActivityRetryScheduled):
            activity.failure = _message_of(event.failure)
            activity.next_ms = event.due_ms
            activity.started = False
        elif isinstance(event, ev.ActivityAttemptScheduled):
            activity.attempt, activity.next_ms = event.attempt, 0
            activity.scheduled_ms = self._now_ms
            activity.started = activity.paused = activity.exhausted = False
        elif isinstance(event, ActivityPaused):
            activity.paused = True
            if event.failure is not None:
                activity.failure, activity.exhausted = _message_of(event.failure), True
        elif isinstance(event, ActivityUnpaused | ActivityReset):
            activity.paused = isinstance(event, ActivityReset) and event.keep_paused
            activity.exhausted = False
            activity.next_ms = event.due_ms

    def _notice(self, event: Record, run: OpenRun, size_before: int) -> None:
        from perdure_views.insights.rules import notices_of

        self.found += notices_of(run, event, size_before, self._queue, self._now_ms)
        if isinstance(event, ev.TimerFired):
            run.timers.pop(event.timer_id, None)


def _plus(counts: dict[Any, int], key: Any) -> dict[Any, int]:
    return {**counts, key: counts.get(key, 0) + 1}


def _type_of(event: ev.ActivityFailed | ev.ActivityRetryScheduled | ev.ActivityTimedOut) -> str:
    failure = event.failure
    outer = failure.chain[0] if failure is not None and failure.chain else None
    if outer is None:
        return "Timeout"
    if outer.kind == "timeout":
        return outer.type or f"Timeout ({outer.timeout_type})"
    return outer.type or outer.kind


def _message_of(failure: Failure) -> str:
    return failure.chain[0].message[:500] if failure.chain else ""
