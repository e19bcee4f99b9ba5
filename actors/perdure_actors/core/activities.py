"""The life of an activity: asked for, started, tried again, and its one outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from perdure_actors.core.activity_operations import unpark
from perdure_actors.core.deadlines import set_alarm
from perdure_actors.core.decision import PushOrders, RunLocal, SendTask, StopLocal
from perdure_actors.core.retry import OPERATOR
from perdure_actors.core.state import ActivityState, RecordId, Run
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
)
from perdure_schemas.operator_events import ActivityDetached, ActivityPaused, ActivityReset
from perdure_schemas.payloads import Failure, Payload
from perdure_schemas.tracing import trace_of

if TYPE_CHECKING:
    from perdure_actors.core.decision import Effect
    from perdure_actors.core.world import RunView, World
    from perdure_schemas.payloads import Record


def check_activities(world: World, run: RunView, outputs: list[Record]) -> str:
    """Why the activities the code asked for cannot be had; empty when they can."""
    asked = [output for output in outputs if isinstance(output, ActivityScheduled)]
    limits = world.limits
    if len(run.activities) + len(asked) > limits.activities_max:
        return (
            f"the code has {len(run.activities)} activities pending and asks for {len(asked)};"
            f" {limits.activities_max} is the most: await some before asking for more"
        )
    total = 0
    for output in asked:
        size = sum(len(payload.data) for payload in output.input)
        total += size
        if total > limits.activation_bytes_max:
            return (
                f"the code asks at once for activities with over {limits.activation_bytes_max}"
                " bytes of input: await some before asking for more, or pass references"
            )
        if size > limits.payload_bytes_max:
            return (
                f"the input of activity {output.activity_type} has {size} bytes;"
                f" {limits.payload_bytes_max} is the most ({output.call_site})"
            )
        if output.activity_id in run.activities:
            return f"activity id {output.activity_id!r} is already pending ({output.call_site})"
    return ""


def decide_activity_scheduled(
    world: World, _run: RunView, output: ActivityScheduled, _now_ms: int
) -> Record:
    """An activity the code asked for, on the run's own queue unless it named another."""
    return output if output.task_queue else replace(output, task_queue=world.task_queue)


def apply_activity_scheduled(run: Run, event: ActivityScheduled, at: RecordId, now_ms: int) -> None:
    """Remember the activity; its first attempt is out."""
    activity = ActivityState(
        scheduled=event,
        scheduled_seq=run.state.seq,
        scheduled_ms=now_ms,
        attempt=1,
        issued=at,
        attempt_ms=now_ms,
    )
    run.activities[event.activity_id] = activity
    set_alarm(run, activity)


def apply_activity_started(run: Run, event: ActivityStarted, _at: RecordId, now_ms: int) -> None:
    """Remember who runs the attempt; its start-to-close and heartbeat times run from here."""
    activity = run.activities[event.activity_id]
    activity.state = "started"
    activity.started_ms = now_ms
    activity.worker_id = event.worker_id
    activity.identity = event.identity
    activity.reply_partition = event.reply_partition
    set_alarm(run, activity)


def apply_activity_detached(run: Run, event: ActivityDetached, _at: RecordId, now_ms: int) -> None:
    """Nobody's lease matters to the attempt any more; its times go on."""
    activity = run.activities[event.activity_id]
    if activity.state != "started":
        activity.state = "started"
        activity.started_ms = now_ms
    activity.worker_id = ""
    activity.identity = event.identity
    activity.reply_partition = -1
    set_alarm(run, activity)


def apply_activity_heartbeat(
    run: Run, event: ActivityHeartbeat, _at: RecordId, _now_ms: int
) -> None:
    """Keep the details for the next attempt."""
    activity = run.activities[event.activity_id]
    activity.heartbeat_details = event.details
    run.touch_activity(activity)


def apply_activity_retry_scheduled(
    run: Run, event: ActivityRetryScheduled, _at: RecordId, _now_ms: int
) -> None:
    """The attempt is over; the next is due later."""
    activity = run.activities[event.activity_id]
    activity.state = "paused" if activity.paused else "backing_off"
    activity.last_failure = event.failure
    activity.retry_ms = event.due_ms
    activity.worker_id = ""
    if activity.starts_over:
        activity.starts_over = False
        activity.attempt = 0
    details = _details_of(event.failure)
    if details:
        activity.heartbeat_details = details
    set_alarm(run, activity)


def _details_of(failure: Failure) -> list[Payload]:
    return failure.chain[0].last_heartbeat_details if failure.chain else []


def apply_activity_attempt_scheduled(
    run: Run, event: ActivityAttemptScheduled, at: RecordId, now_ms: int
) -> None:
    """The next task of the activity is out."""
    activity = run.activities[event.activity_id]
    if activity.exhausted:
        unpark(run, activity, now_ms)
    activity.state = "scheduled"
    activity.attempt = event.attempt
    activity.issued = at
    activity.under_way = None
    activity.told_to_stop = activity.starts_over = False
    activity.waits_ms = 0
    activity.attempt_ms = now_ms
    activity.started_ms = 0
    activity.worker_id = ""
    activity.retry_ms = 0
    set_alarm(run, activity)


def apply_activity_cancel_requested(
    run: Run, event: ActivityCancelRequested, _at: RecordId, _now_ms: int
) -> None:
    """The attempt should stop; one that ended while its run was blocked is left as it is."""
    activity = run.activities.get(event.activity_id)
    if activity is not None:
        activity.cancel_requested = True
        set_alarm(run, activity)


def apply_activity_outcome(
    run: Run,
    event: ActivityCompleted | ActivityFailed | ActivityTimedOut | ActivityCanceled,
    _at: RecordId,
    _now_ms: int,
) -> None:
    """The activity has its one outcome."""
    activity = run.activities.get(event.activity_id)
    if activity is not None and activity.exhausted:
        unpark(run, activity, activity.scheduled_ms)
    run.drop("activity", event.activity_id)


def effects_of_scheduled(
    run: RunView, event: ActivityScheduled, at: RecordId, now_ms: int
) -> list[Effect]:
    """The first task."""
    activity = ActivityState(event, run.state.seq + 1, now_ms, 1, at, now_ms)
    return [_task(run, activity)]


def effects_of_attempt(
    run: RunView, event: ActivityAttemptScheduled, at: RecordId, now_ms: int
) -> list[Effect]:
    """The next task."""
    activity = replace(
        run.activities[event.activity_id], attempt=event.attempt, issued=at, attempt_ms=now_ms
    )
    return [_task(run, activity)]


def _task(run: RunView, activity: ActivityState) -> Effect:
    state, started = run.state, run.started
    trace = trace_of(started, state.run_id)
    if activity.scheduled.local:
        return RunLocal(state.workflow_id, state.run_id, started.workflow_type, activity, trace)
    return SendTask(state.workflow_id, state.run_id, started.workflow_type, activity, trace=trace)


def effects_of_stop(
    run: RunView,
    event: ActivityCancelRequested | ActivityTimedOut | ActivityRetryScheduled,
    _at: RecordId,
    _now_ms: int,
) -> list[Effect]:
    """Tell whoever runs an attempt that it is cancelled or has timed out."""
    activity = run.activities.get(event.activity_id)
    if activity is None:
        return []
    cancels = isinstance(event, ActivityCancelRequested)
    return _stop(activity, "cancel_requested" if cancels else "timed_out")


def effects_of_failed(
    run: RunView, event: ActivityFailed, _at: RecordId, _now_ms: int
) -> list[Effect]:
    """Tell whoever runs an attempt that somebody has failed the activity meanwhile."""
    activity = run.activities.get(event.activity_id)
    is_told = activity is None or event.retry_state != OPERATOR
    return [] if activity is None or is_told else _stop(activity, "not_found")


def effects_of_paused(
    run: RunView, event: ActivityPaused, _at: RecordId, _now_ms: int
) -> list[Effect]:
    """Tell the worker of an attempt that no other will follow, or that its time is over."""
    activity = run.activities[event.activity_id]
    if event.failure is not None:
        return _stop(activity, "timed_out")
    return [] if activity.scheduled.local or event.attempt else _stop(activity, "paused")


def effects_of_reset(
    run: RunView, event: ActivityReset, _at: RecordId, _now_ms: int
) -> list[Effect]:
    """Tell the worker of an attempt that the activity starts over."""
    activity = run.activities[event.activity_id]
    return [] if activity.scheduled.local else _stop(activity, "reset")


def effects_of_closing(run: RunView, _event: Record, _at: RecordId, _now_ms: int) -> list[Effect]:
    """Tell whoever runs an attempt that its run is over."""
    return [
        effect for activity in run.activities.values() for effect in _stop(activity, "not_found")
    ]


def _stop(activity: ActivityState, reason: str) -> list[Effect]:
    if activity.scheduled.local:
        return [StopLocal(activity.issued, reason)] if activity.state == "scheduled" else []
    if activity.state != "started" or activity.reply_partition < 0:
        return []
    return [PushOrders(activity.worker_id, activity.reply_partition, activity.issued, reason)]
