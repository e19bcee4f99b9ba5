"""A second look at the log behind the owner: folded again, and held against the table.

It matters only when Kafka loses what it acknowledged. It also keeps the verified cursor near the
table's end, so that the next owner of the table has little to compare.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure_actors import table_layout
from perdure_actors.partition.recovery import TableDivergedError, check_mark, first_offset, mark_of
from perdure_topics.fold import fold_record
from perdure_topics.ports import LogError

if TYPE_CHECKING:
    from perdure_topics.fold import Cursor
    from perdure_topics.ports import EndProbe, Tail

EVERY_MS = 10_000
READ_A_TURN = 256


class Scrubber:
    """Reads what its shard has written, some time after it."""

    def __init__(
        self, events: Tail, topic: str, partition: int, verified: table_layout.Verified
    ) -> None:
        self._events = events
        self._topic = topic
        self._partition = partition
        self._verified = verified
        self._target: tuple[int, Cursor] | None = None
        self._due_ms = 0
        self._probe: EndProbe | None = None
        self._is_short = False
        """Whether the log was last said to end before what was verified; said twice, it does."""

    @property
    def is_reading(self) -> bool:
        """Whether it is on its way to a target."""
        return self._target is not None

    @property
    def verified_to(self) -> int:
        """Below this offset the log was read a second time; it never goes back there."""
        return first_offset(self._verified)

    def step(self, offset: int, cursor: Cursor, mono_ms: int) -> table_layout.Verified | None:
        """One turn, given how far the table is; the new verified cursor when a target is met.

        Raises TableDivergedError when the log does not say what the table holds, and
        PositionLostError when it has lost it.
        """
        if self._target is None:
            end = self._ask_end(mono_ms)
            if end is None:
                return None
            verified = self._verified
            if end < verified.next_offset:
                if not self._is_short:
                    # A leader that was deposed in its sleep may answer for the log it knew.
                    self._is_short = True
                    return None
                text = f"the log ends at offset {end}, before {verified.next_offset}"
                raise TableDivergedError(text)
            self._is_short = False
            self._target = (offset, cursor)
            self._events.assign(self._topic, self._partition, first_offset(verified))
        return self._read()

    def _ask_end(self, mono_ms: int) -> int | None:
        """Where the log ends, asked now and then: even an idle owner must hear of a lost end."""
        if self._probe is None:
            if mono_ms >= self._due_ms:
                self._due_ms = mono_ms + EVERY_MS
                self._probe = self._events.probe_end(self._topic, self._partition)
            return None
        try:
            end = self._probe.end()
        except LogError:
            self._probe = None
            return None
        if end is not None:
            self._probe = None
        return end

    def _read(self) -> table_layout.Verified | None:
        assert self._target is not None
        target, expected = self._target
        for record in self._events.take(self._topic, self._partition, READ_A_TURN):
            if record.offset < self._verified.next_offset:
                check_mark(self._verified, record)
            else:
                cursor, _ = fold_record(self._verified.cursor, record)
                self._verified = table_layout.Verified(
                    next_offset=record.offset + 1, cursor=cursor, mark=mark_of(record)
                )
            if record.offset >= target:
                self.stop()
                if self._verified.cursor != expected or record.offset != target:
                    text = f"the log does not hold at offset {target} what this owner wrote there"
                    raise TableDivergedError(text)
                return self._verified
        if target < first_offset(self._verified):
            self.stop()
        return None

    def stop(self) -> None:
        """Stop reading."""
        if self._target is not None:
            self._target = None
            self._events.unassign(self._topic, self._partition)
