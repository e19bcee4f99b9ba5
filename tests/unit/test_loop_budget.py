"""Code that never yields takes its share of a host's time and no more, in however many runs."""

from __future__ import annotations

import time

import pytest

from perdure import workflow
from perdure_actors.definitions.loop_budget import BURST_S, DEBT_S_MAX, SHARE, TIGHT_S, LoopBudget
from perdure_actors.definitions.watchdog import Watchdog
from perdure_actors.replay.blocked import BlockedError, DeadlockError
from tests.unit.host_world import HostWorld

FULL_S = 2.0
HOUR_S = 3_600.0
MINUTE_MS = 60_000


class Hours:
    """A clock that is turned by hand, and what was taken of its time."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.taken_s = 0.0
        self.budget = LoopBudget(lambda: self.now_s)

    def loop(self, workflow_type: str) -> bool:
        """Run code that loops; whether it was let."""
        limit_s = self.budget.limit_s(workflow_type, FULL_S)
        if limit_s is None:
            return False
        self.now_s += limit_s
        self.taken_s += limit_s
        self.budget.looped(workflow_type, limit_s)
        return True


@pytest.mark.parametrize("types", [1, 30])
def test_thirty_runs_that_loop_take_a_tenth_of_the_time(types: int) -> None:
    hours = Hours()
    for number in range(30):
        hours.loop(f"Loops{number % types}")
    at_once_s = hours.taken_s
    while hours.now_s < HOUR_S:
        for number in range(30):
            hours.loop(f"Loops{number % types}")
        hours.now_s += 1.0

    assert at_once_s <= (2 * FULL_S + BURST_S * SHARE if types == 1 else 30 * FULL_S)
    assert hours.taken_s - at_once_s <= SHARE * HOUR_S + DEBT_S_MAX * SHARE + FULL_S


def test_runs_of_a_type_that_yield_go_on_beside_one_that_loops() -> None:
    hours = Hours()
    while hours.budget.limit_s("Orders", FULL_S) == FULL_S:
        assert hours.loop("Orders")
        hours.budget.yielded("Orders")

    assert hours.budget.limit_s("Orders", FULL_S) == TIGHT_S
    assert hours.budget.limit_s("Others", FULL_S) == FULL_S


def test_a_type_gets_all_its_time_again_when_it_is_made_up_for() -> None:
    hours = Hours()
    while hours.loop("Loops"):
        pass

    hours.now_s += DEBT_S_MAX

    assert hours.budget.limit_s("Loops", FULL_S) == FULL_S


def test_a_block_beyond_the_budget_does_not_run() -> None:
    watchdog = Watchdog(limit_s=0.1)
    try:
        while watchdog.budget.limit_s("Loops", 0.1) is not None:
            watchdog.budget.looped("Loops", 1.0)
        ran: list[str] = []
        with (
            pytest.raises(BlockedError, match="Loops") as blocked,
            watchdog.watching("order-1", "Loops"),
        ):
            ran.append("order-1")
        with watchdog.watching("order-2", "Others"):
            ran.append("order-2")
        assert (blocked.value.cause, ran) == ("deadlock", ["order-2"])
    finally:
        watchdog.close()


def go_on_for(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


def test_a_block_that_loops_is_counted() -> None:
    watchdog = Watchdog(limit_s=0.1, stuck_limit_s=30)
    try:
        for _ in range(2):
            with pytest.raises(BlockedError), watchdog.watching("order-1", "Loops"):
                go_on_for(30)
        assert watchdog.budget.limit_s("Loops", 0.1) == 0.1
        watchdog.budget.looped("Loops", 2.0)
        assert watchdog.budget.limit_s("Loops", 0.1) is None
    finally:
        watchdog.close()


TRIES: list[str] = []


@workflow.defn
class NeverYields:
    @workflow.run
    async def run(self) -> None:
        TRIES.append(workflow.info().workflow_id)
        # As the watchdog does it to code that goes on for too long.
        raise DeadlockError


def test_a_run_that_loops_is_tried_less_and_less_often() -> None:
    TRIES.clear()
    world = HostWorld([NeverYields])
    world.start("NeverYields", "loop-1")

    for _ in range(60 * 60):
        world.turn(1_000)

    # At once, and after 1, 2, 4, 8, 16 and 32 minutes more, each at the next walk.
    assert 5 <= len(TRIES) <= 8
