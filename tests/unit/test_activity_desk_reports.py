"""What a worker sends on a clock turned by hand: heartbeats, timeouts, leases, what fails."""

from __future__ import annotations

import pytest

from perdure_actors.worker.attempt import Phase, application_failure
from perdure_schemas.commands import (
    ClaimActivity,
    CompleteActivity,
    FailActivity,
    HandBackActivity,
    HeartbeatActivity,
)
from perdure_topics.ports import LogUnavailableError
from tests.unit.desk_world import World, is_lease, payload
from tests.unit.memory_log import MemoryTail
from tests.unit.worker_world import COMMANDS, make_log, make_task


def test_heartbeats_are_throttled_to_four_fifths_of_the_timeout_and_the_last_one_is_sent():
    world = World()
    world.host.send(make_task(1, heartbeat_ms=1000))
    world.desk.turn()
    (attempt,) = world.hand.started
    for number in range(100):
        world.desk.heartbeat(attempt, [payload(number)])
        world.pass_ms(20)
    world.pass_ms(1000)

    beats = [beat.details[0].data for beat in world.host.commands(HeartbeatActivity)]
    assert beats[0] == b"0"
    assert beats[-1] == b"99"
    assert len(beats) == 4


def test_the_last_heartbeat_goes_before_a_failure():
    world = World()
    world.host.send(make_task(1, heartbeat_ms=10_000))
    world.desk.turn()
    (attempt,) = world.hand.started
    for number in (1, 2, 3):
        world.desk.heartbeat(attempt, [payload(number)])
    world.desk.failed(attempt, application_failure("no", "No"))

    kinds = [type(report) for report in world.host.reports()]
    assert kinds == [ClaimActivity, HeartbeatActivity, HeartbeatActivity, FailActivity]
    assert [b.details[0].data for b in world.host.commands(HeartbeatActivity)] == [b"1", b"3"]


def test_heartbeats_of_a_short_attempt_cost_nothing_unless_it_fails():
    world = World()
    for number in (1, 2):
        world.host.send(make_task(number))
    world.desk.turn()
    good, bad = world.hand.started
    for attempt in (good, bad):
        world.desk.heartbeat(attempt, [payload(7)])
    world.end(good)
    world.desk.canceled(bad)

    assert [beat.token for beat in world.host.commands(HeartbeatActivity)] == [bad.token]


@pytest.mark.parametrize("timeout_ms", [40, 1200, 5000])
def test_start_to_close_is_kept_here_too_and_the_slot_stays_with_the_code(timeout_ms: int):
    world = World()
    world.host.send(make_task(1, start_to_close_ms=timeout_ms))
    world.desk.turn()
    world.pass_ms(timeout_ms - 1)
    assert not world.host.commands(FailActivity)
    world.pass_ms(1)

    (cause,) = world.host.commands(FailActivity)[0].failure.chain
    assert (cause.kind, cause.timeout_type) == ("timeout", "start_to_close")
    assert world.hand.cancelled == [(b"token-1", "timed_out")]
    assert world.desk.slots_used == 1
    world.end(world.hand.started[0])
    assert world.desk.slots_used == 0
    assert not world.host.commands(CompleteActivity)


def test_a_partition_with_promoted_attempts_is_told_often_the_others_seldom():
    world = World()
    world.host.send(make_task(1, partition=2, heartbeat_ms=60_000))
    world.desk.turn()
    world.pass_ms(7000)

    counts = [
        sum(is_lease(record.value) for record in partition)
        for partition in world.log.topics[COMMANDS]
    ]
    # One more than by the clock: the first promotion shortens the lease at once.
    assert counts == [2, 2, 5]


def test_a_queue_elsewhere_is_told_while_it_has_an_attempt_here():
    log = make_log()
    log.topics["default.other.commands"] = [[], []]
    world = World(log=log)
    world.host.send(
        make_task(1, commands_topic="default.other.commands", partition=1, heartbeat_ms=60_000)
    )
    world.desk.turn()
    world.pass_ms(4000)
    elsewhere = log.topics["default.other.commands"][1]
    assert sum(is_lease(record.value) for record in elsewhere) == 3
    world.end(world.hand.started[0])
    world.pass_ms(20_000)

    assert sum(is_lease(record.value) for record in elsewhere) == 3


def test_after_a_failed_append_all_that_is_not_acknowledged_goes_again_in_order():
    world = World()
    for number in (1, 2, 3):
        world.host.send(make_task(number))
    world.desk.turn()
    world.log.failing = [("broker away", False), ("", False), ("", True)]
    for attempt in list(world.hand.started):
        world.end(attempt)
    world.settle()

    assert len(world.log.appenders) == 2
    assert world.log.appenders[0].closed
    tokens = [report.token for report in world.host.commands(CompleteActivity)]
    assert tokens[-3:] == [b"token-1", b"token-2", b"token-3"]
    assert sorted(tokens) == [b"token-1", b"token-2", b"token-3", b"token-3"]
    assert world.committed == 3


def test_an_unknown_fate_is_sent_again_with_the_same_bytes():
    world = World()
    world.host.send(make_task(1))
    world.desk.turn()
    world.log.failing = [("timed out", True)]
    world.end(world.hand.started[0])
    world.settle()

    first, second = [
        record.value for record in world.log.topics[COMMANDS][1] if not is_lease(record.value)
    ]
    assert first == second
    assert world.committed == 1


def test_a_full_queue_is_waited_for():
    world = World()
    world.host.send(make_task(1))
    world.desk.turn()
    world.log.full = 3
    world.end(world.hand.started[0])
    world.desk.turn()
    assert not world.host.commands(CompleteActivity)
    world.pass_ms(1000)

    assert len(world.host.commands(CompleteActivity)) == 1
    assert not world.host.commands(FailActivity)


def test_an_appender_that_is_over_is_replaced_and_nothing_is_lost():
    world = World()
    for number in (1, 2):
        world.host.send(make_task(number))
    world.desk.turn()
    world.log.ended_appenders = 1
    for attempt in list(world.hand.started):
        world.end(attempt)
    world.settle()

    tokens = [report.token for report in world.host.commands(CompleteActivity)]
    assert tokens == [b"token-1", b"token-2"]
    assert len(world.log.appenders) == 2
    assert world.committed == 2


def test_a_record_that_its_topic_refuses_becomes_a_failure_that_says_so():
    world = World()
    world.host.send(make_task(1))
    world.desk.turn()
    world.log.bytes_max[COMMANDS] = 500
    world.desk.completed(world.hand.started[0], payload(10**600))
    world.settle()

    (cause,) = world.host.commands(FailActivity)[0].failure.chain
    assert (cause.type, cause.non_retryable) == ("PayloadTooLargeError", True)
    assert world.committed == 1


def test_stopping_hands_back_what_has_not_begun_and_takes_nothing_more():
    world = World(slots=2)
    world.host.send(make_task(1))
    world.host.send(make_task(2, wants_claim=True))
    world.host.send(make_task(3))
    world.desk.turn()
    world.desk.stop_taking()
    world.host.send(make_task(4))
    world.pass_ms(600)

    assert sorted(back.token for back in world.host.commands(HandBackActivity)) == [
        b"token-2",
        b"token-3",
    ]
    assert [attempt.phase for attempt in world.desk.held] == [Phase.RUNNING]
    assert world.desk.slots_used == 1


def test_silence_of_the_log_is_said_after_two_seconds_and_its_end_too(caplog):
    caplog.set_level("INFO")
    world = World()
    world.host.send(make_task(1))
    world.desk.turn()
    world.log.holds_reports = True
    world.end(world.hand.started[0])
    world.pass_ms(1900)
    assert "acknowledged nothing" not in caplog.text
    world.pass_ms(400)
    assert "the log at memory has acknowledged nothing for 2 s" in caplog.text
    world.log.holds_reports = False
    world.desk.turn()

    assert "acknowledges records again" in caplog.text


class AwayProbe:
    def end(self) -> int | None:
        raise LogUnavailableError("the engine is away")


def test_a_log_that_is_away_is_asked_again_with_back_off_and_said_seldom(
    caplog, monkeypatch: pytest.MonkeyPatch
):
    asked = []

    def away(self: MemoryTail, topic: str, partition: int) -> AwayProbe:
        asked.append(topic)
        return AwayProbe()

    with monkeypatch.context() as patched:
        patched.setattr(MemoryTail, "probe_end", away)
        world = World()
        for _ in range(60):
            for _ in range(100):
                # Its answer, that it is away, rings at once.
                world.desk.turn()
            world.pass_ms(1_000)

    assert len(asked) <= 30
    assert len([one for one in caplog.messages if "cannot find the end" in one]) <= 3
    world.pass_ms(6_000)
    world.host.send(make_task(1, wants_claim=True))
    world.desk.turn()
    world.host.grant(world.host.commands(ClaimActivity)[0])
    world.desk.turn()
    assert len(world.hand.started) == 1
