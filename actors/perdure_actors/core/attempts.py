"""What workers report about attempts: one worker an attempt, one outcome an attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure_actors.core.activity_states import LIFTED, SCHEDULED, STARTED, UNDER_WAY
from perdure_actors.core.deadlines import after_failure
from perdure_actors.core.decision import Decision, Ignored, Rejection, Step
from perdure_actors.core.liveness import Detached, Heard, Held, Lease, Leased, Left
from perdure_schemas.commands import (
    ClaimActivity,
    CompleteActivity,
    ConfirmActivityCanceled,
    DetachActivity,
    FailActivity,
    HandBackActivity,
    HeartbeatActivity,
    WorkerLease,
)
from perdure_schemas.events import (
    ActivityAttemptScheduled,
    ActivityCanceled,
    ActivityCompleted,
    ActivityHeartbeat,
    ActivityRetryScheduled,
    ActivityStarted,
)
from perdure_schemas.operator_events import ActivityDetached, ActivityPaused
from perdure_schemas.payloads import Failure, FailureCause, ReplyTo
from perdure_schemas.replies import Accepted, CanceledAttempt, WorkerOrders

if TYPE_CHECKING:
    from perdure_actors.core.decision import Verdict
    from perdure_actors.core.liveness import Notice
    from perdure_actors.core.world import ActivityView, RunView, World
    from perdure_schemas.command_headers import AttemptReport
    from perdure_schemas.payloads import Record

WORKER_SHUTDOWN = "worker_shutdown"
BY_IDS = (
    "a report by ids is taken from who has an engine key only: give its sender the key file"
    " (PERDURE_ENGINE_KEYS), or the task token"
)


def _attempt(world: World, command: AttemptReport) -> tuple[RunView, ActivityView] | str:
    """The attempt a report is about, or why it is about none."""
    run = world.run(command.run_id) if command.run_id else world.current(command.workflow_id)
    if run is None or run.state.workflow_id != command.workflow_id:
        return "unknown run"
    activity = run.activities.get(command.activity_id)
    if activity is None:
        return "no such activity is pending"
    if not command.attempt and world.may_report_by_ids(command):
        # By id, from outside: whichever attempt is under way.
        under_way = activity.state in UNDER_WAY
        return (run, activity) if under_way else "no attempt of it is under way"
    if not command.attempt and not command.token:
        return BY_IDS
    if activity.attempt != command.attempt or activity.state not in UNDER_WAY:
        return "an older attempt"
    if world.token(activity.issued) != command.token:
        return "a token that is not the attempt's"
    return run, activity


def _missed(command: AttemptReport, reason: str) -> Verdict:
    """A report that is about nothing: dropped, and whoever waits for an answer is told."""
    if command.reply is None:
        return Ignored(reason)
    return Rejection(
        "not_found",
        f"activity {command.activity_id!r} of workflow {command.workflow_id!r}: {reason}",
        command.run_id,
    )


def _taken(run: RunView, event: Record, command: AttemptReport) -> Decision:
    state = run.state
    answer = Accepted(
        workflow_id=state.workflow_id, run_id=state.run_id, first_run_id=state.first_run_id
    )
    return _one(run, event, answer=answer if command.reply is not None else None)


def _why_stop(activity: ActivityView) -> str:
    """Why the attempt under way should stop; empty when it should not."""
    if activity.cancel_requested:
        return "cancel_requested"
    if activity.paused:
        return "paused"
    return "reset" if activity.starts_over else ""


def _stops(activity: ActivityView, token: bytes) -> list[CanceledAttempt]:
    reason = _why_stop(activity)
    return [CanceledAttempt(token=token, reason=reason)] if reason else []


def _one(
    run: RunView, event: Record, *, answer: Record | None = None, liveness: tuple[Notice, ...] = ()
) -> Decision:
    return Decision([Step(run.state.run_id, [event])], answer, run.state.run_id, liveness=liveness)


def decide_claim(world: World, command: ClaimActivity, now_ms: int) -> Verdict:
    """A worker runs, or wants to run, an attempt: one worker an attempt."""
    found = _attempt(world, command)
    if isinstance(found, str):
        orders = WorkerOrders(token=command.token, granted=False, reason="not_found")
        return Ignored(found, orders)
    run, activity = found
    if activity.state == STARTED and activity.worker_id != command.worker_id:
        # The other one's lease decides whether it is lost; two never run one attempt.
        orders = WorkerOrders(token=command.token, granted=False, reason="claimed_by_another")
        return Ignored("claimed by another worker", orders)
    if activity.state == SCHEDULED and activity.paused and command.wants_grant:
        orders = WorkerOrders(token=command.token, granted=False, reason="paused")
        return _one(run, _unused(activity), answer=orders)
    granted = WorkerOrders(
        token=command.token, granted=True, canceled=_stops(activity, command.token)
    )
    run_id, activity_id = run.state.run_id, command.activity_id
    liveness = (
        Heard(run_id, activity_id, now_ms),
        Held(command.worker_id, run_id, activity_id),
    )
    if activity.state == STARTED:
        return Decision([], granted, run_id, liveness=liveness)
    event = ActivityStarted(
        activity_id=command.activity_id,
        attempt=command.attempt,
        worker_id=command.worker_id,
        identity=command.identity,
        started_ms=command.started_ms,
        reply_partition=command.reply.partition if command.reply else -1,
    )
    return _one(run, event, answer=granted, liveness=liveness)


def decide_complete(world: World, command: CompleteActivity, _now_ms: int) -> Verdict:
    """An attempt returned."""
    found = _attempt(world, command)
    if isinstance(found, str):
        return _missed(command, found)
    run, activity = found
    event = ActivityCompleted(
        activity_id=command.activity_id,
        attempt=activity.attempt,
        result=command.result,
        identity=command.identity,
        started_ms=command.started_ms,
    )
    return _taken(run, event, command)


def decide_fail(world: World, command: FailActivity, now_ms: int) -> Verdict:
    """An attempt failed: another follows, or the activity has failed."""
    found = _attempt(world, command)
    if isinstance(found, str):
        return _missed(command, found)
    run, activity = found
    event = after_failure(
        activity,
        command.failure,
        now_ms,
        identity=command.identity,
        started_ms=command.started_ms,
    )
    return _taken(run, event, command)


def decide_confirm_canceled(world: World, command: ConfirmActivityCanceled, now_ms: int) -> Verdict:
    """An attempt stopped because it was told to; unasked, it counts as a failed attempt."""
    found = _attempt(world, command)
    if isinstance(found, str):
        return _missed(command, found)
    run, activity = found
    if activity.cancel_requested:
        event: Record = ActivityCanceled(
            activity_id=command.activity_id,
            attempt=activity.attempt,
            details=command.details,
            identity=command.identity,
        )
    elif activity.paused:
        event = _unused(activity)
    elif activity.starts_over:
        cause = FailureCause(message="the attempt ended so that the activity starts over")
        event = ActivityRetryScheduled(
            activity_id=command.activity_id,
            attempt=activity.attempt,
            failure=Failure(chain=[cause]),
            due_ms=now_ms,
            identity=command.identity,
        )
    elif activity.hold == LIFTED and not activity.scheduled.local:
        # It was paused, and is not any more: nobody counts what it did not do.
        event = _again(activity)
    else:
        cause = FailureCause(
            message="the attempt cancelled itself though nobody had asked it to",
            type="CancelledError",
            details=command.details,
        )
        event = after_failure(activity, Failure(chain=[cause]), now_ms, identity=command.identity)
    return _taken(run, event, command)


def decide_heartbeat(world: World, command: HeartbeatActivity, now_ms: int) -> Verdict:
    """An attempt is alive; details it leaves are logged for the next one."""
    found = _attempt(world, command)
    if isinstance(found, str):
        return _missed(command, found)
    run, activity = found
    answer = None
    if command.reply is not None:
        stops = _stops(activity, command.token)
        answer = WorkerOrders(token=command.token, granted=True, canceled=stops)
    heard = (Heard(run.state.run_id, command.activity_id, now_ms),)
    if not command.details:
        return Ignored("", answer, liveness=heard)
    event = ActivityHeartbeat(
        activity_id=command.activity_id, attempt=activity.attempt, details=command.details
    )
    return _one(run, event, answer=answer, liveness=heard)


def decide_hand_back(world: World, command: HandBackActivity, _now_ms: int) -> Verdict:
    """A worker will not run an attempt: its task goes out again, uncounted.

    That is no history, unless it had been said that the worker has the attempt: then it is another
    one of the same number, with a token of its own.
    """
    found = _attempt(world, command)
    if isinstance(found, str):
        return Ignored(found)
    run, activity = found
    if activity.state == STARTED and activity.worker_id != command.worker_id:
        return Ignored("handed back by a worker that does not run it")
    if activity.state == STARTED and command.reason != WORKER_SHUTDOWN:
        # What came back to it was handed back before, and it has it again by now.
        return Ignored("handed back by the worker that runs it")
    if activity.paused:
        return _one(run, _unused(activity))
    if activity.state == STARTED or activity.starts_over:
        return _one(run, _again(activity))
    return Decision([], None, run.state.run_id, handed_back=command.activity_id)


def _again(activity: ActivityView) -> ActivityAttemptScheduled:
    """The same attempt once more, uncounted; the first, where the activity starts over."""
    return ActivityAttemptScheduled(
        activity_id=activity.scheduled.activity_id,
        attempt=1 if activity.starts_over else activity.attempt,
        reason="handed_back",
    )


def _unused(activity: ActivityView) -> ActivityPaused:
    """An attempt that nobody makes, because the activity is paused; it is not counted."""
    return ActivityPaused(
        activity_id=activity.scheduled.activity_id,
        reason=activity.pause_reason,
        identity=activity.pause_identity,
        attempt=activity.attempt,
    )


def decide_detach(world: World, command: DetachActivity, _now_ms: int) -> Verdict:
    """An attempt returned without a result: somebody else will report it."""
    found = _attempt(world, command)
    if isinstance(found, str):
        return Ignored(found)
    run, activity = found
    event = ActivityDetached(
        activity_id=command.activity_id, attempt=activity.attempt, identity=command.identity
    )
    if not activity.worker_id:
        return _one(run, event)
    detached = Detached(activity.worker_id, run.state.run_id, command.activity_id)
    return _one(run, event, liveness=(detached,))


def decide_lease(world: World, command: WorkerLease, now_ms: int) -> Verdict:
    """A worker is alive, and is told which of its attempts should stop."""
    said: Notice = Left(command.worker_id) if command.stopping else Leased(_lease(command, now_ms))
    canceled = [
        CanceledAttempt(token=world.token(activity.issued), reason=_why_stop(activity))
        for run_id, activity_id in sorted(world.liveness.attempts_of(command.worker_id))
        if (run := world.run(run_id)) is not None
        and (activity := run.activities.get(activity_id)) is not None
        and _why_stop(activity)
        and activity.worker_id == command.worker_id
    ]
    elsewhere = _room_elsewhere(world, command) if command.waiting else 0
    if not canceled and not elsewhere:
        return Ignored("", liveness=(said,))
    reply = ReplyTo(partition=command.reply_partition, correlation_id=command.worker_id)
    orders = WorkerOrders(canceled=canceled, elsewhere=elsewhere)
    return Ignored("", orders, reply, liveness=(said,))


def _lease(command: WorkerLease, now_ms: int) -> Lease:
    return Lease(
        command.worker_id,
        command.identity,
        command.task_queue,
        command.reply_partition,
        command.lease_ms,
        now_ms,
        command.slots,
        command.slots_used,
        command.version,
    )


def _room_elsewhere(world: World, command: WorkerLease) -> int:
    """How many of the tasks that wait at a worker others of its queue have free slots for."""
    if command.task_queue != world.task_queue:
        # The idle workers of other queues are not known here: one at a time is tried.
        return 1
    free = sum(
        max(0, lease.slots - lease.slots_used)
        for lease in world.liveness.leases.values()
        if lease.worker_id != command.worker_id and lease.task_queue == command.task_queue
    )
    return min(free, command.waiting)
