"""The inbox (rule 8): inputs read in order, decided, refused, put aside or answered.

No answer leaves before a record that covers its input is accepted, every input's outcome is in the
log, and nothing that comes in stops the partition. A record whose schema is not here yet holds up
those behind it, because order is part of what a sender asks for. Where the position is lost, only
the log's own word says what is lost with it. A person may put an input aside that holds up others:
that word stands behind it, so those behind such an input are looked at early, for this alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from perdure_actors.core.decision import Decision, Ignored, Rejection
from perdure_actors.core.rules import COMMANDS, errands_of
from perdure_actors.partition.decide_command import CommandDecider
from perdure_actors.partition.dedup import TOO_OLD, Dedup, DedupEntries
from perdure_actors.partition.doubt import INPUT as INPUT_TRIAL
from perdure_actors.partition.doubt import MARKS_MAX, QUERY, Trial
from perdure_actors.partition.fence import INPUT, reason_of
from perdure_actors.partition.input_outcomes import InputOutcomes
from perdure_actors.partition.pending_requests import in_log_time
from perdure_actors.retention.retention import RetentionCommands
from perdure_schemas.avro import (
    COMMAND_BYTES_MAX,
    UnknownSchemaError,
    UnreadableRecordError,
    decode_as,
    kind_of,
)
from perdure_schemas.command_headers import Command, ReadCommand
from perdure_schemas.message_commands import QueryWorkflow
from perdure_schemas.operator_commands import RunRetention, SetRetention, SkipInput
from perdure_schemas.replies import Accepted, Refused
from perdure_schemas.tracing import adopt_headers
from perdure_topics.ports import LogError, PositionLostError

if TYPE_CHECKING:
    from collections import Counter

    from perdure_actors.partition.context import PartitionContext
    from perdure_actors.partition.doubt import Doubt
    from perdure_actors.partition.executor import Executor
    from perdure_actors.partition.fence import Fence
    from perdure_actors.partition.journal import Journal
    from perdure_actors.partition.pending_requests import PendingRequests
    from perdure_actors.partition.queries import CodeQueries
    from perdure_actors.partition.services import Services
    from perdure_actors.partition.transition import InFlight, PendingReplies, Transitions
    from perdure_actors.partition.watermark import Watermark
    from perdure_actors.retention.retention import Retention
    from perdure_topics.ports import EndProbe, StoredRecord, Table

AHEAD_MAX = 1_000
"""So many inputs behind one that is held up are looked at."""


class ReadableInputs:
    """The inputs of one shard, as far as they can be read now."""

    def __init__(self, services: Services, place: tuple[str, int], watermark: Watermark) -> None:
        self._services = services
        self._topic, self._partition = place
        self._watermark = watermark
        self._held: list[StoredRecord] = []
        self._said = -1

    def take(self, records_max: int) -> list[StoredRecord]:
        """Take inputs up to the first that must wait for its schema."""
        services = self._services
        records = self._held or services.inputs.take(self._topic, self._partition, records_max)
        ready = records[:records_max]
        for place, record in enumerate(ready):
            problem = services.framing.held_by(record.value)
            if problem is not None:
                ready = ready[:place]
                self._hold(record, problem)
                break
        self._held = records[len(ready) :]
        if not self._held:
            self._watermark.held_by = ""
        return ready

    def look_ahead(self) -> list[StoredRecord]:
        """Read on behind what is held up: a person's word about it may be there."""
        room = AHEAD_MAX - len(self._held)
        if room <= 0:
            return []
        records = self._services.inputs.take(self._topic, self._partition, room)
        self._held += records
        return records

    @property
    def held(self) -> StoredRecord | None:
        """The input that holds the others up, if there is one."""
        return self._held[0] if self._held else None

    def release(self) -> StoredRecord:
        """Give the held input out, whatever it waits for."""
        record = self._held.pop(0)
        self._watermark.held_by = ""
        return record

    def forget(self) -> None:
        """Give up what is held: it is read again."""
        self._held = []
        self._watermark.held_by = ""

    def _hold(self, record: StoredRecord, problem: str) -> None:
        if not problem:
            return
        where = f"{self._topic}-{self._partition}"
        text = (
            f"{where}: the record at offset {record.offset} waits for its schema, and those behind"
            f" it wait with it: {problem}"
        )
        self._watermark.held_by = text
        if record.offset != self._said:
            self._said = record.offset
            self._services.finding("registry_away", text)


ANSWER_MS = 5
"""How often to look whether the log has said what it holds."""
UNKNOWN_MS = 1_000
"""How soon the log is asked again that could not say it."""


class Position(Protocol):
    """How far inputs are taken."""

    upto: int


class SaysLost(Protocol):
    """Whoever says in the log that inputs are gone."""

    def propose_lost(self, first: int, end: int) -> None:
        """Say that the topic holds no more than this, and go on from there."""


class LostInputs:
    """What follows when a reader's position is gone: only the log's own word says what is lost.

    While that is not known, nothing is read and nothing is called lost.
    """

    def __init__(
        self, services: Services, place: tuple[str, int], position: Position, transitions: SaysLost
    ) -> None:
        self._services = services
        self._topic, self._partition = place
        self._taken = position
        self._transitions = transitions
        self._why = ""
        self._probe: EndProbe | None = None
        self._again_ms = 0

    @property
    def is_open(self) -> bool:
        """Whether it is not known yet where to go on."""
        return bool(self._why)

    def begin(self, why: str) -> None:
        """A reader has said that its position is gone."""
        self._why = why
        self._probe = None
        self._again_ms = 0

    def wait_ms(self, most_ms: int) -> int:
        """How long nothing needs to be done here, at most so long."""
        return min(most_ms, ANSWER_MS) if self._why else most_ms

    def step(self) -> bool:
        """Look whether the log has answered; whether inputs are read again."""
        services = self._services
        now_ms = services.clock.monotonic_ms()
        if self._probe is None:
            if now_ms >= self._again_ms:
                self._probe = services.inputs.probe_end(self._topic, self._partition)
            return False
        try:
            span = self._probe.span()
        except LogError:
            self._probe = None
            self._again_ms = now_ms + UNKNOWN_MS
            return False
        if span is None:
            return False
        self._probe = None
        why, self._why = self._why, ""
        self._go_on(*span, why)
        return True

    def _go_on(self, first: int, end: int, why: str) -> None:
        services, taken = self._services, self._taken
        next_offset = taken.upto + 1
        if not first <= next_offset <= end:
            services.finding(
                "input_lost",
                f"{self._topic}-{self._partition}: inputs were read to {taken.upto}, and the topic"
                f" holds {first} to {end - 1}: {why}",
            )
            self._transitions.propose_lost(first, end)
        services.inputs.assign(self._topic, self._partition, taken.upto + 1)


assert SkipInput not in COMMANDS, "no run is about it, so no rule decides it"


class SkippedInputs:
    """What people have said of the inputs of one partition."""

    def __init__(
        self,
        services: Services,
        partition: int,
        journal: Journal[InFlight],
        readable: ReadableInputs,
        outcomes: InputOutcomes,
        *,
        owed: PendingReplies,
    ) -> None:
        self._services = services
        self._partition = partition
        self._journal = journal
        self._owed = owed
        self._readable = readable
        self._outcomes = outcomes
        self._wanted: dict[int, SkipInput] = {}
        self._done: set[int] = set()

    def look(self) -> None:
        """Look for words about inputs that are held up, or in doubt."""
        for record in self._readable.look_ahead():
            self._hear(record)

    def _hear(self, record: StoredRecord) -> None:
        if record.value is None or kind_of(record.value) is not SkipInput:
            return
        try:
            skip = decode_as(SkipInput, record.value, bytes_max=COMMAND_BYTES_MAX)
        except UnreadableRecordError:
            return
        if skip.partition == self._partition and skip.offset < record.offset:
            self._wanted[skip.offset] = skip

    def takes(self, record: StoredRecord) -> bool:
        """Whether an input is to be put aside; it is, then, and people are told."""
        skip = self._wanted.pop(record.offset, None)
        if skip is None:
            return False
        self._journal.upto = record.offset
        self._done.add(record.offset)
        who = skip.identity or "somebody"
        reason = f"skipped by {who}: {skip.reason or 'no reason was given'}"[:1_000]
        found = self._outcomes.look_at(record, reason)
        self._outcomes.put_aside(record, "dead", reason, found.source, found.errands)
        self._owed.answer(found.reply, Refused(code="skipped", message=reason))
        self._owed.answer(skip.reply, Accepted())
        where = (
            f"offset {record.offset}, partition {self._partition} of {self._services.task_queue!r}"
        )
        self._services.finding("input_skipped", f"an input ({where}) was {reason}")
        return True

    def came(self, record: StoredRecord, skip: SkipInput) -> None:
        """A word about an input, in its order: the input was decided, or skipped, before it."""
        if skip.offset in self._done:
            self._outcomes.add(record, skip, "applied")
            self._owed.answer(skip.reply, Accepted())
            return
        text = f"the input at offset {skip.offset} does not hold this partition up: it was decided"
        if skip.partition != self._partition or skip.offset >= record.offset:
            text = f"no input at offset {skip.offset} of partition {skip.partition} is before this"
        self._outcomes.add(record, skip, "refused", reason=f"passed: {text}")
        self._owed.answer(skip.reply, Refused(code="passed", message=text))


INPUTS_A_TURN = 64
INPUTS_AT_ONCE = 16
TURN_MS = 20


class Inbox:
    """The input side of one partition."""

    def __init__(
        self,
        services: Services,
        place: tuple[str, int],
        table: Table,
        *,
        journal: Journal[InFlight],
        world: PartitionContext,
        executor: Executor,
        transitions: Transitions,
        decider: CommandDecider,
        owed: PendingReplies,
        requests: PendingRequests,
        code_queries: CodeQueries,
        watermark: Watermark,
        doubt: Doubt,
        fence: Fence,
        counters: Counter[str],
        retention: Retention,
    ) -> None:
        """`place` is the topic and partition that inputs come from."""
        self._services = services
        self._journal = journal
        self._world = world
        self._executor = executor
        self._transitions = transitions
        self._decider = decider
        self._owed = owed
        self._requests = requests
        self._code_queries = code_queries
        self._watermark = watermark
        self._doubt = doubt
        self._fence = fence
        self._counters = counters
        self._readable = ReadableInputs(services, place, watermark)
        self._lost = LostInputs(services, place, journal, transitions)
        taken = DedupEntries(table)
        self._dedup = Dedup(services, place, world, taken, owed=owed, counters=counters)
        self._outcomes = InputOutcomes(
            services, place, world, taken, owed=owed, fence=fence, counters=counters
        )
        self._skips = SkippedInputs(
            services, place[1], journal, self._readable, self._outcomes, owed=owed
        )
        self._retention = RetentionCommands(
            place[1], retention, proposes=transitions, outcomes=self._outcomes, owed=owed
        )
        self._tried: StoredRecord | None = None
        watermark.is_in_hand = self._has_in_hand

    def _has_in_hand(self) -> bool:
        """Whether inputs were taken from the log that are not decided: tried, held, read ahead."""
        return self._tried is not None or self._readable.held is not None

    # -- taking --

    def take(self) -> bool:
        """Take some inputs; whether there may be more."""
        self._requests.answer_reads()
        if not self._transitions.has_room or (self._lost.is_open and not self._lost.step()):
            return False
        try:
            if self._doubt.is_on:
                return self._take_in_doubt()
            return self._take_a_turn()
        except PositionLostError as error:
            self._readable.forget()
            self._lost.begin(str(error))
            return False

    def _take_a_turn(self) -> bool:
        """Take inputs until there are no more, or the turn is over; whether there may be more."""
        clock = self._services.clock
        over_ms = clock.monotonic_ms() + TURN_MS
        for _ in range(INPUTS_A_TURN // INPUTS_AT_ONCE):
            records = self._readable.take(INPUTS_AT_ONCE)
            if not records and self._passes_held():
                continue
            for record in records:
                if record.offset > self._journal.upto:
                    self._take_one(record)
            if records:
                self._requests.answer_reads()
            if len(records) < INPUTS_AT_ONCE:
                return False
            if clock.monotonic_ms() >= over_ms or not self._transitions.has_room:
                break
        return True

    def _passes_held(self) -> bool:
        """Whether an input that others wait behind was put aside by a person."""
        held = self._readable.held
        if held is None:
            return False
        self._skips.look()
        if not self._skips.takes(held):
            return False
        self._readable.release()
        return True

    def _take_in_doubt(self) -> bool:
        """Take one input, after a record in the log that says so has been accepted.

        An input so marked three times is not given to the code again: its run is blocked.
        """
        if self._tried is None:
            if not self._transitions.all_accepted or self._doubt.is_taken:
                return False
            records = self._readable.take(1)
            if not records or records[0].offset <= self._journal.upto:
                return bool(records)
            self._skips.look()
            if self._skips.takes(records[0]):
                return True
            self._tried = records[0]
        trial = self._trial_of(self._tried)
        if not self._doubt.clears(trial):
            return False
        record, self._tried = self._tried, None
        self._skips.look()
        if self._skips.takes(record):
            pass
        elif trial.kind == INPUT_TRIAL and self._doubt.marks_of(trial) > MARKS_MAX + 2:
            # Its code was not run, and its host died all the same.
            self._journal.upto = record.offset
            self._outcomes.fail(record, self._executor.refusal, None)
        else:
            self._take_one(record)
        self._doubt.over()
        return True

    def _trial_of(self, record: StoredRecord) -> Trial:
        """An input as what may kill its host: a query is so whenever it is asked."""
        try:
            command = self._services.framing.decode(record.value)
        except UnreadableRecordError:
            command = None
        if isinstance(command, QueryWorkflow):
            return self._query_trial(command)
        return Trial(INPUT_TRIAL, str(record.offset))

    def _query_trial(self, ask: QueryWorkflow) -> Trial:
        who = ask.run_id or ask.workflow_id
        return Trial(QUERY, who, f"{ask.query_name} on {self._services.code.version}")

    def _take_one(self, record: StoredRecord) -> None:
        """Take an input: what fails goes to the dead letters, so that those behind it go on."""
        fence, offset = self._fence, record.offset
        self._journal.upto = offset
        self._dedup.read_to(record.timestamp_ms)
        now_ms = self._world.log_time.at_least(record.timestamp_ms)
        self._journal.input_leader_epoch = record.leader_epoch
        reason = fence.is_set_aside(INPUT, offset)
        if reason:
            self._outcomes.fail(record, reason, None)
            return
        refusal = fence.refusal(INPUT, offset)
        if refusal:
            self._executor.refusal = refusal
        mark = self._owed.mark()
        with fence.attempt(INPUT, offset) as attempt:
            self._take_record(record, now_ms)
        if refusal:
            self._executor.refusal = ""
        if attempt.error is not None:
            self._owed.cut(mark)
            self._outcomes.fail(record, reason_of(attempt.error), attempt.error)

    def _take_record(self, record: StoredRecord, now_ms: int) -> None:
        try:
            command = self._services.framing.decode(record.value)
        except UnreadableRecordError as error:
            self._outcomes.dead(record, str(error), unknown=isinstance(error, UnknownSchemaError))
            return
        if not isinstance(command, Command):
            self._outcomes.dead(record, f"a {type(command).__name__} record is no command")
            return
        if record.headers:
            command = adopt_headers(command, record.headers)
        command = in_log_time(record, command)
        if isinstance(command, QueryWorkflow):
            self._query(record.offset, command)
        elif isinstance(command, SkipInput):
            self._skips.came(record, command)
        elif isinstance(command, SetRetention | RunRetention):
            self._retention.take(record, command, now_ms)
        elif isinstance(command, ReadCommand):
            self._requests.ask(record.offset, command)
        else:
            self._take_command(record, command, now_ms)

    def _query(self, offset: int, ask: QueryWorkflow) -> None:
        """Ask the code of an open run in its place; a closed one's is asked of the table."""
        if 0 < ask.reply.deadline_ms < self._world.time_ms:
            return
        refusal = self._doubt.refusal(self._query_trial(ask))
        if refusal:
            self._owed.answer(ask.reply, Refused(code="query_failed", message=refusal))
            return
        code = self._code_queries
        if code.begins_soon(ask) and self._requests.hold(ask):
            return
        answer = code.ask_run(ask)
        if answer is None and self._doubt.is_on:
            # In its place, where it is marked: nothing is proposed that the table lacks.
            answer = code.ask_closed(code.named(ask))
        if answer is None:
            self._requests.ask(offset, code.named(ask))
        else:
            self._owed.answer(ask.reply, answer)

    def _take_command(self, record: StoredRecord, command: Command, now_ms: int) -> None:
        """Decide a command, unless it belongs elsewhere or was taken before."""
        unproven = self._dedup.unproven(record, command)
        if unproven:
            self._refuse_unproven(record, unproven)
            return
        moved = self._dedup.misrouted(record, command)
        if isinstance(moved, str):
            self._outcomes.dead(record, moved, command.source)
        elif moved is not None:
            self._outcomes.forward(moved, self._dedup.wanted(command))
        elif self._dedup.answer_again(command):
            return
        elif self._dedup.is_too_old(record, command):
            text = (
                f"first sent over {self._dedup.age_h} h before it was sent again: whether it was"
                " taken is not known. Send it with a new request id if it was not"
            )
            # No outcome bears its id: it was not taken, and may yet be sent by a right clock.
            self._outcomes.refuse(record, replace(command, request_id=""), Rejection(TOO_OLD, text))
        else:
            self._decide(record, command, now_ms)

    def _refuse_unproven(self, record: StoredRecord, reason: str) -> None:
        """Whoever sent it is told nothing: people are."""
        self._outcomes.dead(record, reason)
        where = f"{record.topic}-{record.partition}, offset {record.offset}"
        text = f"a command is in the dead letters ({where}): {reason}. Look who may write there"
        self._services.finding("forged", text)

    def _decide(self, record: StoredRecord, command: Command, now_ms: int) -> None:
        verdict = self._decider.decide(command, now_ms)
        reply = command.reply
        if isinstance(verdict, Ignored):
            if verdict.reason:
                self._counters[f"ignored: {verdict.reason}"] += 1
            self._owed.answer(verdict.reply or reply, verdict.answer)
            return
        if isinstance(verdict, Rejection):
            told = errands_of(self._world, command, verdict)
            self._outcomes.refuse(record, command, verdict, told)
            return
        if verdict.handed_back:
            self._outcomes.hand_back(record, verdict.run_id, verdict.handed_back)
            return
        told = errands_of(self._world, command, Decision([], run_id=verdict.run_id))
        self._outcomes.add(
            record, command, "applied", run_id=verdict.run_id, reason=verdict.note, errands=told
        )
        for answer in verdict.answers:
            self._owed.answer(reply, answer)
        if reply is not None and verdict.run_id:
            if verdict.waits_for:
                self._owed.waits.append((verdict.reply or reply, verdict.run_id, verdict.waits_for))
            elif reply.wait == "completed" and not verdict.note:
                self._owed.waits.append((reply, verdict.run_id, ""))
        self._transitions.propose_all(verdict.steps, command.workflow_id)
        for word in verdict.words:
            self._transitions.propose_event(word, covers=True)

    # -- keeping house --

    def wait_ms(self, most_ms: int) -> int:
        """How long nothing needs to be done here, at most so long."""
        return self._lost.wait_ms(self._watermark.wait_ms(most_ms))

    def look(self, now_ms: int) -> None:
        """Look how far inputs are read."""
        self._watermark.check(now_ms)

    def keep_house(self, now_ms: int) -> None:
        """Every now and then: forget old request ids."""
        self._dedup.forget(now_ms)
