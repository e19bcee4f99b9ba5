"""Deleting a closed run: the log says that it is forgotten, and whoever reads it forgets it too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure_actors.core.decision import Decision, Rejection
from perdure_actors.core.targets import target
from perdure_schemas.partition_events import RunsForgotten
from perdure_schemas.replies import Accepted

if TYPE_CHECKING:
    from perdure_actors.core.decision import Verdict
    from perdure_actors.core.world import RunView, World
    from perdure_schemas.commands import DeleteWorkflow


def decide_delete(world: World, command: DeleteWorkflow, _now_ms: int) -> Verdict:
    """Forget a closed run, once nothing of it is on its way."""
    run = target(world, command)
    if isinstance(run, Rejection):
        return run
    refusal = _not_yet(world, run)
    if refusal is not None:
        return refusal
    answer = Accepted(
        workflow_id=run.state.workflow_id,
        run_id=run.state.run_id,
        first_run_id=run.state.first_run_id,
    )
    reason = f"deleted: {command.reason}" if command.reason else "deleted"
    word = RunsForgotten(runs=[run.state.run_id], reason=reason, identity=command.identity)
    # The outcome names no run: who asks again is told that it was done, not that nothing is there.
    return Decision([], answer, words=[word])


def _not_yet(world: World, run: RunView) -> Rejection | None:
    """The refusal to delete what is open, goes on, or has just ended."""
    state = run.state
    where = f"workflow {state.workflow_id!r} run {state.run_id}"
    if state.is_open:
        text = f"{where} is {state.shown_status}: cancel or terminate it first, then delete it"
        return Rejection("open", text, state.run_id, state.shown_status)
    goes_on = run.actor.next_run_id
    current = world.current(state.workflow_id)
    if goes_on and current is not None and current.state.run_id == state.run_id:
        text = f"{where} is followed by run {goes_on}: terminate the workflow first, then delete it"
        return Rejection("open", text, state.run_id, state.status)
    if not world.is_settled(state.run_id):
        text = f"{where} has just ended, and what follows is on its way: delete it in a moment"
        return Rejection("busy", text, state.run_id, state.status)
    return None
