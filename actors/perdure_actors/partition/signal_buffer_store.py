"""Signals that wait for a start: in memory, in the table and in the log, alike in recovery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure_actors import table_layout
from perdure_actors.core.signal_buffer import BufferedSignal, SignalBuffers, size_of
from perdure_schemas.message_events import SignalBuffered, SignalExpired

if TYPE_CHECKING:
    from perdure_schemas.payloads import Record
    from perdure_topics.ports import Table

Ops = dict[bytes, bytes | None]
KIND = "buffered"
"""The kind of their alarms: due when they have waited long enough."""


class SignalBufferStore:
    """What waits in one partition: read from its table once, and ahead of it by what is proposed.

    All of it is in memory: the limits of a partition bound it.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._buffers: SignalBuffers | None = None

    @property
    def buffers(self) -> SignalBuffers:
        """The signals that wait."""
        if self._buffers is None:
            self._buffers = SignalBuffers()
            for key, value in self._table.scan(*table_layout.prefix_range(table_layout.BUFFERED)):
                workflow_id, pseq = table_layout.place_of_buffered(key)
                self._buffers.add(workflow_id, pseq, table_layout.decode_buffered(value))
        return self._buffers

    def clear(self) -> None:
        """Forget everything: the table is the truth again."""
        self._buffers = None

    def happened(self, event: Record, pseq: int, ops: Ops) -> list[table_layout.Alarm]:
        """An event of the partition, in the record of a number: its rows, and the alarms it set."""
        if isinstance(event, SignalBuffered):
            one = BufferedSignal(event.signal, event.expires_ms, size_of(event.signal))
            self.buffers.add(event.workflow_id, pseq, one)
            ops[table_layout.buffered_key(event.workflow_id, pseq)] = table_layout.encode(one)
            alarm = table_layout.Alarm(one.expires_ms, KIND, event.workflow_id, str(pseq))
            ops[table_layout.alarm_key(*alarm)] = b""
            return [alarm]
        if isinstance(event, SignalExpired):
            expired = self.buffers.remove(event.workflow_id, event.pseq)
            if expired is not None:
                ops.update(_gone(event.workflow_id, event.pseq, expired))
        return []

    def delivered(self, workflow_id: str) -> Ops:
        """A run has started with all that waited for it: the rows that are no more."""
        ops: Ops = {}
        for pseq, one in self.buffers.take(workflow_id).items():
            ops.update(_gone(workflow_id, pseq, one))
        return ops


def _gone(workflow_id: str, pseq: int, one: BufferedSignal) -> Ops:
    alarm = table_layout.alarm_key(one.expires_ms, KIND, workflow_id, str(pseq))
    return {table_layout.buffered_key(workflow_id, pseq): None, alarm: None}
