"""How many activities a worker may begin in a second: a bucket that fills with time. No clock."""

from __future__ import annotations

import math

FOREVER_MS = 1 << 62


class TaskRate:
    """What may be begun now, given what was begun before. Without a limit, anything."""

    def __init__(self, per_second: float | None) -> None:
        self._per_second = math.inf if per_second is None else per_second
        self._held = 1.0
        self._at_ms = 0

    def set(self, per_second: float) -> None:
        """Begin no more than so many a second from now on."""
        self._per_second = per_second

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit."""
        return self._per_second != math.inf

    def room(self, now_ms: int) -> int:
        """How many may be begun now."""
        if not self.is_limited:
            return FOREVER_MS
        # As many as a second brings may gather, and one at least.
        most = max(self._per_second, 1.0)
        passed_s = max(now_ms - self._at_ms, 0) / 1000
        self._held = min(most, self._held + passed_s * self._per_second)
        self._at_ms = now_ms
        return int(self._held)

    def spend(self, count: int) -> None:
        """So many are begun."""
        if self.is_limited:
            self._held -= count

    def next_ms(self, now_ms: int) -> int:
        """When the next may be begun."""
        if not self.is_limited or self._held >= 1:
            return FOREVER_MS
        return now_ms + math.ceil((1 - self._held) / self._per_second * 1000)
