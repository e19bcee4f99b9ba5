"""Inputs that a person puts aside, because they hold their partition up.

A `SkipInput` stands behind the input that it is about, where nothing is decided while that is held
up. So those behind such an input are looked at early, for this alone; in their order they are taken
as ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure_actors.core.rules import COMMANDS
from perdure_schemas.avro import COMMAND_BYTES_MAX, UnreadableRecordError, decode_as, kind_of
from perdure_schemas.operator_commands import SkipInput
from perdure_schemas.replies import Accepted, Refused

if TYPE_CHECKING:
    from perdure_actors.partition.input_outcomes import InputOutcomes
    from perdure_actors.partition.journal import Journal
    from perdure_actors.partition.readable_inputs import ReadableInputs
    from perdure_actors.partition.services import Services
    from perdure_actors.partition.transition import InFlight, PendingReplies
    from perdure_topics.ports import StoredRecord

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
