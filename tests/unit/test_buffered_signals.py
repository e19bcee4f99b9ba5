"""Signals that are sent before their workflow is started, with real workers on the embedded log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from perdure import workflow
from perdure.client import Client, RPCError, RPCStatusCode
from perdure.worker import Worker
from perdure_topics.names import topic_name
from perdure_topics.task_queue_topics import create_topics
from perdure_views.export import rows_of

pytestmark = pytest.mark.embedded
HOUR = timedelta(hours=1)
QUEUE = "q"


@workflow.defn
class Collector:
    """Returns what it was told by the time that its code begins, and what came after."""

    def __init__(self) -> None:
        self.told: list[str] = []

    @workflow.run
    async def run(self, wanted: int) -> list[str]:
        await workflow.wait_condition(lambda: len(self.told) >= wanted)
        return self.told

    @workflow.signal
    def tell(self, what: str) -> None:
        self.told.append(what)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    client = await Client.connect(f"file:{tmp_path / 'data'}")
    async with asyncio.timeout(60):
        yield client
    await client.close()


def worker(client: Client, tables: Path) -> Worker:
    return Worker(client, task_queue=QUEUE, workflows=[Collector], state_directory=tables)


async def tell(client: Client, what: str, *, id: str = "c", buffer_for: timedelta = HOUR) -> None:
    handle = client.get_workflow_handle_for(Collector.run, id, task_queue=QUEUE)
    await handle.signal(Collector.tell, what, buffer_for=buffer_for)


async def collected(client: Client, wanted: int, *, id: str = "c") -> list[str]:
    return await client.execute_workflow(Collector.run, wanted, id=id, task_queue=QUEUE)


async def test_signals_come_before_their_workflow_and_reach_it_in_order(
    client: Client, tmp_path: Path
) -> None:
    async with worker(client, tmp_path / "t"):
        for what in ("one", "two"):
            await tell(client, what)
        await tell(client, "elsewhere", id="other")

        assert await collected(client, 2) == ["one", "two"]

        await tell(client, "late")
        assert await collected(client, 1) == ["late"]
        assert await collected(client, 0) == []


@pytest.mark.parametrize("tables", ["kept", "rebuilt"])
async def test_they_wait_through_a_take_over(client: Client, tmp_path: Path, tables: str) -> None:
    async with worker(client, tmp_path / "kept"):
        await tell(client, "one")
        await tell(client, "elsewhere", id="other")
    async with worker(client, tmp_path / tables):
        await tell(client, "two")
        assert await collected(client, 2) == ["one", "two"]
    async with worker(client, tmp_path / f"{tables} again"):
        assert await collected(client, 0) == []
        assert await collected(client, 1, id="other") == ["elsewhere"]


async def test_what_waited_too_long_is_said_and_dropped(
    client: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with worker(client, tmp_path / "t"):
        await tell(client, "soon gone", buffer_for=timedelta(milliseconds=1))
        async with asyncio.timeout(30):
            while "signal_expired" not in caplog.text:  # noqa: ASYNC110 - a log has no bell
                await asyncio.sleep(0.02)
        await tell(client, "in time")

        assert await collected(client, 1) == ["in time"]

    assert "signal 'tell'" in caplog.text
    assert "waited for workflow 'c' on task queue 'q' to be started, in vain" in caplog.text


async def test_without_a_buffer_nobody_takes_it_and_a_wrong_one_is_refused(
    client: Client, tmp_path: Path
) -> None:
    handle = client.get_workflow_handle("c", task_queue=QUEUE)
    async with worker(client, tmp_path / "t"):
        with pytest.raises(RPCError, match="no workflow 'c'") as caught:
            await handle.signal("tell", "x")
        assert caught.value.status is RPCStatusCode.NOT_FOUND
        with pytest.raises(ValueError, match="buffer_for is 0:00:00: give a length of time"):
            await handle.signal("tell", "x", buffer_for=timedelta(0))
        of_a_run = client.get_workflow_handle("c", run_id="r", task_queue=QUEUE)
        with pytest.raises(RPCError, match="name no run"):
            await of_a_run.signal("tell", "x", buffer_for=HOUR)


async def test_a_signal_for_a_workflow_of_which_no_queue_knows_must_say_where(
    client: Client,
) -> None:
    for queue in ("one", "two"):
        create_topics(client.log, client.namespace, queue, partitions=1)
    async with (
        Worker(client, task_queue="one", workflows=[Collector]),
        Worker(client, task_queue="two", workflows=[Collector]),
    ):
        with pytest.raises(RPCError, match="no task queue of the namespace knows") as caught:
            await client.get_workflow_handle("c").signal("tell", "x", buffer_for=HOUR)

    assert "give task_queue=" in caught.value.__notes__[0]


async def test_a_full_buffer_is_one_clear_error(client: Client, tmp_path: Path) -> None:
    large = "x" * 400_000
    async with worker(client, tmp_path / "t"):
        for _ in range(2):
            await tell(client, large)
        with pytest.raises(RPCError, match="a full signal buffer: 2 signals with") as caught:
            await tell(client, large)
        assert caught.value.status is RPCStatusCode.RESOURCE_EXHAUSTED

        assert await collected(client, 2) == [large, large]
        await tell(client, large)


async def test_the_start_event_has_them_for_everybody_who_reads_the_log(
    client: Client, tmp_path: Path
) -> None:
    async with worker(client, tmp_path / "t"):
        await tell(client, "one")
        await collected(client, 1)
    info = client.log.topic(topic_name("events", client.namespace, QUEUE))
    assert info is not None

    exported = list(rows_of(client.log, info, (client.namespace, QUEUE)))

    assert exported[0].event_type == "WorkflowStarted"
    assert '"signal_name":"tell"' in exported[0].event
