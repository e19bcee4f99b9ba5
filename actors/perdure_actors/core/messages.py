"""Signals and updates: taken by an open run, or by the one that is to follow; never lost."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from msgspec.structs import replace

from perdure_actors.core.decision import Decision, Rejection, Step
from perdure_actors.core.signal_buffer import bad_buffer, decide_buffer
from perdure_actors.core.state import RecordId, Run, UpdateState
from perdure_actors.core.targets import open_target, target
from perdure_schemas.bounds import fit_failure
from perdure_schemas.events import TimerFired
from perdure_schemas.message_events import (
    WorkflowSignaled,
    WorkflowUpdateAccepted,
    WorkflowUpdateCompleted,
)
from perdure_schemas.payloads import Failure, FailureCause, Payload
from perdure_schemas.replies import Accepted

if TYPE_CHECKING:
    from perdure_actors.core.decision import Verdict
    from perdure_actors.core.world import RunView, World
    from perdure_schemas.message_commands import SignalWorkflow, UpdateWorkflow
    from perdure_schemas.payloads import Record, UpdateInput

MESSAGE_NAME_BYTES_MAX = 1000
_PLAIN = ("json/", "binary/null", "binary/plain")
"""Encodings whose bytes are the value; an encrypted value has other bytes every time."""


def decide_signal(world: World, command: SignalWorkflow, now_ms: int) -> Verdict:
    """A signal: the open run takes it, the one that is to follow, or a buffer if it may wait."""
    problem = bad_name("the name of a signal", command.signal_name) or bad_buffer(command)
    if problem:
        return Rejection("invalid", problem)
    event = WorkflowSignaled(
        signal_name=command.signal_name,
        input=command.input,
        header=command.header,
        identity=command.identity,
        request_id=command.request_id,
        external=command.external,
    )
    run = open_target(world, command, now_ms)
    if isinstance(run, Rejection):
        return decide_buffer(world, command, now_ms) if command.buffer_ms else run
    return run if isinstance(run, Decision) else signal_open(world, run, event)


def signal_open(world: World, run: RunView, event: WorkflowSignaled) -> Verdict:
    """A signal to an open run; one that a start delay holds back begins with it."""
    refusal = _too_many_signals(world, run)
    if refusal is not None:
        return refusal
    state = run.state
    answer = Accepted(
        workflow_id=state.workflow_id, run_id=state.run_id, first_run_id=state.first_run_id
    )
    events: list[Record] = [event]
    if not state.begun and not run.started.initiator:
        # In the same transition: a signal alone would be taken again by the next owner.
        events.append(TimerFired(timer_id=""))
    takes = state.begun and state.block is None
    return Decision([Step(state.run_id, events)], answer, state.run_id, is_checked=takes)


def _too_many_signals(world: World, run: RunView) -> Rejection | None:
    state, limits = run.state, world.limits
    if state.signals >= limits.signals_max:
        text = (
            f"workflow {state.workflow_id!r} run {state.run_id} has taken {state.signals} signals;"
            f" {limits.signals_max} is the most for one run: let it continue as new"
        )
        return Rejection("too_many", text, state.run_id)
    waiting = len(state.waiting) if state.block else 0 if state.begun else state.signals
    if waiting >= limits.waiting_max:
        why = f"is blocked ({state.block.cause})" if state.block else "has not begun yet"
        text = (
            f"workflow {state.workflow_id!r} {why}, and {waiting} inputs wait for it;"
            f" {limits.waiting_max} is the most: send the signal again when it goes on"
        )
        return Rejection("too_many", text, state.run_id)
    return None


def bad_name(kind: str, name: str) -> str:
    """Why a message cannot have a name; empty when it can."""
    size = len(name.encode())
    if not 0 < size <= MESSAGE_NAME_BYTES_MAX:
        return f"{kind} has 1 to {MESSAGE_NAME_BYTES_MAX} bytes; this one has {size}"
    return ""


def bad_update(update: UpdateWorkflow | UpdateInput) -> str:
    """Why an update cannot be; empty when it can."""
    problem = bad_name("the name of an update", update.update_name)
    return problem or bad_name("an update id", update.update_id)


def decide_update(world: World, command: UpdateWorkflow, now_ms: int) -> Verdict:
    """An update: accepted once its validator lets it through; known ones are answered again."""
    problem = bad_update(command)
    if problem:
        return Rejection("invalid", problem)
    event = accepted_of(command)
    known = target(world, command)
    if not isinstance(known, Rejection) and event.update_id in known.updates:
        return known_update(known, event)
    run = open_target(world, command, now_ms)
    return run if isinstance(run, Decision | Rejection) else update_open(world, run, event)


def accepted_of(command: UpdateWorkflow) -> WorkflowUpdateAccepted:
    """The event of an update that is let through."""
    return WorkflowUpdateAccepted(
        update_id=command.update_id,
        update_name=command.update_name,
        input=command.input,
        header=command.header,
        identity=command.identity,
        request_id=command.request_id,
    )


def known_update(run: RunView, event: WorkflowUpdateAccepted) -> Verdict:
    """What is said to an update whose id the run knows."""
    if run.updates[event.update_id].digest != digest_of(event):
        text = (
            f"update id {event.update_id!r} of workflow {run.state.workflow_id!r} run"
            f" {run.state.run_id} was used for another update or with other arguments: give each"
            " update an id of its own"
        )
        return Rejection("update_id_reused", text, run.state.run_id)
    return Decision([], None, run.state.run_id, waits_for=event.update_id)


def update_open(world: World, run: RunView, event: WorkflowUpdateAccepted) -> Verdict:
    """An update to an open run."""
    state = run.state
    if not state.begun:
        text = (
            f"workflow {state.workflow_id!r} run {state.run_id} waits for its start delay or its"
            " next attempt, so its code cannot be asked: send the update again when it runs"
        )
        return Rejection("not_ready", text, state.run_id)
    refusal = _no_update(world, run)
    if refusal is not None:
        return refusal
    return Decision(
        [Step(state.run_id, [event])],
        run_id=state.run_id,
        waits_for=event.update_id,
        is_checked=True,
    )


def _no_update(world: World, run: RunView) -> Rejection | None:
    """Why a run takes no update now."""
    state, limits = run.state, world.limits
    if state.block is not None:
        return blocked(run)
    if state.updates_in_flight >= limits.updates_in_flight_max:
        text = (
            f"workflow {state.workflow_id!r} has {state.updates_in_flight} updates under way;"
            f" {limits.updates_in_flight_max} is the most: send it again when some have ended"
        )
        return Rejection("too_many", text, state.run_id)
    if len(run.updates) >= limits.updates_max:
        text = (
            f"workflow {state.workflow_id!r} run {state.run_id} has taken {len(run.updates)}"
            f" updates; {limits.updates_max} is the most for one run: let it continue as new"
        )
        return Rejection("too_many", text, state.run_id)
    return None


def blocked(run: RunView) -> Rejection:
    """The refusal of what needs code that cannot go on."""
    state = run.state
    cause = state.block.cause if state.block else ""
    message = state.block.message if state.block else ""
    return Rejection(
        "blocked",
        f"workflow {state.workflow_id!r} is blocked ({cause}), so its code cannot be asked:"
        f" {message}",
        state.run_id,
        state.shown_status,
    )


def digest_of(event: WorkflowUpdateAccepted) -> bytes:
    """What tells an update of one name and arguments from another."""
    digest = hashlib.blake2b(event.update_name.encode(), digest_size=16)
    for payload in event.input:
        digest.update(b"\0" + (_seen_bytes(payload)))
    return digest.digest()


def _seen_bytes(payload: Payload) -> bytes:
    if payload.encoding.startswith(_PLAIN):
        return f"{payload.encoding}\0{len(payload.data)}\0".encode() + payload.data
    return payload.encoding.encode()


def decide_update_completed(
    world: World, _run: RunView, output: WorkflowUpdateCompleted, _now_ms: int
) -> Record:
    """An update that ended; a result too large to be answered fails it, plainly."""
    if output.failure is not None:
        failure = fit_failure(output.failure, world.limits.result_bytes_max)
        return replace(output, failure=failure)
    size = len(output.result.data) if output.result else 0
    if size <= world.limits.result_bytes_max:
        return output
    cause = FailureCause(
        message=(
            f"update {output.update_name!r} returned {size} bytes;"
            f" {world.limits.result_bytes_max} is the most: return a reference to where the data is"
        ),
        type="PayloadTooLarge",
        non_retryable=True,
    )
    return replace(output, result=None, failure=Failure(chain=[cause]))


def apply_signaled(run: Run, _event: WorkflowSignaled, _at: RecordId, _now_ms: int) -> None:
    """Count it; what it means is the code's."""
    run.state.signals += 1


def apply_update_accepted(
    run: Run, event: WorkflowUpdateAccepted, _at: RecordId, _now_ms: int
) -> None:
    """Remember the update, so that its id means nothing else."""
    update = UpdateState(event.update_id, digest_of(event), run.state.seq)
    run.updates[event.update_id] = update
    run.touched.add(("update", event.update_id))
    run.state.updates_in_flight += 1


def apply_update_completed(
    run: Run, event: WorkflowUpdateCompleted, _at: RecordId, _now_ms: int
) -> None:
    """Remember where its outcome is."""
    update = run.updates[event.update_id]
    run.updates[event.update_id] = replace(update, completed_seq=run.state.seq)
    run.touched.add(("update", event.update_id))
    run.state.updates_in_flight -= 1


def abandoned() -> Failure:
    """The outcome of an update whose run ended before its handler did."""
    cause = FailureCause(
        message="the workflow ended before the update did",
        type="AcceptedUpdateCompletedWorkflow",
        non_retryable=True,
    )
    return Failure(chain=[cause])
