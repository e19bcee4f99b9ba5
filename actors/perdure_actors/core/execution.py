"""The life of a run: started, asked to cancel, blocked, ended, followed by another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from perdure_actors.core import retry
from perdure_actors.core.children import carried_children, take_over
from perdure_actors.core.decision import Decision, Due, Later, Rejection, Step
from perdure_actors.core.markers import carried_attributes, too_large
from perdure_actors.core.next_run import follow_cron, follow_failed, plan_next
from perdure_actors.core.reset import reset_started
from perdure_actors.core.start import held_next, terminating
from perdure_actors.core.state import (
    CANCELED,
    COMPLETED,
    CONTINUED_AS_NEW,
    FAILED,
    TERMINATED,
    TIMED_OUT,
    Closing,
    RecordId,
    Run,
)
from perdure_actors.core.targets import closed, target
from perdure_schemas.events import (
    TimerFired,
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
from perdure_schemas.payloads import Failure, FailureCause
from perdure_schemas.replies import Accepted
from perdure_schemas.tracing import with_trace_of

if TYPE_CHECKING:
    from perdure_actors.core.decision import Limits, Verdict
    from perdure_actors.core.world import RunStateView, RunView, World
    from perdure_schemas.commands import CancelWorkflow, TerminateWorkflow
    from perdure_schemas.payloads import Record


def check_history(limits: Limits, state: RunStateView) -> WorkflowTerminated | None:
    """The end of an open run whose history is over its limits; None while it is within them."""
    over = state.seq >= limits.history_events_max or state.history_bytes >= limits.history_bytes_max
    if not over or not state.is_open:
        return None
    return WorkflowTerminated(
        reason=(
            f"history_too_large: {state.seq} events and {state.history_bytes} bytes;"
            f" {limits.history_events_max} and {limits.history_bytes_max} are the most. Let the"
            " workflow continue as new when info().is_continue_as_new_suggested()"
        ),
        identity="perdure",
    )


def decide_cancel(world: World, command: CancelWorkflow, _now_ms: int) -> Verdict:
    """Ask a run to cancel itself; asking twice is asking once."""
    run = target(world, command)
    if isinstance(run, Rejection):
        return run
    state = run.state
    if not state.is_open:
        if run.actor.next_run_id and not command.run_id:
            # Its code has not run, and will not; the chain ends here.
            step = held_next(run)
            step.events.extend((_asked(command), WorkflowCanceled()))
            next_id = step.run_id
            answer = Accepted(
                workflow_id=state.workflow_id, run_id=next_id, first_run_id=state.first_run_id
            )
            return Decision([step], answer, next_id)
        if command.external is None:
            return closed(run)
    answer = Accepted(
        workflow_id=state.workflow_id, run_id=state.run_id, first_run_id=state.first_run_id
    )
    if state.cancel_requested or not state.is_open:
        # To code of another run it is all the same that this one has ended already.
        return Decision([], answer, state.run_id)
    events: list[Record] = [_asked(command)]
    if not state.begun:
        # Its code has never run, so nobody else can answer for it.
        events.append(WorkflowCanceled())
    return Decision([Step(state.run_id, events)], answer, state.run_id)


def _asked(command: CancelWorkflow) -> WorkflowCancelRequested:
    caller = command.child_of or (command.external.run if command.external else None)
    return WorkflowCancelRequested(
        reason=command.reason, identity=command.identity, external=caller
    )


def decide_terminate(world: World, command: TerminateWorkflow, _now_ms: int) -> Verdict:
    """End a run at once."""
    run = target(world, command)
    if isinstance(run, Rejection):
        return run
    ended = WorkflowTerminated(
        reason=command.reason, details=command.details, identity=command.identity
    )
    waits = bool(run.actor.next_run_id) and not command.run_id
    if not run.state.is_open and not waits:
        return closed(run)
    steps = terminating(run, ended)
    run_id = steps[-1].run_id
    answer = Accepted(
        workflow_id=run.state.workflow_id, run_id=run_id, first_run_id=run.state.first_run_id
    )
    return Decision(steps, answer, run_id)


def check_continued(world: World, _run: RunView, outputs: list[Record]) -> str:
    """Why the next run the code asked for cannot be had; empty when it can."""
    for output in outputs:
        if not isinstance(output, WorkflowContinuedAsNew):
            continue
        values = [*output.input, *output.memo.values(), *output.search_attributes.values()]
        size = sum(len(payload.data) for payload in values)
        if size > world.limits.payload_bytes_max:
            return (
                f"the next run is given {size} bytes; {world.limits.payload_bytes_max} is the"
                f" most ({output.call_site})"
            )
        problem = too_large(world, output.memo, output.search_attributes)
        if problem:
            return f"{problem} ({output.call_site})"
        if output.task_queue not in ("", world.task_queue):
            return (
                f"the next run cannot move to task queue {output.task_queue!r}: a workflow id stays"
                f" on its queue, here {world.task_queue!r}. Start a child there that is abandoned"
                f" when its parent closes, and return ({output.call_site})"
            )
    return ""


def decide_continued(
    world: World, _run: RunView, output: WorkflowContinuedAsNew, _now_ms: int
) -> WorkflowContinuedAsNew:
    """The next run gets its id."""
    return replace(output, new_run_id=world.new_run_id())


def decide_run_alarm(world: World, run: RunView, _id: str, now_ms: int) -> Due | Later:
    """A start delay is over, or a run has outlived its time."""
    state = run.state
    if not state.is_open:
        return Later()
    if state.execution_expires_ms and state.execution_expires_ms <= now_ms:
        timed_out = WorkflowTimedOut(timeout_type="execution", retry_state=retry.TIMEOUT)
        return Due([timed_out], refutable=True, at_ms=state.execution_expires_ms)
    if state.run_expires_ms and state.run_expires_ms <= now_ms:
        cause = FailureCause(kind="timeout", timeout_type="start_to_close")
        retry_state, delay_ms = plan_next(run, Failure(chain=[cause]), now_ms)
        event = WorkflowTimedOut(
            timeout_type="run",
            retry_state=retry_state,
            next_run_id=world.new_run_id() if delay_ms >= 0 else "",
            next_run_delay_ms=delay_ms,
        )
        return Due([event], refutable=True, at_ms=state.run_expires_ms)
    if state.begin_ms and state.begin_ms <= now_ms:
        return Due([TimerFired(timer_id="")])
    return Later(state.alarm_ms if state.alarm_ms > now_ms else 0)


def apply_started(run: Run, event: WorkflowStarted, _at: RecordId, _now_ms: int) -> None:
    """open_run has taken all of it, but for the children that the run before left."""
    run.touched.add(("started", ""))
    if event.reset is None or event.reset.seq <= 1:
        take_over(run, event.children)


def apply_cancel_requested(
    run: Run, _event: WorkflowCancelRequested, _at: RecordId, _now_ms: int
) -> None:
    """Remember it, so that a second ask changes nothing."""
    run.state.cancel_requested = True


def apply_blocked(run: Run, event: WorkflowBlocked, _at: RecordId, now_ms: int) -> None:
    """The code cannot go on; inputs wait from the one it could not take."""
    state = run.state
    state.block = event
    state.blocked_ms = state.blocked_ms or now_ms
    if event.input_seq and event.input_seq not in state.waiting:
        state.waiting = sorted([*state.waiting, event.input_seq])


def apply_resumed(run: Run, event: WorkflowResumed, _at: RecordId, _now_ms: int) -> None:
    """The code takes an input that waited."""
    state = run.state
    state.waiting = [seq for seq in state.waiting if seq != event.input_seq]
    if not state.waiting:
        state.block = None
        state.blocked_ms = 0


def apply_completed(run: Run, event: WorkflowCompleted, _at: RecordId, now_ms: int) -> None:
    """The run returned."""
    closing = Closing(COMPLETED, now_ms, result=event.result, next_run_id=event.next_run_id)
    _close(run, closing)
    if event.next_run_id:
        follow_cron(run, event.next_run_id, now_ms, event.next_run_delay_ms, result=event.result)


def apply_failed(run: Run, event: WorkflowFailed, _at: RecordId, now_ms: int) -> None:
    """The run failed; another may follow."""
    _close(run, Closing(FAILED, now_ms, failure=event.failure, next_run_id=event.next_run_id))
    if event.next_run_id:
        follow_failed(run, event, event.failure, now_ms)


def apply_canceled(run: Run, event: WorkflowCanceled, _at: RecordId, now_ms: int) -> None:
    """The run ended cancelled."""
    cause = FailureCause(kind="canceled", message="workflow cancelled", details=event.details)
    _close(run, Closing(CANCELED, now_ms, failure=Failure(chain=[cause])))


def apply_terminated(run: Run, event: WorkflowTerminated, _at: RecordId, now_ms: int) -> None:
    """The run was ended; after a reset another goes on in its place."""
    cause = FailureCause(
        kind="terminated",
        message=event.reason or "workflow terminated",
        details=event.details,
        identity=event.identity,
    )
    failure = Failure(chain=[cause])
    _close(run, Closing(TERMINATED, now_ms, failure=failure, next_run_id=event.next_run_id))
    if event.reset is not None:
        run.actor.next_run_id = event.next_run_id
        run.actor.alarm_ms = max(now_ms, 1)
        run.actor.next_start = reset_started(run.started, event.reset, now_ms)


def apply_timed_out(run: Run, event: WorkflowTimedOut, _at: RecordId, now_ms: int) -> None:
    """The run outlived its time; another may follow."""
    cause = FailureCause(
        kind="timeout",
        message=f"workflow {event.timeout_type} timeout",
        timeout_type="start_to_close",
    )
    failure = Failure(chain=[cause])
    _close(run, Closing(TIMED_OUT, now_ms, failure=failure, next_run_id=event.next_run_id))
    if event.next_run_id:
        follow_failed(run, event, failure, now_ms)


def apply_continued_as_new(
    run: Run, event: WorkflowContinuedAsNew, _at: RecordId, now_ms: int
) -> None:
    """The run ended by starting the next one."""
    kept = carried_children(run) if event.keeps_children else []
    _close(run, Closing(CONTINUED_AS_NEW, now_ms, next_run_id=event.new_run_id))
    before = run.started
    run.actor.next_run_id = event.new_run_id
    run.actor.alarm_ms = now_ms + event.delay_ms
    run.actor.next_start = replace(
        before,
        workflow_type=event.workflow_type or before.workflow_type,
        input=event.input,
        attempt=1,
        run_timeout_ms=event.run_timeout_ms or before.run_timeout_ms,
        task_timeout_ms=event.task_timeout_ms or before.task_timeout_ms,
        retry_policy=event.retry_policy or before.retry_policy,
        memo=event.memo or run.memo,
        search_attributes=event.search_attributes or carried_attributes(run),
        header=with_trace_of(event.header, before.header) if event.header else before.header,
        first_activation_delay_ms=0,
        signals=[],
        update=None,
        children=kept,
        continued_run_id=run.state.run_id,
        initiator="workflow",
        last_failure=None,
    )


def _close(run: Run, closing: Closing) -> None:
    state = run.state
    state.status = closing.status
    state.closing = closing
    state.alarm_ms = 0
    state.block = None
    state.waiting = []
    state.parked = []
    state.parked_ms = 0
    run.drop_all()
