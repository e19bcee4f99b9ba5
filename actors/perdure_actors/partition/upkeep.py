"""What a shard does for its table now and then: holds it against the log, and copies it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure_actors import table_layout

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure_actors.partition.capabilities import Owned
    from perdure_actors.partition.checkpoints import Checkpoints
    from perdure_actors.partition.scrubber import Scrubber


class TableUpkeep:
    """The upkeep of one shard's table."""

    def __init__(self, shard: Owned, save: Callable[[], None]) -> None:
        self._shard = shard
        self._save = save
        self.trailing: Scrubber | None = None
        self.checkpoints: Checkpoints | None = None

    @property
    def is_reading(self) -> bool:
        """Whether the second look is on its way."""
        return self.trailing is not None and self.trailing.is_reading

    def step(self) -> None:
        """Compare the log with the table, some time later; copy the table, now and then."""
        shard = self._shard
        meta = shard.meta
        if self.trailing is not None:
            verified = self.trailing.step(meta.offset, shard.cursor, shard.world.mono_ms)
            if verified is not None:
                shard.table.write([(table_layout.VERIFIED, table_layout.encode(verified))], ())
        every = shard.services.checkpoint_every
        if every and self.checkpoints and meta.transitions - meta.copied >= every:
            meta.copied = meta.transitions
            self._save()
            self.checkpoints.write(shard.table, shard.cursor.pseq)

    def stop(self) -> None:
        """Stop reading."""
        if self.trailing is not None:
            self.trailing.stop()
