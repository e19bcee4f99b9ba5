"""Timers: asked for within limits, fired by time, and each forgotten once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from perdure_actors.core.decision import Due, Later, Limits
from perdure_actors.core.state import Run, TimerState
from perdure_actors.core.timers import TIMER_MS_MAX, check_timers, decide_timer_alarm
from perdure_schemas import events as ev
from tests.unit.core_world import NOW_MS, CoreWorld


@pytest.fixture
def world() -> Iterator[CoreWorld]:
    made = CoreWorld(limits=Limits(timers_max=2))
    yield made
    made.check()


@pytest.fixture
def run(world: CoreWorld) -> Run:
    """A run that waits for one timer."""
    found = world.start()
    world.record("run-1", ev.TimerStarted(timer_id="1", duration_ms=500))
    return found


def timer(timer_id: str, duration_ms: int = 1) -> ev.TimerStarted:
    return ev.TimerStarted(timer_id=timer_id, duration_ms=duration_ms, call_site="b:1")


def test_a_timer_fires_when_it_is_due(world: CoreWorld, run: Run) -> None:
    assert run.timers == {"1": TimerState("1", 2, NOW_MS + 500)}

    assert decide_timer_alarm(world, run, "1", NOW_MS + 499) == Later(NOW_MS + 500)
    assert decide_timer_alarm(world, run, "1", NOW_MS + 500) == Due([ev.TimerFired(timer_id="1")])


@pytest.mark.parametrize("ended", [ev.TimerFired(timer_id="1"), ev.TimerCanceled(timer_id="1")])
def test_a_timer_that_has_ended_is_not_due_again(
    world: CoreWorld, run: Run, ended: ev.Event
) -> None:
    world.record("run-1", ended)
    world.record("run-1", ended)

    assert decide_timer_alarm(world, run, "1", NOW_MS + 500) == Later()
    assert run.gone == [("timer", "1", NOW_MS + 500)]


def test_a_timer_of_no_time_or_less_is_due_at_once(world: CoreWorld, run: Run) -> None:
    world.record("run-1", timer("2", -5))

    assert decide_timer_alarm(world, run, "2", NOW_MS) == Due([ev.TimerFired(timer_id="2")])


def test_the_end_of_a_start_delay_leaves_the_other_times(world: CoreWorld) -> None:
    run = world.start(start_delay_ms=10, run_timeout_ms=700, execution_timeout_ms=900)

    world.record("run-1", ev.TimerFired(timer_id=""))

    assert (run.state.begun, run.state.alarm_ms) == (True, NOW_MS + 710)


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ([], ""),
        ([timer("2"), ev.TimerCanceled(timer_id="1")], ""),
        (
            [timer("2"), timer("3")],
            "the code has 1 timers pending and asks for 2; 2 is the most",
        ),
        ([timer("2", TIMER_MS_MAX)], ""),
        (
            [timer("2", TIMER_MS_MAX + 1)],
            f"a timer of {TIMER_MS_MAX + 1} ms; {TIMER_MS_MAX} ms (100 years) is the longest (b:1)",
        ),
    ],
)
def test_timers_that_cannot_be_had_are_refused(
    world: CoreWorld, run: Run, asked: list[ev.TimerStarted], problem: str
) -> None:
    assert check_timers(world, run, list(asked)) == problem
