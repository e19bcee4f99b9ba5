"""Calls of other workflows by a run: a signal, a cancel or a start sent, and what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from perdure_actors.core.child_reports import REPORT_BYTES_MAX, goes_on_by_reset
from perdure_actors.core.decision import Decision, Ignored, Rejection, SendCommand, Step
from perdure_actors.core.start import start_command, starting_now
from perdure_actors.core.state import CANCEL, SIGNAL, START, CallState, RecordId, Run
from perdure_schemas.bounds import MESSAGE_CHARS_MAX, cut
from perdure_schemas.child_commands import ReportCall
from perdure_schemas.child_events import (
    CallInitiated,
    ExternalCancelFailed,
    ExternalCancelInitiated,
    ExternalCancelRequested,
    ExternalSignaled,
    ExternalSignalFailed,
    ExternalSignalInitiated,
    ExternalStarted,
    ExternalStartFailed,
    ExternalStartInitiated,
)
from perdure_schemas.commands import CancelWorkflow, StartWorkflow
from perdure_schemas.message_commands import SignalWorkflow
from perdure_schemas.payloads import ExternalCall, RunRef

if TYPE_CHECKING:
    from collections.abc import Sequence

    from perdure_actors.core.decision import Effect, Verdict
    from perdure_actors.core.world import RunView, World
    from perdure_schemas.child_events import CallAnswered
    from perdure_schemas.payloads import Payload, Record

    Called = SignalWorkflow | CancelWorkflow | StartWorkflow

OUTCOMES: dict[str, tuple[type[Record], type[Record]]] = {
    CANCEL: (ExternalCancelRequested, ExternalCancelFailed),
    SIGNAL: (ExternalSignaled, ExternalSignalFailed),
    START: (ExternalStarted, ExternalStartFailed),
}
"""A call's kind -> the event of its success, and that of its failure."""


def decide_report(world: World, command: ReportCall, now_ms: int) -> Verdict:
    """A call was answered: to the run that made it, or one that goes on from an event of it."""
    run = world.run(command.run_id)
    if run is None or run.state.workflow_id != command.workflow_id:
        return Ignored("a call of no run here")
    if not run.state.is_open:
        newest = world.current(command.workflow_id)
        assert newest is not None, "a workflow with a run has a newest one"
        if not newest.state.is_open and goes_on_by_reset(newest.actor.next_start):
            return Decision([starting_now(newest, now_ms)], again=command)
        taken = newest.calls.get(command.call_id)
        if taken is None or taken.caller_run_id != command.run_id:
            return Ignored("a call of a closed run")
        run = newest
    call = run.calls.get(command.call_id)
    if call is None:
        return Ignored("a call that is answered")
    done, failed = OUTCOMES[call.kind]
    if command.code:
        event = failed(call_id=call.call_id, code=command.code, message=command.message)
    else:
        event = done(call_id=call.call_id, run_id=command.target_run_id)
    return Decision([Step(run.state.run_id, [event])], run_id=run.state.run_id)


def errands_of_call(
    _world: World, command: Called, verdict: Decision | Rejection
) -> Sequence[SendCommand]:
    """A run that called is told what became of it."""
    call = command.external
    if call is None:
        return ()
    refusal = verdict if isinstance(verdict, Rejection) else None
    report = ReportCall(
        workflow_id=call.run.workflow_id,
        run_id=call.run.run_id,
        call_id=call.call_id,
        code=refusal.code if refusal else "",
        message=cut(refusal.message, MESSAGE_CHARS_MAX) if refusal else "",
        target_run_id=verdict.run_id,
    )
    return (SendCommand(call.run.task_queue, report),)


def check_calls(world: World, run: RunView, outputs: list[Record]) -> str:
    """Why the calls the code asked for cannot be had; empty when they can."""
    asked = [output for output in outputs if isinstance(output, CallInitiated)]
    if len(run.calls) + len(asked) > world.limits.calls_max:
        return (
            f"the code has {len(run.calls)} calls of other workflows pending and asks for"
            f" {len(asked)}; {world.limits.calls_max} is the most: await some first"
        )
    for output in asked:
        size = sum(len(payload.data) for payload in _given(output))
        if size > REPORT_BYTES_MAX:
            return (
                f"{_named(output)} is given {size} bytes; {REPORT_BYTES_MAX} is the most: pass"
                f" references ({output.call_site})"
            )
    return ""


def _given(output: CallInitiated) -> list[Payload]:
    """What a call carries that its caller chose the size of."""
    if isinstance(output, ExternalCancelInitiated):
        return []
    given = [*output.input, *output.header.values()]
    if isinstance(output, ExternalStartInitiated):
        given += [*output.memo.values(), *output.search_attributes.values()]
        for signal in output.signals:
            given += [*signal.input, *signal.header.values()]
    return given


def _named(output: CallInitiated) -> str:
    if isinstance(output, ExternalSignalInitiated):
        return f"signal {output.signal_name!r}"
    return f"workflow {output.target.workflow_id!r}"


def decide_initiated(
    world: World,
    _run: RunView,
    output: ExternalCancelInitiated | ExternalSignalInitiated,
    _now_ms: int,
) -> Record:
    """A call the code asked for, on the run's own queue unless it named another."""
    return replace(output, target=on_queue(world, output.target))


def decide_start_initiated(
    world: World, _run: RunView, output: ExternalStartInitiated, _now_ms: int
) -> Record:
    """A start the code asked for, on the run's own queue unless it named another."""
    return replace(output, task_queue=output.task_queue or world.task_queue)


def on_queue(world: World, target: RunRef) -> RunRef:
    """Whom a call is for, with the run's own task queue where it names none."""
    return target if target.task_queue else replace(target, task_queue=world.task_queue)


def apply_cancel_initiated(
    run: Run, event: ExternalCancelInitiated, _at: RecordId, _now_ms: int
) -> None:
    """Remember the call until it is answered."""
    await_answer(run, event.call_id, CANCEL, event.target)


def apply_signal_initiated(
    run: Run, event: ExternalSignalInitiated, _at: RecordId, _now_ms: int
) -> None:
    """Remember the call until it is answered."""
    await_answer(run, event.call_id, SIGNAL, event.target)


def apply_start_initiated(
    run: Run, event: ExternalStartInitiated, _at: RecordId, _now_ms: int
) -> None:
    """Remember the call until it is answered."""
    await_answer(run, event.call_id, START, event.target)


def await_answer(run: Run, call_id: str, kind: str, target: RunRef) -> None:
    """Remember a call until it is answered."""
    run.calls[call_id] = CallState(call_id, kind, target, run.state.seq)
    run.touched.add(("call", call_id))


def apply_answered(
    run: Run,
    event: CallAnswered,
    _at: RecordId,
    _now_ms: int,
) -> None:
    """The call has its one answer."""
    run.drop("call", event.call_id)


def effects_of_cancel_initiated(
    run: RunView, event: ExternalCancelInitiated, _at: RecordId, _now_ms: int
) -> list[Effect]:
    """The cancel itself."""
    me, target = run.ref(), event.target
    command = CancelWorkflow(
        workflow_id=target.workflow_id,
        run_id=target.run_id,
        reason=event.reason,
        identity=f"{me.workflow_id}/{me.run_id}",
        external=ExternalCall(run=me, call_id=event.call_id),
    )
    return [SendCommand(target.task_queue, command)]


def effects_of_signal_initiated(
    run: RunView, event: ExternalSignalInitiated, _at: RecordId, _now_ms: int
) -> list[Effect]:
    """The signal itself; one to a child is taken by no other workflow of its id."""
    me, target = run.ref(), event.target
    command = SignalWorkflow(
        workflow_id=target.workflow_id,
        run_id=target.run_id,
        signal_name=event.signal_name,
        input=event.input,
        header=event.header,
        identity=f"{me.workflow_id}/{me.run_id}",
        external=ExternalCall(run=me, call_id=event.call_id),
        child_of=_parent_of(run, event.child_id) if event.child_id else None,
    )
    return [SendCommand(target.task_queue, command)]


def _parent_of(run: RunView, child_id: str) -> RunRef:
    """The run as a child knows its parent: one that another left to it knows that one."""
    child, me = run.children.get(child_id), run.ref()
    left_by = child.parent_run_id if child is not None else ""
    return replace(me, run_id=left_by) if left_by else me


def effects_of_start_initiated(
    run: RunView, event: ExternalStartInitiated, _at: RecordId, _now_ms: int
) -> list[Effect]:
    """The start itself, of a workflow that is no child."""
    command = replace(
        start_command(run, event),
        id_conflict_policy=event.id_conflict_policy,
        start_delay_ms=event.start_delay_ms,
        signals=event.signals,
        external=ExternalCall(run=run.ref(), call_id=event.call_id),
    )
    return [SendCommand(event.task_queue, command)]
