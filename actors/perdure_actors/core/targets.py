"""Which run a command is about: the named one, the newest, or one that is to follow at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure_actors.core.decision import Decision, Rejection
from perdure_actors.core.start import starting_now

if TYPE_CHECKING:
    from perdure_actors.core.world import RunView, World
    from perdure_schemas.command_headers import RunCommand
    from perdure_schemas.payloads import RunRef


def named_run(world: World, workflow_id: str, run_id: str = "") -> RunView | Rejection:
    """A run of a workflow, open or not: the named one, or the newest."""
    run = world.run(run_id) if run_id else world.current(workflow_id)
    if run is not None and run.state.workflow_id == workflow_id:
        return run
    which = f" run {run_id}" if run_id else ""
    return Rejection(
        "not_found",
        f"no workflow {workflow_id!r}{which} on task queue {world.task_queue!r}",
    )


def target(world: World, command: RunCommand) -> RunView | Rejection:
    """The run a command is about, open or not."""
    run = named_run(world, command.workflow_id, command.run_id)
    if isinstance(run, Rejection):
        return run
    first = run.state.first_run_id or run.state.run_id
    if command.first_run_id and command.first_run_id != first:
        return Rejection(
            "not_found",
            f"workflow {command.workflow_id!r} is not of the chain that began with run"
            f" {command.first_run_id}",
        )
    parent = command.child_of
    if parent is not None and not _is_child(run, parent):
        return Rejection(
            "not_found",
            f"workflow {command.workflow_id!r} is no child of workflow {parent.workflow_id!r}",
        )
    return run


def _is_child(run: RunView, parent: RunRef) -> bool:
    mine = run.started.parent
    return mine is not None and (mine.workflow_id, mine.run_id) == (
        parent.workflow_id,
        parent.run_id,
    )


def closed(run: RunView) -> Rejection:
    """The refusal of what comes too late."""
    return Rejection(
        "closed",
        f"workflow {run.state.workflow_id!r} is {run.state.status} already",
        run.state.run_id,
        run.state.status,
    )


def open_target(world: World, command: RunCommand, now_ms: int) -> RunView | Decision | Rejection:
    """The open run a command is about.

    A run that is to follow a closed one starts first; then the command is decided again.
    """
    newest = world.current(command.workflow_id)
    follows = newest.actor.next_run_id if newest is not None and not newest.state.is_open else ""
    if newest is not None and follows and command.run_id in ("", follows):
        return Decision([starting_now(newest, now_ms)], again=command)
    run = target(world, command)
    if isinstance(run, Rejection):
        return run
    return run if run.state.is_open else closed(run)
