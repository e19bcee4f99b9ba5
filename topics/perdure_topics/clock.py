"""The clocks: the machine's own, and one that is turned by hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perdure_topics.ports import Clock

STEP_MS = 1_000
"""A wall clock that moved by so much against the time that passed has stepped."""
LASTS_MS = 3_000
"""A step is believed once it has lasted for so long."""


def _passing() -> Callable[[], int]:
    """What counts the nanoseconds that pass, those that the machine sleeps too where it can."""
    for name in ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC"):
        if hasattr(time, name):
            return partial(time.clock_gettime_ns, getattr(time, name))
    return time.monotonic_ns


_monotonic_ns = _passing()


class SystemClock:
    """The time of this machine."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        """Milliseconds that never go back; a machine that sleeps is not forgotten."""
        return _monotonic_ns() // 1_000_000


class SteadyClock:
    """A clock whose wall time does not follow a step before it has lasted.

    The embedded log stamps by it: a clock that is days off for a second leaves no mark. It never
    steps back: after a clock that was ahead for long it goes on at the true rate.
    """

    def __init__(self, clock: Clock, *, least_ms: int = 0) -> None:
        """Begin at the clock's wall time, or at the least that it may be."""
        self._clock = clock
        self._offset_ms = max(clock.wall_ms(), least_ms) - clock.monotonic_ms()
        self._stepped: tuple[int, int] | None = None
        """The offset of a step that is not believed yet, and when it was first seen."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970."""
        mono_ms = self._clock.monotonic_ms()
        offset_ms = self._clock.wall_ms() - mono_ms
        if abs(offset_ms - self._offset_ms) <= STEP_MS:
            self._offset_ms = offset_ms
            self._stepped = None
        elif self._stepped is None or abs(offset_ms - self._stepped[0]) > STEP_MS:
            self._stepped = (offset_ms, mono_ms)
        elif mono_ms - self._stepped[1] >= LASTS_MS:
            self._offset_ms = max(self._offset_ms, offset_ms)
            self._stepped = None
        return mono_ms + self._offset_ms

    def monotonic_ms(self) -> int:
        """Milliseconds that never go back."""
        return self._clock.monotonic_ms()


class ManualClock:
    """A clock for simulations and tests: it stands still until it is turned.

    `skew_ms` is how far its wall clock is off; the monotonic one counts what passed.
    """

    def __init__(self, wall_ms: int = 1_700_000_000_000, *, skew_ms: int = 0) -> None:
        self._wall_ms = wall_ms
        self._passed_ms = 0
        self.skew_ms = skew_ms

    def wall_ms(self) -> int:
        """Milliseconds since 1970, as this clock sees them."""
        return self._wall_ms + self._passed_ms + self.skew_ms

    def monotonic_ms(self) -> int:
        """Milliseconds turned so far."""
        return self._passed_ms

    def advance(self, passed_ms: int) -> None:
        """Turn the clock. Raises ValueError for a negative number."""
        if passed_ms < 0:
            raise ValueError(f"a clock cannot be turned back by {-passed_ms} ms; set its skew_ms")
        self._passed_ms += passed_ms
