"""What a shard does for its table now and then: holds it against the log, and copies it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure_actors import table_layout

if TYPE_CHECKING:
    from perdure_actors.partition.checkpoints import Checkpoints
    from perdure_actors.partition.journal import Journal
    from perdure_actors.partition.scrubber import Scrubber
    from perdure_actors.partition.transition import InFlight
    from perdure_topics.ports import Table


class TableUpkeep:
    """The upkeep of one owner's table."""

    def __init__(self, table: Table, journal: Journal[InFlight], checkpoint_every: int) -> None:
        self._table = table
        self._journal = journal
        self._every = checkpoint_every
        self.scrubber: Scrubber | None = None
        self.checkpoints: Checkpoints | None = None

    @property
    def is_reading(self) -> bool:
        """Whether the second look is on its way."""
        return self.scrubber is not None and self.scrubber.is_reading

    def step(self, mono_ms: int) -> None:
        """Compare the log with the table, some time later; copy the table, now and then."""
        journal, meta = self._journal, self._journal.meta
        if self.scrubber is not None:
            verified = self.scrubber.step(meta.offset, journal.cursor, mono_ms)
            if verified is not None:
                self._table.write([(table_layout.VERIFIED, table_layout.encode(verified))], ())
        every = self._every
        if every and self.checkpoints and meta.transitions - meta.copied >= every:
            meta.copied = meta.transitions
            journal.write({})
            self.checkpoints.write(self._table, journal.cursor.pseq)

    def stop(self) -> None:
        """Stop reading."""
        if self.scrubber is not None:
            self.scrubber.stop()
