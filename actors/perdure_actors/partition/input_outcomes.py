"""The outcome of each input, by the record that covers it: applied, refused, dead, forwarded."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from perdure_actors import table_layout
from perdure_actors.core.decision import Rejection
from perdure_actors.core.rules import errands_of
from perdure_actors.partition.fence import INTERNAL, internal
from perdure_schemas.command_headers import Command, ReadCommand
from perdure_schemas.payloads import InputHeader, ReplyTo
from perdure_schemas.replies import Refused
from perdure_schemas.transition import Outcome

if TYPE_CHECKING:
    from collections import Counter

    from perdure_actors.core.world import World
    from perdure_actors.partition.context import PartitionContext
    from perdure_actors.partition.dedup import DedupEntries
    from perdure_actors.partition.fence import Fence
    from perdure_actors.partition.schema_framing import Framing
    from perdure_actors.partition.services import Services
    from perdure_actors.partition.transition import PendingReplies
    from perdure_schemas.payloads import EffectId, Errand
    from perdure_topics.ports import StoredRecord


class FailedInput(NamedTuple):
    """Who hears of an input that could not be decided."""

    is_ask: bool
    """Whether it only reads, so that nothing is lost with it."""
    reply: ReplyTo | None = None
    source: EffectId | None = None
    errands: tuple[Errand, ...] = ()


HEADERS_MAX: Final = 100
HEADERS_BYTES_MAX: Final = 16 * 1024
"""So much of the headers of an input is kept with it in the dead letters."""


def _headers_of(record: StoredRecord) -> list[InputHeader]:
    found, left = [], HEADERS_BYTES_MAX
    for name, value in (record.headers or ())[:HEADERS_MAX]:
        left -= len(name) + len(value or b"")
        if left < 0:
            break
        found.append(InputHeader(name=name, value=value or b""))
    return found


def look_at(framing: Framing, world: World, record: StoredRecord, reason: str) -> FailedInput:
    """What can be known of an input that failed, whatever it is."""
    try:
        command = framing.decode(record.value)
    except ValueError:
        return FailedInput(is_ask=False)
    if not isinstance(command, Command):
        return FailedInput(is_ask=False)
    reply, source = command.reply, command.source
    if isinstance(command, ReadCommand):
        return FailedInput(is_ask=True, reply=reply)
    errands: tuple[Errand, ...] = ()
    if source is not None:
        try:
            errands = errands_of(world, command, Rejection(INTERNAL, reason))
        except Exception:
            # Its sender cannot be told in its own way; the finding and the dead letter say it.
            errands = ()
    return FailedInput(is_ask=False, reply=reply, source=source, errands=errands)


_REPLY: Final = re.compile(rb"([0-9]{1,9})\|([!-{}~]{1,200})\|([ -~]{0,100})")
"""The header that says where an answer goes: partition, correlation id, version."""


class InputOutcomes:
    """The outcomes of one owner's inputs, owed to the next record that covers them."""

    def __init__(
        self,
        services: Services,
        place: tuple[str, int],
        world: PartitionContext,
        taken: DedupEntries,
        *,
        owed: PendingReplies,
        fence: Fence,
        counters: Counter[str],
    ) -> None:
        self._services = services
        self._topic, self._partition = place
        self._world = world
        self._taken = taken
        self._owed = owed
        self._fence = fence
        self._counters = counters

    def look_at(self, record: StoredRecord, reason: str) -> FailedInput:
        """What can be known of an input that failed, whatever it is."""
        return look_at(self._services.framing, self._world, record, reason)

    def fail(self, record: StoredRecord, reason: str, error: Exception | None) -> None:
        """An input that cannot be decided: kept, its sender told, and passed."""
        found = self.look_at(record, reason)
        self._owed.answer(found.reply, internal(reason))
        where = f"{self._topic}-{self._partition}, offset {record.offset}"
        if found.is_ask:
            text = f"an ask could not be answered ({where}): {reason}"
        else:
            self.put_aside(record, "dead", f"internal: {reason}", found.source, found.errands)
            text = (
                f"a command could not be decided and is in the dead letters ({where}): {reason}."
                " Its sender was told where it can be; send it again once this is mended"
            )
        self._fence.tell(self._services, "input_failed", text, error)

    def add(
        self,
        record: StoredRecord,
        command: Command,
        outcome: str,
        *,
        run_id: str = "",
        reason: str = "",
        errands: tuple[Errand, ...] = (),
    ) -> None:
        """What became of a command, by which it is known when it comes again."""
        workflow_id, request_id = command.workflow_id, command.request_id
        source = command.source
        self._owed.outcomes.append(
            Outcome(
                offset=record.offset,
                outcome=outcome,
                reason=reason,
                workflow_id=workflow_id if request_id else "",
                request_id=request_id,
                run_id=run_id if request_id else "",
                source=source,
                errands=list(errands),
            )
        )
        if source is not None:
            self._taken.add_source(source)
        if request_id:
            row = table_layout.RequestRow(self._world.now_ms(), outcome, run_id, reason)
            self._taken.add_request(workflow_id, request_id, row)

    def hand_back(self, record: StoredRecord, run_id: str, activity_id: str) -> None:
        """A task goes out again once this is in the log; that is no event of its run."""
        self._owed.outcomes.append(
            Outcome(
                offset=record.offset,
                outcome="handed_back",
                run_id=run_id,
                activity_id=activity_id,
            )
        )
        self._counters["handed_back"] += 1

    def refuse(
        self,
        record: StoredRecord,
        command: Command,
        rejection: Rejection,
        errands: tuple[Errand, ...] = (),
    ) -> None:
        """A refusal is recorded; where nobody is named to hear it, people find it."""
        reply = command.reply
        if reply is None and command.source is None:
            self.put_aside(record, "dead", f"{rejection.code}: {rejection.message}")
            return
        self.add(
            record,
            command,
            "refused",
            run_id=rejection.run_id,
            reason=f"{rejection.code}: {rejection.message}",
            errands=errands,
        )
        self._owed.answer(
            reply,
            rejection.answer
            or Refused(
                code=rejection.code,
                message=rejection.message,
                run_id=rejection.run_id,
                status=rejection.status,
            ),
        )

    def forward(self, record: StoredRecord, partition: int) -> None:
        """A client's command that belongs to another partition."""
        self.put_aside(record, "forwarded", f"to partition {partition}")

    def put_aside(
        self,
        record: StoredRecord,
        outcome: str,
        reason: str,
        source: EffectId | None = None,
        errands: tuple[Errand, ...] = (),
    ) -> None:
        """An outcome that carries the record itself: dead, or forwarded."""
        if source is not None:
            self._taken.add_source(source)
        self._owed.outcomes.append(
            Outcome(
                offset=record.offset,
                outcome=outcome,
                reason=reason,
                source=source,
                key=record.key,
                value=record.value,
                errands=list(errands),
                headers=_headers_of(record) if outcome == "dead" else [],
            )
        )
        self._counters[outcome] += 1

    def dead(
        self,
        record: StoredRecord,
        reason: str,
        source: EffectId | None = None,
        *,
        unknown: bool = False,
    ) -> None:
        """An input nobody can take; its sender is told when its headers say where."""
        self.put_aside(record, "dead", reason, source)
        for name, value in record.headers or ():
            # Anybody may have written it: of a header only what a client of ours writes is read.
            found = _REPLY.fullmatch(value or b"") if name == "perdure-reply" else None
            if found is not None:
                partition, correlation, version = (part.decode() for part in found.groups())
                hint = f" (the client is of version {version})" if unknown else ""
                self._owed.answer(
                    ReplyTo(partition=int(partition), correlation_id=correlation),
                    Refused(code="unreadable", message=reason + hint),
                )
