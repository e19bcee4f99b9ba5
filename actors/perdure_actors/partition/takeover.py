"""Take-over of a partition (rule 3): bump the epoch, read the log through the bump, then own it.

Nothing is decided before the own bump has been read back: what an earlier read does not show may
still be on its way. Recovery runs in turns, never inside a rebalance callback.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from perdure_actors import table_layout
from perdure_actors.partition.checkpoints import Checkpoints, log_head
from perdure_actors.partition.log_time import LogTime, skew_ms
from perdure_actors.partition.processor import PartitionProcessor
from perdure_actors.partition.recovery import Recovery, TableDivergedError, first_offset
from perdure_actors.partition.scrubber import Scrubber
from perdure_actors.retention.checkpoint_reader import CheckpointReader, NoCheckpointError
from perdure_actors.visibility.indexing import type_in_table
from perdure_schemas.avro import encode
from perdure_schemas.transition import EpochBump
from perdure_topics.names import topic_name
from perdure_topics.ports import (
    HeadLostError,
    LogEndLostError,
    PositionLostError,
    TableBusyError,
    TableError,
    TableFullError,
    TopicMismatchError,
)
from perdure_topics.requirements import FIXED

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure_actors.partition.fence import Fence
    from perdure_actors.partition.services import Services
    from perdure_topics.ports import Appender, StoredRecord, Table, Tail

logger = logging.getLogger("perdure.host")
READ_A_TURN = 500
SILENT_SESSIONS = 3
SKEW_FINDING_MS = 30_000


class _HeadUnknownError(Exception):
    """The log has lost its head, and the table does not know what stood there."""


class LostError(Exception):
    """Another owner has a higher epoch, or this host should not own the partition."""


def table_name(services: Services, partition: int) -> str:
    """The name of a partition's table."""
    return f"{services.namespace}.{services.task_queue}.{partition}"


def open_table(services: Services, partition: int, *, anew: bool = False) -> Table:
    """The partition's table; a damaged one is made anew, one that is held is waited for.

    With `anew` it was opened before and then found to be damaged. Raises TableError when there can
    be none now. It may run on any thread.
    """
    store, name = services.store, table_name(services, partition)
    checkpoints = Checkpoints(services.checkpoints, services.log.cluster_id, name)
    if anew:
        store.wipe(name)
        checkpoints.discard()
    try:
        table = store.open(name)
    except (TableBusyError, TableFullError):
        raise
    except TableError as error:
        services.finding("table_damaged", f"table {name} is rebuilt: {error}")
        store.wipe(name)
        table = store.open(name)
    try:
        is_empty = table.get(table_layout.META) is None
    except TableError:
        table.close()
        raise
    if is_empty and checkpoints.exist:
        table.close()
        checkpoints.install(store)
        table = store.open(name)
    return table


class Takeover:
    """The way from an assignment to an owned shard, a turn at a time."""

    def __init__(
        self,
        services: Services,
        partition: int,
        events: Tail,
        *,
        table: Table,
        on_ready: Callable[[], None],
        fence: Fence,
        was_epoch: int = 0,
    ) -> None:
        """Begin with an open table; `was_epoch` is of a shard that just failed here, 0 for none."""
        self._services = services
        self._partition = partition
        self._fence = fence
        self._events = events
        self._on_ready = on_ready
        self._topic = topic_name("events", services.namespace, services.task_queue)
        self._name = table_name(services, partition)
        self._checkpoints = Checkpoints(services.checkpoints, services.log.cluster_id, self._name)
        self._appender: Appender | None = None
        self._bump: EpochBump | None = None
        self._bump_offset = -1
        self._highest = 0
        self._was_epoch = was_epoch
        self._look_to: int | None = None
        """How far to read before bumping, to see whether somebody else has taken over."""
        self._began_ms = self._heard_ms = services.clock.monotonic_ms()
        self._table = table
        # Partitions that are owned already must not give an attribute another type meanwhile.
        services.types.join(self._type_of)
        self._lost = ""
        """Why the position that the table is verified to could not be read."""
        self._recovery: Recovery | None = None
        self._reader: CheckpointReader | None = None
        """Reads the checkpoint that the log begins with, where no table knows what was before."""
        self._span = (0, 0)
        self._probe = events.probe_end(self._topic, partition)
        """Asked without waiting: a broker that is away must not hold up the host's thread."""

    @property
    def is_asking(self) -> bool:
        """Whether the log has yet to say where the partition begins and ends."""
        return self._recovery is None

    def _begin(self, span: tuple[int, int]) -> Recovery | None:
        """Begin to read, and bump; a failed shard first looks whether somebody else is there."""
        self._span = span
        try:
            recovery = self._open(*span)
        except _HeadUnknownError:
            self._reader = self._checkpoint_reader()
            self._events.assign(self._topic, self._partition, span[0])
            return None
        # Without a table, only the log can say that it is not this host's to take: it is asked
        # before others are pushed out.
        looks = bool(self._was_epoch) or recovery.meta.offset < 0 < span[1]
        if looks and self._bump is None:
            self._look_to = span[1]
        elif self._bump is None:
            self._send_bump(recovery)
        self._heard_ms = self._services.clock.monotonic_ms()
        return recovery

    # -- the table --

    def _open(self, start: int, end: int) -> Recovery:
        """Where to read from: the verified cursor of a table of this very log, or the start."""
        services = self._services
        data = self._table.get(table_layout.META)
        meta = None
        if data is not None:
            try:
                meta = table_layout.decode_meta(data)
            except ValueError:
                meta = table_layout.Meta(layout=0)
        problem = self._mismatch(meta) if meta is not None else ""
        if problem:
            services.finding("table_wiped", f"table {self._name} is rebuilt: {problem}")
            self._wipe()
            meta = None
        if meta is None:
            meta = table_layout.Meta(
                cluster_id=services.log.cluster_id,
                events_topic_id=services.events_topic_id,
                commands_topic_id=services.commands_topic_id,
                partitions=services.partitions,
            )
        saved = self._table.get(table_layout.VERIFIED)
        verified = (
            table_layout.decode_verified(saved)
            if saved and meta.offset >= 0
            else table_layout.Verified()
        )
        if meta.offset >= end and services.log.has_one_copy:
            raise LogEndLostError(self._ahead(meta.offset, end))
        if verified.next_offset < start:
            verified = self._without_head(meta, start)
        elif self._lost:
            services.finding("table_wiped", f"table {self._name} is rebuilt: {self._lost}")
            self._lost = ""
            self._wipe()
            return self._open(start, end)
        first = max(first_offset(verified), start)
        self._events.assign(self._topic, self._partition, first)
        self._highest = max(meta.cursor.epoch, self._highest)
        return Recovery(self._table, meta, verified)

    def _without_head(self, meta: table_layout.Meta, start: int) -> table_layout.Verified:
        """Where to go on in a log that has lost its head: only a table knows what stood there.

        Raises _HeadUnknownError when this one does not.
        """
        # What is before the cut cannot be compared any more; the table stands behind it.
        if meta.offset < max(start - 1, 0):
            raise _HeadUnknownError
        whole = meta.checkpoint
        if whole is None or whole.first_offset != start:
            self._services.finding(
                "head_lost",
                f"{self._headless(start)}. Only tables and their copies know it now: this host goes"
                f" on with table {self._name}; keep its directory. Keep events for ever:"
                f" {self._mend}",
            )
        return table_layout.Verified(next_offset=meta.offset + 1, cursor=meta.cursor)

    def _headless(self, start: int) -> str:
        return (
            f"{self._topic} partition {self._partition} begins at offset {start}: its head was"
            " deleted, by a retention or DeleteRecords"
        )

    @property
    def _mend(self) -> str:
        return f"kafka-configs.sh --alter --topic {self._topic} --add-config retention.ms=-1"

    def _checkpoint_reader(self) -> CheckpointReader:
        services = self._services
        return CheckpointReader(self._table, services.log.cluster_id, services.events_topic_id)

    def _load(self, reader: CheckpointReader) -> None:
        """Read on in the checkpoint that the log begins with; then its fold can begin.

        Raises HeadLostError when there is none.
        """
        start, end = self._span
        why = ""
        try:
            for record in self._events.take(self._topic, self._partition, READ_A_TURN):
                if record.offset == start:
                    # The header alone: no row is written before it is known what this is.
                    reader.take(record)
                    self._wipe()
                    reader = self._reader = self._checkpoint_reader()
                loaded = reader.take(record)
                if loaded is not None:
                    self._check_partitions(loaded.meta.partitions, "the checkpoint in the log")
                    self._look_again()
                    return
        except NoCheckpointError as error:
            why = str(error)
        if not why and self._events.position(self._topic, self._partition) >= end:
            why = "it ends before the last slice"
        if why:
            msg = (
                f"{self._headless(start)}, and no whole checkpoint stands there: {why}. This host's"
                f" table {self._name} does not know what stood there, so what had run would run a"
                " second time. Nothing is done. Start a host with the state directory that has the"
                " table, or a copy among its checkpoints; else begin anew on another task queue:"
                f" perdure topics create --task-queue NAME. Keep events for ever: {self._mend}"
            )
            raise HeadLostError(msg)

    def _look_again(self) -> None:
        """Ask the log anew where the partition begins and ends, and begin with that."""
        self._recovery = self._reader = None
        self._probe = self._events.probe_end(self._topic, self._partition)

    def _check_partitions(self, partitions: int, by: str) -> None:
        """Refuse a topic with another number of partitions than it was used with."""
        now = self._services.partitions
        if partitions not in (0, now):
            msg = (
                f"{self._topic} has {now} partitions where {by} was made for {partitions}. {FIXED}"
            )
            raise TopicMismatchError(msg)

    def _mismatch(self, meta: table_layout.Meta) -> str:
        """Why a table is not of this log; empty when it is."""
        services = self._services
        if meta.layout != table_layout.LAYOUT:
            return f"it has layout {meta.layout}; this release keeps layout {table_layout.LAYOUT}"
        if meta.cluster_id != services.log.cluster_id:
            return f"it is of cluster {meta.cluster_id}; this one is {services.log.cluster_id}"
        if meta.events_topic_id != services.events_topic_id:
            return f"topic {self._topic} has been made anew since"
        # Keys have other places now: going on would give one id two truths.
        self._check_partitions(meta.partitions, "this table")
        return ""

    def _ahead(self, offset: int, end: int) -> str:
        """What to say of a table that knows records which its log has lost, with no other copy."""
        where = self._services.log.address.removeprefix("file:")
        return (
            f"table {self._name} has taken {self._topic} partition {self._partition} to offset"
            f" {offset}, and the log in {where} ends before {end}: {offset + 1 - end} records that"
            " were acknowledged are lost. The table is kept, and nothing is done. Restore"
            f" {where} as a whole from a copy that has them, and check the disk. To go on without"
            f" what is lost, move {where}/tables (or the --state-dir) and {where}/checkpoints away:"
            " tables are made anew from the log, and what only those records said has not happened"
            " then and may be done again"
        )

    def _wipe(self) -> None:
        """An empty table; a checkpoint would be of the same past."""
        self._table.close()
        self._services.store.wipe(self._name)
        self._table = self._services.store.open(self._name)

    # -- the bump --

    def _send_bump(self, recovery: Recovery) -> None:
        """Append a bump with a fresh producer, a fresh nonce and a higher epoch."""
        services = self._services
        if self._appender is not None:
            self._appender.close()
        self._appender = services.log.appender(on_ready=self._on_ready)
        wall_ms = services.clock.wall_ms()
        self._highest = max(self._highest + 1, recovery.cursor.epoch + 1, wall_ms)
        self._bump = EpochBump(
            epoch=self._highest,
            nonce=services.random.randbytes(16),
            input_topic_id=services.commands_topic_id,
            owner=services.owner,
            time_ms=wall_ms,
            code_version=services.code.version,
            partitions=services.partitions,
        )
        self._bump_offset = -1
        self._appender.append(self._topic, self._partition, encode(self._bump), tag=self._bump)

    def _check_report(self, recovery: Recovery) -> None:
        if self._appender is None:
            return
        for report in self._appender.reports():
            if report.error is not None or report.offset is None:
                # Its fate is unknown; a higher one settles it.
                self._send_bump(recovery)
                return
            self._bump_offset = report.offset
            self._check_clock(report.timestamp_ms)
            if report.offset < recovery.next_offset:
                msg = f"the log ended before offset {recovery.next_offset}"
                raise TableDivergedError(msg)

    def _check_clock(self, stamp_ms: int) -> None:
        """Say that this machine's clock is off. Nothing that is decided goes by it."""
        services = self._services
        assert self._bump is not None
        off_ms = skew_ms(self._bump.time_ms, services.clock.wall_ms(), stamp_ms)
        if off_ms > SKEW_FINDING_MS:
            services.finding(
                "clock",
                f"the clock of {services.owner} is {off_ms} ms off the log's: set it. Workflows go"
                " by the log's clock; what people read in logs of this machine does not",
            )

    # -- turns --

    def step(self) -> PartitionProcessor | None:
        """One turn; the shard once it is owned.

        Raises LostError when somebody else owns it, and LogError when the log does not say where
        the partition begins.
        """
        try:
            if self._reader is not None:
                self._load(self._reader)
                return None
            if self._recovery is None:
                span = self._probe.span()
                self._recovery = self._begin(span) if span is not None else None
            return self._read(self._recovery) if self._recovery is not None else None
        except (TableDivergedError, PositionLostError) as error:
            if isinstance(error, PositionLostError):
                # At which end, the log says when it is asked: a table outlives a lost head.
                self._lost = str(error)
            else:
                self._services.finding("table_wiped", f"table {self._name} is rebuilt: {error}")
                self._wipe()
            self._look_again()
            return None

    def _read(self, recovery: Recovery) -> PartitionProcessor | None:
        self._check_report(recovery)
        records = self._events.take(self._topic, self._partition, READ_A_TURN)
        self._bump_again_if_lost(recovery, heard=bool(records))
        for record in records:
            if self._bump_offset < 0 and self._is_own_bump(record):
                self._bump_offset = record.offset
            recovery.take(record)
            self._check_partitions(recovery.partitions, "the log")
            if record.offset == self._bump_offset:
                return self._own(record, recovery)
        # A stranger's marks at the end are no records: the position passes them.
        position = max(recovery.next_offset, self._events.position(self._topic, self._partition))
        if self._look_to is not None and position >= self._look_to:
            self._look_to = None
            self._yield_to_a_higher_epoch(recovery.cursor.epoch)
            self._send_bump(recovery)
        if len(records) >= READ_A_TURN:
            self._on_ready()
        return None

    def _yield_to_a_higher_epoch(self, epoch: int) -> None:
        """After a failed append: leave the partition to whoever has taken it over meanwhile."""
        if self._was_epoch and epoch > self._was_epoch:
            msg = f"epoch {epoch} is above the {self._was_epoch} this host had"
            raise LostError(msg)

    def _bump_again_if_lost(self, recovery: Recovery, *, heard: bool) -> None:
        """What was in the log and never comes was lost by it: a bump is sent, or another one."""
        mono_ms = self._services.clock.monotonic_ms()
        waits = self._bump_offset >= 0 or self._look_to is not None
        if heard or not waits:
            self._heard_ms = mono_ms
        elif mono_ms - self._heard_ms > SILENT_SESSIONS * self._services.session_ms:
            self._heard_ms = mono_ms
            self._look_to = None
            self._send_bump(recovery)

    def _is_own_bump(self, record: StoredRecord) -> bool:
        bump = self._bump
        return bump is not None and record.value is not None and bump.nonce in record.value

    def _own(self, record: StoredRecord, recovery: Recovery) -> PartitionProcessor | None:
        """The own bump has been read: this host owns the partition, or somebody else does."""
        services = self._services
        bump = self._bump
        assert bump is not None
        assert self._appender is not None
        meta = recovery.finish()
        if (meta.cursor.epoch, meta.cursor.nonce) != (bump.epoch, bump.nonce):
            self._highest = max(self._highest, meta.cursor.epoch)
            if meta.cursor.epoch > bump.epoch:
                msg = f"epoch {meta.cursor.epoch} is above {bump.epoch}, offset {record.offset}"
                raise LostError(msg)
            self._send_bump(recovery)
            return None
        self._events.unassign(self._topic, self._partition)
        took_ms = services.clock.monotonic_ms() - self._began_ms
        logger.info(
            "partition %d taken over in %d ms: %d records read, %d of them stale",
            self._partition,
            took_ms,
            recovery.folded,
            recovery.stale,
        )
        services.types.leave(self._type_of)
        shard = PartitionProcessor(
            services,
            self._partition,
            self._table,
            meta,
            appender=self._appender,
            on_ready=self._on_ready,
            fence=self._fence,
            log_time=LogTime(services.clock, meta.cursor.time_ms, record.timestamp_ms),
        )
        commands = topic_name("commands", services.namespace, services.task_queue)
        services.inputs.assign(commands, self._partition, shard.journal.upto + 1)
        saved = self._table.get(table_layout.VERIFIED)
        verified = table_layout.decode_verified(saved) if saved else table_layout.Verified()
        shard.upkeep.scrubber = Scrubber(self._events, self._topic, self._partition, verified)
        shard.upkeep.checkpoints = self._checkpoints
        shard.upkeep.head = log_head(
            services, self._partition, self._table, shard.journal, shard.outbox
        )
        shard.counters["stale"] = recovery.stale
        shard.recover()
        self._fence.let_out(services, shard.observer.repeat, recovery.recent)
        return shard

    def _type_of(self, name: str) -> str:
        try:
            return type_in_table(self._table, name)
        except TableError:
            # Whoever asks is another partition: this one's trouble is told in its own turn.
            return ""

    def close(self) -> None:
        """Give up."""
        self._services.types.leave(self._type_of)
        if self._appender is not None:
            self._appender.close()
        self._events.unassign(self._topic, self._partition)
        self._table.close()
