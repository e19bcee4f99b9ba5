"""What waits at a host for what is yet to happen: counted, bounded, and gone with who asked."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from perdure import workflow
from perdure_actors.partition import pending_requests
from perdure_actors.partition.pending_requests import PendingRequests
from perdure_schemas.commands import AwaitResult, ReadHistory
from perdure_schemas.replies import Refused
from tests.unit.host_world import HostWorld

pytestmark = pytest.mark.timeout(60)


@workflow.defn
class Sleeping:
    @workflow.run
    async def run(self) -> None:
        await asyncio.sleep(3_600)


@pytest.fixture
def world() -> HostWorld:
    made = HostWorld([Sleeping])
    made.run(1_000)
    made.start("Sleeping", "w")
    made.run(1_000)
    return made


def pending(world: HostWorld) -> PendingRequests:
    shard = world.host.slots[0].shard
    assert shard is not None
    return shard.requests


def watch(world: HostWorld, name: str, *, for_ms: int) -> None:
    """Ask for events that are not there yet, for so long."""
    shard = world.host.slots[0].shard
    assert shard is not None
    reply = replace(world.reply_to(name), deadline_ms=shard.world.time_ms + for_ms)
    ask = ReadHistory(workflow_id="w", run_id="", from_seq=1_000, wait_new=True, reply=reply)
    world.send(ask)


def test_who_watches_a_run_is_forgotten_at_its_deadline_and_counted_once(world: HostWorld) -> None:
    for _ in range(3):
        watch(world, "one", for_ms=5_000)
    watch(world, "two", for_ms=600_000)
    world.run(3_000)
    watching = pending(world)._watchers
    before = [len(asks) for asks in watching.values()]

    world.run(30_000)

    assert before == [2]
    assert [list(asks) for asks in watching.values()] == [["two"]]


def test_asks_over_the_limit_of_a_partition_are_refused(
    world: HostWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending_requests, "WAITS_MAX", 2)
    for name in ("one", "two", "three"):
        world.send(AwaitResult(workflow_id="w", run_id="", reply=world.reply_to(name)))
    world.run(3_000)

    found = world.answer("three")
    assert isinstance(found, Refused)
    assert found.code == "too_many"
    assert not [one for one in world.answers("one") if isinstance(one, Refused)]
