"""Task queues that nobody serves: they hold up no other, and an embedded log is read as ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from perdure import workflow
from perdure.client import (
    Client,
    RPCError,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleSpec,
    WorkflowExecutionStatus,
    WorkflowFailureError,
)
from perdure.client import _visibility as visibility
from perdure.worker import Worker

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(90)]
NEVER = ScheduleSpec(cron_expressions=["0 0 1 1 *"])
SOON = timedelta(seconds=2)
"""Before anybody gives up waiting for an answer that does not come."""


@workflow.defn
class Waiting:
    def __init__(self) -> None:
        self.said: list[str] = []

    @workflow.run
    async def run(self, name: str) -> str:
        await workflow.wait_condition(lambda: len(self.said) > 0)
        return f"{name} heard {self.said[0]}"

    @workflow.signal
    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    client = await Client.connect(f"file:{tmp_path / 'data'}")
    yield client
    await client.close()


async def idle_queue(client: Client) -> None:
    """A queue whose worker has gone, with a run that ended, one that is open, and a schedule."""
    async with Worker(client, task_queue="idle", workflows=[Waiting]):
        ended = await client.start_workflow(Waiting.run, "a", id="ended", task_queue="idle")
        await ended.signal(Waiting.say, "hello")
        await ended.result()
        await client.start_workflow(Waiting.run, "b", id="open", task_queue="idle")
        action = ScheduleActionStartWorkflow("Waiting", args=["c"], id="c", task_queue="idle")
        await client.create_schedule("nightly", Schedule(action=action, spec=NEVER))


async def test_an_embedded_log_is_read_without_a_worker(client: Client) -> None:
    await idle_queue(client)
    handle = client.get_workflow_handle("ended", task_queue="idle")

    described = await handle.describe(rpc_timeout=SOON)
    assert described.status is WorkflowExecutionStatus.COMPLETED
    assert await handle.result(rpc_timeout=SOON) == "a heard hello"
    assert len((await handle.fetch_history()).events) > 2
    assert (await client.get_workflow_handle("open").describe(rpc_timeout=SOON)).id == "open"
    listed = {one.id async for one in client.list_workflows(rpc_timeout=SOON)}
    assert {"ended", "open"} <= listed
    assert (await client.count_workflows("WorkflowType = 'Waiting'", rpc_timeout=SOON)).count == 2
    schedules = [one.id async for one in await client.list_schedules(rpc_timeout=SOON)]
    assert schedules == ["nightly"]
    assert len(await client.describe_task_queue("idle", rpc_timeout=SOON)) > 0
    with pytest.raises(RPCError, match="no workflow 'none'"):
        await client.get_workflow_handle("none", task_queue="idle").describe(rpc_timeout=SOON)

    # What is written meanwhile is read as well.
    async with Worker(client, task_queue="idle", workflows=[Waiting]):
        await client.get_workflow_handle("open").signal("say", "at last")
        assert await client.get_workflow_handle("open").result() == "b heard at last"
    described = await client.get_workflow_handle("open").describe(rpc_timeout=SOON)
    assert described.status is WorkflowExecutionStatus.COMPLETED


async def test_what_the_log_has_taken_is_enough(client: Client) -> None:
    await idle_queue(client)
    async with Worker(client, task_queue="idle", workflows=[Waiting]):
        for name in ("cancelled", "terminated"):
            await client.start_workflow(Waiting.run, name, id=name, task_queue="idle")

    await client.get_workflow_handle("open").signal("say", "kept")
    await client.get_workflow_handle("cancelled").cancel()
    await client.get_workflow_handle("terminated").terminate(reason="enough")

    async with Worker(client, task_queue="idle", workflows=[Waiting]):
        assert await client.get_workflow_handle("open").result() == "b heard kept"
        for name in ("cancelled", "terminated"):
            with pytest.raises(WorkflowFailureError):
                await client.get_workflow_handle(name).result()


async def test_a_start_makes_the_topics_of_a_queue_that_nobody_has_used(client: Client) -> None:
    starting = asyncio.create_task(
        client.execute_workflow(Waiting.run, "early", id="w", task_queue="unused")
    )
    async with asyncio.timeout(20):
        while "unused" not in await client.connection.task_queues():  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.01)
    async with Worker(client, task_queue="unused", workflows=[Waiting]):
        await client.get_workflow_handle("w", task_queue="unused").signal("say", "hello")
        assert await starting == "early heard hello"


async def test_a_queue_that_is_silent_holds_up_no_list(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await idle_queue(client)
    # As on a broker, where no process has the log to itself.
    client.connection._offline.is_local = False
    monkeypatch.setattr(visibility, "PATIENCE_S", 0.5)
    async with Worker(client, task_queue="live", workflows=[Waiting]):
        await client.start_workflow(Waiting.run, "x", id="here", task_queue="live")

        runs = client.list_workflows()
        assert [one.id async for one in runs] == ["here"]
        assert runs.silent_task_queues == ("idle",)
        count = await client.count_workflows()
        assert (count.count, list(count.silent_task_queues)) == (1, ["idle"])
        schedules = await client.list_schedules()
        assert [one.id async for one in schedules] == []
        assert schedules.silent_task_queues == ("idle",)
        assert "of task queue 'idle' nobody answers" in caplog.text

        # Who asks for the silent one alone is not told that it is empty.
        with pytest.raises(RPCError, match="'idle'"):
            await client.count_workflows(task_queue="idle", rpc_timeout=SOON)
