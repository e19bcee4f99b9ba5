"""The pure projection of accepted transitions to spans: a table by event.

The same transitions give the same spans with the same ids, whoever shows them and however often.
A span is given out by the event that ends it. What may stay open for long is shown at once by a
mark: a span of its own, without length, beneath the one that is still to come. To show a new
event, add its function and its row in EVENTS; what has no row is an event on the run's span.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from perdure_schemas.child_events import (
    ChildCancelRequested,
    ChildWorkflowCanceled,
    ChildWorkflowCompleted,
    ChildWorkflowFailed,
    ChildWorkflowInitiated,
    ChildWorkflowStarted,
    ChildWorkflowStartFailed,
    ChildWorkflowTerminated,
    ChildWorkflowTimedOut,
    ExternalCancelFailed,
    ExternalCancelInitiated,
    ExternalCancelRequested,
    ExternalSignaled,
    ExternalSignalFailed,
    ExternalSignalInitiated,
    ExternalStarted,
    ExternalStartFailed,
    ExternalStartInitiated,
)
from perdure_schemas.events import (
    ActivityAttemptScheduled,
    ActivityCanceled,
    ActivityCancelRequested,
    ActivityCompleted,
    ActivityFailed,
    ActivityHeartbeat,
    ActivityRetryScheduled,
    ActivityScheduled,
    ActivityStarted,
    ActivityTimedOut,
    TimerCanceled,
    TimerFired,
    TimerStarted,
    WorkflowBlocked,
    WorkflowCanceled,
    WorkflowCancelRequested,
    WorkflowCompleted,
    WorkflowContinuedAsNew,
    WorkflowFailed,
    WorkflowResumed,
    WorkflowStarted,
    WorkflowTerminated,
    WorkflowTimedOut,
)
from perdure_schemas.fact_events import MarkerRecorded
from perdure_schemas.message_events import (
    WorkflowSignaled,
    WorkflowUpdateAccepted,
    WorkflowUpdateCompleted,
)
from perdure_schemas.operator_events import (
    ActivityDetached,
    ActivityOptionsUpdated,
    ActivityPaused,
    ActivityReset,
    ActivityUnpaused,
)
from perdure_schemas.payloads import Record
from perdure_schemas.tracing import trace_of
from perdure_views.tracing import activity_spans, call_spans, run_spans
from perdure_views.tracing.spans import At, RunView, Span

EVENTS: dict[type[Record], Callable[[At, Any], None]] = {
    ActivityScheduled: activity_spans.activity_scheduled,
    ActivityStarted: activity_spans.activity_started,
    ActivityAttemptScheduled: activity_spans.attempt_scheduled,
    ActivityRetryScheduled: activity_spans.retry_scheduled,
    ActivityHeartbeat: activity_spans.activity_noted("heartbeat"),
    ActivityCancelRequested: activity_spans.activity_noted("cancel requested"),
    ActivityCompleted: activity_spans.activity_completed,
    ActivityFailed: activity_spans.activity_failed,
    ActivityTimedOut: activity_spans.activity_timed_out,
    ActivityCanceled: activity_spans.activity_canceled,
    TimerStarted: run_spans.timer_started,
    TimerFired: run_spans.timer_fired,
    TimerCanceled: run_spans.timer_canceled,
    ActivityPaused: activity_spans.activity_paused,
    ActivityUnpaused: activity_spans.activity_unpaused,
    ActivityReset: activity_spans.activity_reset,
    ActivityDetached: activity_spans.activity_noted("goes on elsewhere"),
    ActivityOptionsUpdated: activity_spans.activity_noted("options changed"),
    WorkflowSignaled: call_spans.signaled,
    WorkflowUpdateAccepted: call_spans.update_accepted,
    WorkflowUpdateCompleted: call_spans.update_completed,
    ChildWorkflowInitiated: call_spans.child_initiated,
    ChildWorkflowStarted: call_spans.child_started,
    ChildCancelRequested: call_spans.child_cancel_requested,
    ChildWorkflowStartFailed: call_spans.child_ended("not_started"),
    ChildWorkflowCompleted: call_spans.child_ended("completed"),
    ChildWorkflowFailed: call_spans.child_ended("failed"),
    ChildWorkflowCanceled: call_spans.child_ended("canceled"),
    ChildWorkflowTimedOut: call_spans.child_ended("timed_out"),
    ChildWorkflowTerminated: call_spans.child_ended("terminated"),
    ExternalSignalInitiated: call_spans.called,
    ExternalSignaled: call_spans.call_answered,
    ExternalSignalFailed: call_spans.call_answered,
    ExternalCancelInitiated: call_spans.called,
    ExternalCancelRequested: call_spans.call_answered,
    ExternalCancelFailed: call_spans.call_answered,
    ExternalStartInitiated: call_spans.called,
    ExternalStarted: call_spans.call_answered,
    ExternalStartFailed: call_spans.call_answered,
    MarkerRecorded: run_spans.marked,
    WorkflowBlocked: run_spans.blocked,
    WorkflowResumed: run_spans.resumed,
    WorkflowCancelRequested: run_spans.cancel_requested,
    WorkflowCompleted: run_spans.closing("completed"),
    WorkflowFailed: run_spans.closing("failed", run_spans.failed_why),
    WorkflowCanceled: run_spans.closing("canceled"),
    WorkflowTerminated: run_spans.closing(
        "terminated", lambda event: f"terminated: {event.reason}"
    ),
    WorkflowTimedOut: run_spans.closing("timed_out", lambda event: f"{event.timeout_type} timeout"),
    WorkflowContinuedAsNew: run_spans.closing("continued_as_new"),
}
"""The index of what is shown: each event with what it does to the view of its run."""


def project(
    view: RunView | None,
    run: tuple[str, str],
    seq: int,
    time_ms: int,
    events: Sequence[Record],
) -> tuple[RunView | None, list[Span]]:
    """One accepted transition of a run, given by workflow and run id: its view after it, and spans.

    A view of None is of a run that is not known: nothing is shown before its WorkflowStarted.
    Events that the view has seen before are passed over.
    """
    out: list[Span] = []
    for number, event in enumerate(events, seq):
        if isinstance(event, WorkflowStarted):
            if view is None:
                view = _started(event, run, time_ms)
        elif view is not None and number > view.seq:
            EVENTS.get(type(event), run_spans.other)(At(view, number, time_ms, out), event)
        if view is not None:
            view.seq = max(view.seq, number)
    if view is not None and seq == 1 and view.is_open and view.seq == seq + len(events) - 1:
        At(view, 1, time_ms, out).mark(
            f"workflow {view.workflow_type} started", view.span_id, {"perdure.kind": "workflow"}
        )
    return view, out


def _started(event: WorkflowStarted, run: tuple[str, str], time_ms: int) -> RunView:
    workflow_id, run_id = run
    trace = trace_of(event, run_id)
    return RunView(
        workflow_id=workflow_id,
        run_id=run_id,
        workflow_type=event.workflow_type,
        task_queue=event.task_queue,
        trace_id=trace.trace_id.to_bytes(16, "big"),
        start_ms=time_ms,
        caller_id=trace.span_id,
        sampled=trace.sampled,
        trace_state=trace.state,
        attempt=event.attempt,
        first_run_id=event.first_run_id,
        continued_run_id=event.continued_run_id,
    )
