"""Dedup of commands: each is taken once, and in its place, by request id or by its source.

What was taken is ahead of the table by what is proposed; an owner that loses an append is made
anew, with this.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from perdure_actors import table_layout
from perdure_schemas.avro import encode
from perdure_schemas.command_headers import ActorReport, RoutedCommand, sending_in
from perdure_schemas.commands import StartWorkflow
from perdure_schemas.message_commands import UpdateWorkflow
from perdure_schemas.replies import Accepted, Refused
from perdure_topics.names import partition_of

if TYPE_CHECKING:
    from collections import Counter

    from perdure_actors.partition.context import PartitionContext
    from perdure_actors.partition.services import Services
    from perdure_actors.partition.transition import PendingReplies
    from perdure_schemas.command_headers import Command
    from perdure_schemas.payloads import EffectId
    from perdure_topics.ports import StoredRecord, Table

LEAP_MS: Final = 10 * 366 * 86_400_000
"""No epoch of a host is so far ahead of the log's time: epochs begin at a clock's milliseconds."""
REQUESTS_HELD = 20_000
FORGOTTEN_A_TURN = 500


class DedupEntries:
    """The memory by which each command is taken once."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._requests: OrderedDict[tuple[str, str], table_layout.RequestRow] = OrderedDict()
        self._newest: dict[tuple[str, int], tuple[int, int, int]] = {}

    def request(self, workflow_id: str, request_id: str) -> table_layout.RequestRow | None:
        """What became of a request id; None when it was not seen."""
        row = self._requests.get((workflow_id, request_id))
        if row is None:
            data = self._table.get(table_layout.request_key(workflow_id, request_id))
            row = table_layout.decode_request(data) if data is not None else None
        return row

    def add_request(self, workflow_id: str, request_id: str, row: table_layout.RequestRow) -> None:
        """Remember what becomes of a request id."""
        self._requests[workflow_id, request_id] = row
        if len(self._requests) > REQUESTS_HELD:
            self._requests.popitem(last=False)

    def has_source(self, source: EffectId) -> bool:
        """Whether this command of another actor, or a newer one of its source, was taken."""
        key = (source.topic_id, source.partition)
        last = self._newest.get(key)
        if last is None:
            data = self._table.get(table_layout.last_seen_key(*key))
            if data is None:
                return False
            last = self._newest[key] = tuple(table_layout.decode_any(data))
        return (source.epoch, source.pseq, source.index) <= last

    def add_source(self, source: EffectId) -> None:
        """Remember the newest command of a source."""
        seen = (source.epoch, source.pseq, source.index)
        self._newest[source.topic_id, source.partition] = seen

    def forget_requests(self, oldest_ms: int, start: bytes = b"") -> bytes:
        """Drop some request ids that are so old that a command with one is refused.

        Where to go on is returned: empty at the end.
        """
        end = table_layout.prefix_range(table_layout.REQUESTS)[1]
        found = list(self._table.scan(start or table_layout.REQUESTS, end, limit=FORGOTTEN_A_TURN))
        old = [
            key for key, value in found if table_layout.decode_request(value).time_ms < oldest_ms
        ]
        if old:
            self._table.write((), old)
        return found[-1][0] + b"\0" if len(found) == FORGOTTEN_A_TURN else b""


FORGET_EVERY_MS = 3_600_000
ON_THE_WAY_MS = 3_600_000
"""What may lie between the sending of a command and its stamp: producers try again for a while."""
TOO_OLD = "too_old"
"""The code of a refusal by age."""


class Dedup:
    """What one owner remembers of the commands it took."""

    def __init__(
        self,
        services: Services,
        place: tuple[str, int],
        world: PartitionContext,
        taken: DedupEntries,
        *,
        owed: PendingReplies,
        counters: Counter[str],
    ) -> None:
        self._partitions = services.partitions
        self._engine_keys = services.engine_keys
        self._topic, self._partition = place
        self._world = world
        self._taken = taken
        self._owed = owed
        self._counters = counters
        self._read_to_ms = 0
        """The log's stamp of the newest input that was taken."""
        self._forget_at_ms = world.time_ms + FORGET_EVERY_MS
        self._forgetting = b""
        """Where the walk over request ids goes on; empty when none is under way."""

    @property
    def age_h(self) -> int:
        """How long request ids are remembered, in hours."""
        return self._world.limits.request_age_ms_max // 3_600_000

    def unproven(self, record: StoredRecord, command: Command) -> str:
        """Why a command that speaks for a workflow is not taken for one's; empty when it is.

        What is refused so must leave no trace: its source is made up, and would hold back, by
        whatever it says, all that the true one sends.
        """
        speaks = (
            command.source is not None
            or isinstance(command, ActorReport)
            or (isinstance(command, StartWorkflow) and command.parent is not None)
        )
        if not speaks:
            return ""
        if not self._engine_keys.is_sealed(record):
            return "it speaks for a workflow, and no host that has the engine's key has written it"
        source = command.source
        if source is not None and source.epoch > record.timestamp_ms + LEAP_MS:
            return (
                f"its source leaps to epoch {source.epoch}, years ahead of the log's time: no host"
                " writes such a one"
            )
        return ""

    def wanted(self, command: Command) -> int:
        """The partition that a command belongs to."""
        return partition_of(command.workflow_id, self._partitions)

    def misrouted(self, record: StoredRecord, command: Command) -> StoredRecord | str | None:
        """A command of another partition: a client's as it is sent on, an actor's by a reason."""
        if not isinstance(command, RoutedCommand):
            return None
        wanted = self.wanted(command)
        if wanted == self._partition:
            return None
        if command.source is not None:
            return f"an actor's command for partition {wanted}"
        if not command.request_id:
            first = f"{self._topic}-{self._partition}-{record.offset}"
            command = replace(command, request_id=first)
        sending = sending_in(record.headers)
        if sending is not None and command.first_sent_ms > 0:
            # Headers are not sent on: from here on it is said by the log's clock.
            command = replace(command, first_sent_ms=record.timestamp_ms - sending.age_ms)
        return record._replace(key=command.workflow_id.encode(), value=encode(command))

    def answer_again(self, command: Command) -> bool:
        """Whether a command was taken before; it is answered as then, or dropped."""
        if command.source is not None and self._taken.has_source(command.source):
            self._counters["doubled actor command"] += 1
            return True
        request_id = command.request_id
        row = self._taken.request(command.workflow_id, request_id) if request_id else None
        if row is None or row.reason.startswith(TOO_OLD):
            # A refusal by age takes up no id; one that did was written by an older release.
            return False
        self._answer(command, row)
        return True

    def is_too_old(self, record: StoredRecord, command: Command) -> bool:
        """Whether it was sent again so late that nobody knows any more whether it was taken.

        Its age is what has passed between its first sending and this one, as its sender counted it;
        where that is not said, what lies between the first and the log's stamp. How long it then
        lay in the log does not count: hosts may have been away for days.
        """
        first_ms = command.first_sent_ms
        if not command.request_id or first_ms <= 0:
            return False
        sending = sending_in(record.headers)
        age_ms = sending.age_ms if sending else record.timestamp_ms - first_ms
        return age_ms > self._world.limits.request_age_ms_max

    def read_to(self, stamp_ms: int) -> None:
        """An input was taken that the log stamped then."""
        self._read_to_ms = max(self._read_to_ms, stamp_ms)

    def forget(self, now_ms: int) -> None:
        """Every now and then: drop ids that no command may bear any more, some a turn.

        By the stamps of inputs, not by the time: a host that was away may have days of them before
        it, and one may bear an id that was taken before it left.
        """
        if now_ms >= self._forget_at_ms:
            self._forget_at_ms = now_ms + FORGET_EVERY_MS
            self._forgetting = table_layout.REQUESTS
        if self._forgetting:
            newest_ms = min(now_ms, self._read_to_ms)
            kept_ms = self._world.limits.request_age_ms_max + ON_THE_WAY_MS
            self._forgetting = self._taken.forget_requests(newest_ms - kept_ms, self._forgetting)

    def _answer(self, command: Command, row: table_layout.RequestRow) -> None:
        reply = command.reply
        owed = self._owed
        code, _, message = row.reason.partition(": ")
        refused = Refused(code=code, message=message, run_id=row.run_id)
        if row.outcome == "refused":
            owed.answer(reply, refused)
            return
        if isinstance(command, UpdateWorkflow):
            if reply is not None:
                owed.waits.append((reply, row.run_id, command.update_id))
            return
        run = self._world.run(row.run_id)
        if run is None and reply is not None and self._is_forgotten(command, row):
            text = f"run {row.run_id} of workflow {command.workflow_id!r} is over and forgotten"
            owed.answer(reply, Refused(code="not_found", message=text, run_id=row.run_id))
            return
        started = run is not None and run.started.request_id == command.request_id
        accepted = Accepted(
            workflow_id=command.workflow_id,
            run_id=row.run_id,
            first_run_id=run.state.first_run_id if run else row.run_id,
            started=started,
        )
        owed.answer(reply, accepted)
        update = command.update if isinstance(command, StartWorkflow) else None
        if reply is None:
            return
        if update is not None and row.reason:
            owed.answer(reply, refused)
        elif update is not None:
            waits = replace(reply, wait=update.wait_stage)
            owed.waits.append((waits, row.run_id, update.update_id))
        elif reply.wait == "completed":
            owed.waits.append((reply, row.run_id, ""))

    def _is_forgotten(self, command: Command, row: table_layout.RequestRow) -> bool:
        """Whether a run that is not here is known no more; else it is to follow another."""
        actor = self._world.actor(command.workflow_id)
        return bool(row.run_id) and (actor is None or actor.next_run_id != row.run_id)
