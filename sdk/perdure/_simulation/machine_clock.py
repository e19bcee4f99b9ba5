"""The clock of a machine of a simulated world: it goes by the world's time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perdure_topics.simulated.simulated_log import SimulatedBroker


class MachineClock:
    """A machine's clock, whose wall clock may be wrong."""

    def __init__(self, broker: SimulatedBroker, booted_ms: int = 0) -> None:
        self._broker = broker
        self._booted_ms = booted_ms
        self.skew_ms = 0

    def wall_ms(self) -> int:
        """Milliseconds since 1970, as this machine has them."""
        return self._broker.wall_ms + self.skew_ms

    def monotonic_ms(self) -> int:
        """Milliseconds since the machine was booted."""
        return self._broker.now_ms + self._booted_ms
