"""The log says what it is: heads that were cut and partitions that were raised are refused."""

from __future__ import annotations

from unittest.mock import patch

from perdure_actors.host.partition_count import LOOK_EVERY_MS
from perdure_actors.partition.takeover import Takeover
from perdure_schemas.avro import decode, decode_as
from perdure_schemas.transition import EpochBump, Transition, TransitionBody
from perdure_topics.ports import Change
from perdure_topics.simulated.broker import SimulatedPartition
from tests.simulation.test_time import outcomes_of, quiet_world, send
from tests.simulation.world import World


def used_world() -> World:
    """A host that has taken some commands, and is stopped."""
    world = quiet_world()
    for number in range(6):
        send(world, f"r-{number}", first_sent_ms=world.wall_ms(), age_ms=0)
    world.hosts[0].stop()
    return world


def forget_tables(world: World) -> None:
    for name in world.hosts[0].store.names():
        world.hosts[0].store.wipe(name)


def cut_head(world: World, kept: int) -> None:
    where = world.broker.partition(world.topic("events"), 0)
    offset = where.end - kept
    del where.records[: offset - where.base]
    where.base = offset


def raise_partitions(world: World, roles: tuple[str, ...]) -> None:
    for role in roles:
        name = world.topic(role)
        info, partitions = world.broker.topics[name]
        partitions.append(SimulatedPartition(name, len(partitions)))
        world.broker.topics[name] = (info._replace(partitions=len(partitions)), partitions)


def bumps_of(world: World) -> list[EpochBump]:
    found = [decode(record.value) for record in world.dump()[world.topic("events")] if record.value]
    return [record for record in found if isinstance(record, EpochBump)]


def requests_of(world: World) -> list[str]:
    """The request ids that what is left of the log says were taken, counted or not."""
    found = [decode(record.value) for record in world.dump()[world.topic("events")] if record.value]
    bodies = [decode_as(TransitionBody, one.body) for one in found if isinstance(one, Transition)]
    return [outcome.request_id for body in bodies for outcome in body.outcomes]


def go_on(world: World, for_ms: int = 30_000) -> list[str]:
    """Start the host again; what it finds."""
    host = world.hosts[0]
    host.findings.clear()
    host.boot()
    world.broker.run_until(world.broker.now_ms + for_ms)
    return host.findings


def test_a_fresh_disk_does_not_begin_anew_behind_a_head_that_was_cut() -> None:
    world = used_world()
    taken = outcomes_of(world)
    bumps = len(bumps_of(world))
    forget_tables(world)
    cut_head(world, 4)
    left = len(bumps_of(world))

    found = go_on(world)

    assert bumps > 0
    assert [text for text in found if "its head was deleted" in text and "topics create" in text]
    assert len(bumps_of(world)) == left, "nothing is written"
    assert sum(outcomes_of(world).values()) <= sum(taken.values()), "nothing is taken again"


def test_a_log_of_which_nothing_is_left_is_not_a_new_one() -> None:
    world = used_world()
    forget_tables(world)
    cut_head(world, 0)

    found = go_on(world)

    assert [text for text in found if "its head was deleted" in text]
    assert bumps_of(world) == []


def test_a_table_outlives_the_head_of_its_log_and_says_so() -> None:
    world = used_world()
    cut_head(world, 1)

    found = go_on(world)

    assert [text for text in found if text.startswith("head_lost")]
    assert not [text for text in found if text.startswith("table_wiped")]
    send(world, "r-0", first_sent_ms=world.wall_ms(), age_ms=0)
    send(world, "r-9", first_sent_ms=world.wall_ms(), age_ms=0)
    assert "r-9" in requests_of(world)
    assert "r-0" not in requests_of(world), "what was taken is known"


def test_a_head_that_is_cut_under_a_host_at_work_costs_no_table() -> None:
    world = used_world()
    go_on(world)
    cut_head(world, 0)
    host = world.hosts[0]

    world.broker.run_until(world.broker.now_ms + 60_000)

    assert not [text for text in host.findings if text.startswith("table_wiped")]
    send(world, "r-0", first_sent_ms=world.wall_ms(), age_ms=0)
    send(world, "r-9", first_sent_ms=world.wall_ms(), age_ms=0)
    assert "r-9" in requests_of(world)
    assert "r-0" not in requests_of(world)


def test_a_fresh_disk_refuses_partitions_that_were_raised_and_pushes_nobody_out() -> None:
    world = used_world()
    forget_tables(world)
    raise_partitions(world, ("commands", "events"))
    bumps = [bump for bump in bumps_of(world) if bump.partitions == 1]
    assert bumps

    found = go_on(world)

    said = [text for text in found if text.startswith("refused: partition 0 ")]
    assert "has 2 partitions where the log was made for 1" in said[0]
    assert "perdure topics create" in said[0]
    assert [bump for bump in bumps_of(world) if bump.partitions == 1] == bumps


def test_a_host_at_work_refuses_a_partition_that_is_added_and_names_the_topics() -> None:
    world = used_world()
    go_on(world)
    raise_partitions(world, ("commands", "events"))
    host = world.hosts[0]
    assert host.host is not None
    host.host._change(Change("assigned", 1))

    (said,) = [text for text in host.findings if text.startswith("partitions")]
    assert "sim.q.commands has 2, sim.q.events has 2, sim.q.tasks has 3" in said
    assert list(host.host.slots) == [0]


def test_a_host_at_work_says_that_one_of_its_topics_was_raised() -> None:
    world = used_world()
    go_on(world)
    raise_partitions(world, ("events",))

    world.broker.run_until(world.broker.now_ms + LOOK_EVERY_MS + 5_000)

    (said,) = [text for text in world.hosts[0].findings if text.startswith("partitions")]
    assert "sim.q.commands has 1, sim.q.events has 2" in said


def test_to_begin_anew_behind_a_cut_head_is_noticed() -> None:
    def begins_anew(_self: Takeover, _meta: object, start: int) -> object:
        from perdure_actors import table_layout

        return table_layout.Verified(next_offset=start)

    world = used_world()
    forget_tables(world)
    cut_head(world, 2)
    with patch.object(Takeover, "_without_head", begins_anew):
        go_on(world)

    # What had been taken is taken a second time.
    assert sum(outcomes_of(world).values()) > 0
