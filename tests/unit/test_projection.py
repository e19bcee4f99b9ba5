"""From transitions to spans: whole spans compared, and the same ones however often it is done."""

from __future__ import annotations

from typing import Any, get_args

from msgspec.structs import replace

from perdure_schemas.child_events import (
    ChildCancelRequested,
    ChildWorkflowCompleted,
    ChildWorkflowInitiated,
    ChildWorkflowStarted,
    ExternalCancelFailed,
    ExternalCancelInitiated,
    ExternalSignaled,
    ExternalSignalInitiated,
)
from perdure_schemas.events import (
    ActivityAttemptScheduled,
    ActivityCanceled,
    ActivityCancelRequested,
    ActivityCompleted,
    ActivityFailed,
    ActivityRetryScheduled,
    ActivityScheduled,
    ActivityStarted,
    ActivityTimedOut,
    Event,
    InputTrying,
    TimerFired,
    TimerStarted,
    WorkflowBlocked,
    WorkflowCompleted,
    WorkflowContinuedAsNew,
    WorkflowFailed,
    WorkflowResumed,
    WorkflowStarted,
    WorkflowTerminated,
)
from perdure_schemas.fact_events import MemoUpserted, RecordEmitted, SearchAttributesUpserted
from perdure_schemas.message_events import (
    WorkflowSignaled,
    WorkflowUpdateAccepted,
    WorkflowUpdateCompleted,
)
from perdure_schemas.operator_events import ActivityPaused, ActivityReset
from perdure_schemas.payloads import Failure, FailureCause, Record, RunRef
from perdure_schemas.tracing import (
    TraceContext,
    attempt_span_id,
    beneath,
    carried,
    run_span_id,
    span_id_of,
    trace_of,
    with_context,
)
from perdure_views.tracing.projection import EVENTS, project
from perdure_views.tracing.spans import EVENTS_MAX, Attributes, Link, RunView, Span, SpanEvent

STARTED = WorkflowStarted(workflow_type="Order", task_queue="orders", first_run_id="run-1")
CALLER = TraceContext(0xABC, 0xDEF, state="a=b")
DECLINED = Failure(chain=[FailureCause(type="CardError", message="declined")])
FACTS: Attributes = {"perdure.workflow.id": "wf", "perdure.run.id": "run-1"}


class Run:
    """A run's transitions, one after the other, and the spans they gave."""

    def __init__(self, started: WorkflowStarted = STARTED) -> None:
        self.view: RunView | None = None
        self.seq = 1
        self.spans: list[Span] = []
        self.at(1000, started)

    def at(self, time_ms: int, *events: Record) -> list[Span]:
        self.view, spans = project(self.view, ("wf", "run-1"), self.seq, time_ms, events)
        self.seq += len(events)
        self.spans += spans
        return spans


def _charge(**fields: Any) -> ActivityScheduled:
    return ActivityScheduled(activity_id="1", activity_type="charge", task_queue="orders", **fields)


def test_a_start_is_shown_at_once_by_a_mark() -> None:
    run = Run()
    assert run.spans == [
        Span(
            "workflow Order started",
            trace_of(STARTED, "run-1").trace_id,
            span_id_of("run-1", 1, "mark"),
            run_span_id("run-1"),
            1000,
            1000,
            {**FACTS, "perdure.kind": "workflow", "perdure.mark": True},
        )
    ]


def _retried() -> list[Span]:
    """The spans of an order whose charge is declined once."""
    run = Run(replace(STARTED, header=with_context({}, CALLER)))
    run.at(1000, _charge())
    run.at(
        1500,
        ActivityRetryScheduled(
            activity_id="1", attempt=1, failure=DECLINED, due_ms=2500, identity="w", started_ms=1100
        ),
    )
    run.at(2500, ActivityAttemptScheduled(activity_id="1", attempt=2))
    run.at(
        3000,
        ActivityCompleted(activity_id="1", attempt=2, identity="w", started_ms=2600),
        WorkflowCompleted(),
    )
    return run.spans[1:]


def _expected(name: str, ids: tuple[int, int], times_ms: tuple[int, int], **more: Any) -> Span:
    facts = {**FACTS, **more.pop("attributes")}
    return Span(name, CALLER.trace_id, *ids, *times_ms, facts, trace_state="a=b", **more)


def test_each_attempt_is_a_span_beneath_its_activity() -> None:
    facts: Attributes = {
        "perdure.kind": "attempt",
        "perdure.activity.id": "1",
        "perdure.activity.type": "charge",
        "perdure.waited_ms": 100,
        "perdure.worker": "w",
    }
    activity_id = span_id_of("run-1", 2)
    assert _retried()[:2] == [
        _expected(
            "attempt charge",
            (attempt_span_id("run-1", 2, 1), activity_id),
            (1100, 1500),
            attributes={**facts, "perdure.attempt": 1},
            error="CardError: declined",
        ),
        _expected(
            "attempt charge",
            (attempt_span_id("run-1", 2, 2), activity_id),
            (2600, 3000),
            attributes={**facts, "perdure.attempt": 2},
        ),
    ]


def test_activities_are_spans_beneath_their_run_and_that_beneath_its_caller() -> None:
    run_id = run_span_id("run-1")
    retry: Attributes = {
        "perdure.attempt": 1,
        "perdure.backoff_ms": 1000,
        "exception.message": "CardError: declined",
    }
    activity: Attributes = {
        "perdure.kind": "activity",
        "perdure.activity.id": "1",
        "perdure.activity.type": "charge",
        "perdure.task_queue": "orders",
        "perdure.attempts": 2,
        "perdure.outcome": "completed",
        "perdure.seq": 2,
    }
    run: Attributes = {
        "perdure.kind": "workflow",
        "perdure.workflow.type": "Order",
        "perdure.task_queue": "orders",
        "perdure.outcome": "completed",
        "perdure.events": 6,
    }
    assert _retried()[2:] == [
        _expected(
            "activity charge",
            (span_id_of("run-1", 2), run_id),
            (1000, 3000),
            attributes=activity,
            events=(SpanEvent("retry", 1500, retry),),
        ),
        _expected("workflow Order", (run_id, CALLER.span_id), (1000, 3000), attributes=run),
    ]


def test_what_has_been_seen_gives_nothing_again() -> None:
    run = Run()
    transitions: list[tuple[int, int, list[Record]]] = [
        (2, 1000, [_charge()]),
        (3, 1500, [ActivityCompleted(activity_id="1", attempt=1, started_ms=1200)]),
    ]
    view = run.view
    given: list[str] = []
    for seq, time_ms, events in [*transitions, *transitions]:
        view, spans = project(view, ("wf", "run-1"), seq, time_ms, events)
        given += [span.name for span in spans]
    assert given == ["attempt charge", "activity charge"]


def test_a_run_whose_beginning_is_not_known_shows_nothing() -> None:
    completed = ActivityCompleted(activity_id="1", attempt=1)
    assert project(None, ("wf", "run-1"), 7, 1000, [completed]) == (None, [])


def test_a_long_attempt_and_a_long_timer_are_marked_where_they_belong() -> None:
    run = Run()
    run.at(1000, _charge(), TimerStarted(timer_id="t", duration_ms=9_999))
    started = run.at(2100, ActivityStarted(activity_id="1", attempt=1, identity="w", started_ms=1))
    assert [(span.name, span.parent_id) for span in started] == [
        ("attempt charge started", attempt_span_id("run-1", 2, 1))
    ]
    timer = run.at(2100, TimerStarted(timer_id="u", duration_ms=10_000))
    assert [(span.name, span.parent_id) for span in timer] == [
        ("timer started", span_id_of("run-1", 5))
    ]
    fired = run.at(12_100, TimerFired(timer_id="u"))
    assert [(span.name, span.start_ms, span.end_ms) for span in fired] == [("timer", 2100, 12_100)]
    # An attempt never began before it was issued, whatever its worker's clock says.
    done = run.at(13_000, ActivityCompleted(activity_id="1", attempt=1, started_ms=1))
    assert [(span.name, span.start_ms, span.end_ms) for span in done] == [
        ("attempt charge", 1000, 13_000),
        ("activity charge", 1000, 13_000),
    ]


def test_an_attempt_that_nobody_ran_is_no_span() -> None:
    run = Run()
    run.at(1000, _charge())
    late = ActivityTimedOut(activity_id="1", attempt=1, timeout_type="schedule_to_start")
    assert [span.name for span in run.at(5000, late)] == ["activity charge"]
    run.at(5000, _charge())
    run.at(5000, ActivityCancelRequested(activity_id="1"))
    [span] = run.at(5000, ActivityCanceled(activity_id="1", attempt=1))
    assert (span.name, span.error) == ("activity charge", None)
    assert span.events == (SpanEvent("cancel requested", 5000, {"perdure.attempt": 1}),)
    run.at(6000, _charge())
    run.at(6500, ActivityRetryScheduled(activity_id="1", attempt=1, failure=DECLINED, due_ms=9000))
    gone = ActivityTimedOut(activity_id="1", attempt=1, timeout_type="schedule_to_close")
    assert [span.name for span in run.at(7000, gone)] == ["activity charge"]


def test_what_is_open_ends_with_its_run() -> None:
    run = Run()
    run.at(1000, _charge(), TimerStarted(timer_id="t", duration_ms=5))
    spans = run.at(2000, WorkflowTerminated(reason="enough"))
    assert [(span.name, span.end_ms, span.attributes["perdure.outcome"]) for span in spans] == [
        ("activity charge", 2000, "abandoned"),
        ("timer", 2000, "abandoned"),
        ("workflow Order", 2000, "terminated"),
    ]
    assert spans[-1].error == "terminated: enough"
    assert run.view is not None
    assert not run.view.is_open


def test_a_failure_shows_where_it_happened() -> None:
    run = Run()
    run.at(1000, _charge())
    spans = run.at(
        2000,
        ActivityFailed(activity_id="1", attempt=1, failure=DECLINED, started_ms=1500),
        WorkflowFailed(failure=DECLINED),
    )
    assert [span.error for span in spans] == ["CardError: declined"] * 3


def test_a_blocked_run_is_shown_at_once_and_goes_on() -> None:
    run = Run()
    [mark] = run.at(2000, WorkflowBlocked(cause="error", message="boom"))
    assert (mark.name, mark.error, mark.parent_id) == (
        "workflow Order blocked",
        "error: boom",
        run_span_id("run-1"),
    )
    run.at(3000, WorkflowResumed(input_seq=1))
    [span] = run.at(3000, WorkflowCompleted())
    assert [event.name for event in span.events] == ["blocked", "resumed"]


def test_a_chain_is_one_trace_with_links_from_run_to_run() -> None:
    run = Run()
    [first] = run.at(2000, WorkflowContinuedAsNew(workflow_type="Order", new_run_id="run-2"))
    assert first.attributes["perdure.next_run.id"] == "run-2"
    started = WorkflowStarted(
        workflow_type="Order", first_run_id="run-1", continued_run_id="run-1", attempt=2
    )
    view, _ = project(None, ("wf", "run-2"), 1, 2000, [started])
    _, [second] = project(view, ("wf", "run-2"), 2, 3000, [WorkflowCompleted()])
    assert (second.trace_id, second.attributes["perdure.attempt"]) == (first.trace_id, 2)
    assert second.links == (Link(first.trace_id, run_span_id("run-1")),)


def test_an_event_without_a_row_is_seen_on_the_runs_span() -> None:
    run = Run()
    run.at(1500, InputTrying(offset=7))
    [span] = run.at(2000, WorkflowCompleted())
    assert span.events == (SpanEvent("InputTrying", 1500, {"perdure.seq": 2}),)


def test_a_span_keeps_its_last_events_and_says_how_many_went_before() -> None:
    run = Run()
    for number in range(EVENTS_MAX + 3):
        run.at(1500 + number, WorkflowResumed(input_seq=1))
    [span] = run.at(9000, WorkflowCompleted())
    assert len(span.events) == EVENTS_MAX
    assert span.events[0].time_ms == 1503
    assert span.attributes["perdure.events_dropped"] == 3


def test_signals_updates_and_children_are_spans_linked_to_who_called() -> None:
    run = Run()
    header = with_context({}, CALLER)
    [signal] = run.at(1500, WorkflowSignaled(signal_name="approve", header=header, identity="ann"))
    assert (signal.name, signal.start_ms, signal.end_ms) == ("signal approve", 1500, 1500)
    assert signal.links == (Link(CALLER.trace_id, CALLER.span_id),)
    update: dict[str, Any] = {"update_id": "u", "update_name": "rename"}
    assert run.at(1600, WorkflowUpdateAccepted(header=header, **update)) == []
    [renamed] = run.at(1900, WorkflowUpdateCompleted(failure=DECLINED, **update))
    assert (renamed.name, renamed.start_ms, renamed.end_ms) == ("update rename", 1600, 1900)
    assert (renamed.error, renamed.links) == ("CardError: declined", signal.links)
    [mark] = run.at(
        2000, ChildWorkflowInitiated(child_id="c", workflow_id="w-2", workflow_type="Ship")
    )
    assert mark.parent_id == span_id_of("run-1", 5)
    run.at(2100, ChildWorkflowStarted(child_id="c", run_id="run-7"))
    run.at(2200, ChildCancelRequested(child_id="c"))
    [child] = run.at(2500, ChildWorkflowCompleted(child_id="c", run_id="run-7"))
    assert (child.span_id, child.start_ms, child.end_ms) == (mark.parent_id, 2000, 2500)
    assert child.attributes["perdure.child.run.id"] == "run-7"
    assert child.attributes["perdure.child.cancel_requested_ms"] == 2200
    # What a child's start carries puts the child's own span beneath this one.
    place = carried(beneath({}, STARTED, "run-1", 5))
    assert place is not None
    assert (place.trace_id, place.span_id) == (child.trace_id, child.span_id)
    assert beneath(header, STARTED, "run-1", 5) == header


def test_a_call_of_another_workflow_is_a_span_until_it_is_answered() -> None:
    run = Run()
    target = RunRef(workflow_id="w-2")
    run.at(1500, ExternalSignalInitiated(call_id="1", target=target, signal_name="go"))
    run.at(1500, ExternalCancelInitiated(call_id="2", target=target))
    [sent] = run.at(1700, ExternalSignaled(call_id="1"))
    assert (sent.name, sent.end_ms - sent.start_ms, sent.error) == ("signal go sent", 200, None)
    [refused] = run.at(1800, ExternalCancelFailed(call_id="2", code="not_found", message="gone"))
    assert (refused.name, refused.error) == ("cancel of a workflow", "not_found: gone")


def test_attempts_after_a_reset_are_spans_of_their_own() -> None:
    run = Run()
    run.at(1000, _charge())
    failed = ActivityPaused(activity_id="1", reason="look", failure=DECLINED, attempt=1)
    [first] = run.at(1500, failed)
    run.at(2000, ActivityReset(activity_id="1"))
    run.at(2000, ActivityAttemptScheduled(activity_id="1", attempt=1))
    second, activity = run.at(3000, ActivityCompleted(activity_id="1", attempt=1, started_ms=2100))
    assert (first.name, second.name) == ("attempt charge", "attempt charge")
    assert first.span_id != second.span_id
    assert [event.name for event in activity.events] == ["paused", "reset"]


def test_every_event_of_a_run_is_shown() -> None:
    seen_only = {WorkflowStarted, MemoUpserted, SearchAttributesUpserted, RecordEmitted}
    assert set(get_args(Event)) - set(EVENTS) <= seen_only
