"""The due times of a shard, nearest first: a heap in memory over the rows of its table.

Only the nearest are held; the rest stay in the table until their time comes near. An alarm is a
hint: whoever takes it asks the state whether it still holds.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from perdure_actors import rows

if TYPE_CHECKING:
    from perdure_topics.ports import Table

HELD_MAX = 50_000
_FOREVER = 1 << 62


class Alarms:
    """The nearest alarms of one shard."""

    def __init__(self, table: Table, *, held_max: int = HELD_MAX) -> None:
        self._table = table
        self._max = held_max
        self._heap: list[rows.Alarm] = []
        self._horizon_ms = 0
        """Alarms due from here on are not all in the heap."""

    def load(self) -> None:
        """Take the nearest from the table, forgetting what was held."""
        self._heap.clear()
        self._horizon_ms = _FOREVER
        for key, _ in self._table.scan(*rows.alarms_range(), limit=self._max):
            self._heap.append(rows.alarm_of(key))
        if len(self._heap) >= self._max:
            self._horizon_ms = self._heap[-1].due_ms
        heapq.heapify(self._heap)

    def add(self, alarm: rows.Alarm) -> None:
        """An alarm that was accepted; one beyond the horizon is found in the table later."""
        if alarm.due_ms < self._horizon_ms:
            heapq.heappush(self._heap, alarm)
            if len(self._heap) > 2 * self._max:
                self.load()

    def next_ms(self) -> int | None:
        """When the nearest is due."""
        if not self._heap:
            if self._horizon_ms < _FOREVER:
                self.load()
            if not self._heap:
                return None
        return self._heap[0].due_ms

    def take(self, now_ms: int) -> rows.Alarm | None:
        """The nearest alarm if it is due."""
        due_ms = self.next_ms()
        if due_ms is None or due_ms > now_ms:
            return None
        return heapq.heappop(self._heap)
