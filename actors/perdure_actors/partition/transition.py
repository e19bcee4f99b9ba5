"""Making a transition: decided events and what the code asked for, applied, encoded, and weighed.

What is made here is speculation. Nothing of it leaves, and no table is written, before the log
has accepted it.
"""

from __future__ import annotations

import struct
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from perdure_actors import table_layout
from perdure_actors.core.rules import CHECKS, FITS, apply, effects_of, settle
from perdure_actors.core.state import RecordId
from perdure_actors.core.weights import check_weights
from perdure_actors.replay.blocked import BlockedError
from perdure_schemas.avro import write
from perdure_schemas.bounds import MESSAGE_CHARS_MAX, STACK_CHARS_MAX, cut
from perdure_schemas.events import INPUTS, WorkflowBlocked, WorkflowResumed, WorkflowStarted
from perdure_schemas.replies import RunClosed
from perdure_schemas.transition import Outcome, Transition, TransitionBody
from perdure_topics.names import topic_name

if TYPE_CHECKING:
    from perdure_actors.core.decision import Effect, Step, World
    from perdure_actors.partition.executor import Executor
    from perdure_actors.partition.run_cache import CachedRun, Ops, RunCache
    from perdure_schemas.events import InputTrying
    from perdure_schemas.payloads import Record, ReplyTo

PART_BYTES_MAX = 7 * 1024 * 1024
PARTS_MAX = 64


class PendingReplies:
    """What is owed to askers once a record that covers their inputs is accepted."""

    __slots__ = ("answers", "outcomes", "waits")

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.answers: list[tuple[ReplyTo, Record]] = []
        self.waits: list[tuple[ReplyTo, str, str]] = []
        """Askers to be answered again when a run closes, or when an update of it is so far."""

    def answer(self, reply: ReplyTo | None, answer: Record | None) -> None:
        """Owe an answer, where somebody is named to hear it."""
        if reply is not None and answer is not None:
            self.answers.append((reply, answer))

    def mark(self) -> tuple[int, int, int]:
        """How much is owed now, to go back to."""
        return len(self.outcomes), len(self.answers), len(self.waits)

    def cut(self, mark: tuple[int, int, int]) -> None:
        """Owe no more than at a mark."""
        del self.outcomes[mark[0] :], self.answers[mark[1] :], self.waits[mark[2] :]

    def __bool__(self) -> bool:
        return bool(self.answers or self.outcomes or self.waits)


class InFlight:
    """A record that is proposed and not yet accepted, with all that follows its acceptance."""

    __slots__ = (
        "alarms",
        "began_s",
        "body",
        "closed",
        "effects",
        "envelope",
        "events",
        "first_seq",
        "history_key",
        "mark",
        "ops",
        "owed",
        "resident",
        "sent_mono_ms",
    )

    def __init__(self, envelope: Transition, body: bytes) -> None:
        self.envelope = envelope
        self.body = body
        self.began_s = time.perf_counter()
        self.ops: Ops = {}
        self.history_key: bytes | None = None
        self.alarms: list[table_layout.Alarm] = []
        self.effects: list[Effect] = []
        self.events: list[Record] = []
        self.first_seq = 0
        self.owed: PendingReplies | None = None
        self.resident: CachedRun | None = None
        self.closed: RunClosed | None = None
        self.sent_mono_ms = -1
        """When the last part was appended, by this machine's monotonic clock."""
        self.mark: InputTrying | None = None
        """What this record says is about to be tried."""

    @property
    def first_pseq(self) -> int:
        """The number of the first part: that by which a transition and its effects are known."""
        return self.envelope.pseq - self.envelope.part + 1

    @property
    def run_id(self) -> str:
        """The run it is about; empty for a Progress."""
        return self.resident.run.state.run_id if self.resident is not None else ""


class TransitionBuilder:
    """One transition in the making."""

    def __init__(self, world: World, activation: Executor, at: tuple[int, bytes, int]) -> None:
        self._world = world
        self._activation = activation
        self._at = at
        self.now_ms = 0
        self.events: list[bytes] = []
        self.records: list[Record] = []
        """The same events, as they were before they were encoded."""
        self.effects: list[Effect] = []
        self.first_seq = 0
        self._bytes_before = 0

    def take(self, resident: CachedRun, event: Record) -> None:
        """Apply one event to its run, as whoever reads it will have it."""
        self._take_written(resident, *write(event))

    def _take_written(self, resident: CachedRun, event: Record, data: bytes) -> None:
        run = resident.run
        if not self.events:
            self.first_seq = run.state.seq + 1
            self._bytes_before = run.state.history_bytes
        at = RecordId(*self._at, len(self.events))
        self.effects += effects_of(run, event, at, self.now_ms)
        apply(run, event, at, self.now_ms)
        run.state.history_bytes += len(data)
        self.events.append(data)
        self.records.append(event)

    def activate(self, resident: CachedRun, event: Record, seq: int) -> None:
        """Let the code take an input event, and apply what it asks for."""
        try:
            outputs = self._activation.feed(
                resident,
                event,
                seq=seq,
                before_seq=self.first_seq,
                now_ms=self.now_ms,
                history_bytes=self._bytes_before,
            )
            asked = self._asked(resident, outputs)
        except BlockedError as error:
            resident.drop_code()
            self.take(resident, blocked_event(error, seq, self._activation.code_version))
            return
        self._take_asked(resident, asked)

    def _take_asked(self, resident: CachedRun, asked: list[tuple[Record, bytes]]) -> None:
        """Apply what the code asked for, up to the end of its run: that is the last thing."""
        for event, data in asked:
            self._take_written(resident, event, data)
            if not resident.run.state.is_open:
                return

    def _asked(self, resident: CachedRun, outputs: list[Record]) -> list[tuple[Record, bytes]]:
        """What the code asked for as events, encoded and weighed.

        Raises BlockedError for what cannot be had, or cannot be written.
        """
        run, world, now_ms = resident.run, self._world, self.now_ms
        for cause, checks in (("too_large", CHECKS), ("error", FITS)):
            for check in checks:
                problem = check(world, run, outputs)
                if problem:
                    raise BlockedError(cause, problem)
        try:
            asked = [write(settle(world, run, output, now_ms)) for output in outputs]
        except (ValueError, TypeError, AttributeError, OverflowError, struct.error) as error:
            text = f"what the code asks for cannot be written: {type(error).__name__}: {error}"
            raise BlockedError("error", text) from error
        for one, _ in asked:
            self._check_queue(one)
        at = RecordId(*self._at, 0)
        problem = check_weights(world.limits, asked, lambda one: effects_of(run, one, at, now_ms))
        if problem:
            raise BlockedError("too_large", problem)
        return asked

    def _check_queue(self, event: Record) -> None:
        """Refuse what goes to a task queue that cannot be. Raises BlockedError."""
        target = getattr(event, "target", event)
        queue: str = getattr(target, "task_queue", "")
        if queue in ("", self._world.task_queue):
            return
        try:
            topic_name("commands", self._activation.namespace, queue)
        except ValueError as error:
            site = getattr(event, "call_site", "")
            raise BlockedError("error", f"{error}{f' ({site})' if site else ''}") from error

    def resume(self, resident: CachedRun, event: Record, seq: int) -> bool:
        """Let fixed code take an input that waited; False, and nothing done, if it cannot."""
        run = resident.run
        try:
            outputs = self._activation.feed(
                resident,
                event,
                seq=seq,
                before_seq=run.state.seq + 1,
                now_ms=self.now_ms,
                history_bytes=run.state.history_bytes,
            )
            asked = self._asked(resident, outputs)
        except BlockedError:
            resident.drop_code()
            return False
        self.take(resident, WorkflowResumed(input_seq=seq))
        self._take_asked(resident, asked)
        return True


def blocked_event(error: BlockedError, input_seq: int, code_version: str) -> WorkflowBlocked:
    """The event that says why a run's code cannot go on."""
    return WorkflowBlocked(
        cause=error.cause,
        message=cut(error.message, MESSAGE_CHARS_MAX),
        stack_trace=cut(error.stack_trace, STACK_CHARS_MAX),
        recorded=cut(error.recorded, MESSAGE_CHARS_MAX),
        produced=cut(error.produced, MESSAGE_CHARS_MAX),
        input_seq=input_seq,
        code_version=code_version,
    )


def draft_step(
    draft: TransitionBuilder, residents: RunCache, workflow_id: str, step: Step
) -> CachedRun:
    """Play one step: its events, and the code's part after its input."""
    first = step.events[0]
    if isinstance(first, WorkflowStarted):
        resident = residents.open(workflow_id, step.run_id, first, draft.now_ms)
    else:
        found = residents.find(step.run_id)
        assert found is not None, f"a decision about run {step.run_id}, which is not here"
        resident = found
    for events in _activations(step.events):
        if not resident.run.state.is_open:
            # What its code did with the input before ended it: nothing follows that.
            break
        first_seq = resident.run.state.seq + 1
        for event in events:
            draft.take(resident, event)
        state = resident.run.state
        inputs = [event for event in events if type(event) in INPUTS]
        if inputs and state.is_open and state.block is None:
            draft.activate(resident, inputs[0], first_seq + events.index(inputs[0]))
    return resident


def _activations(events: list[Record]) -> list[list[Record]]:
    """The events of a step by the input that the code takes; what ends a run it does not take."""
    if type(events[-1]) not in INPUTS:
        return [events]
    starts = [at for at, event in enumerate(events) if at and type(event) in INPUTS]
    return [events[a:b] for a, b in pairwise([0, *starts, len(events)])]


def closing_of(resident: CachedRun) -> RunClosed | None:
    """The answer to those who wait for a run, once it has closed."""
    state = resident.run.state
    closing = state.closing
    if closing is None:
        return None
    return RunClosed(
        workflow_id=state.workflow_id,
        run_id=state.run_id,
        status=closing.status,
        result=closing.result,
        failure=closing.failure,
        next_run_id=closing.next_run_id,
        close_ms=closing.time_ms,
    )


def pack_parts(envelope: dict[str, Any], body: bytes) -> list[Transition]:
    """The records of a transition: one, or several with consecutive pseqs.

    Raises ValueError when there would be too many.
    """
    if len(body) <= PART_BYTES_MAX:
        return [Transition(body=body, **envelope)]
    chunks = [body[at : at + PART_BYTES_MAX] for at in range(0, len(body), PART_BYTES_MAX)]
    if len(chunks) > PARTS_MAX:
        msg = f"a transition of {len(body)} bytes; {PARTS_MAX * PART_BYTES_MAX} is the most"
        raise ValueError(msg)
    first, upto = envelope["pseq"], envelope["upto"]
    out = []
    for number, chunk in enumerate(chunks):
        last = number == len(chunks) - 1
        fields = {**envelope, "pseq": first + number, "part": number + 1, "parts": len(chunks)}
        fields["upto"] = upto if last else envelope["after"]
        out.append(Transition(body=chunk, **fields))
    return out


def body_of(
    resident: CachedRun | None,
    draft: TransitionBuilder | None,
    owed: PendingReplies | None,
    *,
    code_version: str,
    shown: int,
) -> TransitionBody:
    """The body of a record: with a run, or of a Progress."""
    outcomes = owed.outcomes if owed else []
    if resident is None or draft is None:
        events = draft.events if draft else []
        return TransitionBody(outcomes=outcomes, events=events, shown=shown)
    return TransitionBody(
        workflow_id=resident.run.state.workflow_id,
        run_id=resident.run.state.run_id,
        seq=draft.first_seq,
        code_version=code_version,
        outcomes=outcomes,
        events=draft.events,
        shown=shown,
    )
