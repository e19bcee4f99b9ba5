"""What comes in: commands taken, refused, put aside or answered.

Rules 5, 8 and 10 live here: no answer leaves before a record that covers its input is accepted,
every input's outcome is in the log, and nothing that comes in stops the partition.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from perdure_actors.core.decision import Decision, Ignored, Rejection
from perdure_actors.core.rules import errands_of
from perdure_actors.partition.buffered_signal_expiry import propose_word
from perdure_actors.partition.decide_command import decide_fully
from perdure_actors.partition.dedup import TOO_OLD, Dedup
from perdure_actors.partition.dedup_entries import DedupEntries
from perdure_actors.partition.doubt import INPUT as INPUT_TRIAL
from perdure_actors.partition.doubt import MARKS_MAX, QUERY, Trial
from perdure_actors.partition.fence import INPUT, reason_of
from perdure_actors.partition.input_outcomes import InputOutcomes
from perdure_actors.partition.lost_inputs import LostInputs
from perdure_actors.partition.outbox_resend import OutboxResend
from perdure_actors.partition.outbox_rows import effect_rows, outcome_rows
from perdure_actors.partition.pending_requests import in_log_time
from perdure_actors.partition.readable_inputs import ReadableInputs
from perdure_actors.partition.run_queries import ask_closed, ask_run, begins_soon, named
from perdure_actors.partition.skipped_inputs import SkippedInputs
from perdure_schemas.avro import UnknownSchemaError, UnreadableRecordError
from perdure_schemas.command_headers import Command, ReadCommand
from perdure_schemas.message_commands import QueryWorkflow
from perdure_schemas.operator_commands import SkipInput
from perdure_schemas.replies import Refused
from perdure_schemas.tracing import adopt_headers
from perdure_topics.names import topic_name
from perdure_topics.ports import PositionLostError

if TYPE_CHECKING:
    from perdure_actors.partition.capabilities import Owned
    from perdure_actors.partition.pending_requests import PendingRequests
    from perdure_actors.partition.transition import InFlight
    from perdure_actors.partition.watermark import Watermark
    from perdure_topics.ports import StoredRecord

INPUTS_A_TURN = 64
INPUTS_AT_ONCE = 16
TURN_MS = 20
HOUSE_MS = 200
RESEND_EVERY_MS = 3_600_000


class Inbox:
    """The input side of one shard."""

    def __init__(self, shard: Owned, asking: PendingRequests, horizon: Watermark) -> None:
        self._shard = shard
        self._asking = asking
        self._horizon = horizon
        self._topic = topic_name("commands", shard.services.namespace, shard.services.task_queue)
        self._readable = ReadableInputs(shard, horizon, self._topic)
        self._lost = LostInputs(shard, self._topic)
        self._taken = DedupEntries(shard.table)
        self._once = Dedup(shard, self._taken)
        self._outcomes = InputOutcomes(shard, self._taken, self._topic)
        self._skips = SkippedInputs(shard, self._readable, self._outcomes)
        self._house_at_ms = 0
        self._resender = OutboxResend(shard)
        self._resend_at_ms = shard.world.time_ms + RESEND_EVERY_MS
        self._tried: StoredRecord | None = None
        horizon.is_in_hand = self._has_in_hand

    def _has_in_hand(self) -> bool:
        """Whether inputs were taken from the log that are not decided: tried, held, read ahead."""
        return self._tried is not None or self._readable.held is not None

    # -- taking --

    def take(self) -> bool:
        """Take some inputs; whether there may be more."""
        shard = self._shard
        self._asking.answer_reads()
        if not shard.has_room or (self._lost.is_open and not self._lost.step()):
            return False
        try:
            if shard.doubt.is_on:
                return self._take_in_doubt()
            return self._take_a_turn()
        except PositionLostError as error:
            self._readable.forget()
            self._lost.begin(str(error))
            return False

    def _take_a_turn(self) -> bool:
        """Take inputs until there are no more, or the turn is over; whether there may be more."""
        shard = self._shard
        clock = shard.services.clock
        over_ms = clock.monotonic_ms() + TURN_MS
        for _ in range(INPUTS_A_TURN // INPUTS_AT_ONCE):
            records = self._readable.take(INPUTS_AT_ONCE)
            if not records and self._passes_held():
                continue
            for record in records:
                if record.offset > shard.upto:
                    self._take_one(record)
            if records:
                self._asking.answer_reads()
            if len(records) < INPUTS_AT_ONCE:
                return False
            if clock.monotonic_ms() >= over_ms or not shard.has_room:
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
        shard = self._shard
        if self._tried is None:
            if shard.pending or shard.doubt.is_taken:
                return False
            records = self._readable.take(1)
            if not records or records[0].offset <= shard.upto:
                return bool(records)
            self._skips.look()
            if self._skips.takes(records[0]):
                return True
            self._tried = records[0]
        trial = self._trial_of(self._tried)
        if not shard.doubt.clears(trial):
            return False
        record, self._tried = self._tried, None
        self._skips.look()
        if self._skips.takes(record):
            pass
        elif trial.kind == INPUT_TRIAL and shard.meta.marks.get(trial.mark, 0) > MARKS_MAX + 2:
            # Its code was not run, and its host died all the same.
            shard.upto = record.offset
            self._outcomes.fail(record, shard.activation.refusal, None)
        else:
            self._take_one(record)
        shard.doubt.over()
        return True

    def _trial_of(self, record: StoredRecord) -> Trial:
        """An input as what may kill its host: a query is so whenever it is asked."""
        try:
            command = self._shard.services.framing.decode(record.value)
        except UnreadableRecordError:
            command = None
        if isinstance(command, QueryWorkflow):
            return self._query_trial(command)
        return Trial(INPUT_TRIAL, str(record.offset))

    def _query_trial(self, ask: QueryWorkflow) -> Trial:
        who = ask.run_id or ask.workflow_id
        return Trial(QUERY, who, f"{ask.query_name} on {self._shard.services.code.version}")

    def _take_one(self, record: StoredRecord) -> None:
        """Take an input: what fails goes to the dead letters, so that those behind it go on."""
        shard, fence, offset = self._shard, self._shard.fence, record.offset
        shard.upto = offset
        self._once.read_to(record.timestamp_ms)
        now_ms = shard.world.log_time.at_least(record.timestamp_ms)
        shard.input_leader_epoch = record.leader_epoch
        reason = fence.is_set_aside(INPUT, offset)
        if reason:
            self._outcomes.fail(record, reason, None)
            return
        refusal = fence.refusal(INPUT, offset)
        if refusal:
            shard.activation.refusal = refusal
        mark = shard.owed.mark()
        error = fence.attempt(INPUT, offset, self._take_record, record, now_ms)
        if refusal:
            shard.activation.refusal = ""
        if error is not None:
            shard.owed.cut(mark)
            self._outcomes.fail(record, reason_of(error), error)

    def _take_record(self, record: StoredRecord, now_ms: int) -> None:
        shard = self._shard
        try:
            command = shard.services.framing.decode(record.value)
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
        elif isinstance(command, ReadCommand):
            self._asking.ask(record.offset, command)
        else:
            self._take_command(record, command, now_ms)

    def _query(self, offset: int, ask: QueryWorkflow) -> None:
        """Ask the code of an open run in its place; a closed one's is asked of the table."""
        shard = self._shard
        if 0 < ask.reply.deadline_ms < shard.world.time_ms:
            return
        refusal = shard.doubt.refusal(self._query_trial(ask)) if shard.meta.marks else ""
        if refusal:
            shard.owed.answer(ask.reply, Refused(code="query_failed", message=refusal))
            return
        if begins_soon(shard, ask) and self._asking.hold(ask):
            return
        answer = ask_run(shard, ask)
        if answer is None and shard.doubt.is_on:
            # In its place, where it is marked: nothing is proposed that the table lacks.
            answer = ask_closed(shard, named(shard, ask))
        if answer is None:
            self._asking.ask(offset, named(shard, ask))
        else:
            shard.owed.answer(ask.reply, answer)

    def _take_command(self, record: StoredRecord, command: Command, now_ms: int) -> None:
        """Decide a command, unless it belongs elsewhere or was taken before."""
        moved = self._once.misrouted(record, command)
        if isinstance(moved, str):
            self._outcomes.dead(record, moved, command.source)
        elif moved is not None:
            self._outcomes.forward(moved, self._once.wanted(command))
        elif self._once.answer_again(command):
            return
        elif self._once.is_too_old(record, command):
            text = (
                f"first sent over {self._once.age_h} h before it was sent again: whether it was"
                " taken is not known. Send it with a new request id if it was not"
            )
            # No outcome bears its id: it was not taken, and may yet be sent by a right clock.
            self._outcomes.refuse(record, replace(command, request_id=""), Rejection(TOO_OLD, text))
        else:
            self._decide(record, command, now_ms)

    def _decide(self, record: StoredRecord, command: Command, now_ms: int) -> None:
        shard = self._shard
        verdict = decide_fully(shard, command, now_ms)
        reply = command.reply
        if isinstance(verdict, Ignored):
            if verdict.reason:
                shard.count(f"ignored: {verdict.reason}")
            shard.owed.answer(verdict.reply or reply, verdict.answer)
            return
        if isinstance(verdict, Rejection):
            told = errands_of(shard.world, command, verdict)
            self._outcomes.refuse(record, command, verdict, told)
            return
        if verdict.handed_back:
            self._outcomes.hand_back(record, verdict.run_id, verdict.handed_back)
            return
        told = errands_of(shard.world, command, Decision([], run_id=verdict.run_id))
        self._outcomes.add(
            record, command, "applied", run_id=verdict.run_id, reason=verdict.note, errands=told
        )
        for answer in verdict.answers:
            shard.owed.answer(reply, answer)
        if reply is not None and verdict.run_id:
            if verdict.waits_for:
                shard.owed.waits.append((verdict.reply or reply, verdict.run_id, verdict.waits_for))
            elif reply.wait == "completed" and not verdict.note:
                shard.owed.waits.append((reply, verdict.run_id, ""))
        shard.decide_taken(verdict.steps, command.workflow_id)
        for word in verdict.words:
            propose_word(shard, word, covers=True)

    # -- keeping house --

    def note(self, pending: InFlight) -> None:
        """The rows and effects that the outcomes a record covers bring."""
        envelope = pending.envelope
        if pending.owed is not None:
            outcomes = pending.owed.outcomes
            pending.effects += outcome_rows(outcomes, envelope.time_ms, pending.ops)
        effect_rows(pending.effects, pending.first_pseq, envelope.epoch, pending.ops)

    def wait_ms(self, now_ms: int) -> int:
        """How long nothing needs to be done here."""
        house_ms = max(0, self._house_at_ms + HOUSE_MS - now_ms)
        return self._lost.wait_ms(self._horizon.wait_ms(house_ms))

    def keep_house(self, now_ms: int) -> None:
        """Every now and then: waiting effects, word to those who wait, old request ids."""
        self._horizon.check(now_ms)
        if now_ms - self._house_at_ms < HOUSE_MS:
            return
        self._house_at_ms = now_ms
        shard = self._shard
        shard.dispatch.retry_waiting()
        self._once.forget(now_ms)
        self._asking.keep_house()
        if now_ms >= self._resend_at_ms:
            self._resend_at_ms = now_ms + RESEND_EVERY_MS
            self._resender.resend_stale(now_ms)
