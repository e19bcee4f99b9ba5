"""Recorded time: the log's own clock, as far as its stamps tell it.

No wall clock of a host says what time it is. The log stamps what it takes; by the time a host
hears of a stamp, the log's clock is there or past it. In between, what passed is added. So a
host's time is never ahead of the log's, but for what two quartzes differ by, and a clock that is
days off, for a second or for ever, changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perdure_topics.ports import Clock

STEP_MS = 1_000
"""A wall clock that moved by so much against the time that passed has stepped."""
ASK_AFTER_MS = (0, 1_000, 4_000, 10_000, 20_000)
DRIFT_MS = 5_000
"""Up to so much ahead of the log is drift, and is made good by going slower."""


class LogTime:
    """The time of one shard: it never goes back, and has the true rate."""

    def __init__(self, clock: Clock, recorded_ms: int, stamp_ms: int) -> None:
        """Begin with the last recorded time, and the stamp of a record that was just read."""
        self._clock = clock
        self.mono_ms = clock.monotonic_ms()
        self.time_ms = max(recorded_ms, stamp_ms)
        """Recorded time, as of the last look."""
        self._slow_ms = 0
        """How far it is ahead of the log: so much is left out, half of what passes."""
        self._offset_ms = stamp_ms - self.mono_ms
        """What the wall clock was ahead of the monotonic one when the log was last heard."""
        self._asks = len(ASK_AFTER_MS)
        self._stepped_ms = self.mono_ms

    def now_ms(self) -> int:
        """The time now."""
        mono_ms = self._clock.monotonic_ms()
        passed_ms = mono_ms - self.mono_ms
        if self._slow_ms:
            less_ms = min(self._slow_ms, (passed_ms + 1) // 2)
            self._slow_ms -= less_ms
            passed_ms -= less_ms
        self.time_ms += passed_ms
        self.mono_ms = mono_ms
        return self.time_ms

    def at_least(self, stamp_ms: int) -> int:
        """The time now, once something is at hand that the log has stamped: not before that.

        So what follows from another, in whichever partition, is never recorded as earlier.
        """
        self.time_ms = max(self.time_ms, stamp_ms)
        return self.time_ms

    def heard(self, stamp_ms: int, sent_mono_ms: int) -> None:
        """The log has stamped a record that was sent at a moment and is reported now."""
        if stamp_ms <= 0:
            return
        self._offset_ms = self._clock.wall_ms() - self.mono_ms
        if stamp_ms >= self.time_ms:
            self.time_ms = stamp_ms
            self._slow_ms = 0
            return
        latest_ms = stamp_ms + self.mono_ms - sent_mono_ms
        ahead_ms = self.time_ms - latest_ms
        # More than drift is a past that was recorded by a bad clock: to stand still until the log
        # is there would stop the partition.
        self._slow_ms = ahead_ms if 0 < ahead_ms <= DRIFT_MS else 0

    def should_ask(self) -> bool:
        """Whether the log should be heard soon, because the machine may have been asleep.

        A wall clock that steps proves nothing. But it may be that this machine stood still, which
        its monotonic clock does not count, and that everything is overdue.
        """
        offset_ms = self._clock.wall_ms() - self.mono_ms
        if abs(offset_ms - self._offset_ms) > STEP_MS and self._asks == len(ASK_AFTER_MS):
            self._asks = 0
            self._stepped_ms = self.mono_ms
        if self._asks >= len(ASK_AFTER_MS):
            return False
        if self.mono_ms - self._stepped_ms < ASK_AFTER_MS[self._asks]:
            return False
        self._asks += 1
        self._offset_ms = offset_ms
        return True


def skew_ms(sent_ms: int, heard_ms: int, stamp_ms: int) -> int:
    """How far a wall clock is off the log's at least, by what it said around an append.

    However long the process stood still in between: the stamp is of some moment of it.
    """
    first_ms, last_ms = min(sent_ms, heard_ms), max(sent_ms, heard_ms)
    return max(first_ms - stamp_ms, stamp_ms - last_ms, 0)
