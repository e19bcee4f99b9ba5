"""What comes in: commands taken, refused, put aside or answered, and asks that wait for a record.

Rules 5, 8 and 10 live here: no answer leaves before a record that covers its input is accepted,
every input's outcome is in the log, and nothing that comes in stops the partition.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from perdure_actors import rows
from perdure_actors.activation import history_of
from perdure_actors.core.activities import decide_worker_lost
from perdure_actors.core.decision import Decision, Due, Ignored, Rejection
from perdure_actors.core.rules import COMMANDS, ROUTED
from perdure_actors.outcomes import outcome_rows
from perdure_actors.reads import READS, WAITS, notices_of
from perdure_schemas.avro import (
    COMMAND_BYTES_MAX,
    UnknownSchemaError,
    UnreadableRecordError,
    decode,
    encode,
)
from perdure_schemas.payloads import ReplyTo
from perdure_schemas.replies import Accepted, Refused
from perdure_schemas.transition import Outcome
from perdure_topics.names import partition_of, topic_name
from perdure_topics.ports import EndProbe, LogError, PositionLostError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from perdure_actors.proposal import Pending
    from perdure_actors.shard import Shard
    from perdure_schemas.commands import ReadHistory
    from perdure_schemas.payloads import Record
    from perdure_schemas.transition import TransitionBody
    from perdure_topics.ports import StoredRecord

INPUTS_A_TURN = 64
TURN_MS = 20
HOUSE_MS = 200
REQUESTS_HELD = 20_000
WAITERS_NOTICED = 50
QUIET_MS = 2_000
RESEND_EVERY_MS = 3_600_000
BUMPS_IN_DOUBT = 4
"""The own bump, and three before it with nothing accepted between them."""
MARKS_MAX = 3
DOUBTS = 64


class Intake:
    """The input side of one shard."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self._topic = topic_name("commands", shard.services.namespace, shard.services.task_queue)
        self._requests: OrderedDict[tuple[str, str], rows.RequestRow] = OrderedDict()
        self._reads: list[tuple[int, Any]] = []
        self._watchers: dict[str, list[ReadHistory]] = {}
        self._read_to_ms = 0
        self._probe: tuple[EndProbe, int] | None = None
        self._held_back: list[rows.Alarm] = []
        self._house_at_ms = 0
        self._resend_at_ms = shard.services.clock.wall_ms() + RESEND_EVERY_MS
        self._noticed: dict[tuple[str, str], bool] = {}
        in_doubt = shard.cursor.bumps >= BUMPS_IN_DOUBT or bool(shard.meta.marks)
        self._doubts = DOUBTS if in_doubt else 0
        """How many inputs are still taken one at a time, because hosts have died here."""
        self._tried: StoredRecord | None = None

    @property
    def reads_wait(self) -> bool:
        """Whether asks wait for a record that covers them."""
        return bool(self._reads)

    # -- taking --

    def take(self, now_ms: int) -> bool:
        """Take some inputs; whether there may be more."""
        shard = self._shard
        self._answer_reads()
        if not shard.has_room:
            return False
        try:
            if self._doubts:
                return self._take_in_doubt(now_ms)
            records = shard.services.inputs.take(self._topic, shard.partition, INPUTS_A_TURN)
        except PositionLostError as error:
            self._position_lost(error)
            return True
        for record in records:
            if record.offset > shard.upto:
                self._take_one(record, now_ms)
        if records:
            self._read_to_ms = max(self._read_to_ms, records[-1].timestamp_ms)
            if self._reads:
                self._answer_reads()
        return len(records) >= INPUTS_A_TURN

    def _position_lost(self, error: PositionLostError) -> None:
        """Commands are gone that nobody has read: recorded, said, and gone on from there."""
        shard = self._shard
        services = shard.services
        first, end = services.log.offsets(self._topic, shard.partition)
        next_offset = shard.upto + 1
        if first <= next_offset <= end:
            services.inputs.assign(self._topic, shard.partition, next_offset)
            return
        services.finding(
            "input_lost",
            f"{self._topic}-{shard.partition}: inputs were read to {shard.upto}, and the topic"
            f" holds {first} to {end - 1}: {error}",
        )
        shard.propose_lost(first, end)
        services.inputs.assign(self._topic, shard.partition, shard.upto + 1)

    def _take_in_doubt(self, now_ms: int) -> bool:
        """Take one input, after a record in the log that says so has been accepted.

        An input so marked three times is not given to the code again: its run is blocked.
        """
        shard = self._shard
        if self._tried is None:
            if shard.pending:
                return False
            records = shard.services.inputs.take(self._topic, shard.partition, 1)
            if not records or records[0].offset <= shard.upto:
                return bool(records)
            self._tried = records[0]
            shard.propose_mark(records[0].offset)
            return False
        if shard.pending:
            return False
        record, self._tried = self._tried, None
        marks = shard.meta.marks.get(str(record.offset), 0)
        if marks > MARKS_MAX:
            shard.activation.refusal = (
                f"the input at offset {record.offset} was tried {MARKS_MAX} times and each time its"
                " host died; the code is not run on it again"
            )
        self._take_one(record, now_ms)
        shard.activation.refusal = ""
        self._doubts -= 1
        return True

    def _take_one(self, record: StoredRecord, now_ms: int) -> None:
        shard = self._shard
        shard.upto = record.offset
        try:
            command = decode(record.value, bytes_max=COMMAND_BYTES_MAX)
        except UnreadableRecordError as error:
            self._dead(record, str(error), unknown=isinstance(error, UnknownSchemaError))
            return
        kind = type(command)
        if kind in READS:
            self._ask(record, command)
        elif kind not in COMMANDS:
            self._dead(record, f"a {kind.__name__} record is no command")
        elif not self._misrouted(record, command) and not self._seen(record, command, now_ms):
            self._decide(record, command, now_ms)

    def _decide(self, record: StoredRecord, command: Any, now_ms: int) -> None:
        shard = self._shard
        verdict = COMMANDS[type(command)](shard, command, now_ms)
        reply: ReplyTo | None = getattr(command, "reply", None)
        if isinstance(verdict, Ignored):
            if verdict.reason:
                shard.count(f"ignored: {verdict.reason}")
            self._owe(verdict.reply or reply, verdict.answer)
            return
        if isinstance(verdict, Rejection):
            self._refuse(record, command, verdict)
            return
        self._outcome(record, command, "applied", run_id=verdict.run_id)
        self._owe(reply, verdict.answer)
        if reply is not None and reply.wait == "completed" and verdict.run_id:
            shard.owed.waits.append((reply, verdict.run_id))
        shard.decide_taken(verdict, getattr(command, "workflow_id", ""))

    def _owe(self, reply: ReplyTo | None, answer: Record | None) -> None:
        if reply is not None and answer is not None:
            self._shard.owed.answers.append((reply, answer))

    def _outcome(
        self,
        record: StoredRecord,
        command: Any,
        outcome: str,
        *,
        run_id: str = "",
        reason: str = "",
    ) -> None:
        workflow_id = getattr(command, "workflow_id", "")
        request_id = getattr(command, "request_id", "")
        self._shard.owed.outcomes.append(
            Outcome(
                offset=record.offset,
                outcome=outcome,
                reason=reason,
                workflow_id=workflow_id if request_id else "",
                request_id=request_id,
                run_id=run_id if request_id else "",
                source=getattr(command, "source", None),
            )
        )
        if request_id:
            row = rows.RequestRow(self._shard.now_ms(), outcome, run_id, reason)
            self._requests[workflow_id, request_id] = row
            if len(self._requests) > REQUESTS_HELD:
                self._requests.popitem(last=False)

    def _refuse(self, record: StoredRecord, command: Any, rejection: Rejection) -> None:
        """A refusal is recorded; where nobody is named to hear it, people find it."""
        reply: ReplyTo | None = getattr(command, "reply", None)
        if reply is None and getattr(command, "source", None) is None:
            self._put_aside(record, "dead", f"{rejection.code}: {rejection.message}")
            return
        self._outcome(
            record,
            command,
            "refused",
            run_id=rejection.run_id,
            reason=f"{rejection.code}: {rejection.message}",
        )
        self._owe(
            reply,
            Refused(
                code=rejection.code,
                message=rejection.message,
                run_id=rejection.run_id,
                status=rejection.status,
            ),
        )

    def _put_aside(self, record: StoredRecord, outcome: str, reason: str) -> None:
        """An outcome that carries the record itself: dead, or forwarded."""
        self._shard.owed.outcomes.append(
            Outcome(
                offset=record.offset,
                outcome=outcome,
                reason=reason,
                key=record.key,
                value=record.value,
            )
        )
        self._shard.count(outcome)

    def _dead(self, record: StoredRecord, reason: str, *, unknown: bool = False) -> None:
        """An input nobody can take; its sender is told when its headers say where."""
        self._put_aside(record, "dead", reason)
        for name, value in record.headers or ():
            if name == "perdure-reply":
                partition, _, rest = value.decode(errors="replace").partition("|")
                correlation, _, version = rest.partition("|")
                if partition.isdigit():
                    hint = f" (the client is of version {version})" if unknown else ""
                    self._owe(
                        ReplyTo(partition=int(partition), correlation_id=correlation),
                        Refused(code="unreadable", message=reason + hint),
                    )

    # -- each command once, in its place --

    def _misrouted(self, record: StoredRecord, command: Any) -> bool:
        """A command of another partition: a client's is sent on, an actor's is put aside."""
        shard = self._shard
        if type(command) not in ROUTED:
            return False
        wanted = partition_of(command.workflow_id, shard.services.partitions)
        if wanted == shard.partition:
            return False
        if command.source is not None:
            self._dead(record, f"an actor's command for partition {wanted}")
            return True
        if not command.request_id:
            first = f"{self._topic}-{shard.partition}-{record.offset}"
            command = replace(command, request_id=first)
        moved = record._replace(key=command.workflow_id.encode(), value=encode(command))
        self._put_aside(moved, "forwarded", f"to partition {wanted}")
        return True

    def _seen(self, record: StoredRecord, command: Any, now_ms: int) -> bool:
        """A command that was taken before: answered as then, or dropped."""
        source = getattr(command, "source", None)
        if source is not None and self._seen_source(source):
            self._shard.count("doubled actor command")
            return True
        request_id = getattr(command, "request_id", "")
        if not request_id:
            return False
        row = self._request(command.workflow_id, request_id)
        if row is not None:
            self._answer_again(command, row)
            return True
        limit_ms = self._shard.limits.request_age_ms_max
        if 0 < command.first_sent_ms < now_ms - limit_ms:
            text = (
                f"first sent over {limit_ms // 3_600_000} h ago: whether it was taken is not known"
            )
            self._refuse(record, command, Rejection("too_old", text))
            return True
        return False

    def _seen_source(self, source: Any) -> bool:
        data = self._shard.table.get(rows.last_seen_key(source.topic_id, source.partition))
        if data is None:
            return False
        last: tuple[int, int, int] = tuple(rows.decode_any(data))
        return (source.epoch, source.pseq, source.index) <= last

    def _request(self, workflow_id: str, request_id: str) -> rows.RequestRow | None:
        row = self._requests.get((workflow_id, request_id))
        if row is None:
            data = self._shard.table.get(rows.request_key(workflow_id, request_id))
            row = rows.decode_request(data) if data is not None else None
        return row

    def _answer_again(self, command: Any, row: rows.RequestRow) -> None:
        reply: ReplyTo | None = command.reply
        if row.outcome == "refused":
            code, _, message = row.reason.partition(": ")
            self._owe(reply, Refused(code=code, message=message, run_id=row.run_id))
            return
        run = self._shard.run(row.run_id)
        started = run is not None and run.started.request_id == command.request_id
        self._owe(
            reply,
            Accepted(
                workflow_id=command.workflow_id,
                run_id=row.run_id,
                first_run_id=run.state.first_run_id if run else row.run_id,
                started=started,
            ),
        )
        if reply is not None and reply.wait == "completed":
            self._shard.owed.waits.append((reply, row.run_id))

    def note(self, pending: Pending) -> None:
        """The rows and effects that the outcomes a record covers bring."""
        if pending.owed is not None:
            envelope = pending.envelope
            pending.effects += outcome_rows(
                pending.owed.outcomes, envelope.pseq, envelope.time_ms, pending.ops
            )

    # -- asks --

    def _ask(self, record: StoredRecord, ask: Any) -> None:
        deadline_ms = ask.reply.deadline_ms
        if deadline_ms and deadline_ms < self._shard.services.clock.wall_ms():
            return
        waits = WAITS.get(type(ask))
        run_id = waits(self._shard, ask) if waits else ""
        if run_id:
            self._shard.waiters.setdefault(run_id, {})[ask.reply.correlation_id] = ask.reply
        else:
            self._reads.append((record.offset, ask))

    def _answer_reads(self) -> None:
        """Answer the asks that an accepted record covers."""
        upto = self._shard.cursor.upto
        while self._reads and self._reads[0][0] <= upto:
            self.read(self._reads.pop(0)[1])

    def read(self, ask: Any) -> None:
        """Answer an ask from the table."""
        answer = READS[type(ask)](self._shard, ask)
        if answer is not None:
            self._shard.answer(ask.reply, answer)

    def watch(self, run_id: str, ask: ReadHistory) -> None:
        """Answer a history ask once there are events for it."""
        self._watchers.setdefault(run_id, []).append(ask)

    def moved(self, run_id: str) -> None:
        """A run has new accepted events."""
        for ask in self._watchers.pop(run_id, ()):
            self.read(ask)

    def history(self, run_id: str, from_seq: int) -> Iterator[tuple[int, int, int, TransitionBody]]:
        """The transitions that hold a run's events from a seq on, the first one cut to it."""
        first = rows.history_key(run_id, max(from_seq, 1) + 0)
        start, _ = rows.history_range(run_id)
        at = max(from_seq, 1)
        for key, _ in self._shard.table.scan(start, first + b"\0", reverse=True, limit=1):
            at = int.from_bytes(key[-8:], "big")
        for offset, pseq, time_ms, body in history_of(self._shard.table, run_id, at):
            skip = max(0, from_seq - body.seq)
            if skip >= len(body.events):
                continue
            cut = replace(body, seq=body.seq + skip, events=body.events[skip:]) if skip else body
            yield offset, pseq, time_ms, cut

    # -- how far inputs are read --

    def has_read_to(self, due_ms: int) -> bool:
        """Whether every input appended before a moment has been taken."""
        if self._read_to_ms >= due_ms:
            return True
        if self._probe is None:
            shard = self._shard
            probe = shard.services.inputs.probe_end(self._topic, shard.partition)
            self._probe = (probe, shard.now_ms())
        return False

    def hold_back(self, alarm: rows.Alarm) -> None:
        """Keep a deadline until inputs are read to it."""
        self._held_back.append(alarm)

    def _check_probe(self, now_ms: int) -> None:
        if self._probe is None:
            return
        probe, asked_ms = self._probe
        try:
            end = probe.end()
        except LogError:
            self._probe = None
            return
        quiet = now_ms - asked_ms > QUIET_MS and end is not None
        if end is not None and (self._shard.upto + 1 >= end or quiet):
            self._read_to_ms = max(self._read_to_ms, asked_ms)
            self._probe = None
            for alarm in self._held_back:
                self._shard.alarms.add(alarm)
            self._held_back = []

    # -- keeping house --

    def wait_ms(self, now_ms: int) -> int:
        """How long nothing needs to be done here."""
        if self._probe is not None:
            return 5
        return max(0, self._house_at_ms + HOUSE_MS - now_ms)

    def keep_house(self, now_ms: int) -> None:
        """Every now and then: lost workers, waiting effects, word to those who wait."""
        self._check_probe(now_ms)
        if now_ms - self._house_at_ms < HOUSE_MS:
            return
        self._house_at_ms = now_ms
        shard = self._shard
        shard.dispatch.retry_waiting()
        for worker_id in shard.soft.lost_workers(now_ms):
            self._lose(worker_id, now_ms)
        shard.soft.drop_expired(now_ms)
        self._drop_late_waiters()
        self._notice()
        if now_ms >= self._resend_at_ms:
            self._resend_at_ms = now_ms + RESEND_EVERY_MS
            shard.resend_stale(now_ms)

    def _lose(self, worker_id: str, now_ms: int) -> None:
        """Fail the attempts of a worker whose lease ran out, once no unread word can refute it."""
        shard = self._shard
        if not self.has_read_to(shard.soft.lease_ends_ms(worker_id)):
            return
        for run_id, activity_id in sorted(shard.soft.held.get(worker_id, ())):
            run = shard.run(run_id)
            if run is None:
                shard.soft.forget(worker_id, run_id, activity_id)
                continue
            due = decide_worker_lost(shard, run, activity_id, worker_id, now_ms)
            if isinstance(due, Due):
                shard.propose_events(run, due.events)
                shard.soft.forget(worker_id, run_id, activity_id)

    def _drop_late_waiters(self) -> None:
        wall_ms = self._shard.services.clock.wall_ms()
        for run_id, waiting in list(self._shard.waiters.items()):
            for correlation_id, reply in list(waiting.items()):
                if reply.deadline_ms and reply.deadline_ms < wall_ms:
                    del waiting[correlation_id]
            if not waiting:
                del self._shard.waiters[run_id]

    def _notice(self) -> None:
        """Tell those who wait for a run why it does not move."""
        shard = self._shard
        for run_id in list(shard.waiters)[:WAITERS_NOTICED]:
            run = shard.run(run_id)
            if run is None:
                continue
            for notice in notices_of(shard, run.state, list(run.activities.values())):
                for reply in shard.waiters[run_id].values():
                    key = (reply.correlation_id, notice.code)
                    if key not in self._noticed:
                        self._noticed[key] = True
                        shard.answer(reply, notice)
        while len(self._noticed) > REQUESTS_HELD:
            del self._noticed[next(iter(self._noticed))]


__all__ = ["Decision", "Intake"]
