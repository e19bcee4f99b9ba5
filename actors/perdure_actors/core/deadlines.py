"""The deadlines of an activity, and what follows an attempt that failed or was lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure_actors.core import retry
from perdure_actors.core.activity_states import BACKING_OFF, PAUSED, SCHEDULED, STARTED
from perdure_actors.core.decision import Due, Later
from perdure_schemas.events import (
    ActivityAttemptScheduled,
    ActivityCanceled,
    ActivityFailed,
    ActivityRetryScheduled,
    ActivityTimedOut,
)
from perdure_schemas.operator_events import ActivityPaused
from perdure_schemas.payloads import Failure, FailureCause

if TYPE_CHECKING:
    from perdure_actors.core.state import ActivityState, Run
    from perdure_actors.core.world import ActivityView, RunView, World
    from perdure_schemas.payloads import Record

CANCEL_GRACE_MS = 1_500
"""A worker reports a running attempt after a second; one not reported by then can be dropped."""


def decide_activity_alarm(world: World, run: RunView, activity_id: str, now_ms: int) -> Due | Later:
    """The nearest deadline of an activity has come."""
    activity = run.activities.get(activity_id)
    if activity is None:
        return Later()
    scheduled = activity.scheduled
    expires_ms = expires_ms_of(activity)
    if expires_ms and expires_ms <= now_ms:
        event = _timed_out(activity, "schedule_to_close", retry.TIMEOUT)
        if parks(activity, retry.TIMEOUT):
            return Due([_parked(activity, event.failure)], refutable=True, at_ms=expires_ms)
        return Due([event], refutable=True, at_ms=expires_ms)
    if activity.state == PAUSED:
        return Due([_canceled(activity)]) if activity.cancel_requested else Later(expires_ms)
    if activity.state == BACKING_OFF:
        return _backoff_alarm(activity, now_ms)
    if activity.state == SCHEDULED and not scheduled.local:
        start_by_ms, grace_ms = _start_by_ms(activity), activity.attempt_ms + CANCEL_GRACE_MS
        if 0 < start_by_ms <= now_ms:
            event = _timed_out(activity, "schedule_to_start", retry.NON_RETRYABLE)
            return Due([event], refutable=True, at_ms=start_by_ms)
        if activity.cancel_requested and grace_ms <= now_ms:
            return Due([_canceled(activity)], refutable=True, at_ms=grace_ms)
        return Later(activity.alarm_ms if activity.alarm_ms > now_ms else 0)
    if scheduled.local:
        return Later(activity.alarm_ms if activity.alarm_ms > now_ms else 0)
    return _started_alarm(world, run, activity, now_ms)


def _backoff_alarm(activity: ActivityView, now_ms: int) -> Due | Later:
    if activity.cancel_requested:
        return Due([_canceled(activity)])
    if activity.retry_ms > now_ms:
        return Later(activity.retry_ms)
    event = ActivityAttemptScheduled(
        activity_id=activity.scheduled.activity_id, attempt=activity.attempt + 1
    )
    return Due([event])


def _started_alarm(world: World, run: RunView, activity: ActivityView, now_ms: int) -> Due | Later:
    scheduled = activity.terms
    times = []
    if scheduled.start_to_close_ms:
        times.append((activity.started_ms + scheduled.start_to_close_ms, "start_to_close"))
    if scheduled.heartbeat_ms:
        heard_ms = max(
            activity.started_ms,
            world.liveness.heard_ms(run.state.run_id, scheduled.activity_id),
        )
        times.append((heard_ms + scheduled.heartbeat_ms, "heartbeat"))
    if not times:
        return Later()
    due_ms, kind = min(times)
    if due_ms > now_ms:
        # A heartbeat may have moved its deadline beyond the one of all attempts.
        return Later(min(due_ms, expires_ms_of(activity) or due_ms))
    cause = FailureCause(
        kind="timeout",
        message=f"activity {scheduled.activity_type} timed out: {kind}",
        timeout_type=kind,
        last_heartbeat_details=activity.heartbeat_details,
    )
    event = after_failure(activity, Failure(chain=[cause]), now_ms, identity=activity.identity)
    return Due([event], refutable=True, at_ms=due_ms)


def decide_worker_lost(run: RunView, activity_id: str, worker_id: str, now_ms: int) -> Due | Later:
    """The lease of the worker that runs an attempt has run out: the attempt has failed."""
    activity = run.activities.get(activity_id)
    if activity is None or activity.state != STARTED or activity.worker_id != worker_id:
        return Later()
    cause = FailureCause(
        kind="timeout",
        type="WorkerLost",
        timeout_type="heartbeat",
        message=(
            f"worker lost: {activity.identity or worker_id} ran attempt {activity.attempt} of"
            f" {activity.scheduled.activity_type} and has not been heard of since its lease ended"
        ),
        last_heartbeat_details=activity.heartbeat_details,
    )
    event = after_failure(activity, Failure(chain=[cause]), now_ms, identity=activity.identity)
    return Due([event], refutable=True)


def decide_local_lost(run: RunView, activity_id: str, now_ms: int) -> Due | Later:
    """The host that ran an attempt of a local activity is gone, and its word with it."""
    activity = run.activities.get(activity_id)
    if activity is None or activity.state != SCHEDULED or not activity.scheduled.local:
        return Later()
    cause = FailureCause(
        kind="timeout",
        type="HostLost",
        timeout_type="heartbeat",
        message=(
            f"host lost: attempt {activity.attempt} of local activity"
            f" {activity.scheduled.activity_type} was under way in the process that had the run"
        ),
    )
    return Due([after_failure(activity, Failure(chain=[cause]), now_ms)])


def after_failure(
    activity: ActivityView,
    failure: Failure,
    now_ms: int,
    *,
    identity: str = "",
    started_ms: int = 0,
) -> Record:
    """What follows a failed attempt, by the retry policy."""
    scheduled = activity.scheduled
    state, delay_ms = retry.plan_retry(
        scheduled.retry_policy or retry.DEFAULT_POLICY,
        failure,
        attempt=0 if activity.starts_over else activity.attempt,
        now_ms=now_ms,
        expires_ms=expires_ms_of(activity),
    )
    started_ms = started_ms or activity.started_ms
    if activity.cancel_requested and delay_ms >= 0:
        state, delay_ms = retry.CANCEL_REQUESTED, -1
    if delay_ms < 0 and parks(activity, state):
        return _parked(activity, failure)
    if delay_ms >= 0:
        return ActivityRetryScheduled(
            activity_id=scheduled.activity_id,
            attempt=activity.attempt,
            failure=failure,
            due_ms=now_ms + delay_ms,
            identity=identity,
            started_ms=started_ms,
        )
    outer = failure.chain[0] if failure.chain else FailureCause()
    if outer.kind == "timeout":
        return ActivityTimedOut(
            activity_id=scheduled.activity_id,
            attempt=activity.attempt,
            timeout_type=outer.timeout_type,
            retry_state=state,
            failure=failure,
            started_ms=started_ms,
        )
    return ActivityFailed(
        activity_id=scheduled.activity_id,
        attempt=activity.attempt,
        failure=failure,
        retry_state=state,
        identity=identity,
        started_ms=started_ms,
    )


def parks(activity: ActivityView, retry_state: str) -> bool:
    """Whether an activity that has no further attempt waits for a person instead of failing."""
    asked = activity.scheduled.on_exhausted == "pause" and not activity.cancel_requested
    return asked and retry_state in retry.EXHAUSTED


def _parked(activity: ActivityView, failure: Failure | None) -> ActivityPaused:
    return ActivityPaused(
        activity_id=activity.scheduled.activity_id,
        reason="exhausted",
        failure=failure or Failure(),
        attempt=activity.attempt,
    )


def _timed_out(activity: ActivityView, kind: str, retry_state: str) -> ActivityTimedOut:
    scheduled = activity.scheduled
    cause = FailureCause(
        kind="timeout",
        message=f"activity {scheduled.activity_type} timed out: {kind}",
        timeout_type=kind,
        last_heartbeat_details=activity.heartbeat_details,
    )
    earlier = activity.last_failure.chain if activity.last_failure else []
    return ActivityTimedOut(
        activity_id=scheduled.activity_id,
        attempt=activity.attempt,
        timeout_type=kind,
        retry_state=retry_state,
        failure=Failure(chain=[cause, *earlier]),
        started_ms=activity.started_ms,
    )


def _canceled(activity: ActivityView) -> ActivityCanceled:
    return ActivityCanceled(activity_id=activity.scheduled.activity_id, attempt=activity.attempt)


def expires_ms_of(activity: ActivityView) -> int:
    """When all attempts of an activity must be over; 0 when there is no such time."""
    limit_ms = activity.scheduled.schedule_to_close_ms
    return activity.scheduled_ms + limit_ms if limit_ms and not activity.exhausted else 0


def _start_by_ms(activity: ActivityView) -> int:
    """When a worker must have started an attempt; 0 for no such time, as while it is paused."""
    limit_ms = activity.terms.schedule_to_start_ms
    since_ms = activity.waits_ms or activity.attempt_ms
    return since_ms + limit_ms if limit_ms and not activity.paused else 0


def set_alarm(run: Run, activity: ActivityState) -> None:
    """Recompute the nearest deadline of an activity, and mark it as changed."""
    scheduled = activity.terms
    times = [expires_ms_of(activity)]
    if activity.state == PAUSED:
        times.append(1 if activity.cancel_requested else 0)
    elif activity.state == BACKING_OFF:
        times.append(1 if activity.cancel_requested else activity.retry_ms)
    elif scheduled.local:
        # Whoever runs it in this host keeps its other times, and tells of its cancellation.
        pass
    elif activity.state == SCHEDULED:
        times.append(_start_by_ms(activity))
        if activity.cancel_requested:
            times.append(activity.attempt_ms + CANCEL_GRACE_MS)
    else:
        if scheduled.start_to_close_ms:
            times.append(activity.started_ms + scheduled.start_to_close_ms)
        if scheduled.heartbeat_ms:
            times.append(activity.started_ms + scheduled.heartbeat_ms)
    activity.alarm_ms = min((at for at in times if at), default=0)
    run.touch_activity(activity)
