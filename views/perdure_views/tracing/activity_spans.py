"""Spans of activities: one each, with a child span for each attempt and each wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from perdure_schemas.events import (
    ActivityAttemptScheduled,
    ActivityCanceled,
    ActivityCompleted,
    ActivityFailed,
    ActivityRetryScheduled,
    ActivityScheduled,
    ActivityStarted,
    ActivityTimedOut,
)
from perdure_schemas.operator_events import ActivityPaused, ActivityReset, ActivityUnpaused
from perdure_schemas.tracing import attempt_span_id, span_id_of
from perdure_views.tracing.spans import At, Attributes, OpenActivity, message_of


def activity_scheduled(at: At, event: ActivityScheduled) -> None:
    """The code asked for an activity."""
    at.run.activities[event.activity_id] = OpenActivity(
        at.seq, event.activity_type, event.task_queue, at.time_ms, attempt_ms=at.time_ms
    )


def activity_started(at: At, event: ActivityStarted) -> None:
    """A worker said that it runs an attempt that may take long."""
    activity = at.run.activities.get(event.activity_id)
    if activity is None:
        return
    # A claim made before the code began has no time of its own.
    activity.started_ms = event.started_ms or at.time_ms
    of = _attempt_id(at, activity)
    attributes = {**_activity_facts(activity, event), "perdure.worker": event.identity}
    at.mark(f"attempt {activity.activity_type} started", of, attributes)


def attempt_scheduled(at: At, event: ActivityAttemptScheduled) -> None:
    """The next task of an activity went out."""
    activity = at.run.activities.get(event.activity_id)
    if activity is None:
        return
    activity.attempt = event.attempt
    activity.attempt_ms = at.time_ms
    activity.started_ms = 0
    if event.reason != "retry":
        facts: Attributes = {"perdure.attempt": event.attempt, "perdure.reason": event.reason}
        activity.kept.add("sent again", at.time_ms, facts)


def retry_scheduled(at: At, event: ActivityRetryScheduled) -> None:
    """An attempt failed, and another will follow."""
    activity = at.run.activities.get(event.activity_id)
    if activity is None:
        return
    _attempt_ended(at, activity, event, message_of(event.failure))
    backoff_ms = max(event.due_ms - at.time_ms, 0)
    facts: Attributes = {
        "perdure.attempt": event.attempt,
        "perdure.backoff_ms": backoff_ms,
        "exception.message": message_of(event.failure),
    }
    activity.kept.add("retry", at.time_ms, facts)
    activity.attempt_ms = 0
    activity.started_ms = 0


def activity_completed(at: At, event: ActivityCompleted) -> None:
    """An attempt returned."""
    _activity_ended(at, event, "completed", None)


def activity_failed(at: At, event: ActivityFailed) -> None:
    """The activity failed for good."""
    _activity_ended(at, event, "failed", message_of(event.failure))


def activity_timed_out(at: At, event: ActivityTimedOut) -> None:
    """The activity timed out for good."""
    _activity_ended(at, event, "timed_out", f"{event.timeout_type} timeout")


def activity_canceled(at: At, event: ActivityCanceled) -> None:
    """The activity is cancelled."""
    _activity_ended(at, event, "canceled", None)


def _activity_ended(at: At, event: Any, outcome: str, error: str | None) -> None:
    activity = at.run.activities.pop(event.activity_id, None)
    if activity is None:
        return
    if _ran(activity, event):
        _attempt_ended(at, activity, event, error)
    give_activity(at, activity, event.activity_id, outcome, error)


def _ran(activity: OpenActivity, event: Any) -> bool:
    """Whether a worker had the attempt when the activity ended."""
    if not activity.attempt_ms:
        return False
    if activity.started_ms or getattr(event, "started_ms", 0):
        return True
    if isinstance(event, ActivityTimedOut):
        return event.timeout_type != "schedule_to_start"
    return bool(getattr(event, "identity", ""))


def give_activity(
    at: At, activity: OpenActivity, activity_id: str, outcome: str, error: str | None
) -> None:
    """Give out the span of an activity, from when it was asked for until here."""
    attributes: Attributes = {
        "perdure.kind": "activity",
        "perdure.activity.id": activity_id,
        "perdure.activity.type": activity.activity_type,
        "perdure.task_queue": activity.task_queue,
        "perdure.attempts": activity.attempt,
        "perdure.outcome": outcome,
        "perdure.seq": activity.seq,
    }
    at.span(
        f"activity {activity.activity_type}",
        span_id_of(at.run.run_id, activity.seq),
        activity.start_ms,
        attributes,
        events=tuple(activity.kept.events),
        error=error,
    )


def _attempt_ended(at: At, activity: OpenActivity, event: Any, error: str | None) -> None:
    run_id = at.run.run_id
    started_ms = getattr(event, "started_ms", 0) or activity.started_ms or activity.attempt_ms
    # The worker's clock may differ from the log's: an attempt lies within its own issue and end.
    start_ms = max(started_ms, activity.attempt_ms)
    attributes = {
        **_activity_facts(activity, event),
        "perdure.waited_ms": min(start_ms, at.time_ms) - activity.attempt_ms,
    }
    if identity := getattr(event, "identity", ""):
        attributes["perdure.worker"] = identity
    at.span(
        f"attempt {activity.activity_type}",
        _attempt_id(at, activity),
        start_ms,
        attributes,
        parent_id=span_id_of(run_id, activity.seq),
        error=error,
    )


def _attempt_id(at: At, activity: OpenActivity) -> int:
    if not activity.resets:
        return attempt_span_id(at.run.run_id, activity.seq, activity.attempt)
    # After a reset the numbers begin again; a span of before keeps its id.
    return span_id_of(at.run.run_id, activity.seq, f"{activity.attempt}.{activity.resets}")


def _activity_facts(activity: OpenActivity, event: Any) -> Attributes:
    return {
        "perdure.kind": "attempt",
        "perdure.activity.id": event.activity_id,
        "perdure.activity.type": activity.activity_type,
        "perdure.attempt": activity.attempt,
    }


def activity_paused(at: At, event: ActivityPaused) -> None:
    """Nobody may try it; a failure is of the attempt that ended meanwhile."""
    activity = at.run.activities.get(event.activity_id)
    if activity is None:
        return
    if event.failure is not None and activity.attempt_ms:
        _attempt_ended(at, activity, event, message_of(event.failure))
        activity.attempt_ms = activity.started_ms = 0
    activity.kept.add("paused", at.time_ms, {"perdure.reason": event.reason[:200]})


def activity_unpaused(at: At, event: ActivityUnpaused) -> None:
    """A paused activity goes on."""
    activity = at.run.activities.get(event.activity_id)
    if activity is not None:
        activity.resets += event.reset_attempts
        activity.kept.add("unpaused", at.time_ms, {"perdure.caller": event.identity})


def activity_reset(at: At, event: ActivityReset) -> None:
    """An activity starts over."""
    activity = at.run.activities.get(event.activity_id)
    if activity is not None:
        activity.resets += 1
        activity.kept.add("reset", at.time_ms, {"perdure.caller": event.identity})


def activity_noted(name: str) -> Callable[[At, Any], None]:
    """What only shows as an event on the activity's span."""

    def note(at: At, event: Any) -> None:
        activity = at.run.activities.get(event.activity_id)
        if activity is not None:
            activity.kept.add(name, at.time_ms, {"perdure.attempt": activity.attempt})

    return note
