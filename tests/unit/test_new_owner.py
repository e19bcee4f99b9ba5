"""Waiting clients hear of a fail-over: a partition's new owner says so, and they ask again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from perdure.client import Client
from perdure.client import _rpc as rpc
from perdure_schemas.avro import decode, decode_as, encode
from perdure_schemas.commands import AwaitResult, StartWorkflow
from perdure_schemas.payloads import Payload, Record
from perdure_schemas.replies import NEW_OWNER, Accepted, Notice, Reply, RunClosed
from perdure_topics.names import topic_name
from tests.unit.host_world import HostWorld
from tests.unit.scripted_host import ScriptedHost

TAKEN = Accepted(workflow_id="o-1", run_id="run-1", first_run_id="run-1", started=True)
DONE = RunClosed(
    workflow_id="o-1", run_id="run-1", status="completed", result=Payload(data=b'"done"')
)


@pytest.fixture
async def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    # Nothing is repeated by the clock within the time of a test.
    monkeypatch.setattr(rpc, "FIRST_REPEAT_S", 600.0)
    monkeypatch.setattr(rpc, "REPEAT_S", 600.0)
    client = await Client.connect(f"file:{tmp_path}")
    yield client
    await client.close()


async def test_who_waits_asks_again_when_a_partition_has_a_new_owner(client: Client) -> None:
    owners = 1

    def script(command: Record) -> Record | None:
        if isinstance(command, StartWorkflow):
            return TAKEN
        return DONE if isinstance(command, AwaitResult) and owners == 2 else None

    host = ScriptedHost(client.log, script)
    handle = await client.start_workflow("Orders", id="o-1", task_queue="orders")
    waiting = asyncio.create_task(handle.result())
    await host.seen(2)

    owners = 2
    host.announce(host.partition_of("o-1"))

    assert await asyncio.wait_for(waiting, 20) == "done"
    host.stop()


async def test_a_start_that_its_owner_took_along_is_asked_again(client: Client) -> None:
    seen: list[StartWorkflow] = []

    def script(command: StartWorkflow) -> Accepted | None:
        seen.append(command)
        return TAKEN if len(seen) == 2 else None

    host = ScriptedHost(client.log, script)
    starting = asyncio.create_task(client.start_workflow("Orders", id="o-1", task_queue="orders"))
    await host.seen(1)

    host.announce(host.partition_of("o-1"))

    await asyncio.wait_for(starting, 20)
    first, second = seen
    assert first == second
    host.stop()


async def test_what_waits_for_another_partition_is_left_alone(client: Client) -> None:
    host = ScriptedHost(client.log, lambda command: None)
    calls = [
        asyncio.create_task(
            client.start_workflow(
                "Orders", id=f"o-{n}", task_queue="orders", rpc_timeout=timedelta(seconds=3)
            )
        )
        for n in range(8)
    ]
    await host.seen(8)
    mine = {f"o-{n}" for n in range(8) if host.partition_of(f"o-{n}") == 0}
    assert 0 < len(mine) < 8

    host.announce(0)

    await host.seen(8 + len(mine))
    await asyncio.gather(*calls, return_exceptions=True)
    starts = [one.workflow_id for one in host.commands if isinstance(one, StartWorkflow)]
    assert {one for one in starts if starts.count(one) > 1} == mine
    assert max(map(starts.count, starts)) == 2
    host.stop()


async def test_words_to_all_that_mean_nothing_here_are_passed_over(client: Client) -> None:
    host = ScriptedHost(client.log, lambda c: TAKEN if isinstance(c, StartWorkflow) else DONE)
    handle = await client.start_workflow("Orders", id="o-1", task_queue="orders")
    for body in (b"", b"\xff" * 40, encode(Notice(code="later", message="?")), encode(DONE)):
        host.tell_all(body, partition=0)

    assert await asyncio.wait_for(handle.result(), 20) == "done"
    host.stop()


def test_an_owner_announces_itself_to_every_asker() -> None:
    world = HostWorld(announces=True)
    world.run()

    topic = topic_name("replies", world.namespace)
    for partition in world.broker.topics[topic][1]:
        (record,) = partition.records
        reply = decode_as(Reply, record.value)
        body = decode(reply.body)
        assert reply.correlation_id == ""
        assert body == Notice(code=NEW_OWNER, message=world.topic("commands"))
        assert reply.partition == 0
