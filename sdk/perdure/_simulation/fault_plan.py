"""What goes wrong in a simulated run: faults as a list that can be drawn, shortened and told."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final

CALLS_MAX: Final = 3
LATE_MS_MAX: Final = 15_000
DOWN_MS_MAX: Final = 20_000
FAULTS_MAX: Final = 20
TRIES_MAX: Final = 200
"""How often a broken run is played again to make it shorter."""

AT_A_CALL: Final = {
    "fails_before": "activity_failures",
    "fails_after": "activity_failures",
    "refuses": "refusals",
    "times_out": "timeouts",
    "late": "late_results",
    "doubled": "doubled_results",
    "dies_before": "worker_loss",
    "dies_during": "worker_loss",
    "dies_after": "worker_loss",
}
"""What may happen at a call of an activity, and the switch that allows it."""
AT_A_RECORD: Final = {"crash": "crashes", "deploy": "deploys", "cancel": "cancellation"}
"""What may happen when so many records are on the log, and the switch that allows it."""


@dataclass(frozen=True, kw_only=True)
class Faults:
    """What may go wrong in simulated runs. Each run draws a few of those that are on.

    Example: `Faults(deploys=False, steady={"refund_payment"})`.
    """

    crashes: bool = True
    """The process dies between any two records of the log, and another begins later."""
    worker_loss: bool = True
    """The process dies before, within or behind an activity's code, before that is reported."""
    activity_failures: bool = True
    """A call fails before it did anything, or it did all and its answer is lost; it is retried."""
    refusals: bool = True
    """A call fails for good, as one that the other side refuses: it is not retried."""
    timeouts: bool = True
    """A call does its work, and takes longer than its start_to_close_timeout."""
    late_results: bool = True
    """A result is on its way for up to 15 s, so others overtake it."""
    doubled_results: bool = True
    """A result is reported twice."""
    deploys: bool = True
    """The process is stopped in order; the next one has the next of the releases, if there is."""
    cancellation: bool = False
    """Somebody cancels the workflow."""
    steady: Collection[str] = ()
    """Activities that are retried until they succeed: they never fail for good."""
    at_most: int = 4
    """How many go wrong in one run."""

    def __post_init__(self) -> None:
        """Check it. Raises ValueError for a number that cannot be, TypeError for a single name."""
        if not 0 <= self.at_most <= FAULTS_MAX:
            raise ValueError(f"at_most={self.at_most}: give 0 to {FAULTS_MAX} faults a run")
        if isinstance(self.steady, str):
            raise TypeError(f"steady={self.steady!r}: give a set of names, as {{{self.steady!r}}}")

    @classmethod
    def only(cls, *names: str, at_most: int = 4, steady: Collection[str] = ()) -> Faults:
        """Only these, by their names. Raises ValueError for a name that is none."""
        known = sorted({*AT_A_CALL.values(), *AT_A_RECORD.values()})
        if unknown := sorted(set(names) - set(known)):
            raise ValueError(f"no fault is called {unknown[0]!r}; there are: {', '.join(known)}")
        return cls(
            crashes="crashes" in names,
            worker_loss="worker_loss" in names,
            activity_failures="activity_failures" in names,
            refusals="refusals" in names,
            timeouts="timeouts" in names,
            late_results="late_results" in names,
            doubled_results="doubled_results" in names,
            deploys="deploys" in names,
            cancellation="cancellation" in names,
            at_most=at_most,
            steady=steady,
        )

    @property
    def kinds(self) -> list[str]:
        """The kinds that are on."""
        return [
            kind for kind, switch in {**AT_A_CALL, **AT_A_RECORD}.items() if getattr(self, switch)
        ]


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong."""

    kind: str
    activity: str = ""
    nth: int = 0
    """Of which attempt of that activity in the run, from 1."""
    record: int = 0
    """Behind how many records of the log."""
    ms: int = 0
    """How long it lasts, or how late something comes."""

    def simpler(self) -> list[Fault]:
        """Faults like it that make a shorter story."""
        found = []
        if self.kind in ("dies_before", "dies_during"):
            found.append(replace(self, kind="dies_after"))
        if self.nth > 1:
            found.append(replace(self, nth=1))
        if self.ms > 1_000:
            found.append(replace(self, ms=1_000))
        return found


@dataclass(frozen=True)
class Baseline:
    """What a scenario does when little goes wrong: where faults may hit it."""

    activities: Sequence[str]
    records: int


def draw_faults(rng: Random, faults: Faults, baseline: Baseline) -> list[Fault]:
    """What goes wrong in one run."""
    kinds = faults.kinds
    if not baseline.activities:
        kinds = [kind for kind in kinds if kind in AT_A_RECORD]
    if not kinds or not faults.at_most:
        return []
    count = 1
    while count < faults.at_most and rng.random() < 0.5:
        count += 1
    return [_draw_one(rng, rng.choice(kinds), faults, baseline) for _ in range(count)]


def _draw_one(rng: Random, kind: str, faults: Faults, baseline: Baseline) -> Fault:
    ms = rng.randrange(1, DOWN_MS_MAX)
    if kind in AT_A_RECORD:
        return Fault(kind, record=rng.randrange(1, baseline.records + 1), ms=ms)
    activity = rng.choice(baseline.activities)
    if kind == "refuses" and activity in faults.steady:
        kind = "fails_before"
    if kind == "late":
        ms = rng.randrange(1, LATE_MS_MAX)
    nth = 1
    while nth < CALLS_MAX and rng.random() < 0.3:
        nth += 1
    return Fault(kind, activity=activity, nth=nth, ms=ms)


def shrink(faults: Sequence[Fault], is_broken: Callable[[list[Fault]], bool]) -> list[Fault]:
    """The fewest and simplest faults that still break it, as far as trying one change shows."""
    kept, tries = list(faults), 0

    def holds(candidate: list[Fault]) -> bool:
        nonlocal tries
        tries += 1
        return tries <= TRIES_MAX and is_broken(candidate)

    changed = True
    while changed and tries < TRIES_MAX:
        changed = False
        for at in reversed(range(len(kept))):
            candidate = [*kept[:at], *kept[at + 1 :]]
            if holds(candidate):
                kept, changed = candidate, True
        for at, fault in enumerate(kept):
            for simpler in fault.simpler():
                candidate = [*kept[:at], simpler, *kept[at + 1 :]]
                if simpler not in kept and holds(candidate):
                    kept, changed = candidate, True
                    break
    return kept
