"""A partition as its log has it, for reads where nobody owns it: folded into memory, never written.

It decides nothing and owns nothing. What it says is as of the log's end when it was asked.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from perdure_actors import table_layout
from perdure_actors.core.decision import Limits
from perdure_actors.partition.attribute_types_seen import AttributeTypes
from perdure_actors.partition.context import PartitionContext
from perdure_actors.partition.log_time import LogTime
from perdure_actors.partition.queries import READS
from perdure_actors.partition.recovery import Recovery
from perdure_actors.partition.run_cache import RunCache
from perdure_actors.visibility.row_cache import Listed
from perdure_schemas import commands, message_commands
from perdure_schemas.replies import Refused
from perdure_topics.names import topic_name
from perdure_topics.spans import read_span
from perdure_topics.tables.memory_tables import MemoryTableStore

if TYPE_CHECKING:
    from perdure_schemas.payloads import Record, ReplyTo
    from perdure_topics.fold import Cursor
    from perdure_topics.ports import Clock, Log

READABLE = frozenset(READS) - {message_commands.QueryWorkflow}
"""What can be answered without the workflow's code."""
WAITED_FOR = frozenset((commands.AwaitResult, message_commands.AwaitUpdate))


class Where(NamedTuple):
    """A partition of a task queue."""

    namespace: str
    task_queue: str
    partition: int


class _NobodySends:
    """What reads ask of the outgoing effects of a shard: nothing waits here."""

    missing: frozenset[str] = frozenset()


class _Services(NamedTuple):
    """What reads ask of a shard's services."""

    clock: Clock
    owner: str = ""

    def workers_of(self, _task_queue: str) -> int | None:
        """Not known: nobody of this process looks."""
        return None


class LogView:
    """One partition in memory, as far as its log has been read."""

    def __init__(self, log: Log, where: Where, clock: Clock) -> None:
        self._log = log
        self._place = (topic_name("events", where.namespace, where.task_queue), where.partition)
        self.task_queue = where.task_queue
        self.partition = where.partition
        self.services = _Services(clock)
        self.dispatch = _NobodySends()
        self.table = MemoryTableStore().open(f"{self._place[0]}.{where.partition}")
        start, _ = log.offsets(*self._place)
        verified = table_layout.Verified(next_offset=start)
        self._recovery = Recovery(self.table, table_layout.Meta(), verified)
        self.listed = Listed()
        self._lock = threading.Lock()
        self._look()

    def answer(self, ask: Record) -> Record | None:
        """What the log says to an ask that only reads; None when it would have to wait.

        Raises LogError when the log cannot be read.
        """
        with self._lock:
            self._catch_up()
            shard: Any = self  # what reads use of a shard is here
            answer = READS[type(ask)](shard, ask)
        # What is not here yet may be in commands that nobody has taken.
        is_to_come = type(ask) in WAITED_FOR and isinstance(answer, Refused)
        return None if is_to_come else answer

    def _catch_up(self) -> None:
        bell = threading.Event()
        tail = self._log.tail(on_ready=bell.set, committed=False)
        try:
            span = (self._recovery.next_offset, self._log.offsets(*self._place)[1])
            for records in read_span(tail, bell, self._place, span):
                for record in records:
                    self._recovery.take(record)
        finally:
            tail.close()
        self._recovery.save()
        self._look()

    def _look(self) -> None:
        """Forget what was made of the rows before."""
        self.cursor: Cursor = self._recovery.cursor
        self.residents, clock = RunCache(self.table), self.services.clock
        self.world = PartitionContext(
            self.residents,
            self.cursor,
            # The log is in this process: its clock is this one.
            LogTime(clock, self.cursor.time_ms, clock.wall_ms()),
            limits=Limits(),
            task_queue=self.task_queue,
            engine_key=b"",
            types=AttributeTypes(),
        )

    def wait(self, _reply: ReplyTo, _run_id: str, _update_id: str = "", _stage: str = "") -> None:
        """Nothing comes while nobody owns the partition: the ask waits in the log."""

    def watch(self, _run_id: str, _ask: commands.ReadHistory) -> None:
        """As `wait`."""
