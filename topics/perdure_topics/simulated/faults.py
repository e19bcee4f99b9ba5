"""What may go wrong in the simulated log, and how often; each world draws its own plan."""

from __future__ import annotations

from dataclasses import dataclass, fields
from random import Random


@dataclass(frozen=True, kw_only=True)
class FaultPlan:
    """A probability a fault, and how strong it is. The plain one has no faults."""

    ack_lost: float = 0.0
    """An append is written, its report is an error."""
    never_written: float = 0.0
    """An append is not written, its report is an error; later ones may be written."""
    late_written: float = 0.0
    """The report is an error, and the record is written after it: even after a take-over."""
    late_ms: int = 120_000
    queue_timeout: float = 0.0
    """All that is queued fails unwritten."""
    no_offset: float = 0.0
    """An append is written, its report is a success without an offset."""
    error_ms: int = 3_000
    """How long an error report takes at most."""
    slow_append: float = 0.0
    slow_ms: int = 2_000
    reader_lag: float = 0.0
    """A fetch comes late."""
    lag_ms: int = 5_000
    probe_delay: float = 0.0
    probe_ms: int = 3_000
    probe_unknown: float = 0.0
    """A question for the ends of a partition is answered: nobody knows."""
    rebalance: float = 0.0
    """A second and member: it loses all, is told at once and joins again."""
    zombie: float = 0.0
    """A second and member: it loses all and is told late."""
    zombie_ms: int = 20_000
    outage: float = 0.0
    """A second: the broker is away."""
    outage_ms: int = 5_000
    stall: float = 0.0
    """A second: a foreign transaction stays open in one partition."""
    stall_ms: int = 15_000
    truncation: float = 0.0
    """A second: the broker loses the tail of one partition that it had acknowledged."""
    truncation_max: int = 3

    @classmethod
    def draw(cls, rng: Random, *, truncation: bool = False) -> FaultPlan:
        """A plan for one world: half of the faults are off, so quiet and brutal worlds occur.

        Truncation breaks what Kafka promises, so it must be asked for.
        """
        strongest = {
            "ack_lost": 0.03,
            "never_written": 0.03,
            "late_written": 0.03,
            "queue_timeout": 0.01,
            "no_offset": 0.01,
            "slow_append": 0.1,
            "reader_lag": 0.2,
            "probe_delay": 0.3,
            "rebalance": 0.05,
            "zombie": 0.03,
            "outage": 0.02,
            "stall": 0.02,
        }
        drawn: dict[str, float] = {}
        for name, most in strongest.items():
            on, strength = rng.random() < 0.5, rng.random()
            drawn[name] = most * strength * strength if on else 0.0
        # Drawn apart, so that seeds keep the worlds they have without it.
        apart = Random(repr(drawn))  # noqa: S311 - the same world again is the point
        if apart.random() < 0.5:
            drawn["probe_unknown"] = 0.5 * apart.random()
        if truncation:
            drawn["truncation"] = 0.02 * rng.random()
        return cls(**drawn)  # type: ignore[arg-type]  # only probabilities are drawn

    def without(self, name: str) -> FaultPlan:
        """The same plan with one fault off: how a failing seed is made smaller."""
        kept = {field.name: getattr(self, field.name) for field in fields(self)}
        return FaultPlan(**{**kept, name: 0.0})

    def on(self) -> list[str]:
        """The faults that are on."""
        return [
            field.name
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), float) and value > 0
        ]
