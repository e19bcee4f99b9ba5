"""A partition as its log has it, for reads where nobody owns it: folded into memory, never written.

It decides nothing and owns nothing. What it says is as of the log's end when it was asked.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

from perdure_actors import table_layout
from perdure_actors.core.decision import Limits
from perdure_actors.partition.context import AttributeTypes, PartitionContext
from perdure_actors.partition.log_time import LogTime
from perdure_actors.partition.queries import READS, Queries
from perdure_actors.partition.recovery import Recovery
from perdure_actors.partition.run_cache import RunCache
from perdure_actors.retention.checkpoint_reader import CheckpointReader, NoCheckpointError
from perdure_schemas import commands, message_commands
from perdure_schemas.replies import Refused
from perdure_topics.engine_keys import NO_KEYS
from perdure_topics.names import topic_name
from perdure_topics.spans import read_span
from perdure_topics.tables.memory_tables import MemoryTable, MemoryTableStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from perdure_schemas.payloads import Record, ReplyTo
    from perdure_topics.ports import Clock, Log, StoredRecord

READABLE = frozenset(READS) - {message_commands.QueryWorkflow}
"""What can be answered without the workflow's code."""
WAITED_FOR = frozenset((commands.AwaitResult, message_commands.AwaitUpdate))


class Where(NamedTuple):
    """A partition of a task queue."""

    namespace: str
    task_queue: str
    partition: int


class _Nobody(NamedTuple):
    """Who answers where nobody owns: it looks for no workers, keeps nobody and asks no code."""

    owner: str = ""

    def workers_of(self, _task_queue: str) -> int | None:
        """Not known: nobody of this process looks."""
        return None

    def wait(self, _reply: ReplyTo, _run_id: str, _update_id: str = "", _stage: str = "") -> None:
        """Nothing comes while nobody owns the partition: the ask waits in the log."""

    def watch(self, _run_id: str, _ask: commands.ReadHistory) -> None:
        """As `wait`."""

    def ask_closed(self, ask: message_commands.QueryWorkflow) -> Record:
        """Whoever has the code must be asked."""
        raise NotImplementedError(ask)


class LogView:
    """One partition in memory, as far as its log has been read."""

    def __init__(self, log: Log, where: Where, clock: Clock) -> None:
        self._log = log
        self._place = (topic_name("events", where.namespace, where.task_queue), where.partition)
        self._where = where
        self._clock = clock
        self._table = self._empty()
        self._recovery = self._begin()
        self._lock = threading.Lock()
        self._look()

    def _empty(self) -> MemoryTable:
        return MemoryTableStore().open(f"{self._place[0]}.{self._where.partition}")

    def _begin(self) -> Recovery:
        """Where the fold begins: at offset 0, or with the checkpoint that the log begins with."""
        span = self._log.offsets(*self._place)
        verified = table_layout.Verified(next_offset=span[0])
        info = self._log.topic(self._place[0])
        if span[0] and info is not None:
            reader = CheckpointReader(self._table, self._log.cluster_id, info.topic_id)
            try:
                for record in self._read(span):
                    loaded = reader.take(record)
                    if loaded is not None:
                        return Recovery(self._table, *loaded)
            except NoCheckpointError:
                self._table = self._empty()
        return Recovery(self._table, table_layout.Meta(), verified)

    def answer(self, ask: Record) -> Record | None:
        """What the log says to an ask that only reads; None when it would have to wait.

        Raises LogError when the log cannot be read.
        """
        with self._lock:
            self._catch_up()
            answer = READS[type(ask)](self._queries, ask)
        # What is not here yet may be in commands that nobody has taken.
        is_to_come = type(ask) in WAITED_FOR and isinstance(answer, Refused)
        return None if is_to_come else answer

    def _catch_up(self) -> None:
        for record in self._read((self._recovery.next_offset, self._log.offsets(*self._place)[1])):
            self._recovery.take(record)
        self._recovery.save()
        self._look()

    def _read(self, span: tuple[int, int]) -> Iterator[StoredRecord]:
        bell = threading.Event()
        tail = self._log.tail(on_ready=bell.set, committed=False)
        try:
            for records in read_span(tail, bell, self._place, span):
                yield from records
        finally:
            tail.close()

    def _look(self) -> None:
        """Forget what was made of the rows before."""
        recovery, nobody = self._recovery, _Nobody()
        world = PartitionContext(
            RunCache(self._table),
            recovery.cursor,
            # The log is in this process: its clock is this one.
            LogTime(self._clock, recovery.cursor.time_ms, self._clock.wall_ms()),
            limits=Limits(),
            task_queue=self._where.task_queue,
            engine_keys=NO_KEYS,
            types=AttributeTypes(),
        )
        self._queries = Queries(
            self._table,
            self._where.partition,
            world,
            host=nobody,
            position=recovery,
            waits=nobody,
            code=nobody,
            missing=frozenset(),
        )
