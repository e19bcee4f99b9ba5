"""Streams that workflows serve: items by topic, read from outside, through runs and truncation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from perdure import activity, workflow
from perdure.client import Client
from perdure.contrib.workflow_streams import (
    PublishEntry,
    PublishInput,
    WorkflowStream,
    WorkflowStreamClient,
    WorkflowStreamItem,
    WorkflowStreamState,
)
from perdure.contrib.workflow_streams._stream_records import PUBLISH, read, written
from perdure.testing import WorkflowEnvironment
from perdure.worker import Worker

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(60)]
SOON = timedelta(milliseconds=20)
QUEUE = "streams"


@dataclass
class Step:
    name: str
    share: float = 0.0


@activity.defn
async def work(steps: int) -> None:
    async with WorkflowStreamClient.from_within_activity(batch_interval=SOON) as stream:
        for number in range(steps):
            stream.topic("steps", type=Step).publish(Step(f"step {number}", number / steps))


@workflow.defn
class Serves:
    """Publishes what its activity and others do, and goes on as a new run when told to."""

    @workflow.init
    def __init__(self, steps: int, state: WorkflowStreamState | None = None) -> None:
        self.stream = WorkflowStream(state)
        self.order = ""

    @workflow.run
    async def run(self, steps: int, state: WorkflowStreamState | None = None) -> None:
        self.stream.topic("said").publish("begun" if state is None else "gone on")
        if steps:
            await workflow.execute_activity(
                work, steps, start_to_close_timeout=timedelta(minutes=1)
            )
        while True:
            await workflow.wait_condition(lambda: bool(self.order))
            order, self.order = self.order, ""
            if order == "end":
                self.stream.topic("said").publish("over")
                return
            if order == "go on":
                await self.stream.continue_as_new(lambda kept: [0, kept])
            self.stream.truncate(int(order))

    @workflow.signal
    def tell(self, order: str) -> None:
        self.order = order


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with (
        await WorkflowEnvironment.start_local() as env,
        Worker(env.client, task_queue=QUEUE, workflows=[Serves], activities=[work]),
    ):
        yield env.client


async def some(items: AsyncIterator[WorkflowStreamItem[Any]], count: int) -> list[Any]:
    found = []
    async for item in items:
        found.append(item)
        if len(found) == count:
            break
    return found


async def test_readers_hear_of_what_an_activity_and_the_workflow_publish(client: Client) -> None:
    handle = await client.start_workflow(Serves.run, 3, id="served", task_queue=QUEUE)
    stream = WorkflowStreamClient.create(client, "served")

    found = await some(stream.subscribe(poll_cooldown=SOON), 4)
    steps = await some(stream.topic("steps", type=Step).subscribe(poll_cooldown=SOON), 3)

    assert [item.offset for item in found] == [0, 1, 2, 3]
    assert (found[0].topic, found[0].data) == ("said", "begun")
    assert [item.data for item in steps] == [Step(f"step {n}", n / 3) for n in range(3)]
    assert await stream.get_offset() == 4
    later = await some(stream.subscribe(["steps"], 2, poll_cooldown=SOON), 2)
    assert [item.offset for item in later] == [2, 3]
    await handle.signal(Serves.tell, "end")
    await handle.result()


async def test_reading_goes_on_in_the_next_run_and_ends_with_the_workflow(client: Client) -> None:
    handle = await client.start_workflow(Serves.run, 0, id="moved", task_queue=QUEUE)
    stream = WorkflowStreamClient.create(client, "moved")
    found: list[tuple[int, Any]] = []
    moved = asyncio.Event()

    async def follow() -> None:
        async for item in stream.subscribe(poll_cooldown=SOON):
            found.append((item.offset, item.data))
            if item.data == "begun":
                await handle.signal(Serves.tell, "go on")
            if item.data == "gone on":
                moved.set()
            if item.data == "from outside":
                await handle.signal(Serves.tell, "end")

    async with asyncio.timeout(40):
        reader = asyncio.create_task(follow())
        await moved.wait()
        async with WorkflowStreamClient.create(client, "moved", batch_interval=SOON) as writer:
            writer.topic("said").publish("from outside", force_flush=True)
        await reader

    assert found[:3] == [(0, "begun"), (1, "gone on"), (2, "from outside")]


async def test_a_batch_that_comes_again_is_taken_once(client: Client) -> None:
    handle = await client.start_workflow(Serves.run, 0, id="once", task_queue=QUEUE)
    payload = client.data_converter.payload_converter.to_payloads(["item"])[0]
    batch = PublishInput([PublishEntry("said", written(payload))], "somebody", 1)
    stream = WorkflowStreamClient.create(client, "once")

    for _ in range(3):
        await handle.signal(PUBLISH, batch)
    await handle.signal(PUBLISH, PublishInput(batch.items, "somebody", 2))

    found = await some(stream.subscribe(poll_cooldown=SOON), 3)
    assert [item.data for item in found] == ["begun", "item", "item"]
    assert await stream.get_offset() == 3


async def test_what_was_cut_off_is_passed_over(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    handle = await client.start_workflow(Serves.run, 5, id="cut", task_queue=QUEUE)
    stream = WorkflowStreamClient.create(client, "cut")
    await some(stream.subscribe(poll_cooldown=SOON), 6)
    await handle.signal(Serves.tell, "4")

    from_first = await some(stream.subscribe(poll_cooldown=SOON), 2)
    behind = await some(stream.subscribe(from_offset=1, poll_cooldown=SOON), 2)

    assert [item.offset for item in from_first] == [4, 5]
    assert [item.offset for item in behind] == [4, 5]
    assert "were cut off: the first is 4" in caplog.text


async def test_large_items_come_in_several_answers(client: Client) -> None:
    await client.start_workflow(Serves.run, 0, id="large", task_queue=QUEUE)
    async with WorkflowStreamClient.create(client, "large", batch_interval=SOON) as stream:
        for number in range(6):
            stream.topic("big").publish(f"{number}" * 400_000)

        found = await some(stream.topic("big", type=str).subscribe(poll_cooldown=SOON), 6)

    assert [item.data[0] for item in found] == ["0", "1", "2", "3", "4", "5"]


async def test_wrong_use_is_refused(client: Client) -> None:
    handle = client.get_workflow_handle("nobody")

    with pytest.raises(ValueError, match="batch_interval is more than 0"):
        WorkflowStreamClient(handle, batch_interval=timedelta())
    with pytest.raises(ValueError, match="max_batch_size is 1 or more"):
        WorkflowStreamClient(handle, max_batch_size=0)
    with pytest.raises(RuntimeError):
        WorkflowStream()
    with pytest.raises(ValueError, match=r"base64|padding|decode"):
        read("no payload")
    assert [item async for item in WorkflowStreamClient(handle).subscribe()] == []
