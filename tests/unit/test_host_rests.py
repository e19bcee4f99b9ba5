"""A host that has nothing to do is woken once a second for all its partitions together."""

from __future__ import annotations

from tests.unit.host_world import HostWorld

PARTITIONS = 16


def test_partitions_that_rest_are_woken_together() -> None:
    world = HostWorld(partitions=PARTITIONS)
    world.run(3_000)
    assert world.host.is_settled
    for partition in range(PARTITIONS):
        # Each rests from another moment on.
        world.write(b"nobody's", partition=partition)
        world.run(70)
    world.run(5_000)

    turns = 0
    until_ms = world.broker.now_ms + 8_000
    while world.broker.now_ms < until_ms:
        turns += 1
        world.broker.run_until(world.broker.now_ms + max(1, world.host.step()))

    assert turns <= 3 * 8
