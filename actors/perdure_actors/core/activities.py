"""The life of an activity: scheduled, started, tried again, and its one outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from perdure_actors.core.deadlines import after_failure, set_alarm
from perdure_actors.core.decision import (
    Decision,
    Ignored,
    PushOrders,
    SendTask,
    Step,
)
from perdure_actors.core.soft import Lease
from perdure_actors.core.state import ActivityState, RecordId, Run
from perdure_schemas.commands import (
    ClaimActivity,
    CompleteActivity,
    ConfirmActivityCanceled,
    FailActivity,
    HandBackActivity,
    HeartbeatActivity,
    WorkerLease,
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
)
from perdure_schemas.payloads import Failure, FailureCause, Payload, ReplyTo
from perdure_schemas.replies import CanceledAttempt, WorkerOrders
from perdure_schemas.tracing import trace_of

if TYPE_CHECKING:
    from perdure_actors.core.decision import Effect, Verdict, World
    from perdure_schemas.payloads import Record

AttemptCommand = (
    ClaimActivity
    | CompleteActivity
    | FailActivity
    | ConfirmActivityCanceled
    | HeartbeatActivity
    | HandBackActivity
)


def _attempt(world: World, command: AttemptCommand) -> tuple[Run, ActivityState] | str:
    """The attempt a report is about, or why it is about none."""
    run = world.run(command.run_id)
    if run is None or run.state.workflow_id != command.workflow_id:
        return "unknown run"
    activity = run.activities.get(command.activity_id)
    if activity is None:
        return "no such activity is pending"
    if activity.attempt != command.attempt or activity.state == "backing_off":
        return "an older attempt"
    if world.token(activity.issued) != command.token:
        return "a token that is not the attempt's"
    return run, activity


def _one(run: Run, *events: Record, answer: Record | None = None) -> Decision:
    return Decision([Step(run.state.run_id, list(events))], answer, run.state.run_id)


def decide_claim(world: World, command: ClaimActivity, now_ms: int) -> Verdict:
    """A worker runs, or wants to run, an attempt: one worker an attempt."""
    found = _attempt(world, command)
    if isinstance(found, str):
        orders = WorkerOrders(token=command.token, granted=False, reason="not_found")
        return Ignored(found, orders)
    run, activity = found
    if activity.state == "started" and activity.worker_id != command.worker_id:
        # The other one's lease decides whether it is lost; two never run one attempt.
        orders = WorkerOrders(token=command.token, granted=False, reason="claimed_by_another")
        return Ignored("claimed by another worker", orders)
    canceled = [CanceledAttempt(token=command.token, reason="cancel_requested")]
    granted = WorkerOrders(
        token=command.token,
        granted=True,
        canceled=canceled if activity.cancel_requested else [],
    )
    world.soft.heartbeats[run.state.run_id, command.activity_id] = now_ms
    world.soft.hold(command.worker_id, run.state.run_id, command.activity_id)
    if activity.state == "started":
        return Decision([], granted, run.state.run_id)
    event = ActivityStarted(
        activity_id=command.activity_id,
        attempt=command.attempt,
        worker_id=command.worker_id,
        identity=command.identity,
        started_ms=command.started_ms,
        reply_partition=command.reply.partition if command.reply else -1,
    )
    return _one(run, event, answer=granted)


def decide_complete(world: World, command: CompleteActivity, _now_ms: int) -> Verdict:
    """An attempt returned."""
    found = _attempt(world, command)
    if isinstance(found, str):
        return Ignored(found)
    event = ActivityCompleted(
        activity_id=command.activity_id,
        attempt=command.attempt,
        result=command.result,
        identity=command.identity,
        started_ms=command.started_ms,
    )
    return _one(found[0], event)


def decide_fail(world: World, command: FailActivity, now_ms: int) -> Verdict:
    """An attempt failed: another follows, or the activity has failed."""
    found = _attempt(world, command)
    if isinstance(found, str):
        return Ignored(found)
    run, activity = found
    event = after_failure(
        activity,
        command.failure,
        now_ms,
        identity=command.identity,
        started_ms=command.started_ms,
    )
    return _one(run, event)


def decide_confirm_canceled(world: World, command: ConfirmActivityCanceled, now_ms: int) -> Verdict:
    """An attempt stopped because it was cancelled; unasked, it counts as a failed attempt."""
    found = _attempt(world, command)
    if isinstance(found, str):
        return Ignored(found)
    run, activity = found
    if activity.cancel_requested:
        event: Record = ActivityCanceled(
            activity_id=command.activity_id,
            attempt=command.attempt,
            details=command.details,
            identity=command.identity,
        )
    else:
        cause = FailureCause(
            message="the attempt cancelled itself though nobody had asked it to",
            type="CancelledError",
            details=command.details,
        )
        event = after_failure(activity, Failure(chain=[cause]), now_ms, identity=command.identity)
    return _one(run, event)


def decide_heartbeat(world: World, command: HeartbeatActivity, now_ms: int) -> Verdict:
    """An attempt is alive; details it leaves are logged for the next one."""
    found = _attempt(world, command)
    if isinstance(found, str):
        return Ignored(found)
    run, _ = found
    world.soft.heartbeats[run.state.run_id, command.activity_id] = now_ms
    if not command.details:
        return Ignored("")
    event = ActivityHeartbeat(
        activity_id=command.activity_id, attempt=command.attempt, details=command.details
    )
    return _one(run, event)


def decide_hand_back(world: World, command: HandBackActivity, _now_ms: int) -> Verdict:
    """A worker will not run an attempt: it goes out again, uncounted, with a new token."""
    found = _attempt(world, command)
    if isinstance(found, str):
        return Ignored(found)
    if found[1].state == "started" and found[1].worker_id != command.worker_id:
        return Ignored("handed back by a worker that does not run it")
    event = ActivityAttemptScheduled(
        activity_id=command.activity_id, attempt=command.attempt, reason="handed_back"
    )
    return _one(found[0], event)


def decide_lease(world: World, command: WorkerLease, now_ms: int) -> Verdict:
    """A worker is alive, and is told which of its attempts should stop."""
    soft = world.soft
    if command.stopping:
        soft.leases.pop(command.worker_id, None)
    else:
        soft.leases[command.worker_id] = Lease(
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
    canceled = [
        CanceledAttempt(token=world.token(activity.issued), reason="cancel_requested")
        for run_id, activity_id in sorted(soft.held.get(command.worker_id, ()))
        if (run := world.run(run_id)) is not None
        and (activity := run.activities.get(activity_id)) is not None
        and activity.cancel_requested
        and activity.worker_id == command.worker_id
    ]
    if not canceled:
        return Ignored("")
    reply = ReplyTo(partition=command.reply_partition, correlation_id=command.worker_id)
    return Ignored("", WorkerOrders(canceled=canceled), reply)


def check_activities(world: World, run: Run, outputs: list[Record]) -> str:
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
    world: World, _run: Run, output: ActivityScheduled, _now_ms: int
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
    activity.state = "backing_off"
    activity.last_failure = event.failure
    activity.retry_ms = event.due_ms
    activity.worker_id = ""
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
    activity.state = "scheduled"
    activity.attempt = event.attempt
    activity.issued = at
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
    run.drop("activity", event.activity_id)


def effects_of_scheduled(
    run: Run, event: ActivityScheduled, at: RecordId, now_ms: int
) -> list[Effect]:
    """The first task."""
    activity = ActivityState(event, run.state.seq + 1, now_ms, 1, at, now_ms)
    return [_task(run, activity)]


def effects_of_attempt(
    run: Run, event: ActivityAttemptScheduled, at: RecordId, now_ms: int
) -> list[Effect]:
    """The next task."""
    activity = replace(
        run.activities[event.activity_id], attempt=event.attempt, issued=at, attempt_ms=now_ms
    )
    return [_task(run, activity)]


def _task(run: Run, activity: ActivityState) -> SendTask:
    state, started = run.state, run.started
    return SendTask(
        state.workflow_id,
        state.run_id,
        started.workflow_type,
        activity,
        trace=trace_of(started, state.run_id),
    )


def effects_of_stop(
    run: Run,
    event: ActivityCancelRequested | ActivityTimedOut | ActivityRetryScheduled,
    _at: RecordId,
    _now_ms: int,
) -> list[Effect]:
    """Tell the worker of an attempt that is cancelled or has timed out."""
    activity = run.activities.get(event.activity_id)
    if activity is None or activity.state != "started" or activity.reply_partition < 0:
        return []
    cancels = isinstance(event, ActivityCancelRequested)
    return [_orders(activity, "cancel_requested" if cancels else "timed_out")]


def effects_of_closing(run: Run, _event: Record, _at: RecordId, _now_ms: int) -> list[Effect]:
    """Tell the workers of all attempts still running that their run is over."""
    return [
        _orders(activity, "not_found")
        for activity in run.activities.values()
        if activity.state == "started" and activity.reply_partition >= 0
    ]


def _orders(activity: ActivityState, reason: str) -> PushOrders:
    return PushOrders(activity.worker_id, activity.reply_partition, activity.issued, reason)
