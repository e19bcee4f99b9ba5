"""From a command to what is taken: decided, shown to the code where it may refuse, decided on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec
from msgspec.structs import replace

from perdure_actors.core.decision import Decision, Ignored, Rejection, Step
from perdure_actors.core.messages import accepted_of
from perdure_actors.core.rules import COMMANDS
from perdure_actors.replay.blocked import BlockedError
from perdure_schemas.bounds import MESSAGE_CHARS_MAX, cut
from perdure_schemas.commands import ResetWorkflow
from perdure_schemas.events import WorkflowStarted
from perdure_schemas.message_commands import UpdateWorkflow
from perdure_schemas.message_events import WorkflowUpdateAccepted
from perdure_schemas.payloads import UpdateInput
from perdure_schemas.replies import Refused

if TYPE_CHECKING:
    from perdure_actors.core.decision import Verdict
    from perdure_actors.partition.context import PartitionContext
    from perdure_actors.partition.run_cache import CachedRun
    from perdure_schemas.command_headers import Command
    from perdure_schemas.payloads import Record, ReplyTo
    from perdure_schemas.replies import UpdateAnswer

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
    handed_back: str = ""
    """The activity whose task goes out again."""


class Consults(Protocol):
    """Whoever asks the code whether it refuses a message."""

    def consult(self, resident: CachedRun, event: Record) -> UpdateAnswer | None:
        """Why the code refuses a message that has not happened yet; None when it does not."""

    def consult_new(
        self, workflow_id: str, run_id: str, events: list[Record], now_ms: int
    ) -> UpdateAnswer | None:
        """Why the code of a run that is yet to begin refuses the second event of it."""

    def consult_kept(self, resident: CachedRun) -> None:
        """See that the code fits what a run that is yet to begin has of another's history."""


class FindsRuns(Protocol):
    """Whoever holds the runs of a partition."""

    def find(self, run_id: str) -> CachedRun | None:
        """A run by its id, loaded when it must be."""

    def imagine(self, started: WorkflowStarted, workflow_id: str, now_ms: int) -> CachedRun:
        """A run as a reset would make it, to look at."""


class Proposes(Protocol):
    """Whoever makes transitions of decided steps."""

    def propose(self, step: Step | None, workflow_id: str = "", *, covers: bool) -> object:
        """Append a transition."""


def decide(world: PartitionContext, command: Command, now_ms: int) -> Verdict:
    """What the rules say to a command; what it tells of workers is written down."""
    verdict = COMMANDS[type(command)](world, command, now_ms)
    if not isinstance(verdict, Rejection):
        world.liveness.take(verdict.liveness)
    return verdict


class CommandDecider:
    """Decides the commands of one partition."""

    def __init__(
        self, world: PartitionContext, runs: FindsRuns, code: Consults, proposes: Proposes
    ) -> None:
        self._world = world
        self._runs = runs
        self._code = code
        self._proposes = proposes

    def decide(self, command: Command, now_ms: int) -> Concluded | Rejection | Ignored:
        """Decide a command, and what it brings with it, in order."""
        workflow_id, first, run_id = command.workflow_id, command, ""
        answers: list[Record] = []
        for _ in range(AGAIN_MAX):
            verdict = self._decide_one(command, now_ms)
            if not isinstance(verdict, Decision):
                break
            run_id = verdict.run_id or run_id
            answers += [verdict.answer] if verdict.answer is not None else []
            again = verdict.again
            if again is None:
                reply = command.reply if command is not first else None
                return Concluded(
                    verdict.steps,
                    answers,
                    run_id,
                    verdict.waits_for,
                    reply,
                    words=verdict.words,
                    handed_back=verdict.handed_back,
                )
            together = self._begun_with_update(workflow_id, verdict)
            if isinstance(together, Concluded):
                return replace(together, answers=answers)
            for step in verdict.steps:
                self._proposes.propose(step, workflow_id, covers=False)
            if together is not None:
                verdict = together
                break
            command = again
        else:
            text = f"workflow {workflow_id!r} ends and begins too often: send it again"
            verdict = Rejection("busy", text)
        if isinstance(verdict, Ignored) or not answers:
            return verdict
        refused = verdict.answer or Refused(
            code=verdict.code, message=verdict.message, run_id=run_id
        )
        note = f"{verdict.code}: {verdict.message}"
        return Concluded([], [*answers, refused], run_id, note=note)

    def _begun_with_update(
        self, workflow_id: str, decision: Decision
    ) -> Concluded | Rejection | None:
        """A start and the update that it brings, as one transition: handled before the run method.

        None when the code cannot be asked now: then the update comes after the start.
        """
        update = decision.again
        if not isinstance(update, UpdateWorkflow) or not decision.steps:
            return None
        *before, step = decision.steps
        started = step.events[0]
        if not isinstance(started, WorkflowStarted) or started.first_activation_delay_ms > 0:
            return None
        brought = UpdateInput(update_name=update.update_name, update_id=update.update_id)
        events = [replace(started, update=brought), accepted_of(update)]
        run_id, now_ms = step.run_id, self._world.time_ms
        try:
            refused = self._code.consult_new(workflow_id, run_id, events, now_ms)
        except BlockedError:
            return None
        if refused is not None:
            return _rejected(refused, run_id)
        steps = [*before, Step(run_id, events)]
        return Concluded(steps, [], run_id, update.update_id, update.reply)

    def _decide_one(self, command: Command, now_ms: int) -> Verdict:
        verdict = decide(self._world, command, now_ms)
        if isinstance(command, ResetWorkflow) and isinstance(verdict, Decision):
            return self._reset(command, verdict)
        if not isinstance(verdict, Decision) or not verdict.is_checked:
            return verdict
        return self._shown_to_code(verdict)

    def _reset(self, command: ResetWorkflow, decision: Decision) -> Decision | Rejection:
        """A reset, unless what it keeps is not to be had, or is not what the code here does."""
        started = decision.steps[-1].events[0] if decision.steps else None
        if not isinstance(started, WorkflowStarted) or started.reset is None:
            return decision
        origin = started.reset
        try:
            imagined = self._runs.imagine(started, command.workflow_id, self._world.time_ms)
        except ValueError as error:
            return Rejection("invalid", str(error), origin.run_id)
        try:
            self._code.consult_kept(imagined)
        except BlockedError as error:
            text = (
                f"the code of this worker does not fit the history of workflow"
                f" {command.workflow_id!r} run {origin.run_id} up to event {origin.seq}, so its"
                f" new run would be blocked ({error.cause}): {error.message}. Reset to an earlier"
                " event, or deploy code that fits; nothing was changed"
            )
            return Rejection("blocked", cut(text, MESSAGE_CHARS_MAX), origin.run_id)
        return decision

    def _shown_to_code(self, decision: Decision) -> Decision | Rejection:
        """What a decision becomes once the code has seen the one event it may refuse."""
        step = decision.steps[0]
        event = step.events[0]
        resident = self._runs.find(step.run_id)
        assert resident is not None, f"a decision about run {step.run_id}, which is not here"
        try:
            refused = self._code.consult(resident, event)
        except BlockedError as error:
            # A signal is recorded all the same, and shows that the run is blocked.
            is_update = isinstance(event, WorkflowUpdateAccepted)
            return Rejection("blocked", error.message, step.run_id) if is_update else decision
        if refused is None:
            return decision
        if isinstance(event, WorkflowUpdateAccepted):
            return _rejected(refused, step.run_id)
        return Rejection("invalid", _message_of(refused), step.run_id)


def _rejected(refused: UpdateAnswer, run_id: str) -> Rejection:
    return Rejection("rejected", _message_of(refused), run_id, answer=refused)


def _message_of(refused: UpdateAnswer) -> str:
    chain = refused.failure.chain if refused.failure is not None else []
    return chain[0].message if chain else "refused"
