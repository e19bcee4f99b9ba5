"""How a run stands, for people: its pending activities, and what it waits for a person with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure_schemas.replies import PendingActivity, PendingChild

if TYPE_CHECKING:
    from perdure_actors.core.liveness import Liveness
    from perdure_actors.core.state import ActivityState, ChildState


def pending_record(liveness: Liveness, run_id: str, activity: ActivityState) -> PendingActivity:
    """An activity without an outcome, as describe shows it."""
    scheduled = activity.scheduled
    policy = scheduled.retry_policy
    return PendingActivity(
        activity_id=scheduled.activity_id,
        activity_type=scheduled.activity_type,
        state=_shown_state(activity),
        attempt=activity.attempt,
        maximum_attempts=policy.maximum_attempts if policy else 0,
        scheduled_ms=activity.scheduled_ms,
        started_ms=activity.started_ms,
        next_attempt_ms=activity.retry_ms,
        last_failure=activity.last_failure,
        heartbeat_ms=liveness.heartbeat_ms(run_id, scheduled.activity_id),
        heartbeat_details=activity.heartbeat_details,
        worker_id=activity.worker_id,
        identity=activity.identity,
        task_queue=scheduled.task_queue,
        local=scheduled.local,
        paused_ms=activity.paused_ms,
        pause_reason=activity.pause_reason,
        pause_identity=activity.pause_identity,
    )


def _shown_state(activity: ActivityState) -> str:
    if activity.cancel_requested:
        return "cancel_requested"
    if activity.exhausted:
        return "exhausted"
    if activity.paused:
        return "paused" if activity.state == "paused" else "pause_requested"
    return activity.state


def pending_child_record(child: ChildState) -> PendingChild:
    """A child that has not ended, as describe shows it."""
    return PendingChild(
        child_id=child.child_id,
        workflow_id=child.workflow_id,
        run_id=child.run_id,
        workflow_type=child.workflow_type,
        task_queue=child.task_queue,
        parent_close_policy=child.parent_close_policy,
    )
