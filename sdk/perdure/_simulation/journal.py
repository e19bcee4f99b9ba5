"""What came of a simulated run: its outcome, and the journal of activity calls and effects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass
class ActivityCall:
    """One attempt of an activity, as its worker made it."""

    activity: str
    """Its name."""
    args: list[Any]
    attempt: int
    """Which attempt of its call, from 1."""
    key: str
    """`activity.info().idempotency_key`: the same over the attempts of one call."""
    worker: str
    at_s: float
    """When it began, in seconds of the run's time."""
    status: str = "running"
    """`returned`, `raised`, `not run` (it failed before), `lost` (its worker died first)."""
    result: Any = None
    error: str = ""

    @property
    def ran(self) -> bool:
        """Whether its code ran, at least in part."""
        return self.status != "not run"


@dataclass(frozen=True)
class Effect:
    """What code said that it did, by `perdure.testing.effect`."""

    name: str
    fields: dict[str, Any]
    at_s: float

    def __getitem__(self, name: str) -> Any:
        """A field of it."""
        return self.fields[name]


@dataclass
class Journal:
    """All activity calls of a run in the order they began, and all effects."""

    entries: list[ActivityCall] = field(default_factory=list)
    noted: list[Effect] = field(default_factory=list)

    def __iter__(self) -> Iterator[ActivityCall]:
        """Go through all calls."""
        return iter(self.entries)

    def __len__(self) -> int:
        """How many calls there were."""
        return len(self.entries)

    def calls(self, activity: Any = None) -> list[ActivityCall]:
        """The calls whose code ran, of one activity (its name or function) or of all."""
        name = activity if isinstance(activity, str | None) else activity.__name__
        return [one for one in self.entries if one.ran and name in (None, one.activity)]

    def returned(self, activity: Any = None) -> list[ActivityCall]:
        """The calls whose code returned."""
        return [one for one in self.calls(activity) if one.status == "returned"]

    def effects(self, name: str | None = None) -> list[Effect]:
        """The effects of a name, or all."""
        return [one for one in self.noted if name in (None, one.name)]


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    status: str
    """`completed`, `failed`, `canceled`, `terminated`, `timed_out`, `blocked` or `open`."""
    result: Any = None
    error: BaseException | None = None
    """What the run failed with."""
    reason: str = ""
    """Why it is blocked, or what it waits for."""

    @property
    def completed(self) -> bool:
        """Whether it returned."""
        return self.status == "completed"

    @property
    def failed(self) -> bool:
        """Whether it failed."""
        return self.status == "failed"


@dataclass(frozen=True)
class SimulatedRun:
    """One run of a workflow in a simulated world."""

    seed: int
    args: tuple[Any, ...]
    outcome: Outcome
    journal: Journal
    state: Any
    """What the function `activities` returned for this run."""
    history: list[Any]
    """The events of its history, of all its runs in order."""
