"""Which run a command is about: the named one, the newest, or one that is to follow at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from perdure_actors.core.decision import Decision, Rejection
from perdure_actors.core.start import starting_now

if TYPE_CHECKING:
    from perdure_actors.core.decision import World
    from perdure_actors.core.state import Run
    from perdure_schemas.payloads import Record, RunRef


class Addressed(Protocol):
    """What a command says of the run it is about."""

    @property
    def workflow_id(self) -> str:
        """The workflow."""

    @property
    def run_id(self) -> str:
        """The run; empty for the newest."""

    @property
    def first_run_id(self) -> str:
        """The first run of the chain that the run must be of; empty for any."""


def target(world: World, command: Addressed) -> Run | Rejection:
    """The run a command is about, open or not."""
    run = world.run(command.run_id) if command.run_id else world.current(command.workflow_id)
    if run is None or run.state.workflow_id != command.workflow_id:
        which = f" run {command.run_id}" if command.run_id else ""
        return Rejection(
            "not_found",
            f"no workflow {command.workflow_id!r}{which} on task queue {world.task_queue!r}",
        )
    first = run.state.first_run_id or run.state.run_id
    if command.first_run_id and command.first_run_id != first:
        return Rejection(
            "not_found",
            f"workflow {command.workflow_id!r} is not of the chain that began with run"
            f" {command.first_run_id}",
        )
    parent: RunRef | None = getattr(command, "child_of", None)
    if parent is not None and not _is_child(run, parent):
        return Rejection(
            "not_found",
            f"workflow {command.workflow_id!r} is no child of workflow {parent.workflow_id!r}",
        )
    return run


def _is_child(run: Run, parent: RunRef) -> bool:
    mine = run.started.parent
    return mine is not None and (mine.workflow_id, mine.run_id) == (
        parent.workflow_id,
        parent.run_id,
    )


def closed(run: Run) -> Rejection:
    """The refusal of what comes too late."""
    return Rejection(
        "closed",
        f"workflow {run.state.workflow_id!r} is {run.state.status} already",
        run.state.run_id,
        run.state.status,
    )


def open_target(
    world: World, command: Record, to: Addressed, now_ms: int
) -> Run | Decision | Rejection:
    """The open run a command is about.

    A run that is to follow a closed one starts first; then the command is decided again.
    """
    newest = world.current(to.workflow_id)
    follows = newest.actor.next_run_id if newest is not None and not newest.state.is_open else ""
    if newest is not None and follows and to.run_id in ("", follows):
        return Decision([starting_now(newest, now_ms)], again=command)
    run = target(world, to)
    if isinstance(run, Rejection):
        return run
    return run if run.state.is_open else closed(run)
