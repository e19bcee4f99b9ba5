"""The clocks of the world's machines, and what goes wrong with them."""

from __future__ import annotations

from functools import partial
from random import Random
from typing import TYPE_CHECKING

from perdure._simulation.machine_clock import MachineClock as SkewedClock

if TYPE_CHECKING:
    from tests.simulation.world import World

__all__ = ["ClockTroubles", "SkewedClock"]

DAY_MS = 24 * 3_600_000


class ClockTroubles:
    """Clocks that jump: by seconds or an hour for a while, and by days for a moment."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rng = Random(f"clocks {world.settings.seed}")

    def jump(self) -> None:
        """The clock of one host jumps; and that of a host or a client by days."""
        world = self._world
        world.count("clock jump")
        host = world.rng.choice(world.hosts)
        span_ms = world.rng.choice((5_000, 60_000, 3_600_000))
        self._off(host.clock, world.rng.randrange(-span_ms, span_ms + 1), (1_000, 20_000))
        clocks = [host.clock for host in world.hosts]
        clocks += [client.clock for client in world.clients]
        self._off(self._rng.choice(clocks), self._days_ms(), (200, 3_000))

    def stay(self) -> None:
        """Some clocks are never set right: nothing may wait for that."""
        for host in self._world.hosts:
            if self._rng.random() < 0.7:
                host.clock.skew_ms += self._days_ms()

    def _off(self, clock: SkewedClock, by_ms: int, for_ms: tuple[int, int]) -> None:
        clock.skew_ms += by_ms
        self._world.broker.at(
            self._rng.randrange(*for_ms), partial(self._off_no_more, clock, by_ms)
        )

    def _off_no_more(self, clock: SkewedClock, by_ms: int) -> None:
        clock.skew_ms -= by_ms

    def _days_ms(self) -> int:
        return self._rng.choice((-1, 1)) * self._rng.randrange(DAY_MS, 5 * DAY_MS)
