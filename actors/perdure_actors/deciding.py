"""From a command to what is taken: decided, shown to the code where it may refuse, decided on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from perdure_actors.core.decision import Decision, Ignored, Rejection
from perdure_actors.core.rules import COMMANDS
from perdure_actors.replay.blocked import BlockedError
from perdure_schemas.message_events import WorkflowUpdateAccepted
from perdure_schemas.replies import Refused

if TYPE_CHECKING:
    from perdure_actors.core.decision import Step, Verdict
    from perdure_actors.owned import Owned
    from perdure_schemas.payloads import Record, ReplyTo

AGAIN_MAX = 100
"""How often what follows from a command is decided before its sender must ask again."""


class Concluded(msgspec.Struct):
    """A command that was taken: what is still to be played, and what its sender is told."""

    steps: list[Step]
    answers: list[Record]
    run_id: str = ""
    waits_for: str = ""
    reply: ReplyTo | None = None
    """Where the wait ends, when the command itself does not say."""
    note: str = ""
    """What was refused of a command that was taken."""
    words: list[Record] = []
    """Events of the partition that it brings."""


def decide_fully(shard: Owned, command: Any, now_ms: int) -> Concluded | Rejection | Ignored:
    """Decide a command, and what it brings with it, in order."""
    workflow_id: str = getattr(command, "workflow_id", "")
    first, answers, run_id = command, [], ""
    for _ in range(AGAIN_MAX):
        verdict = _decide(shard, command, now_ms)
        if not isinstance(verdict, Decision):
            break
        run_id = verdict.run_id or run_id
        answers += [verdict.answer] if verdict.answer is not None else []
        if verdict.again is None:
            reply = getattr(command, "reply", None) if command is not first else None
            waits_for, words = verdict.waits_for, verdict.words
            return Concluded(verdict.steps, answers, run_id, waits_for, reply, words=words)
        for step in verdict.steps:
            shard.propose(step, workflow_id, covers=False)
        command = verdict.again
    else:
        text = f"workflow {workflow_id!r} ends and begins too often: send it again"
        verdict = Rejection("busy", text)
    if isinstance(verdict, Ignored) or not answers:
        return verdict
    refused = verdict.answer or Refused(code=verdict.code, message=verdict.message, run_id=run_id)
    note = f"{verdict.code}: {verdict.message}"
    return Concluded([], [*answers, refused], run_id, note=note)


def _decide(shard: Owned, command: Any, now_ms: int) -> Verdict:
    verdict = COMMANDS[type(command)](shard.world, command, now_ms)
    if not isinstance(verdict, Decision) or not verdict.is_checked:
        return verdict
    return _shown_to_code(shard, verdict)


def _shown_to_code(shard: Owned, decision: Decision) -> Decision | Rejection:
    """What a decision becomes once the code has seen the one event it may refuse."""
    step = decision.steps[0]
    event = step.events[0]
    resident = shard.residents.find(step.run_id)
    assert resident is not None, f"a decision about run {step.run_id}, which is not here"
    try:
        refused = shard.activation.consult(resident, event)
    except BlockedError as error:
        # A signal is recorded all the same, and shows that the run is blocked.
        is_update = isinstance(event, WorkflowUpdateAccepted)
        return Rejection("blocked", error.message, step.run_id) if is_update else decision
    if refused is None:
        return decision
    chain = refused.failure.chain if refused.failure is not None else []
    message = chain[0].message if chain else "refused"
    if not isinstance(event, WorkflowUpdateAccepted):
        return Rejection("invalid", message, step.run_id)
    return Rejection("rejected", message, step.run_id, answer=refused)
