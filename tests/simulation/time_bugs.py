"""Bugs about time to plant: whose clock counts, and how old a command is."""

from __future__ import annotations

from typing import Any

from perdure_actors.partition.dedup import Dedup
from perdure_actors.partition.log_time import LogTime
from perdure_actors.partition.takeover import LostError, Takeover
from perdure_actors.partition.watermark import Watermark
from tests.simulation import bugs
from tests.simulation.mutant import Mutant


def stands_still(self: LogTime) -> int:
    """Nothing but the log's stamps turns the time on."""
    self.mono_ms = self._clock.monotonic_ms()
    return self.time_ms


def goes_by_the_wall(self: LogTime) -> int:
    """What the host's clock says, where that is later."""
    self.time_ms = max(self._clock.wall_ms(), _now_ms(self))
    return self.time_ms


_now_ms = LogTime.now_ms


def aged_by_now(self: Dedup, _record: Any, command: Any) -> bool:
    """A command is as old as it looks by its sender's clock and the time it is decided."""
    first_ms = getattr(command, "first_sent_ms", 0)
    limit_ms = self._world.limits.request_age_ms_max
    return bool(0 < first_ms < self._world.time_ms - limit_ms)


def owns_by_the_clock(self: Takeover, stamp_ms: int) -> None:
    """A host whose clock is far off does not own."""
    if abs(self._services.clock.wall_ms() - stamp_ms) > 300_000:
        raise LostError("the clock is too far off")


def one_too_low(self: Watermark) -> int:
    """The last input that was appended need not be read."""
    return _position(self) + 1


_position = Watermark._position

TIME: tuple[Mutant, ...] = (
    Mutant(
        "time goes by the log's stamps alone",
        bugs.patched(LogTime, "now_ms", stands_still),
        (),
        "HT",
    ),
    Mutant(
        "time goes by the host's clock",
        bugs.patched(LogTime, "now_ms", goes_by_the_wall),
        ("clock_jump", "clock_skew"),
        "T",
    ),
    Mutant(
        "a command is as old as the clocks say",
        bugs.patched(Dedup, "is_too_old", aged_by_now),
        ("clock_jump",),
        "AK",
    ),
    Mutant(
        "a host whose clock is off does not own",
        bugs.patched(Takeover, "_check_clock", owns_by_the_clock),
        ("clock_jump", "clock_skew", "host_crash"),
        "H",
    ),
    Mutant(
        "the horizon is one too low",
        bugs.patched(Watermark, "_position", one_too_low),
        ("reader_lag", "host_pause", "worker_late"),
        "T",
    ),
)
