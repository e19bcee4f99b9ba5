"""The clocks: the machine's own, and one that is turned by hand."""

from __future__ import annotations

import time


class SystemClock:
    """The time of this machine."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        """Milliseconds that never go back."""
        return time.monotonic_ns() // 1_000_000


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
