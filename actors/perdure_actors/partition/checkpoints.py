"""Checkpoints: copies of tables with their cursors, in a directory that other owners can read.

A new owner without a table starts from the newest valid one and folds what follows, instead of
the whole log. Losing them all costs time, nothing else.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from perdure_actors import table_layout
from perdure_topics.ports import TableError

if TYPE_CHECKING:
    from perdure_actors.partition.journal import Journal
    from perdure_actors.partition.scrubber import Scrubber
    from perdure_actors.partition.transition import InFlight
    from perdure_topics.ports import Table, TableStore


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


logger = logging.getLogger("perdure.host")
KEPT = 2
_HALF = "~"


class Checkpoints:
    """The checkpoints of one table."""

    def __init__(self, directory: str, cluster_id: str, name: str) -> None:
        self._path = Path(directory) / cluster_id / name if directory else None
        self._name = name

    @property
    def exist(self) -> bool:
        """Whether there are any."""
        return bool(self._found())

    def write(self, table: Table, pseq: int) -> bool:
        """Copy a table as it is at a pseq; whether that worked. A full disk is only reported."""
        if self._path is None:
            return False
        final = self._path / f"{pseq:020d}"
        half = self._path / f"{final.name}{_HALF}"
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(half, ignore_errors=True)
            table.checkpoint(str(half))
            if final.exists():
                # Of the same place, but perhaps of a log that is no more.
                shutil.rmtree(final)
            half.rename(final)
            found = self._found()
            # A topic that was made anew counts from one again: what is ahead of it is of another.
            ahead = [copy for copy in found if copy.name > final.name]
            for old in [*ahead, *found[len(ahead) + KEPT :]]:
                shutil.rmtree(old, ignore_errors=True)
        except (OSError, TableError) as error:
            logger.warning("no checkpoint of table %s: %s", self._name, error)
            return False
        return True

    def install(self, store: TableStore) -> bool:
        """Put the newest valid checkpoint in the place of a closed table; whether there was one."""
        for found in self._found():
            try:
                store.install(self._name, str(found))
            except TableError as error:
                logger.warning("checkpoint %s is passed over: %s", found, error)
                continue
            return True
        return False

    def discard(self) -> None:
        """Delete all copies: they share files with their table, and so its damage."""
        for found in self._found():
            shutil.rmtree(found, ignore_errors=True)

    def _found(self) -> list[Path]:
        """The checkpoints there are, newest first."""
        if self._path is None or not self._path.is_dir():
            return []
        names = (path for path in self._path.iterdir() if not path.name.endswith(_HALF))
        return sorted(names, key=lambda path: path.name, reverse=True)
