"""The due times of a shard, nearest first: a window in memory over the rows of its table.

The window only moves on: what was taken from it is looked at once, whether it fired, waits for
something, or is over. So any number of rows that are due and stay in the table are gone through in
one walk. An alarm is a hint: whoever takes it asks the state whether it still holds.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from perdure_actors import table_layout

if TYPE_CHECKING:
    from perdure_topics.ports import Table

HELD_MAX = 50_000
PAGE = 2_000
"""So many rows are read at once: a turn must not take long."""


class TimerQueue:
    """The nearest alarms of one shard."""

    def __init__(self, table: Table, *, held_max: int = HELD_MAX) -> None:
        self._table = table
        self._max = held_max
        self._window: list[bytes] = []
        """The keys of rows below `_next` that were not taken yet; a heap, in the table's order."""
        self._others: list[table_layout.Alarm] = []
        """Alarms that are due at other times than their rows say; a heap."""
        self._next = b""
        """The rows from here on are not in the window; empty: there are none."""

    def load(self) -> None:
        """Begin at the nearest row of the table, forgetting what was held."""
        self._window.clear()
        self._others.clear()
        self._next = table_layout.alarms_range()[0]
        self._fill()

    def _fill(self) -> None:
        """Move the window on by a page."""
        found = list(self._table.scan(self._next, table_layout.alarms_range()[1], limit=PAGE))
        self._next = found[-1][0] + b"\0" if len(found) == PAGE else b""
        self._window += [key for key, _ in found]
        heapq.heapify(self._window)

    def add(self, alarm: table_layout.Alarm) -> None:
        """An alarm whose row was written; one beyond the window is found in the table later."""
        key = table_layout.alarm_key(*alarm)
        if self._next and key >= self._next:
            return
        heapq.heappush(self._window, key)
        if len(self._window) > 2 * self._max:
            self._window.sort()
            self._next = self._window[self._max]
            del self._window[self._max :]

    def again(self, alarm: table_layout.Alarm) -> None:
        """An alarm that was taken is due at another time, which its row does not say."""
        heapq.heappush(self._others, alarm)

    def next_ms(self) -> int | None:
        """When the nearest is due."""
        if not self._window and self._next:
            self._fill()
        due = [table_layout.alarm_of(self._window[0]).due_ms] if self._window else []
        due += [self._others[0].due_ms] if self._others else []
        return min(due, default=None)

    def take(self, now_ms: int) -> table_layout.Alarm | None:
        """The nearest alarm if it is due."""
        due_ms = self.next_ms()
        if due_ms is None or due_ms > now_ms:
            return None
        if self._others and self._others[0].due_ms == due_ms:
            return heapq.heappop(self._others)
        return table_layout.alarm_of(heapq.heappop(self._window))
