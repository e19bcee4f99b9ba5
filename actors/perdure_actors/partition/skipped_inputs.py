"""Inputs that a person puts aside, because they hold their partition up.

A `SkipInput` stands behind the input that it is about, where nothing is decided while that is held
up. So those behind such an input are looked at early, for this alone; in their order they are taken
as ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure_actors.core.rules import COMMANDS
from perdure_actors.partition.failed_input import look_at
from perdure_schemas.avro import COMMAND_BYTES_MAX, UnreadableRecordError, decode_as, kind_of
from perdure_schemas.operator_commands import SkipInput
from perdure_schemas.replies import Accepted, Refused

if TYPE_CHECKING:
    from perdure_actors.partition.capabilities import Owned
    from perdure_actors.partition.input_outcomes import InputOutcomes
    from perdure_actors.partition.readable_inputs import ReadableInputs
    from perdure_topics.ports import StoredRecord

assert SkipInput not in COMMANDS, "no run is about it, so no rule decides it"


class SkippedInputs:
    """What people have said of the inputs of one shard."""

    def __init__(self, shard: Owned, readable: ReadableInputs, outcomes: InputOutcomes) -> None:
        self._shard = shard
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
        if skip.partition == self._shard.partition and skip.offset < record.offset:
            self._wanted[skip.offset] = skip

    def takes(self, record: StoredRecord) -> bool:
        """Whether an input is to be put aside; it is, then, and people are told."""
        skip = self._wanted.pop(record.offset, None)
        if skip is None:
            return False
        shard = self._shard
        shard.upto = record.offset
        self._done.add(record.offset)
        who = skip.identity or "somebody"
        reason = f"skipped by {who}: {skip.reason or 'no reason was given'}"[:1_000]
        found = look_at(shard, record, reason)
        self._outcomes.put_aside(record, "dead", reason, found.source, found.errands)
        shard.owed.answer(found.reply, Refused(code="skipped", message=reason))
        shard.owed.answer(skip.reply, Accepted())
        where = f"offset {record.offset}, partition {shard.partition} of {shard.task_queue!r}"
        shard.services.finding("input_skipped", f"an input ({where}) was {reason}")
        return True

    def came(self, record: StoredRecord, skip: SkipInput) -> None:
        """A word about an input, in its order: the input was decided, or skipped, before it."""
        if skip.offset in self._done:
            self._outcomes.add(record, skip, "applied")
            self._shard.owed.answer(skip.reply, Accepted())
            return
        text = f"the input at offset {skip.offset} does not hold this partition up: it was decided"
        if skip.partition != self._shard.partition or skip.offset >= record.offset:
            text = f"no input at offset {skip.offset} of partition {skip.partition} is before this"
        self._outcomes.add(record, skip, "refused", reason=f"passed: {text}")
        self._shard.owed.answer(skip.reply, Refused(code="passed", message=text))
