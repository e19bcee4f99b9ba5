"""Children of a run: asked for, asked to cancel, and what its end means for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from perdure_actors.core.child_reports import REPORT_BYTES_MAX
from perdure_actors.core.decision import SendCommand
from perdure_actors.core.start import start_command
from perdure_actors.core.state import CANCEL, CallState, ChildState, RecordId, Run
from perdure_schemas.child_events import (
    ChildCancelRequested,
    ChildWorkflowCanceled,
    ChildWorkflowCompleted,
    ChildWorkflowFailed,
    ChildWorkflowInitiated,
    ChildWorkflowStarted,
    ChildWorkflowStartFailed,
    ChildWorkflowTerminated,
    ChildWorkflowTimedOut,
)
from perdure_schemas.commands import CancelWorkflow, TerminateWorkflow
from perdure_schemas.events import WorkflowContinuedAsNew, WorkflowTerminated
from perdure_schemas.payloads import CarriedChild, ExternalCall, RunRef
from perdure_schemas.tracing import beneath

if TYPE_CHECKING:
    from collections.abc import Sequence

    from perdure_actors.core.decision import Effect
    from perdure_actors.core.world import RunView, World
    from perdure_schemas.payloads import Record

TERMINATE = "terminate"
REQUEST_CANCEL = "request_cancel"
WAIT_REQUESTED = "wait_cancellation_requested"
CANCEL_CALL = "cancel-child-"
"""The call by which a parent hears that its child was asked to cancel, before the child's id."""


def check_children(world: World, run: RunView, outputs: list[Record]) -> str:
    """Why the children the code asked for cannot be had; empty when they can."""
    asked = [output for output in outputs if isinstance(output, ChildWorkflowInitiated)]
    if len(run.children) + len(asked) > world.limits.children_max:
        return (
            f"the code has {len(run.children)} children pending and asks for {len(asked)};"
            f" {world.limits.children_max} is the most: await some before asking for more"
        )
    for output in asked:
        values = [*output.input, *output.memo.values(), *output.search_attributes.values()]
        size = sum(len(payload.data) for payload in [*values, *output.header.values()])
        if size > REPORT_BYTES_MAX:
            return (
                f"child workflow {output.workflow_type} is given {size} bytes;"
                f" {REPORT_BYTES_MAX} is the most: pass references ({output.call_site})"
            )
    return ""


def decide_initiated(
    world: World, _run: RunView, output: ChildWorkflowInitiated, _now_ms: int
) -> Record:
    """A child the code asked for, on the run's own queue unless it named another."""
    return output if output.task_queue else replace(output, task_queue=world.task_queue)


def apply_initiated(run: Run, event: ChildWorkflowInitiated, _at: RecordId, _now_ms: int) -> None:
    """Remember the child; its start is on its way."""
    run.children[event.child_id] = ChildState(
        child_id=event.child_id,
        workflow_id=event.workflow_id,
        workflow_type=event.workflow_type,
        task_queue=event.task_queue,
        parent_close_policy=event.parent_close_policy,
        cancellation_type=event.cancellation_type,
        initiated_seq=run.state.seq,
    )
    run.touched.add(("child", event.child_id))


def apply_started(run: Run, event: ChildWorkflowStarted, _at: RecordId, _now_ms: int) -> None:
    """The child runs."""
    run.children[event.child_id] = replace(run.children[event.child_id], run_id=event.run_id)
    run.touched.add(("child", event.child_id))


def apply_cancel_requested(
    run: Run, event: ChildCancelRequested, _at: RecordId, _now_ms: int
) -> None:
    """The child should stop; one that ended while its parent was blocked is left as it is."""
    child = run.children.get(event.child_id)
    if child is not None:
        run.children[event.child_id] = replace(child, cancel_requested=True)
        run.touched.add(("child", event.child_id))
        if child.cancellation_type == WAIT_REQUESTED:
            call_id = CANCEL_CALL + child.child_id
            target = RunRef(workflow_id=child.workflow_id, task_queue=child.task_queue)
            run.calls[call_id] = CallState(call_id, CANCEL, target, run.state.seq)
            run.touched.add(("call", call_id))


def apply_outcome(
    run: Run,
    event: ChildWorkflowStartFailed
    | ChildWorkflowCompleted
    | ChildWorkflowFailed
    | ChildWorkflowCanceled
    | ChildWorkflowTimedOut
    | ChildWorkflowTerminated,
    _at: RecordId,
    _now_ms: int,
) -> None:
    """The child has its one outcome."""
    run.drop("child", event.child_id)


def effects_of_initiated(
    run: RunView, event: ChildWorkflowInitiated, _at: RecordId, _now_ms: int
) -> list[Effect]:
    """The child's start."""
    me = run.ref()
    start = replace(
        start_command(run, event),
        header=beneath(event.header, run.started, me.run_id, run.state.seq + 1),
        parent=me,
        parent_initiated_seq=run.state.seq + 1,
        root=run.started.root or me,
        parent_close_policy=event.parent_close_policy,
        child_id=event.child_id,
        last_result=event.last_result,
        last_failure=event.last_failure,
    )
    return [SendCommand(event.task_queue, start)]


def effects_of_cancel_requested(
    run: RunView, event: ChildCancelRequested, _at: RecordId, _now_ms: int
) -> list[Effect]:
    """The child is asked to cancel itself, or ended at once."""
    child = run.children.get(event.child_id)
    if child is None:
        return []
    if event.terminate:
        return [_terminate(run, child, event.reason)]
    call = CANCEL_CALL + child.child_id if child.cancellation_type == WAIT_REQUESTED else ""
    return [_cancel(run, child, event.reason, call)]


def _cancel(run: RunView, child: ChildState, reason: str, call_id: str = "") -> SendCommand:
    me = run.ref()
    command = CancelWorkflow(
        workflow_id=child.workflow_id,
        reason=reason,
        identity=f"{me.workflow_id}/{me.run_id}",
        child_of=_parent_of(run, child),
        external=ExternalCall(run=me, call_id=call_id) if call_id else None,
    )
    return SendCommand(child.task_queue, command)


def carried_children(run: RunView) -> list[CarriedChild]:
    """The children without an outcome, as the run that follows takes them over."""
    return [
        CarriedChild(
            child_id=child.child_id,
            workflow_id=child.workflow_id,
            workflow_type=child.workflow_type,
            task_queue=child.task_queue,
            run_id=child.run_id,
            parent_run_id=child.parent_run_id or run.state.run_id,
            parent_close_policy=child.parent_close_policy,
            cancellation_type=child.cancellation_type,
            cancel_requested=child.cancel_requested,
        )
        for child in run.children.values()
    ]


def take_over(run: Run, children: Sequence[CarriedChild]) -> None:
    """Remember the children that the run before left to this one."""
    for child in children:
        run.children[child.child_id] = ChildState(
            child_id=child.child_id,
            workflow_id=child.workflow_id,
            workflow_type=child.workflow_type,
            task_queue=child.task_queue,
            parent_close_policy=child.parent_close_policy,
            cancellation_type=child.cancellation_type,
            initiated_seq=run.state.seq,
            run_id=child.run_id,
            cancel_requested=child.cancel_requested,
            parent_run_id=child.parent_run_id,
        )
        run.touched.add(("child", child.child_id))


def effects_of_closing(run: RunView, event: Record, _at: RecordId, _now_ms: int) -> list[Effect]:
    """What the end of a run means for its children: nothing where the next run takes them over."""
    if isinstance(event, WorkflowContinuedAsNew) and event.keeps_children:
        return []
    origin = event.reset if isinstance(event, WorkflowTerminated) else None
    kept_seq = origin.seq if origin is not None else 0
    return [
        _close_policy(run, child)
        for child in run.children.values()
        if child.parent_close_policy in (TERMINATE, REQUEST_CANCEL)
        and child.initiated_seq > kept_seq
    ]


def _parent_of(run: RunView, child: ChildState) -> RunRef:
    """The run as the child knows its parent."""
    me = run.ref()
    return replace(me, run_id=child.parent_run_id) if child.parent_run_id else me


def _close_policy(run: RunView, child: ChildState) -> SendCommand:
    if child.parent_close_policy == REQUEST_CANCEL:
        return _cancel(run, child, "its parent has closed")
    return _terminate(run, child, "its parent has closed")


def _terminate(run: RunView, child: ChildState, reason: str) -> SendCommand:
    me = run.ref()
    command = TerminateWorkflow(
        workflow_id=child.workflow_id,
        reason=reason,
        identity=f"{me.workflow_id}/{me.run_id}",
        child_of=_parent_of(run, child),
    )
    return SendCommand(child.task_queue, command)
