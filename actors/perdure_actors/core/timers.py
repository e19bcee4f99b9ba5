"""Timers of a run: started and cancelled by its code, fired by time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure_actors.core.decision import Due, Later
from perdure_actors.core.state import RecordId, Run, TimerState
from perdure_schemas.events import TimerCanceled, TimerFired, TimerStarted

if TYPE_CHECKING:
    from perdure_actors.core.world import RunView, World
    from perdure_schemas.payloads import Record

TIMER_MS_MAX = 100 * 365 * 24 * 3600 * 1000


def check_timers(world: World, run: RunView, outputs: list[Record]) -> str:
    """Why the timers the code asked for cannot be had; empty when they can."""
    asked = [output for output in outputs if isinstance(output, TimerStarted)]
    if len(run.timers) + len(asked) > world.limits.timers_max:
        return (
            f"the code has {len(run.timers)} timers pending and asks for {len(asked)};"
            f" {world.limits.timers_max} is the most"
        )
    for output in asked:
        if output.duration_ms > TIMER_MS_MAX:
            return (
                f"a timer of {output.duration_ms} ms; {TIMER_MS_MAX} ms (100 years) is the"
                f" longest ({output.call_site})"
            )
    return ""


def decide_timer_alarm(_world: World, run: RunView, timer_id: str, now_ms: int) -> Due | Later:
    """A timer's due time: it fires if it is still there."""
    timer = run.timers.get(timer_id)
    if timer is None:
        return Later()
    if timer.alarm_ms > now_ms:
        return Later(timer.alarm_ms)
    return Due([TimerFired(timer_id=timer_id)])


def apply_timer_started(run: Run, event: TimerStarted, _at: RecordId, now_ms: int) -> None:
    """Remember the timer and when it is due."""
    due_ms = now_ms + max(event.duration_ms, 0)
    run.timers[event.timer_id] = TimerState(event.timer_id, run.state.seq, due_ms)
    run.touched.add(("timer", event.timer_id))


def apply_timer_fired(run: Run, event: TimerFired, _at: RecordId, _now_ms: int) -> None:
    """Forget the timer; the one without an id is the start delay."""
    if event.timer_id == "":
        run.state.begun = True
        run.state.begin_ms = 0
        times = (run.state.execution_expires_ms, run.state.run_expires_ms)
        run.state.alarm_ms = min((at for at in times if at), default=0)
    else:
        run.drop("timer", event.timer_id)


def apply_timer_canceled(run: Run, event: TimerCanceled, _at: RecordId, _now_ms: int) -> None:
    """Forget the timer."""
    run.drop("timer", event.timer_id)
