"""A start that brings a message: a signal for a run's first moment, or an update."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from perdure_actors.core import start
from perdure_actors.core.decision import Decision, Rejection
from perdure_actors.core.messages import accepted_of, bad_name, bad_update, signal_open
from perdure_schemas.message_commands import UpdateWorkflow
from perdure_schemas.message_events import WorkflowSignaled
from perdure_schemas.replies import Accepted

if TYPE_CHECKING:
    from perdure_actors.core.decision import Verdict
    from perdure_actors.core.world import RunView, World
    from perdure_schemas.commands import StartWorkflow


def decide_start(world: World, command: StartWorkflow, now_ms: int) -> Verdict:
    """A start, with its signals and its update; a run that is open takes these instead."""
    if not command.signals and command.update is None:
        return start.decide_start(world, command, now_ms)
    problem = _bad_messages(command)
    if problem:
        return Rejection("invalid", problem)
    current = world.current(command.workflow_id)
    if current is not None and not _replaces(command):
        if current.state.is_open:
            return _messages_to(world, current, command, now_ms)
        if current.actor.next_run_id:
            return Decision([start.starting_now(current, now_ms)], again=command)
    verdict = start.decide_start(world, command, now_ms)
    if command.update is None or not isinstance(verdict, Decision):
        return verdict
    return Decision(
        verdict.steps, verdict.answer, verdict.run_id, again=_update_of(command, verdict.run_id)
    )


def _bad_messages(command: StartWorkflow) -> str:
    if len(command.signals) > 1:
        # An open run takes each in a transition of its own, and its host may die between them.
        return f"a start brings one signal; this one has {len(command.signals)}"
    for signal in command.signals:
        problem = bad_name("the name of a signal", signal.signal_name)
        if problem:
            return problem
    update = command.update
    if update is None:
        return ""
    if command.signals:
        return "a start brings signals or an update, not both"
    return bad_update(update)


def _replaces(command: StartWorkflow) -> bool:
    return (
        command.id_conflict_policy == "terminate_existing"
        or command.id_reuse_policy == "terminate_if_running"
    )


def _messages_to(world: World, run: RunView, command: StartWorkflow, now_ms: int) -> Verdict:
    """The messages of a start whose workflow runs already."""
    if command.update is not None:
        return _update_to(world, run, command, now_ms)
    first = command.signals[0]
    event = WorkflowSignaled(
        signal_name=first.signal_name,
        input=first.input,
        header=first.header,
        identity=first.identity or command.identity,
        request_id=first.request_id or command.request_id,
    )
    return signal_open(world, run, event)


def _update_to(world: World, run: RunView, command: StartWorkflow, now_ms: int) -> Verdict:
    update = _update_of(command, run.state.run_id)
    event = accepted_of(update)
    # A host may have died between the record of the start and that of its update.
    is_own = bool(command.request_id) and command.request_id == run.started.request_id
    uses = is_own or command.id_conflict_policy == "use_existing"
    if event.update_id not in run.updates and not uses:
        return start.decide_start(world, command, now_ms)
    found = Accepted(
        workflow_id=run.state.workflow_id,
        run_id=run.state.run_id,
        first_run_id=run.state.first_run_id,
        started=is_own,
    )
    return Decision([], found, run.state.run_id, again=update)


def _update_of(command: StartWorkflow, run_id: str) -> UpdateWorkflow:
    update = command.update
    assert update is not None, "asked of a start that brings an update"
    reply = command.reply
    return UpdateWorkflow(
        workflow_id=command.workflow_id,
        run_id=run_id,
        update_name=update.update_name,
        update_id=update.update_id,
        input=update.input,
        header=update.header,
        request_id=command.request_id,
        identity=command.identity,
        reply=replace(reply, wait=update.wait_stage) if reply else None,
    )
