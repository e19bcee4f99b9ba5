"""What a parent and a child tell each other: reports sent when a run begins or ends, and taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from perdure_actors.core.decision import Decision, Ignored, Rejection, SendCommand, Step
from perdure_actors.core.start import starting_now
from perdure_actors.core.state import (
    CANCELED,
    COMPLETED,
    FAILED,
    TERMINATED,
    TIMED_OUT,
    ChildState,
    RecordId,
)
from perdure_schemas.bounds import MESSAGE_CHARS_MAX, cut, fit_failure
from perdure_schemas.child_commands import (
    ReportChildClosed,
    ReportChildRefused,
    ReportChildStarted,
)
from perdure_schemas.child_events import (
    ChildWorkflowCanceled,
    ChildWorkflowCompleted,
    ChildWorkflowFailed,
    ChildWorkflowStarted,
    ChildWorkflowStartFailed,
    ChildWorkflowTerminated,
    ChildWorkflowTimedOut,
)
from perdure_schemas.events import (
    WorkflowCanceled,
    WorkflowCompleted,
    WorkflowContinuedAsNew,
    WorkflowFailed,
    WorkflowTerminated,
    WorkflowTimedOut,
)
from perdure_schemas.payloads import Failure, FailureCause

if TYPE_CHECKING:
    from collections.abc import Sequence

    from perdure_actors.core.decision import Effect, Verdict
    from perdure_actors.core.world import RunView, World
    from perdure_schemas.commands import StartWorkflow
    from perdure_schemas.events import WorkflowStarted
    from perdure_schemas.payloads import Record

    Report = ReportChildStarted | ReportChildRefused | ReportChildClosed
    Closing = (
        WorkflowCompleted
        | WorkflowFailed
        | WorkflowCanceled
        | WorkflowTerminated
        | WorkflowTimedOut
        | WorkflowContinuedAsNew
    )

REPORT_BYTES_MAX = 900 * 1024
"""What a command to another actor may carry; the commands topic takes 1 MiB a record."""


def decide_report_started(world: World, command: ReportChildStarted, now_ms: int) -> Verdict:
    """A child runs."""
    found = _child(world, command, now_ms)
    if not isinstance(found, tuple):
        return found
    run, child = found
    if child.run_id:
        return Ignored("a child that is known to run")
    return _decided(run, ChildWorkflowStarted(child_id=child.child_id, run_id=command.child.run_id))


def decide_report_refused(world: World, command: ReportChildRefused, now_ms: int) -> Verdict:
    """A child could not be started."""
    found = _child(world, command, now_ms)
    if not isinstance(found, tuple):
        return found
    run, child = found
    if child.run_id:
        return Ignored("a refusal of a child that runs")
    event = ChildWorkflowStartFailed(
        child_id=child.child_id, code=command.code, message=command.message
    )
    return _decided(run, event)


def decide_report_closed(world: World, command: ReportChildClosed, now_ms: int) -> Verdict:
    """A child, with all runs that followed each other, has ended."""
    found = _child(world, command, now_ms)
    if not isinstance(found, tuple):
        return found
    run, child = found
    ended = _ended(command)
    if child.run_id:
        return _decided(run, ended)
    # It was not heard of before; an input is a transition of its own.
    began = ChildWorkflowStarted(child_id=child.child_id, run_id=command.child.run_id)
    run_id = run.state.run_id
    return Decision([Step(run_id, [began]), Step(run_id, [ended])], run_id=run_id)


def _child(
    world: World, command: Report, now_ms: int
) -> tuple[RunView, ChildState] | Ignored | Decision:
    """The open run and the child without an outcome that a report is about.

    A run that has taken the child over from the one that asked for it starts first, where it is
    yet to follow; then the report is decided again.
    """
    run = world.run(command.run_id)
    if run is None or not run.state.is_open:
        return _taken_over(world, command, now_ms)
    if run.state.workflow_id != command.workflow_id:
        return Ignored("a child of no run here")
    child = run.children.get(command.child_id)
    return (run, child) if child is not None else Ignored("a child that has its outcome")


def _taken_over(
    world: World, command: Report, now_ms: int
) -> tuple[RunView, ChildState] | Ignored | Decision:
    newest = world.current(command.workflow_id)
    if newest is None:
        return Ignored("a child of no run here")
    key = command.run_id, command.child_id
    if not newest.state.is_open:
        following = newest.actor.next_start
        left = following.children if following is not None else ()
        waits = key in ((child.parent_run_id, child.child_id) for child in left)
        if waits or goes_on_by_reset(following):
            return Decision([starting_now(newest, now_ms)], again=command)
        return Ignored("a child of a closed run")
    child = newest.children.get(command.child_id)
    if child is None or child.parent_run_id != command.run_id:
        return Ignored("a child of a closed run")
    return newest, child


def goes_on_by_reset(following: WorkflowStarted | None) -> bool:
    """Whether the run that is to follow goes on from an event, and has what was waited for then."""
    return following is not None and following.reset is not None


def _decided(run: RunView, event: Record) -> Decision:
    return Decision([Step(run.state.run_id, [event])], run_id=run.state.run_id)


def _ended(command: ReportChildClosed) -> Record:
    child_id, run_id = command.child_id, command.child.run_id
    failure = command.failure or Failure()
    details = failure.chain[0].details if failure.chain else []
    if command.status == COMPLETED:
        return ChildWorkflowCompleted(child_id=child_id, run_id=run_id, result=command.result)
    if command.status == CANCELED:
        return ChildWorkflowCanceled(child_id=child_id, run_id=run_id, details=details)
    if command.status == TIMED_OUT:
        return ChildWorkflowTimedOut(
            child_id=child_id, run_id=run_id, retry_state=command.retry_state
        )
    if command.status == TERMINATED:
        reason = failure.chain[0].message if failure.chain else ""
        return ChildWorkflowTerminated(child_id=child_id, run_id=run_id, reason=reason)
    return ChildWorkflowFailed(
        child_id=child_id, run_id=run_id, failure=failure, retry_state=command.retry_state
    )


def errands_of_start(
    _world: World, command: StartWorkflow, verdict: Decision | Rejection
) -> Sequence[SendCommand]:
    """A parent is told that its child was refused; that it runs, the child's first event tells."""
    parent = command.parent
    if parent is None or not isinstance(verdict, Rejection):
        return ()
    report = ReportChildRefused(
        workflow_id=parent.workflow_id,
        run_id=parent.run_id,
        child_id=command.child_id,
        code=verdict.code,
        message=cut(verdict.message, MESSAGE_CHARS_MAX),
    )
    return (SendCommand(parent.task_queue, report),)


def effects_of_run_started(
    run: RunView, event: WorkflowStarted, _at: RecordId, _now_ms: int
) -> list[Effect]:
    """The parent is told of the first run of its child; those that follow are no news to it."""
    parent = event.parent
    if parent is None or event.continued_run_id:
        return []
    report = ReportChildStarted(
        workflow_id=parent.workflow_id,
        run_id=parent.run_id,
        child_id=event.child_id,
        child=run.ref(),
    )
    return [SendCommand(parent.task_queue, report)]


def effects_of_closing(run: RunView, event: Closing, _at: RecordId, _now_ms: int) -> list[Effect]:
    """The parent is told how its child ended, once no other run follows."""
    parent = run.started.parent
    ended = _outcome(event)
    if parent is None or ended is None:
        return []
    report = ReportChildClosed(
        workflow_id=parent.workflow_id,
        run_id=parent.run_id,
        child_id=run.started.child_id,
        child=run.ref(),
        **ended,
    )
    return [SendCommand(parent.task_queue, report)]


def _outcome(event: Closing) -> dict[str, Any] | None:
    """What a parent is told of a closing event; None when another run follows."""
    if isinstance(event, WorkflowContinuedAsNew):
        return None
    if not isinstance(event, WorkflowCanceled) and event.next_run_id:
        return None
    if isinstance(event, WorkflowCompleted):
        return {"status": COMPLETED, "result": event.result}
    if isinstance(event, WorkflowFailed):
        failure = fit_failure(event.failure, REPORT_BYTES_MAX)
        return {"status": FAILED, "failure": failure, "retry_state": event.retry_state}
    if isinstance(event, WorkflowTimedOut):
        return {"status": TIMED_OUT, "retry_state": event.retry_state}
    if isinstance(event, WorkflowTerminated):
        cause = FailureCause(kind="terminated", message=cut(event.reason, MESSAGE_CHARS_MAX))
        return {"status": TERMINATED, "failure": Failure(chain=[cause])}
    cause = FailureCause(kind="canceled", message="workflow cancelled", details=event.details)
    return {"status": CANCELED, "failure": fit_failure(Failure(chain=[cause]), REPORT_BYTES_MAX)}
