"""The tasks that a worker holds beyond its slots: who is next, and which go to another worker."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from perdure_actors.worker.attempt import Attempt

ROOM_MAX = 64
NO_SLOT_MS = 1_000
HEARD_MS = 5_000
"""How long it is believed that others have room."""
PRIORITY_DEFAULT = 3


class WaitingRoom:
    """Tasks without a slot, in the order in which they came.

    One that has waited for a second goes to another worker, where one has room: a host knows by
    their leases, and says so to whoever asks. Where nobody has, it is as well off here.
    """

    def __init__(self, slots: int) -> None:
        self.max = max(1, min(slots // 2, ROOM_MAX))
        self._waiting: deque[Attempt] = deque()
        self._elsewhere = 0
        self._heard_ms = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Attempt]:
        return iter(list(self._waiting))

    def add(self, attempt: Attempt) -> None:
        """One more waits."""
        self._waiting.append(attempt)

    def remove(self, attempt: Attempt) -> None:
        """It waits no more."""
        self._waiting.remove(attempt)

    def clear(self) -> None:
        """Nothing waits any more."""
        self._waiting.clear()

    def next(self) -> Attempt | None:
        """Who has the next slot: the urgent first, of equals the one that came first."""
        if len(self._waiting) <= 1:
            return self._waiting[0] if self._waiting else None
        return min(self._waiting, key=_priority)

    def heard(self, elsewhere: int, now_ms: int) -> None:
        """A host says how many free slots other workers have."""
        self._elsewhere, self._heard_ms = elsewhere, now_ms

    def overdue(self, now_ms: int) -> list[Attempt]:
        """Those that have waited for a second, in order."""
        return [one for one in self._waiting if now_ms - one.taken_ms >= NO_SLOT_MS]

    def leaving(self, now_ms: int) -> list[Attempt]:
        """Those that others have room for; they wait here no more."""
        if not self._elsewhere or now_ms - self._heard_ms > HEARD_MS:
            return []
        gone = self.overdue(now_ms)[: self._elsewhere]
        self._elsewhere -= len(gone)
        for attempt in gone:
            self._waiting.remove(attempt)
        return gone


def _priority(attempt: Attempt) -> int:
    """1 goes before 5; what says nothing is in the middle."""
    priority = attempt.task.priority
    return (priority.priority_key if priority is not None else 0) or PRIORITY_DEFAULT
