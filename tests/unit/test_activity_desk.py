"""The worker's protocol on a clock turned by hand: claims, slots, offsets, partitions."""

from __future__ import annotations

import pytest

from perdure_schemas.commands import (
    ClaimActivity,
    CompleteActivity,
    ConfirmActivityCanceled,
    HandBackActivity,
    WorkerLease,
)
from perdure_schemas.replies import WorkerOrders
from tests.unit.desk_world import World, world_orders
from tests.unit.worker_world import COMMANDS, make_task


def test_a_fresh_task_runs_at_once_and_is_promoted_after_a_second():
    world = World()
    world.host.send(make_task(1))
    world.desk.turn()
    assert len(world.hand.started) == 1

    world.pass_ms(999)
    assert not world.host.reports()
    world.pass_ms(1)
    (claim,) = world.host.commands(ClaimActivity)

    assert not claim.wants_grant
    assert claim.token == b"token-1"
    assert claim.reply is not None
    assert (claim.reply.partition, claim.reply.correlation_id) == (0, f"w1/{b'token-1'.hex()}")
    assert claim.started_ms == world.clock.wall_ms() - 1000


def test_a_short_activity_is_one_report_and_no_claim():
    world = World()
    world.host.send(make_task(1))
    world.desk.turn()
    world.pass_ms(900)
    world.end(world.hand.started[0])
    world.pass_ms(5000)

    assert [type(report) for report in world.host.reports()] == [CompleteActivity]


def test_one_with_a_heartbeat_timeout_is_promoted_at_once():
    world = World()
    world.host.send(make_task(1, heartbeat_ms=3000))
    world.desk.turn()

    assert [claim.wants_grant for claim in world.host.commands(ClaimActivity)] == [False]
    assert len(world.hand.started) == 1


@pytest.mark.parametrize("wants_claim", [True, False])
def test_what_may_have_run_before_waits_for_its_grant(wants_claim: bool):
    world = World(redelivery_end=0 if wants_claim else 1)
    world.host.send(make_task(1, wants_claim=wants_claim))
    world.desk.turn()
    (claim,) = world.host.commands(ClaimActivity)
    assert claim.wants_grant
    assert not world.hand.started
    assert world.desk.slots_used == 1

    world.host.grant(claim)
    world.desk.turn()

    assert [attempt.token for attempt in world.hand.started] == [b"token-1"]
    world.pass_ms(3000)
    assert len(world.host.commands(ClaimActivity)) == 1


def test_a_refused_claim_is_dropped_and_its_slot_and_offset_are_free():
    world = World(redelivery_end=1)
    world.host.send(make_task(1))
    world.desk.turn()
    world.host.grant(world.host.commands(ClaimActivity)[0], granted=False, reason="not_found")
    world.settle()

    assert not world.hand.started
    assert world.desk.slots_used == 0
    assert world.committed == 1
    assert len(world.host.reports()) == 1


def test_an_unanswered_claim_is_repeated_every_five_seconds_with_the_same_bytes():
    world = World(redelivery_end=1)
    world.host.send(make_task(1))
    world.desk.turn()
    world.pass_ms(10_300)

    sent = [
        record.value
        for record in world.log.topics[COMMANDS][1]
        if record.value is not None and b"token-1" in record.value
    ]
    assert len(sent) == 3
    assert len(set(sent)) == 1


def test_an_unwanted_promoted_attempt_is_cancelled_with_the_hosts_reason():
    world = World()
    world.host.send(make_task(1, heartbeat_ms=3000))
    world.desk.turn()
    world.host.grant(world.host.commands(ClaimActivity)[0], granted=False, reason="timed_out")
    world.desk.turn()

    assert world.hand.cancelled == [(b"token-1", "timed_out")]


def test_a_cancel_before_the_grant_is_confirmed_without_running():
    world = World(redelivery_end=1)
    world.host.send(make_task(1))
    world.desk.turn()
    world.host.answer(0, "w1", world_orders(b"token-1"))
    world.desk.turn()

    assert [report.token for report in world.host.commands(ConfirmActivityCanceled)] == [b"token-1"]
    assert not world.hand.started
    assert world.desk.slots_used == 0


def test_offsets_are_committed_in_order_and_only_once_results_are_acknowledged():
    world = World()
    for number in (1, 2, 3):
        world.host.send(make_task(number))
    world.desk.turn()
    first, second, third = world.hand.started

    world.end(second)
    world.end(third)
    world.settle()
    assert world.committed == 0

    world.log.holds_reports = True
    world.end(first)
    world.settle()
    assert world.committed == 0

    world.log.holds_reports = False
    world.settle()
    assert world.committed == 3


def test_a_long_activity_holds_nobody_back_once_its_claim_is_acknowledged():
    world = World()
    world.host.send(make_task(1))
    world.host.send(make_task(2))
    world.desk.turn()
    world.end(world.hand.started[1])
    world.pass_ms(900)
    assert world.committed == 0

    world.pass_ms(1000)

    assert world.committed == 2
    assert world.desk.slots_used == 1


def test_a_task_that_others_have_a_slot_for_is_handed_back_and_its_offset_released():
    world = World(slots=1)
    world.host.send(make_task(1))
    world.host.send(make_task(2))
    world.desk.turn()
    assert len(world.hand.started) == 1

    world.pass_ms(900)
    assert not asked(world)
    world.pass_ms(500)
    assert {(lease.slots_used, lease.waiting) for lease in asked(world)} == {(1, 1)}
    assert not world.host.commands(HandBackActivity)
    world.host.answer(0, "w1", WorkerOrders(elsewhere=1))
    world.desk.turn()

    (back,) = world.host.commands(HandBackActivity)
    assert (back.token, back.reason, back.worker_id) == (b"token-2", "no_slot", "w1")
    world.pass_ms(1000)
    assert world.committed == 2


def asked(world: World) -> list[WorkerLease]:
    """The leases that asked whether others have room."""
    return [lease for lease in world.host.commands(WorkerLease) if lease.waiting]


def test_a_task_stays_where_nobody_else_has_room_for_it():
    world = World(slots=4)
    for number in range(6):
        world.host.send(make_task(number))
    world.desk.turn()
    world.pass_ms(30_000)

    assert not world.host.commands(HandBackActivity)
    assert len(world.desk.held) == 6
    # One partition is asked, once a second at most.
    assert 25 <= len(asked(world)) <= 30


def test_no_more_are_handed_back_than_others_have_room_for():
    world = World(slots=4)
    for number in range(6):
        world.host.send(make_task(number))
    world.desk.turn()
    world.pass_ms(1_300)
    world.host.answer(0, "w1", WorkerOrders(elsewhere=1))
    world.pass_ms(10_000)

    assert [back.token for back in world.host.commands(HandBackActivity)] == [b"token-4"]


def test_a_task_that_waited_takes_the_slot_that_comes_free():
    world = World(slots=1)
    world.host.send(make_task(1))
    world.host.send(make_task(2))
    world.desk.turn()
    world.pass_ms(500)
    world.end(world.hand.started[0])
    assert world.woken
    world.desk.turn()

    assert [attempt.token for attempt in world.hand.started] == [b"token-1", b"token-2"]
    assert not world.host.commands(HandBackActivity)


def test_partitions_rest_while_there_is_no_room_and_go_on_afterwards():
    world = World(slots=1)
    for number in range(5):
        world.host.send(make_task(number))
    world.desk.turn()
    world.pass_ms(760)
    assert world.reader.paused == {0}
    assert len(world.desk.held) == 2

    world.end(world.hand.started[0])
    world.desk.turn()
    world.desk.turn()

    assert not world.reader.paused
    assert len(world.hand.started) == 2


def test_a_token_that_came_twice_runs_once_and_both_offsets_are_released():
    world = World()
    world.host.send(make_task(1))
    world.host.send(make_task(1))
    world.desk.turn()
    assert len(world.hand.started) == 1
    world.end(world.hand.started[0])
    world.host.send(make_task(1))
    world.settle()

    assert len(world.hand.started) == 1
    assert world.committed == 3
    assert world.desk.counts["duplicates"] == 2


def test_one_handed_back_that_comes_again_runs():
    world = World(slots=1)
    world.host.send(make_task(1))
    world.host.send(make_task(2))
    world.desk.turn()
    world.pass_ms(1300)
    world.host.answer(0, "w1", WorkerOrders(elsewhere=5))
    world.desk.turn()
    assert world.host.commands(HandBackActivity)
    world.end(world.hand.started[0])
    world.host.send(make_task(2))
    world.desk.turn()

    assert world.hand.started[-1].token == b"token-2"


def test_a_revoked_partition_is_let_go_of_once_its_attempts_are_known_to_hosts():
    world = World(slots=1)
    world.host.send(make_task(1))
    world.host.send(make_task(2))
    world.desk.turn()
    world.log.holds_reports = True
    world.reader.revoke(0)
    world.desk.turn()

    assert [type(report) for report in world.host.reports()] == [HandBackActivity, ClaimActivity]
    assert not world.reader.released

    world.log.holds_reports = False
    world.desk.turn()
    assert world.reader.released == [0]
    assert world.committed == 2
    world.end(world.hand.started[0])
    world.settle()
    assert len(world.host.commands(CompleteActivity)) == 1


def test_a_revoked_partition_waits_a_second_at_most():
    world = World()
    world.host.send(make_task(1))
    world.desk.turn()
    world.log.holds_reports = True
    world.reader.revoke(0)
    world.desk.turn()
    world.pass_ms(999)
    assert not world.reader.released
    world.pass_ms(1)

    assert world.reader.released == [0]
    assert world.committed == 0


def test_a_lost_partition_takes_what_waited_and_leaves_what_runs():
    world = World(slots=1)
    world.host.send(make_task(1))
    world.host.send(make_task(2))
    world.desk.turn()
    world.reader.revoke(0, "lost")
    world.desk.turn()
    world.pass_ms(1500)

    assert not world.host.commands(HandBackActivity)
    assert [claim.token for claim in world.host.commands(ClaimActivity)] == [b"token-1"]
    assert world.committed == 0
