"""The spans of a run itself and of its timers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from perdure_schemas.events import (
    TimerCanceled,
    TimerFired,
    TimerStarted,
    WorkflowBlocked,
    WorkflowCancelRequested,
    WorkflowFailed,
    WorkflowResumed,
)
from perdure_schemas.fact_events import MarkerRecorded
from perdure_schemas.payloads import Record
from perdure_schemas.tracing import run_span_id, span_id_of
from perdure_views.tracing.activity_spans import give_activity
from perdure_views.tracing.call_spans import call_ended
from perdure_views.tracing.spans import (
    MESSAGE_CHARS_MAX,
    At,
    Attributes,
    Link,
    OpenTimer,
    Span,
    message_of,
)

LONG_TIMER_MS = 10_000
"""A timer of this length is marked when it starts."""


def timer_started(at: At, event: TimerStarted) -> None:
    """The code asked for a timer."""
    at.run.timers[event.timer_id] = OpenTimer(at.seq, at.time_ms, event.duration_ms)
    if event.duration_ms >= LONG_TIMER_MS:
        of = span_id_of(at.run.run_id, at.seq)
        at.mark("timer started", of, _timer_facts(event.timer_id, event.duration_ms))


def timer_fired(at: At, event: TimerFired) -> None:
    """A timer was due."""
    timer_ended(at, event.timer_id, "fired")


def timer_canceled(at: At, event: TimerCanceled) -> None:
    """The code cancelled a timer."""
    timer_ended(at, event.timer_id, "canceled")


def timer_ended(at: At, timer_id: str, outcome: str) -> None:
    """Give out the span of a timer."""
    timer = at.run.timers.pop(timer_id, None)
    if timer is None:
        return
    facts = {**_timer_facts(timer_id, timer.duration_ms), "perdure.outcome": outcome}
    facts["perdure.seq"] = timer.seq
    at.span("timer", span_id_of(at.run.run_id, timer.seq), timer.start_ms, facts)


def _timer_facts(timer_id: str, duration_ms: int) -> Attributes:
    return {
        "perdure.kind": "timer",
        "perdure.timer.id": timer_id,
        "perdure.duration_ms": duration_ms,
    }


# The run.


def blocked(at: At, event: WorkflowBlocked) -> None:
    """The run's code cannot go on: shown at once."""
    facts: Attributes = {"perdure.kind": "blocked", "perdure.cause": event.cause}
    facts["perdure.workflow.type"] = at.run.workflow_type
    why = f"{event.cause}: {event.message}"[:MESSAGE_CHARS_MAX]
    at.mark(f"workflow {at.run.workflow_type} blocked", at.run.span_id, facts, error=why)
    at.run.kept.add("blocked", at.time_ms, {"perdure.cause": event.cause})


def resumed(at: At, _event: WorkflowResumed) -> None:
    """Fixed code went on."""
    at.run.kept.add("resumed", at.time_ms, {})


def cancel_requested(at: At, event: WorkflowCancelRequested) -> None:
    """Somebody asked the run to cancel."""
    at.run.kept.add("cancel requested", at.time_ms, {"perdure.reason": event.reason[:200]})


def marked(at: At, event: MarkerRecorded) -> None:
    """The code noted a value: only that it did is shown."""
    at.run.kept.add(f"{event.kind} {event.name}".strip(), at.time_ms, {"perdure.seq": at.seq})


def other(at: At, event: Record) -> None:
    """An event that has no row of its own is still seen."""
    at.run.kept.add(type(event).__name__, at.time_ms, {"perdure.seq": at.seq})


def closing(
    outcome: str, error_of: Callable[[Any], str] | None = None
) -> Callable[[At, Any], None]:
    """The event that ends a run: what is open ends with it."""

    def close(at: At, event: Any) -> None:
        run = at.run
        for activity_id, activity in list(run.activities.items()):
            give_activity(at, activity, activity_id, "abandoned", None)
        for timer_id in list(run.timers):
            timer_ended(at, timer_id, "abandoned")
        for key in list(run.calls):
            call_ended(at, key, "abandoned")
        run.activities.clear()
        run.is_open = False
        error = error_of(event)[:MESSAGE_CHARS_MAX] if error_of is not None else None
        next_run_id = getattr(event, "new_run_id", "") or getattr(event, "next_run_id", "")
        _give_run(at, outcome, error, next_run_id)

    return close


def _give_run(at: At, outcome: str, error: str | None, next_run_id: str) -> None:
    run = at.run
    attributes: Attributes = {
        **run.facts(),
        "perdure.kind": "workflow",
        "perdure.workflow.type": run.workflow_type,
        "perdure.task_queue": run.task_queue,
        "perdure.outcome": outcome,
        "perdure.events": at.seq,
    }
    if run.attempt > 1:
        attributes["perdure.attempt"] = run.attempt
    if next_run_id:
        attributes["perdure.next_run.id"] = next_run_id
    if run.kept.dropped:
        attributes["perdure.events_dropped"] = run.kept.dropped
    before = run.continued_run_id
    trace_id = run.trace.trace_id
    at.out.append(
        Span(
            f"workflow {run.workflow_type}",
            trace_id,
            run.span_id,
            run.trace.span_id,
            run.start_ms,
            at.time_ms,
            attributes,
            tuple(run.kept.events),
            error,
            (Link(trace_id, run_span_id(before)),) if before else (),
            run.trace.state,
        )
    )


def failed_why(event: WorkflowFailed) -> str:
    """Why a run failed."""
    return message_of(event.failure)
