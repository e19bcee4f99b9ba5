"""Resets: a run ends, and a new one goes on from an event of its history.

The new run's WorkflowStarted names the run and the last event that it keeps, and stands for all of
them: nothing that has happened happens again. The last event kept is an input, and the code takes
it anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from perdure_actors.core.decision import Decision, Rejection, Step
from perdure_actors.core.start import starting_now, terminating
from perdure_actors.core.targets import target
from perdure_schemas.events import WorkflowStarted, WorkflowTerminated
from perdure_schemas.payloads import ResetOrigin, SeedSpan
from perdure_schemas.replies import Accepted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from perdure_actors.core.decision import Verdict
    from perdure_actors.core.world import RunView, World
    from perdure_schemas.commands import ResetWorkflow

HISTORY_BYTES_MAX = 64 * 1024 * 1024
"""The largest history that is reset: what is kept of it is gone through at once."""
MESSAGES = ("signal", "update")
"""What of later messages can be left out."""


def decide_reset(world: World, command: ResetWorkflow, now_ms: int) -> Verdict:
    """End the newest run of a workflow, if it is open, and begin one from an event of a history."""
    base = target(world, command)
    if isinstance(base, Rejection):
        return base
    current = world.current(command.workflow_id)
    assert current is not None, "a workflow with a run has a newest one"
    if _was_taken(current, command):
        return _again(current, now_ms)
    problem = _problem(world, base, command) or _reset_before(base, current, command)
    if isinstance(problem, Rejection):
        return problem
    origin = ResetOrigin(
        run_id=base.state.run_id,
        seq=world.input_at(base.state.run_id, command.seq),
        reason=command.reason,
        identity=command.identity,
        request_id=command.request_id,
        exclude=command.exclude,
        was_closed=not base.state.is_open,
    )
    origin = replace(origin, seeds=list(_seeds(base, origin.seq)))
    run_id = world.new_run_id()
    started = reset_started(base.started, origin, now_ms)
    begins = Step(run_id, [started])
    answer = Accepted(
        workflow_id=command.workflow_id,
        run_id=run_id,
        first_run_id=started.first_run_id or base.state.run_id,
        started=True,
    )
    return Decision([*_ending(current, base, origin, run_id), begins], answer, run_id)


def _ending(current: RunView, base: RunView, origin: ResetOrigin, run_id: str) -> list[Step]:
    """The end of the newest run; nothing where it is over and nothing follows."""
    if not current.state.is_open and not current.actor.next_run_id:
        return []
    where = f"reset to event {origin.seq} of run {origin.run_id}"
    ended = WorkflowTerminated(
        reason=f"{where}: {origin.reason}" if origin.reason else where, identity=origin.identity
    )
    if current.state.run_id == base.state.run_id and current.state.is_open:
        # What follows is known from its end on: nobody comes between.
        ended = replace(ended, next_run_id=run_id, reset=origin)
    return terminating(current, ended)


def _was_taken(current: RunView, command: ResetWorkflow) -> bool:
    """Whether the host that took this command ended before all of it was in the log."""
    if not command.request_id:
        return False
    following = current.actor.next_start
    origins = (current.started.reset, following.reset if following is not None else None)
    return any(one is not None and one.request_id == command.request_id for one in origins)


def _again(current: RunView, now_ms: int) -> Decision:
    """What is left of a reset that was begun."""
    steps = [] if current.state.is_open else [starting_now(current, now_ms)]
    run_id = current.state.run_id if current.state.is_open else current.actor.next_run_id
    answer = Accepted(
        workflow_id=current.state.workflow_id,
        run_id=run_id,
        first_run_id=current.state.first_run_id or current.state.run_id,
        started=True,
    )
    return Decision(steps, answer, run_id)


def _problem(world: World, base: RunView, command: ResetWorkflow) -> Rejection | None:
    state = base.state
    where = f"workflow {state.workflow_id!r} run {state.run_id}"
    text = ""
    if unknown := [one for one in command.exclude if one not in MESSAGES]:
        text = f"nothing is called {unknown[0]!r}: a reset leaves out {' or '.join(MESSAGES)}"
    elif not 0 < command.seq <= state.seq:
        text = f"{where} has no event {command.seq}: its events are 1 to {state.seq}"
    elif base.state.history_bytes > HISTORY_BYTES_MAX:
        text = (
            f"the history of {where} has {state.history_bytes} bytes; {HISTORY_BYTES_MAX} is the"
            " most that can be reset"
        )
    elif not world.input_at(state.run_id, command.seq):
        text = f"the history of {where} is not here any more"
    return Rejection("invalid", text, state.run_id) if text else None


def _reset_before(base: RunView, current: RunView, command: ResetWorkflow) -> Rejection | None:
    """The refusal of a second reset of a run, whose asker may not know of the first."""
    origin = current.started.reset
    is_second = origin is not None and current.state.is_open and origin.run_id == base.state.run_id
    if not is_second or command.again:
        return None
    assert origin is not None
    who = f" by {origin.identity}" if origin.identity else ""
    text = (
        f"workflow {base.state.workflow_id!r} run {base.state.run_id} was reset already{who}, to"
        f" event {origin.seq}; run {current.state.run_id} goes on in its place. Reset that one, or"
        " say that this one is to be reset again"
    )
    return Rejection("already_reset", text, current.state.run_id, current.state.shown_status)


def _seeds(base: RunView, seq: int) -> Iterator[SeedSpan]:
    """By which run ids the events before one have drawn their random numbers."""
    before = base.started.reset
    for span in before.seeds if before is not None else ():
        if span.until >= seq:
            yield SeedSpan(run_id=span.run_id, until=seq)
            return
        yield span
    yield SeedSpan(run_id=base.state.run_id, until=seq)


def reset_started(before: WorkflowStarted, origin: ResetOrigin, now_ms: int) -> WorkflowStarted:
    """The start of the run that goes on from an event of another."""
    expires_ms = now_ms + before.execution_timeout_ms if before.execution_timeout_ms else 0
    started = replace(
        before,
        execution_expires_ms=expires_ms,
        first_run_id=before.first_run_id or origin.run_id,
        continued_run_id=origin.run_id,
        initiator="reset",
        reset=origin,
    )
    if origin.seq > 1:
        return started
    # It begins anew: nothing holds it back, and an update that came with it comes after it.
    return replace(started, first_activation_delay_ms=0, update=None)
