"""What people do to pending activities: pause, unpause, reset, retry, fail, other options.

An attempt whose task is out may be running where nobody has said so yet. So these act on what
follows it: they never take an attempt away, they only tell its worker that it should stop.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from perdure_actors.core import retry
from perdure_actors.core.activity_states import BACKING_OFF, PAUSED
from perdure_actors.core.decision import Decision, Rejection, Step
from perdure_actors.core.targets import closed, named_run
from perdure_actors.core.timers import TIMER_MS_MAX
from perdure_schemas.events import ActivityAttemptScheduled, ActivityFailed
from perdure_schemas.operator_commands import (
    FailActivityNow,
    PauseActivity,
    ResetActivity,
    RetryActivityNow,
    UnpauseActivity,
    UpdateActivityOptions,
)
from perdure_schemas.operator_events import (
    ActivityOptionsUpdated,
    ActivityPaused,
    ActivityReset,
    ActivityUnpaused,
)
from perdure_schemas.replies import Accepted

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure_actors.core.decision import Verdict
    from perdure_actors.core.world import ActivityView, RunView, World
    from perdure_schemas.command_headers import ActivityOperation
    from perdure_schemas.payloads import Record


def _pending(
    world: World, command: ActivityOperation
) -> tuple[RunView, list[ActivityView]] | Rejection:
    """The activities a command is about: the one of an id, or all of a type."""
    run = named_run(world, command.workflow_id, command.run_id)
    if isinstance(run, Rejection):
        return run
    if not run.state.is_open:
        return closed(run)
    if bool(command.activity_id) == bool(command.activity_type):
        return Rejection("invalid", "name activities by an id or by a type: one of the two")
    if command.activity_id:
        found = (
            [run.activities[command.activity_id]] if command.activity_id in run.activities else []
        )
        what = f"activity with id {command.activity_id!r}"
    else:
        found = [
            activity
            for activity in run.activities.values()
            if activity.scheduled.activity_type == command.activity_type
        ]
        what = f"activity of type {command.activity_type!r}"
    if not found:
        pending = ", ".join(
            f"{activity.scheduled.activity_id} ({activity.scheduled.activity_type})"
            for activity in list(run.activities.values())[:10]
        )
        return Rejection(
            "not_found",
            f"workflow {command.workflow_id!r} has no pending {what}; pending: {pending or 'none'}",
            run.state.run_id,
        )
    return run, found


def _each(
    world: World, command: ActivityOperation, event_of: Callable[[ActivityView], Record | str]
) -> Verdict:
    """One event an activity; refused when none of them can have it."""
    found = _pending(world, command)
    if isinstance(found, Rejection):
        return found
    run, activities = found
    made = [event_of(activity) for activity in activities]
    events = [event for event in made if not isinstance(event, str)]
    problems = [problem for problem in made if isinstance(problem, str) and problem]
    run_id = run.state.run_id
    if problems and not events:
        return Rejection("invalid", problems[0], run_id)
    answer = Accepted(
        workflow_id=command.workflow_id, run_id=run_id, first_run_id=run.state.first_run_id
    )
    return Decision([Step(run_id, events)] if events else [], answer, run_id)


def _name(activity: ActivityView) -> str:
    return f"activity {activity.scheduled.activity_type} (id {activity.scheduled.activity_id})"


def decide_pause(world: World, command: PauseActivity, _now_ms: int) -> Verdict:
    """No further attempt starts; pausing twice is pausing once."""

    def event_of(activity: ActivityView) -> Record | str:
        if activity.paused:
            return ""
        return ActivityPaused(
            activity_id=activity.scheduled.activity_id,
            reason=command.reason,
            identity=command.identity,
        )

    return _each(world, command, event_of)


def decide_unpause(world: World, command: UnpauseActivity, now_ms: int) -> Verdict:
    """A paused activity goes on, soon."""

    def event_of(activity: ActivityView) -> Record | str:
        if not activity.paused and not activity.exhausted:
            return f"{_name(activity)} is not paused"
        return ActivityUnpaused(
            activity_id=activity.scheduled.activity_id,
            reset_attempts=command.reset_attempts,
            reset_heartbeat=command.reset_heartbeat,
            due_ms=now_ms + _jitter(activity, command.jitter_ms),
            identity=command.identity,
        )

    return _each(world, command, event_of)


def decide_reset(world: World, command: ResetActivity, now_ms: int) -> Verdict:
    """The next attempt is the first again."""

    def event_of(activity: ActivityView) -> Record:
        return ActivityReset(
            activity_id=activity.scheduled.activity_id,
            reset_heartbeat=command.reset_heartbeat,
            keep_paused=command.keep_paused,
            due_ms=now_ms + _jitter(activity, command.jitter_ms),
            identity=command.identity,
        )

    return _each(world, command, event_of)


def decide_retry_now(world: World, command: RetryActivityNow, _now_ms: int) -> Verdict:
    """The next attempt starts at once, whatever the policy says."""

    def event_of(activity: ActivityView) -> Record | str:
        if activity.paused:
            return f"{_name(activity)} is paused: unpause it"
        if activity.state not in (BACKING_OFF, PAUSED):
            return f"attempt {activity.attempt} of {_name(activity)} is {activity.state} already"
        return ActivityAttemptScheduled(
            activity_id=activity.scheduled.activity_id,
            attempt=activity.attempt + 1,
            reason="operator",
        )

    return _each(world, command, event_of)


def decide_fail_now(world: World, command: FailActivityNow, _now_ms: int) -> Verdict:
    """The activity has failed, because somebody says so."""
    found = _pending(world, command)
    if isinstance(found, Rejection):
        return found
    run, activities = found
    if len(activities) > 1:
        ids = ", ".join(activity.scheduled.activity_id for activity in activities)
        return Rejection("invalid", f"several activities are of that type: name one of {ids}")
    activity = activities[0]
    event = ActivityFailed(
        activity_id=activity.scheduled.activity_id,
        attempt=activity.attempt,
        failure=command.failure,
        retry_state=retry.OPERATOR,
        identity=command.identity,
    )
    run_id = run.state.run_id
    answer = Accepted(
        workflow_id=command.workflow_id, run_id=run_id, first_run_id=run.state.first_run_id
    )
    return Decision([Step(run_id, [event])], answer, run_id)


def decide_update_options(world: World, command: UpdateActivityOptions, _now_ms: int) -> Verdict:
    """Other times and another policy, from the next attempt on."""
    times = {
        "schedule_to_close_ms": command.schedule_to_close_ms,
        "schedule_to_start_ms": command.schedule_to_start_ms,
        "start_to_close_ms": command.start_to_close_ms,
        "heartbeat_ms": command.heartbeat_ms,
    }
    for name, time_ms in times.items():
        if time_ms > TIMER_MS_MAX:
            return Rejection("invalid", f"{name} is {time_ms}: {TIMER_MS_MAX} is the most")

    def event_of(activity: ActivityView) -> Record | str:
        before = activity.scheduled
        if command.restore_original:
            before = activity.original or before
        chosen: dict[str, Any] = {
            name: getattr(before, name) if time_ms < 0 else time_ms
            for name, time_ms in times.items()
        }
        if not chosen["start_to_close_ms"] and not chosen["schedule_to_close_ms"]:
            return f"{_name(activity)} needs a start-to-close or a schedule-to-close time"
        if before.local and command.task_queue:
            return f"{_name(activity)} is local: it has no task queue of its own"
        return ActivityOptionsUpdated(
            activity_id=before.activity_id,
            task_queue=command.task_queue or before.task_queue,
            retry_policy=command.retry_policy or before.retry_policy,
            identity=command.identity,
            **chosen,
        )

    return _each(world, command, event_of)


def _jitter(activity: ActivityView, jitter_ms: int) -> int:
    """A wait of so long at most, by the activity's id, so that many do not start at once."""
    if jitter_ms <= 0:
        return 0
    digest = hashlib.blake2b(activity.scheduled.activity_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % min(jitter_ms, TIMER_MS_MAX)
