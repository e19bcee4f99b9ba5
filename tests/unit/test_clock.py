"""The clock by which the embedded log stamps, and the time that a shard makes of stamps."""

from __future__ import annotations

import pytest

from perdure_actors.partition.log_time import ASK_AFTER_MS, LogTime, skew_ms
from perdure_topics.clock import LASTS_MS, ManualClock, SteadyClock

DAY_MS = 86_400_000


@pytest.mark.parametrize("days", [-3, 3])
def test_a_step_that_does_not_last_is_not_followed(days: int) -> None:
    clock = ManualClock()
    steady = SteadyClock(clock)
    began = steady.wall_ms()

    for _ in range(20):
        clock.skew_ms = days * DAY_MS
        clock.advance(LASTS_MS - 1)
        steady.wall_ms()
        clock.skew_ms = 0
        clock.advance(1)
        assert steady.wall_ms() == clock.wall_ms()

    assert steady.wall_ms() - began == 20 * LASTS_MS


def test_a_step_ahead_that_lasts_is_followed() -> None:
    clock = ManualClock()
    steady = SteadyClock(clock)
    clock.skew_ms = DAY_MS
    steady.wall_ms()
    clock.advance(LASTS_MS)

    assert steady.wall_ms() == clock.wall_ms()


def test_a_step_back_is_never_followed_and_time_goes_on() -> None:
    clock = ManualClock()
    steady = SteadyClock(clock, least_ms=clock.wall_ms() + DAY_MS)
    began = steady.wall_ms()
    clock.skew_ms = -DAY_MS

    for _ in range(10):
        clock.advance(LASTS_MS)
        steady.wall_ms()

    assert steady.wall_ms() == began + 10 * LASTS_MS


def test_a_clock_that_is_set_little_by_little_is_followed() -> None:
    clock = ManualClock()
    steady = SteadyClock(clock)
    for _ in range(1_000):
        clock.advance(10_000)
        clock.skew_ms += 900
        assert steady.wall_ms() == clock.wall_ms()


def test_a_shard_goes_by_stamps_and_by_what_passed() -> None:
    clock = ManualClock()
    log_ms = clock.wall_ms() + 5 * DAY_MS
    time = LogTime(clock, 0, log_ms)
    clock.skew_ms = 300 * DAY_MS
    clock.advance(700)
    assert time.now_ms() == log_ms + 700

    time.heard(log_ms + 750, time.mono_ms)
    assert time.time_ms == log_ms + 750

    time.heard(log_ms + 740, time.mono_ms)
    assert time.now_ms() == log_ms + 750, "it never goes back"


def test_a_quartz_that_is_fast_is_made_good_and_a_bad_past_is_not_waited_for() -> None:
    clock = ManualClock()
    time = LogTime(clock, 0, clock.wall_ms())
    clock.advance(10_000)
    log_ms = time.now_ms() - 2_000
    time.heard(log_ms, time.mono_ms)
    clock.advance(10_000)
    assert time.now_ms() == log_ms + 10_000

    ahead = LogTime(clock, clock.wall_ms() + DAY_MS, clock.wall_ms())
    began = ahead.time_ms
    ahead.heard(clock.wall_ms(), ahead.mono_ms)
    clock.advance(60_000)
    assert ahead.now_ms() == began + 60_000


def test_the_log_is_asked_a_few_times_after_a_step_of_the_wall_clock() -> None:
    clock = ManualClock()
    time = LogTime(clock, 0, clock.wall_ms())
    assert not time.should_ask()
    clock.skew_ms = DAY_MS

    asked = 0
    for _ in range(600):
        clock.advance(100)
        time.now_ms()
        if time.should_ask():
            asked += 1
            time.heard(time.time_ms, time.mono_ms)
    assert asked == len(ASK_AFTER_MS)


def test_skew_is_what_no_standstill_explains() -> None:
    assert skew_ms(1_000, 2_000, 1_500) == 0
    assert skew_ms(1_000, 900_000, 400_000) == 0, "stopped between sending and hearing"
    assert skew_ms(1_000, 2_000, 500) == 500
    assert skew_ms(1_000, 2_000, 2_700) == 700
