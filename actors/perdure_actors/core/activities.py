"""The life of an activity: asked for, started, tried again, and its one outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from msgspec.structs import replace

from perdure_actors.core.activity_states import (
    BACKING_OFF,
    FREE,
    GONE,
    NOT_TO_LOCAL,
    SCHEDULED,
    STARTED,
    UNDER_WAY,
    row_of,
)
from perdure_actors.core.deadlines import set_alarm
from perdure_actors.core.decision import PushOrders, RunLocal, SendTask, StopLocal
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
from perdure_schemas.operator_events import (
    ActivityDetached,
    ActivityOptionsUpdated,
    ActivityPaused,
    ActivityReset,
    ActivityUnpaused,
)
from perdure_schemas.payloads import Failure, Payload
from perdure_schemas.tracing import trace_of

if TYPE_CHECKING:
    from perdure_actors.core.activity_states import ActivityEvent
    from perdure_actors.core.decision import Effect
    from perdure_actors.core.world import ActivityView, RunView, World
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


def _move(run: Run, activity: ActivityState, event: ActivityEvent, now_ms: int) -> None:
    """Bring an activity to the state that the table says, with what follows from the state."""
    row = row_of(activity, event)
    was_paused, was_exhausted = activity.paused, activity.exhausted
    activity.state = row.phase or activity.state
    activity.hold = activity.hold if row.hold is None else row.hold
    if activity.state == GONE:
        activity.hold = FREE
    if activity.state != STARTED:
        activity.worker_id = ""
    if activity.paused or activity.exhausted:
        activity.paused_ms = activity.paused_ms or now_ms
    else:
        activity.paused_ms = 0
        activity.pause_reason = activity.pause_identity = ""
    if was_paused and not activity.paused and activity.state == SCHEDULED:
        # It begins anew to wait for a worker.
        activity.waits_ms = now_ms
    if was_exhausted != activity.exhausted:
        _park(run, activity, now_ms)


def _park(run: Run, activity: ActivityState, now_ms: int) -> None:
    """A run waits for a person with its activity, or not any more: that has all of its time."""
    activity_id, state = activity.scheduled.activity_id, run.state
    if activity.exhausted:
        state.parked = sorted({*state.parked, activity_id})
        state.parked_ms = state.parked_ms or now_ms
        return
    activity.scheduled_ms = now_ms
    state.parked = [one for one in state.parked if one != activity_id]
    if not state.parked:
        state.parked_ms = 0


def apply_activity_started(run: Run, event: ActivityStarted, _at: RecordId, now_ms: int) -> None:
    """Remember who runs the attempt; its start-to-close and heartbeat times run from here."""
    activity = run.activities[event.activity_id]
    _move(run, activity, event, now_ms)
    activity.started_ms = now_ms
    activity.worker_id = event.worker_id
    activity.identity = event.identity
    activity.reply_partition = event.reply_partition
    set_alarm(run, activity)


def apply_activity_detached(run: Run, event: ActivityDetached, _at: RecordId, now_ms: int) -> None:
    """Nobody's lease matters to the attempt any more; its times go on."""
    activity = run.activities[event.activity_id]
    if activity.state != STARTED:
        activity.started_ms = now_ms
    _move(run, activity, event, now_ms)
    activity.worker_id = ""
    activity.identity = event.identity
    activity.reply_partition = -1
    set_alarm(run, activity)


def apply_activity_heartbeat(
    run: Run, event: ActivityHeartbeat, _at: RecordId, now_ms: int
) -> None:
    """Keep the details for the next attempt."""
    activity = run.activities[event.activity_id]
    _move(run, activity, event, now_ms)
    activity.heartbeat_details = event.details
    run.touch_activity(activity)


def apply_activity_retry_scheduled(
    run: Run, event: ActivityRetryScheduled, _at: RecordId, now_ms: int
) -> None:
    """The attempt is over; the next is due later, or when nobody holds it any more."""
    activity = run.activities[event.activity_id]
    if activity.starts_over:
        activity.attempt = 0
    _move(run, activity, event, now_ms)
    activity.last_failure = event.failure
    activity.retry_ms = event.due_ms
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
    _move(run, activity, event, now_ms)
    activity.attempt = event.attempt
    activity.issued = at
    activity.under_way = None
    activity.waits_ms = 0
    activity.attempt_ms = now_ms
    activity.started_ms = 0
    activity.retry_ms = 0
    set_alarm(run, activity)


def apply_activity_cancel_requested(
    run: Run, event: ActivityCancelRequested, _at: RecordId, now_ms: int
) -> None:
    """The attempt should stop; one that ended while its run was blocked is left as it is."""
    activity = run.activities.get(event.activity_id)
    if activity is not None:
        _move(run, activity, event, now_ms)
        activity.cancel_requested = True
        set_alarm(run, activity)


def apply_paused(run: Run, event: ActivityPaused, _at: RecordId, now_ms: int) -> None:
    """No attempt follows: somebody paused it, an attempt went unused, or it has none left."""
    activity = run.activities[event.activity_id]
    was_paused, starts_over = activity.paused, activity.starts_over
    _move(run, activity, event, now_ms)
    if event.failure is not None:
        activity.last_failure = event.failure
        activity.attempt = event.attempt
        activity.pause_reason = event.reason
    elif not was_paused:
        activity.pause_reason, activity.pause_identity = event.reason, event.identity
    elif event.attempt:
        # It is not counted: the next one has its number, or is the first.
        activity.attempt = 0 if starts_over else event.attempt - 1
    set_alarm(run, activity)


def apply_unpaused(run: Run, event: ActivityUnpaused, _at: RecordId, now_ms: int) -> None:
    """The next attempt is due, unless one is under way."""
    activity = run.activities[event.activity_id]
    _move(run, activity, event, now_ms)
    if event.reset_heartbeat:
        activity.heartbeat_details = []
    if activity.state == BACKING_OFF:
        activity.retry_ms = event.due_ms
        if event.reset_attempts:
            activity.attempt = 0
    set_alarm(run, activity)


def apply_reset(run: Run, event: ActivityReset, _at: RecordId, now_ms: int) -> None:
    """The next attempt is the first; the one under way is the last of the old count."""
    activity = run.activities[event.activity_id]
    _move(run, activity, event, now_ms)
    if event.reset_heartbeat:
        activity.heartbeat_details = []
    if activity.state not in UNDER_WAY:
        activity.last_failure = None
        activity.attempt = 0
        activity.retry_ms = event.due_ms
    set_alarm(run, activity)


def apply_options_updated(
    run: Run, event: ActivityOptionsUpdated, _at: RecordId, now_ms: int
) -> None:
    """The next attempt has these; one under way keeps those that its worker knows."""
    activity = run.activities[event.activity_id]
    _move(run, activity, event, now_ms)
    if activity.state in UNDER_WAY:
        activity.under_way = activity.terms
    activity.original = activity.original or activity.scheduled
    activity.scheduled = replace(
        activity.scheduled,
        task_queue=event.task_queue,
        schedule_to_close_ms=event.schedule_to_close_ms,
        schedule_to_start_ms=event.schedule_to_start_ms,
        start_to_close_ms=event.start_to_close_ms,
        heartbeat_ms=event.heartbeat_ms,
        retry_policy=event.retry_policy,
    )
    set_alarm(run, activity)


def apply_activity_outcome(
    run: Run,
    event: ActivityCompleted | ActivityFailed | ActivityTimedOut | ActivityCanceled,
    _at: RecordId,
    now_ms: int,
) -> None:
    """The activity has its one outcome."""
    activity = run.activities.get(event.activity_id)
    if activity is not None:
        _move(run, activity, event, now_ms)
    run.drop("activity", event.activity_id)


def effects_of_scheduled(
    run: RunView, event: ActivityScheduled, at: RecordId, now_ms: int
) -> list[Effect]:
    """The first task."""
    activity = ActivityState(event, run.state.seq + 1, now_ms, 1, at, now_ms)
    return [_task(run, activity)]


def effects_of_event(run: RunView, event: ActivityEvent, at: RecordId, now_ms: int) -> list[Effect]:
    """What the table says of an event: the next task, or word to whoever runs the attempt."""
    activity = run.activities.get(event.activity_id)
    effect = "" if activity is None else row_of(activity, event).effect
    if activity is None or not effect:
        return []
    if isinstance(event, ActivityAttemptScheduled):
        before = cast("ActivityState", activity)
        issued = replace(before, attempt=event.attempt, issued=at, attempt_ms=now_ms)
        return [_task(run, issued)]
    return _stop(activity, effect)


def _task(run: RunView, activity: ActivityState) -> Effect:
    state, started = run.state, run.started
    trace = trace_of(started, state.run_id)
    if activity.scheduled.local:
        return RunLocal(state.workflow_id, state.run_id, started.workflow_type, activity, trace)
    return SendTask(state.workflow_id, state.run_id, started.workflow_type, activity, trace=trace)


def effects_of_closing(run: RunView, _event: Record, _at: RecordId, _now_ms: int) -> list[Effect]:
    """Tell whoever runs an attempt that its run is over."""
    return [
        effect for activity in run.activities.values() for effect in _stop(activity, "not_found")
    ]


def _stop(activity: ActivityView, reason: str) -> list[Effect]:
    if activity.scheduled.local:
        told = activity.state == SCHEDULED and reason not in NOT_TO_LOCAL
        return [StopLocal(activity.issued, reason)] if told else []
    if activity.state != STARTED or activity.reply_partition < 0:
        return []
    return [PushOrders(activity.worker_id, activity.reply_partition, activity.issued, reason)]
