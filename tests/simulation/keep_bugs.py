"""Bugs to plant of what is kept, and for how long."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from perdure_actors.partition.recovery import Recovery
from perdure_actors.partition.run_cache import RunCache
from perdure_actors.retention.retention import Retention
from perdure_schemas.avro import decode
from perdure_schemas.partition_events import RunsForgotten
from tests.simulation import bugs
from tests.simulation.mutant import OWNERS, Mutant

_apply_partition = Recovery._apply_partition


def too_early(self: Retention, keep_ms: int, now_ms: int) -> int:
    """Closed runs go a second before they have been kept for as long as was said."""
    return min(now_ms - keep_ms + 1_000, self._safe_ms)


def effects_unasked(self: Retention, keep_ms: int, now_ms: int) -> int:
    """Runs go whether or not what their end means for others has been sent."""
    del self
    return now_ms - keep_ms


def not_folded(self: Recovery, body: Any, pseq: int) -> None:
    """A new owner reads over what its predecessor forgot."""
    kept = [data for data in body.events if not isinstance(decode(data), RunsForgotten)]
    _apply_partition(self, replace(body, events=kept), pseq)


def followed_too(self: RunCache, run_id: str) -> Any:
    """A closed run goes though another is to follow it."""
    resident = self.find(run_id)
    if resident is None or resident.pinned or resident.run.state.is_open:
        return None
    return resident.run.state


KEEPS: tuple[Mutant, ...] = (
    Mutant(
        "closed runs go before their time",
        bugs.patched(Retention, "_before", too_early),
        (),
        "P",
        ("forgets",),
    ),
    Mutant(
        "closed runs go before their effects are sent",
        bugs.patched(Retention, "_before", effects_unasked),
        ("slow_append",),
        "P",
        ("forgets", "children"),
    ),
    Mutant(
        "what was forgotten is known again after a take-over",
        bugs.patched(Recovery, "_apply_partition", not_folded),
        OWNERS,
        "GRX",
        ("forgets",),
    ),
    Mutant(
        "a run is forgotten that another is to follow",
        bugs.patched(RunCache, "may_forget", followed_too),
        (),
        "AHNPRX",
        ("forgets", "following"),
    ),
)
