"""Checkpoints: copies of tables with their cursors, and the upkeep of tables and of their log.

A new owner without a table starts from the newest valid one and folds what follows, instead of
the whole log. Losing them all costs time, nothing else.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from perdure_actors import table_layout
from perdure_actors.partition.recovery import Recovery, TableDivergedError
from perdure_actors.retention.log_head import LogHead
from perdure_actors.retention.policy import RetentionPolicy, policy_in, readers_below
from perdure_actors.retention.second_reader import SecondReader
from perdure_schemas.avro import UnreadableRecordError
from perdure_topics.names import topic_name
from perdure_topics.ports import TableError

if TYPE_CHECKING:
    from concurrent.futures import Future

    from perdure_actors.partition.journal import Journal, SentEffects
    from perdure_actors.partition.scrubber import Scrubber
    from perdure_actors.partition.services import Services
    from perdure_actors.partition.transition import InFlight
    from perdure_topics.ports import Table, TableStore


class TableUpkeep:
    """The upkeep of one owner's table."""

    def __init__(self, table: Table, journal: Journal[InFlight], checkpoint_every: int) -> None:
        self._table = table
        self._journal = journal
        self._every = checkpoint_every
        self.scrubber: Scrubber | None = None
        self.head: LogHead | None = None
        self.checkpoints: Checkpoints | None = None

    @property
    def is_reading(self) -> bool:
        """Whether the second look is on its way."""
        looks = self.head is not None and self.head.is_reading
        return looks or (self.scrubber is not None and self.scrubber.is_reading)

    def step(self, mono_ms: int) -> None:
        """Compare the log with the table, some time later; copy the table, now and then."""
        journal, meta = self._journal, self._journal.meta
        if self.scrubber is not None:
            verified = self.scrubber.step(meta.offset, journal.cursor, mono_ms)
            if verified is not None:
                self._table.write([(table_layout.VERIFIED, table_layout.encode(verified))], ())
        if self.head is not None and self.scrubber is not None:
            self.head.step(mono_ms, self.scrubber.verified_to)
        every = self._every
        if every and self.checkpoints and meta.transitions - meta.copied >= every:
            meta.copied = meta.transitions
            journal.write({})
            self.checkpoints.write(self._table, journal.cursor.pseq)

    def stop(self) -> None:
        """Stop reading."""
        if self.scrubber is not None:
            self.scrubber.stop()
        if self.head is not None:
            self.head.close()


class ScratchTable:
    """A table for one look at a log: empty when it is opened, gone when it is dropped."""

    def __init__(self, store: TableStore, name: str) -> None:
        self._store = store
        self._name = name
        self._table: Table | None = None

    def open(self) -> Table:
        """An empty table. Raises TableError when there can be none."""
        self._store.wipe(self._name)
        self._table = self._store.open(self._name)
        return self._table

    def drop(self) -> None:
        """Let go of it, and of what is in it. A full disk is only reported."""
        if self._table is None:
            return
        self._table.close()
        self._table = None
        try:
            self._store.wipe(self._name)
        except TableError as error:
            logger.warning("table %s of the second reader is left: %s", self._name, error)


def log_head(
    services: Services,
    partition: int,
    table: Table,
    journal: Journal[InFlight],
    outbox: SentEffects,
) -> LogHead:
    """What looks at the checkpoints of one owner's log, and cuts it below them."""
    place = (topic_name("events", services.namespace, services.task_queue), partition)
    meta = journal.meta
    fresh = table_layout.Meta(
        cluster_id=meta.cluster_id,
        events_topic_id=meta.events_topic_id,
        commands_topic_id=meta.commands_topic_id,
        partitions=meta.partitions,
    )
    scratch = f"{services.namespace}.{services.task_queue}.{partition}.second"

    def look(whole: table_layout.WholeCheckpoint) -> SecondReader:
        return SecondReader(
            whole,
            tail=services.log.tail(on_ready=_nothing, committed=False),
            place=place,
            scratch=ScratchTable(services.store, scratch),
            fold=Recovery,
            fresh=replace(fresh),
            age_ms_max=services.limits.request_age_ms_max,
            wrong=(TableDivergedError, UnreadableRecordError),
        )

    def held_by(offset: int) -> str:
        policy = policy_in(table) or RetentionPolicy()
        if not policy.cuts(is_alone=services.log.has_one_copy):
            return "the rule of this task queue, which keeps all events"
        return readers_below(table, offset)

    def cut(offset: int) -> Future[None]:
        return services.run(lambda: services.log.delete_before(*place, offset))

    return LogHead(
        journal,
        outbox,
        look=look,
        held_by=held_by,
        cut=cut,
        finding=services.finding,
        name=f"{place[0]} partition {partition}",
    )


def _nothing() -> None:
    """It is looked at every turn."""


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
