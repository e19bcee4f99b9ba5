"""Time and age are the log's: clocks that are days off and outages of days change nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial

import pytest

from perdure_actors.partition.dedup import Dedup
from perdure_schemas.avro import encode
from perdure_schemas.command_headers import age_header
from perdure_schemas.commands import StartWorkflow
from perdure_schemas.payloads import ReplyTo
from perdure_topics.simulated.faults import FaultPlan
from tests.simulation import bugs, time_bugs
from tests.simulation.checker import ledger_of
from tests.simulation.clocks import DAY_MS
from tests.simulation.swarm import draw
from tests.simulation.world import World

HOUR_MS = 3_600_000
STOPPED_MS = (15_000, 25_000)
"""When the hosts are stopped, and when they are back."""


class OutageWorld(World):
    """No host runs for some days, while clients send what they have to send."""

    def __init__(self, seed: int) -> None:
        drawn = draw(seed)
        super().__init__(replace(drawn, faults={}, plan=FaultPlan(), busy_ms=30_000))

    def _live(self) -> None:
        stop_ms, back_ms = STOPPED_MS
        for host in self.hosts:
            self.broker.at(stop_ms, host.stop)
            self.broker.at(back_ms, host.boot)
        self.broker.at(back_ms - 1_000, partial(sleep, self, 3 * DAY_MS))
        super()._live()


def sleep(world: World, for_ms: int) -> None:
    """So much passes with nothing done."""
    world.broker.began_ms += for_ms


def outcomes_of(world: World) -> Counter[str]:
    """What became of the commands, and why."""
    found = ledger_of(world.dump()).outcomes
    return Counter(f"{one.outcome}: {one.reason.partition(':')[0]}" for _, one in found)


@pytest.mark.seeds(6)
def test_what_was_sent_while_no_host_ran_is_decided_days_later(seed: int) -> None:
    world = OutageWorld(seed)

    assert world.run()[:5] == []

    assert not outcomes_of(world)["refused: too_old"]
    stamps = [record.timestamp_ms for record in world.dump()[world.topic("commands")]]
    assert max(stamps) - min(stamps) > 2 * DAY_MS, "there was no outage"


def test_an_age_by_now_is_noticed() -> None:
    plant = bugs.patched(Dedup, "is_too_old", time_bugs.aged_by_now)
    refused = 0
    for seed in range(4):
        with plant():
            world = OutageWorld(seed)
            world.run()
        refused += outcomes_of(world)["refused: too_old"]

    assert refused


@pytest.mark.seeds(8)
def test_clocks_that_jump_by_days_change_nothing(seed: int) -> None:
    world = World(draw(seed).force(("clock_jump", "host_crash")))

    assert world.run()[:5] == []

    assert not outcomes_of(world)["refused: too_old"]
    assert not any("take" in text for host in world.hosts for text in host.findings)


def quiet_world() -> World:
    """One host and no faults, with nobody who asks."""
    drawn = replace(draw(1), hosts=1, partitions=1, clients=1, faults={}, plan=FaultPlan())
    world = World(drawn)
    world.hosts[0].boot()
    world.broker.run_until(20_000)
    return world


def send(world: World, request_id: str, *, first_sent_ms: int, age_ms: int | None = None) -> None:
    """A start, as a client that has sent it before sends it again."""
    start = StartWorkflow(
        workflow_id="wf-0",
        workflow_type="Plan",
        request_id=request_id,
        first_sent_ms=first_sent_ms,
        id_conflict_policy="use_existing",
        reply=ReplyTo(partition=0, correlation_id=request_id),
    )
    headers = () if age_ms is None else (age_header(age_ms),)
    world.broker.write(world.topic("commands"), 0, encode(start), key=b"wf-0", headers=headers)
    world.broker.run_until(world.broker.now_ms + 3_000)


def test_a_refusal_by_age_takes_up_no_request_id() -> None:
    world = quiet_world()
    now_ms = world.wall_ms()

    send(world, "r-1", first_sent_ms=now_ms - 30 * HOUR_MS)
    assert list(outcomes_of(world)) == ["refused: too_old"]

    send(world, "r-1", first_sent_ms=world.wall_ms())
    assert outcomes_of(world)["applied: "] == 1


@pytest.mark.parametrize("days", [-4, 4])
def test_the_age_of_a_command_is_what_its_sender_counted(days: int) -> None:
    world = quiet_world()
    wrong_ms = world.wall_ms() + days * DAY_MS

    send(world, "new", first_sent_ms=wrong_ms, age_ms=0)
    assert outcomes_of(world)["applied: "] == 1

    send(world, "old", first_sent_ms=wrong_ms, age_ms=25 * HOUR_MS)
    assert outcomes_of(world)["refused: too_old"] == 1


def test_a_request_id_is_known_as_long_as_its_repeat_may_wait_in_the_log() -> None:
    """Ids are forgotten by the stamps of what is read, not while a repeat lies unread."""
    world = quiet_world()
    send(world, "r-1", first_sent_ms=world.wall_ms(), age_ms=0)
    host = world.hosts[0]
    host.stop()
    sleep(world, 20 * HOUR_MS)
    partition = world.topic("commands")
    # Others' commands lie before the repeat, so that it is not read at once.
    world.broker.stall(partition, 0, 3 * HOUR_MS)
    send(world, "r-1", first_sent_ms=world.wall_ms() - 20 * HOUR_MS, age_ms=20 * HOUR_MS)
    sleep(world, 40 * HOUR_MS)
    host.boot()
    world.broker.run_until(world.broker.now_ms + 4 * HOUR_MS)

    assert outcomes_of(world) == {"applied: ": 1}


def test_a_host_that_was_stopped_around_its_bump_has_no_skew() -> None:
    world = quiet_world()
    host = world.hosts[0]
    host.stop()
    host.boot()
    world.broker.at(20, partial(world.broker.pause, host.log.node))
    world.broker.at(600_000, partial(world.broker.resume, host.log.node))
    world.broker.run_until(world.broker.now_ms + 700_000)

    assert not [text for text in host.findings if text.startswith("clock")]


def test_a_clock_that_is_off_is_said_and_owns() -> None:
    world = quiet_world()
    host = world.hosts[0]
    host.stop()
    host.clock.skew_ms = -DAY_MS
    host.boot()
    world.broker.run_until(world.broker.now_ms + 20_000)

    said = [text for text in host.findings if text.startswith("clock")]
    assert len(said) == 1
    assert "86399999 ms off" in said[0]
    assert host.host is not None
    assert host.host.slots[0].shard is not None
