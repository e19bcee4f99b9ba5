"""How fast a worker begins, and what it begins first."""

from __future__ import annotations

import pytest

from perdure.worker._limits import rates_of
from perdure_actors.worker.task_rate import FOREVER_MS, TaskRate
from perdure_schemas.payloads import Priority
from tests.unit.desk_world import World
from tests.unit.worker_world import make_task


def test_without_a_limit_anything_may_begin() -> None:
    rate = TaskRate(None)
    rate.spend(1_000)

    assert rate.room(5) == FOREVER_MS
    assert rate.next_ms(5) == FOREVER_MS


def test_a_bucket_fills_with_time_and_holds_a_second() -> None:
    rate = TaskRate(2.0)

    assert rate.room(0) == 1
    rate.spend(1)
    assert rate.room(100) == 0
    assert rate.next_ms(100) == 500
    assert rate.room(500) == 1
    assert rate.room(60_000) == 2
    rate.set(0.5)
    assert rate.room(120_000) == 1


def test_a_worker_keeps_to_its_rate_and_leaves_the_rest_in_the_topic() -> None:
    world = World(rate=2.0, slots=10)
    for number in range(6):
        world.host.send(make_task(number))
    world.desk.turn()
    assert len(world.hand.started) == 1
    assert world.desk.next_turn_ms <= 500

    world.pass_ms(1_000)
    assert len(world.hand.started) == 3
    world.pass_ms(2_000)
    assert len(world.hand.started) == 6
    assert not [one for one in world.host.reports() if type(one).__name__ == "HandBackActivity"]


def test_the_urgent_go_first_and_equals_in_their_order() -> None:
    world = World(slots=1)
    for number, key in enumerate((5, 0, 1, 3, 1)):
        priority = Priority(priority_key=key) if key else None
        world.host.send(make_task(number, priority=priority))
    world.desk.turn()
    order = [world.hand.started[0].token]
    while len(order) < 2:
        world.end(world.hand.started[-1])
        world.desk.turn()
        order.append(world.hand.started[-1].token)

    # As far as the backlog reaches: half the slots, and one at least.
    assert order[0] == b"token-1"


@pytest.mark.parametrize("rate", [0, -1.0, float("nan")])
def test_a_rate_is_above_zero(rate: float) -> None:
    with pytest.raises(ValueError, match="max_activities_per_second is"):
        rates_of(rate, None)
    with pytest.raises(ValueError, match="max_task_queue_activities_per_second is"):
        rates_of(None, rate)
