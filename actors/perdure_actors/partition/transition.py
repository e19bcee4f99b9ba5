"""Transitions (rule 1): decided events and what the code asked for, applied, weighed, proposed.

What is made here is speculation. Nothing of it leaves, and no table is written, before the log
has accepted it.
"""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

from perdure_actors import table_layout
from perdure_actors.core.decision import Step
from perdure_actors.core.execution import check_history
from perdure_actors.core.rules import CHECKS, FITS, apply, effects_of, settle
from perdure_actors.core.state import RecordId
from perdure_actors.core.weights import check_weights
from perdure_actors.partition.journal import Entry
from perdure_actors.partition.outbox import effect_rows, outcome_rows
from perdure_actors.replay.blocked import BlockedError
from perdure_schemas.avro import encode, misfit, write
from perdure_schemas.bounds import MESSAGE_CHARS_MAX, STACK_CHARS_MAX, cut
from perdure_schemas.events import (
    INPUTS,
    InputLost,
    InputRewound,
    WorkflowBlocked,
    WorkflowResumed,
    WorkflowStarted,
)
from perdure_schemas.replies import RunClosed
from perdure_schemas.transition import Outcome, Transition, TransitionBody
from perdure_topics.fold import CHECKPOINT_KIND
from perdure_topics.names import topic_name

if TYPE_CHECKING:
    from perdure_actors.core.decision import Effect
    from perdure_actors.core.state import Run, RunState
    from perdure_actors.core.world import World
    from perdure_actors.partition.context import PartitionContext
    from perdure_actors.partition.executor import Executor
    from perdure_actors.partition.fence import Fence
    from perdure_actors.partition.journal import Journal
    from perdure_actors.partition.run_cache import CachedRun, RunCache
    from perdure_schemas.events import InputTrying
    from perdure_schemas.partition_events import CheckpointSlice
    from perdure_schemas.payloads import Record, ReplyTo

IN_FLIGHT_MAX = 2_000


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

    def take(self) -> PendingReplies:
        """What is owed, for the record that covers it; nothing is owed here then."""
        taken = PendingReplies()
        taken.outcomes, self.outcomes = self.outcomes, []
        taken.answers, self.answers = self.answers, []
        taken.waits, self.waits = self.waits, []
        return taken

    def __bool__(self) -> bool:
        return bool(self.answers or self.outcomes or self.waits)


class InFlight(Entry):
    """A record that is appended and not yet accepted, with all that follows its acceptance."""

    __slots__ = ("alarms", "closed", "effects", "events", "first_seq", "owed", "resident")

    def __init__(self, envelope: Transition, body: bytes) -> None:
        super().__init__(envelope, body)
        self.alarms: list[table_layout.Alarm] = []
        self.effects: list[Effect] = []
        self.events: list[Record] = []
        self.first_seq = 0
        self.owed: PendingReplies | None = None
        self.resident: CachedRun | None = None
        self.closed: RunClosed | None = None

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
        try:
            for cause, checks in (("too_large", CHECKS), ("error", FITS)):
                for check in checks:
                    problem = check(world, run, outputs)
                    if problem:
                        raise BlockedError(cause, problem)
            asked = [write(settle(world, run, output, now_ms)) for output in outputs]
        except (ValueError, TypeError, AttributeError, OverflowError, struct.error) as error:
            field = next(filter(None, map(misfit, outputs)), "")
            said = field or f"{type(error).__name__}: {error}"
            text = f"what the code asks for cannot be written: {said}"
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


class HasRoom(Protocol):
    """Whoever sends effects, and may have too many under way."""

    @property
    def is_full(self) -> bool:
        """Whether so much is unacknowledged that nothing more should be decided."""


class SaysShown(Protocol):
    """Whoever shows accepted records, and says how far."""

    def say(self) -> int:
        """What the next record says: the pseq up to which everything has been shown."""


class Transitions:
    """What one owner proposes: transitions of its runs, and records of the partition."""

    def __init__(
        self,
        journal: Journal[InFlight],
        world: PartitionContext,
        run_cache: RunCache,
        executor: Executor,
        *,
        owed: PendingReplies,
        fence: Fence,
        outbox: HasRoom,
        observer: SaysShown,
    ) -> None:
        self._journal = journal
        self._world = world
        self._run_cache = run_cache
        self._executor = executor
        self._owed = owed
        self._fence = fence
        self._outbox = outbox
        self._observer = observer
        self.is_held = False
        """Whether nothing more is decided until what is proposed is accepted."""

    @property
    def has_room(self) -> bool:
        """Whether more may be decided before what is proposed is accepted."""
        if self.is_held:
            return False
        return len(self._journal.in_flight) < IN_FLIGHT_MAX and not self._outbox.is_full

    @property
    def last(self) -> InFlight | None:
        """What was proposed last, while that waits for its acceptance."""
        return self._journal.in_flight[-1] if self._journal.in_flight else None

    @property
    def all_accepted(self) -> bool:
        """Whether nothing that is proposed waits for its acceptance."""
        return not self._journal.in_flight

    def propose(self, step: Step | None, workflow_id: str = "", *, covers: bool) -> InFlight:
        """Append a transition, or without a step a Progress; `covers` takes in what is owed."""
        resident = None
        draft = self.draft()
        if step is not None:
            resident = draft_step(draft, self._run_cache, workflow_id, step)
        return self.append(resident, draft, covers=covers)

    def propose_all(self, steps: list[Step], workflow_id: str) -> None:
        """Propose what a taken command brings: a record a step; the last covers its input.

        What is about a run that ended with a step before is left out.
        """
        for step in steps[:-1]:
            if not self._is_over(step):
                self.propose(step, workflow_id, covers=False)
        if steps and not self._is_over(steps[-1]):
            self.propose(steps[-1], workflow_id, covers=True)

    def _is_over(self, step: Step) -> bool:
        run = self._world.run(step.run_id)
        return run is not None and not run.state.is_open

    def propose_events(self, run: Run, events: list[Record]) -> None:
        """Propose events of a run that no input brought."""
        state = run.state
        self.propose(Step(state.run_id, events), state.workflow_id, covers=False)

    def propose_event(self, event: Record, *, covers: bool) -> InFlight:
        """Propose an event of the partition: a record without a run."""
        draft = self.draft()
        draft.events.append(encode(event))
        entry = self.append(None, draft, covers=covers)
        entry.alarms += self._run_cache.happened(event, entry.first_pseq, entry.ops)
        return entry

    def propose_slice(self, one: CheckpointSlice) -> None:
        """Propose a part of a checkpoint."""
        draft = self.draft()
        draft.events.append(encode(one))
        kind = CHECKPOINT_KIND if one.number == 1 else 0
        self.append(None, draft, covers=False, kind=kind).slice = one

    def propose_mark(self, event: InputTrying) -> None:
        """Say in the log that something is about to be run that may have killed its host.

        It covers what has been lived through: an input that changes nothing would be marked again
        by every next owner, until it is taken for what kills them.
        """
        self.propose_event(event, covers=True).mark = event

    def propose_lost(self, first: int, end: int) -> None:
        """Say in the log that inputs are gone, or were cut back, and go on from there."""
        journal = self._journal
        after, journal.upto = journal.upto, (first if first > journal.upto else end) - 1
        if journal.upto > after:
            self.propose_event(InputLost(after=after, upto=journal.upto), covers=True)
        else:
            self.propose_event(InputRewound(offset=after, to_offset=journal.upto), covers=True)

    def draft(self) -> TransitionBuilder:
        """A transition in the making, with the number of the next record."""
        self._fence.drafts += 1
        cursor, pseq = self._journal.cursor, self._journal.next_pseq
        self._world.next_record(pseq)
        draft = TransitionBuilder(self._world, self._executor, (cursor.epoch, cursor.nonce, pseq))
        draft.now_ms = self._world.time_ms
        return draft

    def append(
        self,
        resident: CachedRun | None,
        draft: TransitionBuilder,
        *,
        covers: bool,
        kind: int = 0,
    ) -> InFlight:
        """Propose what a draft holds."""
        owed = self._owed.take() if covers and self._owed else None
        version, shown = self._executor.code_version, self._observer.say()
        body = body_of(resident, draft, owed, code_version=version, shown=shown)
        key = body.workflow_id.encode() or None
        entry = self._journal.append(encode(body), key, covers=covers, kind=kind)
        envelope = entry.envelope
        if resident is not None:
            if resident.inherited is not None and resident.inherited.rows:
                entry.kept_body = resident.inherited.stored(body)
            self._follow_up(entry, resident, draft)
        if owed is not None:
            entry.owed = owed
            entry.effects += outcome_rows(owed.outcomes, envelope.time_ms, entry.ops)
        effect_rows(entry.effects, entry.first_pseq, envelope.epoch, entry.ops)
        ended = check_history(self._world.limits, resident.run.state) if resident else None
        if ended is not None and resident is not None:
            # A record of its own: what the code was given and asked for stands as it was.
            self.propose_events(resident.run, [ended])
        return entry

    def _follow_up(self, entry: InFlight, resident: CachedRun, draft: TransitionBuilder) -> None:
        """What the acceptance of a transition of a run brings."""
        state = resident.run.state
        entry.resident = resident
        entry.owners = (state.run_id, state.workflow_id)
        resident.pinned += 1
        entry.history_key = table_layout.history_key(state.run_id, draft.first_seq)
        entry.effects = draft.effects
        entry.events, entry.first_seq = draft.records, draft.first_seq
        entry.alarms = self._run_cache.save(resident, entry.ops, draft.now_ms)
        entry.closed = closing_of(resident.run.state)
        if entry.closed is not None:
            resident.drop_code()


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
    draft: TransitionBuilder, run_cache: RunCache, workflow_id: str, step: Step
) -> CachedRun:
    """Play one step: its events, and the code's part after its input."""
    first, events_of = step.events[0], step.events
    if isinstance(first, WorkflowStarted):
        resident = run_cache.open(workflow_id, step.run_id, first, draft.now_ms)
        if resident.inherited is not None:
            events_of = [*events_of, *resident.inherited.later]
    else:
        found = run_cache.find(step.run_id)
        assert found is not None, f"a decision about run {step.run_id}, which is not here"
        resident = found
    for events in _activations(events_of):
        if not resident.run.state.is_open:
            # What its code did with the input before ended it: nothing follows that.
            break
        first_seq = resident.run.state.seq + 1
        for event in events:
            draft.take(resident, event)
        state = resident.run.state
        inputs = [event for event in events if type(event) in INPUTS]
        if inputs and state.is_open and state.block is None:
            taken = inputs[0]
            if taken is first and resident.inherited is not None:
                taken = resident.inherited.event
            draft.activate(resident, taken, first_seq + events.index(inputs[0]))
    return resident


def _activations(events: list[Record]) -> list[list[Record]]:
    """The events of a step by the input that the code takes; what ends a run it does not take."""
    if type(events[-1]) not in INPUTS:
        return [events]
    starts = [at for at, event in enumerate(events) if at and type(event) in INPUTS]
    return [events[a:b] for a, b in pairwise([0, *starts, len(events)])]


def closing_of(state: RunState) -> RunClosed | None:
    """The answer to those who wait for a run, once it has closed."""
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
