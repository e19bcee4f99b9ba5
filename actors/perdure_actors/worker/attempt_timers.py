"""When something is due for a running attempt: promotion, timeout, the next heartbeat."""

from __future__ import annotations

import heapq
import itertools
from enum import IntEnum

from perdure_actors.worker.attempt import Attempt, Phase

PROMOTE_MS = 1_000
# Longer timeouts are set at promotion: most attempts have ended by then and never enter the heap.
SHORT_TIMEOUT_MS = 1_500
FAR_MS = 1 << 62


class Alarm(IntEnum):
    """What is due."""

    PROMOTION = 0
    TIMEOUT = 1
    DETAILS = 2


class AttemptAlarms:
    """Due times of running attempts; setting one for a short attempt costs next to nothing."""

    def __init__(self) -> None:
        self._unpromoted: dict[Attempt, None] = {}
        self._heap: list[tuple[int, int, Alarm, Attempt]] = []
        self._numbers = itertools.count()

    @property
    def next_ms(self) -> int:
        """When the first alarm is due; far away when there is none."""
        due_ms = self._heap[0][0] if self._heap else FAR_MS
        if self._unpromoted:
            # All wait equally long, so the first in is the first due.
            due_ms = min(due_ms, next(iter(self._unpromoted)).started_ms + PROMOTE_MS)
        return due_ms

    @property
    def unpromoted(self) -> list[Attempt]:
        """The running attempts that no host knows of, oldest first."""
        return list(self._unpromoted)

    def set_promotion(self, attempt: Attempt) -> None:
        """The attempt has just started and is to be promoted if it lasts."""
        self._unpromoted[attempt] = None

    def promoted(self, attempt: Attempt) -> None:
        """The attempt is being promoted."""
        self._unpromoted.pop(attempt, None)

    def set_timeout(self, attempt: Attempt) -> None:
        """Set the start-to-close alarm: at the start if it is short, else once it is promoted."""
        timeout_ms = attempt.task.start_to_close_ms
        if timeout_ms <= 0 or attempt.timeout_set:
            return
        if attempt.promoted or timeout_ms < SHORT_TIMEOUT_MS:
            attempt.timeout_set = True
            self._push(attempt.started_ms + timeout_ms, Alarm.TIMEOUT, attempt)

    def set_details(self, attempt: Attempt, due_ms: int) -> None:
        """Set the alarm for heartbeat details that the throttle holds back."""
        self._push(due_ms, Alarm.DETAILS, attempt)

    def ended(self, attempt: Attempt) -> None:
        """The attempt needs no alarm any more."""
        self._unpromoted.pop(attempt, None)

    def due(self, now_ms: int) -> list[tuple[Alarm, Attempt]]:
        """Take the alarms that are due."""
        due: list[tuple[Alarm, Attempt]] = []
        while self._unpromoted:
            attempt = next(iter(self._unpromoted))
            if attempt.started_ms + PROMOTE_MS > now_ms:
                break
            del self._unpromoted[attempt]
            due.append((Alarm.PROMOTION, attempt))
        while self._heap and self._heap[0][0] <= now_ms:
            _, _, alarm, attempt = heapq.heappop(self._heap)
            if attempt.phase is not Phase.ENDED:
                due.append((alarm, attempt))
        return due

    def _push(self, due_ms: int, alarm: Alarm, attempt: Attempt) -> None:
        heapq.heappush(self._heap, (due_ms, next(self._numbers), alarm, attempt))
