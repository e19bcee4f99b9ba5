"""A codec that takes its time holds up the partition that needs it, and never its host's thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from perdure import activity, workflow
from perdure.api.common.v1 import Payload
from perdure.client import Client
from perdure.converter import DataConverter, PayloadCodec
from perdure.worker import Worker
from perdure_topics.names import partition_of
from perdure_topics.task_queue_topics import create_topics

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(60)]
QUEUE = "slow"
SOON = timedelta(seconds=30)
SEALED = b"sealed"


class Gate(PayloadCodec):
    """Lets what a host reads or writes of slow values through only while it is open."""

    def __init__(self, *, blocks: bool) -> None:
        self.opened = threading.Event()
        self.opened.set()
        self.reached = threading.Event()
        self.at_once = self.most_at_once = 0
        self._blocks = blocks

    async def _pass(self, payloads: Sequence[Payload]) -> None:
        is_host = threading.current_thread().name == "perdure-codecs"
        if not is_host or not any(b"slow" in payload.data for payload in payloads):
            # A client's or an activity worker's: those have always waited by themselves.
            return
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            # So that others who come at the same time are counted.
            await asyncio.sleep(0)
            while not self.opened.is_set():
                self.reached.set()
                if self._blocks:
                    self.opened.wait(9)
                else:
                    await asyncio.sleep(0.005)
        finally:
            self.at_once -= 1

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        await self._pass(payloads)
        return [Payload(metadata={**p.metadata, "s": SEALED}, data=p.data) for p in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        await self._pass(payloads)
        assert all(payload.metadata["s"] == SEALED for payload in payloads)
        return [
            Payload({k: v for k, v in payload.metadata.items() if k != "s"}, payload.data)
            for payload in payloads
        ]


@activity.defn
async def echo(text: str) -> str:
    return text


@workflow.defn
class Sealed:
    @workflow.run
    async def run(self, text: str) -> str:
        for _ in range(3):
            text = await workflow.execute_activity(echo, text, start_to_close_timeout=SOON)
        return text

    @workflow.query
    def size(self, text: str) -> int:
        return len(text)


@workflow.defn
class Empty:
    @workflow.run
    async def run(self) -> None: ...


@pytest.fixture(params=["awaits", "blocks"])
def gate(request: pytest.FixtureRequest) -> Gate:
    return Gate(blocks=request.param == "blocks")


@pytest.fixture
async def client(tmp_path: Path, gate: Gate) -> AsyncIterator[Client]:
    client = await Client.connect(
        f"file:{tmp_path}", data_converter=DataConverter(payload_codec=gate)
    )
    create_topics(client.log, "default", QUEUE, partitions=2)
    yield client
    gate.opened.set()
    await client.close()


def ids_in(partition: int, count: int) -> list[str]:
    found = (f"w{number}" for number in range(1_000))
    return [one for one in found if partition_of(one, 2) == partition][:count]


def make_worker(client: Client, *, cached: int = 1_000) -> Worker:
    return Worker(
        client,
        task_queue=QUEUE,
        workflows=[Sealed, Empty],
        activities=[echo],
        max_cached_workflows=cached,
    )


async def test_other_partitions_go_on_while_a_codec_waits(client: Client, gate: Gate) -> None:
    async with make_worker(client):
        gate.opened.clear()
        first = ids_in(0, 1)[0]
        starting = asyncio.create_task(
            client.start_workflow(Sealed.run, "slow", id=first, task_queue=QUEUE)
        )
        assert await asyncio.to_thread(gate.reached.wait, 20)
        for one in ids_in(1, 4):
            await client.execute_workflow(Empty.run, id=one, task_queue=QUEUE)
        assert not starting.done()

        gate.opened.set()
        assert await (await starting).result() == "slow"


async def test_what_waited_when_its_host_left_is_taken_by_the_next(
    client: Client, gate: Gate
) -> None:
    first, second = ids_in(0, 2)
    worker = make_worker(client)
    async with worker:
        gate.opened.clear()
        starting = [
            asyncio.create_task(client.start_workflow(Sealed.run, "slow", id=one, task_queue=QUEUE))
            for one in (first, second)
        ]
        assert await asyncio.to_thread(gate.reached.wait, 20)
        if gate._blocks:
            # Nobody can take it back; it ends when it ends.
            asyncio.get_running_loop().call_later(0.2, gate.opened.set)
    gate.opened.set()
    async with make_worker(client):
        for start in starting:
            assert await (await start).result() == "slow"
        for one in (first, second):
            history = await client.get_workflow_handle(one, task_queue=QUEUE).fetch_history()
            assert [type(item.event).__name__ for item in history.events].count(
                "WorkflowStarted"
            ) == 1


async def test_a_replay_decodes_its_history_at_once(client: Client, gate: Gate) -> None:
    async with make_worker(client, cached=0):
        handle = await client.start_workflow(Sealed.run, "slow", id="w", task_queue=QUEUE)
        assert await handle.result() == "slow"
        gate.most_at_once = 0
        assert await handle.query(Sealed.size, "four") == 4

    assert gate.most_at_once > 3
