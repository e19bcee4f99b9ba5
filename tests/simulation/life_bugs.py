"""Bugs to plant of what a run notes of itself, and of the runs that it begins or that follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from perdure_actors.core import execution, next_run
from perdure_actors.partition.dedup import DedupEntries
from perdure_actors.replay.marker_calls import Markers
from tests.simulation import bugs
from tests.simulation.mutant import LOST, OWNERS, Mutant

_follow_failed = next_run.follow_failed
_follow_cron = next_run.follow_cron
_plan_next = next_run.plan_next


def draws_again(self: Markers, function: Callable[[], Any], *, type_hint: Any) -> Any:
    """Replay keeps the marker and calls the function again."""
    self._effects += 1
    if self.recorded is None:
        return self._note("side_effect", str(self._effects), self._call(function), type_hint)
    self._recall("side_effect", str(self._effects), type_hint)
    return self._call(function)


def follows_at_once(run: Any, event: Any, failure: Any, now_ms: int) -> None:
    """The run that follows a failed one does not wait for its back-off."""
    _follow_failed(run, event, failure, now_ms)
    run.actor.alarm_ms = max(now_ms, 1) if run.actor.next_start is not None else 0


def clock_not_heeded(run: Any, run_id: str, now_ms: int, delay_ms: int, **more: Any) -> None:
    """The next run of a cron schedule does not wait for its time."""
    del delay_ms
    _follow_cron(run, run_id, now_ms, 0, **more)


def attempts_without_end(run: Any, failure: Any, now_ms: int) -> tuple[str, int]:
    """A retry policy's maximum is not looked at."""
    policy = run.started.retry_policy
    if policy is None:
        return _plan_next(run, failure, now_ms)
    endless = replace(run.started, retry_policy=replace(policy, maximum_attempts=0))
    kept, run.started = run.started, endless
    try:
        return _plan_next(run, failure, now_ms)
    finally:
        run.started = kept


def never_seen(self: DedupEntries, source: Any) -> bool:
    """Commands of other actors are taken whenever they come."""
    del self, source
    return False


LIFE: tuple[Mutant, ...] = (
    Mutant(
        "what was last seen of a source does not count",
        bugs.patched(DedupEntries, "has_source", never_seen),
        (*OWNERS, *LOST),
        "K",
        ("children",),
    ),
    Mutant(
        "a side effect is drawn again in replay",
        bugs.patched(Markers, "side_effect", draws_again),
        (*OWNERS, "small_cache"),
        "E",
        ("notes",),
    ),
    Mutant(
        "a run is tried again before its back-off is over",
        bugs.patched(execution, "follow_failed", follows_at_once),
        (),
        "N",
        ("following",),
    ),
    Mutant(
        "a run is tried again and again",
        bugs.patched(next_run, "plan_next", attempts_without_end),
        (),
        "N",
        ("following",),
    ),
    Mutant(
        "a cron run does not wait for its time",
        bugs.patched(execution, "follow_cron", clock_not_heeded),
        (),
        "N",
        ("following",),
    ),
)
