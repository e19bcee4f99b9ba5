"""A host that has nothing to do is woken once a second for all its partitions together."""

from __future__ import annotations

from itertools import pairwise
from unittest.mock import patch

from perdure_actors.host.host import RETRY_MS
from perdure_topics.ports import TableBusyError
from perdure_topics.tables.memory_tables import MemoryTable
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


def test_a_table_that_does_not_open_is_tried_again_after_a_while() -> None:
    """Another process may hold it, or the disk be full: asking without end helps nobody."""
    world = HostWorld([])
    opens = world.store.open
    tried_ms: list[int] = []

    def refuse(name: str) -> MemoryTable:
        tried_ms.append(world.broker.now_ms)
        if len(tried_ms) < 4:
            raise TableBusyError("another process has it")
        return opens(name)

    with patch.object(world.store, "open", refuse):
        while len(tried_ms) < 4:
            world.turn(10)

    assert [b - a > RETRY_MS / 2 for a, b in pairwise(tried_ms)] == [True] * 3
