"""Batches on the embedded log: what they act on and leave alone, and how they are stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from perdure import activity, workflow
from perdure.client import (
    Batches,
    BatchHandle,
    Client,
    RPCError,
    WorkflowExecutionStatus,
    WorkflowFailureError,
)
from perdure.common import RetryPolicy
from perdure.worker import Worker
from perdure.worker import _batch_step as batch_step
from perdure_schemas.events import WorkflowTerminated

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(120)]
SOON = timedelta(seconds=30)
RUNNING = "WorkflowType = 'Waiting' AND ExecutionStatus = 'Running'"
broken: list[bool] = [False]


@activity.defn
async def fetch(number: int) -> int:
    if broken[0]:
        raise ConnectionError("the shop is closed")
    return number


@workflow.defn
class Waiting:
    def __init__(self) -> None:
        self.told: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_condition(lambda: bool(self.told))
        return self.told

    @workflow.signal
    def tell(self, text: str) -> None:
        self.told.append(text)


@workflow.defn
class Fetching:
    @workflow.run
    async def run(self, number: int) -> int:
        return await workflow.execute_activity(
            fetch,
            number,
            start_to_close_timeout=SOON,
            retry_policy=RetryPolicy(initial_interval=timedelta(hours=1)),
        )


def worker(client: Client) -> Worker:
    return Worker(
        client,
        task_queue="q",
        workflows=[Waiting, Fetching],
        activities=[fetch],
        graceful_shutdown_timeout=timedelta(0),
    )


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    broken[0] = False
    client = await Client.connect(f"file:{tmp_path}", identity="ann")
    yield client
    await client.close()


async def begin(client: Client, count: int) -> None:
    for number in range(count):
        await client.start_workflow(Waiting.run, id=f"w-{number}", task_queue="q")


async def statuses(client: Client, workflow_type: str = "Waiting") -> dict[str, int]:
    found: dict[str, int] = {}
    async for run in client.list_workflows(f"WorkflowType = '{workflow_type}'"):
        assert run.status is not None
        name = run.status.name.lower()
        found[name] = found.get(name, 0) + 1
    return found


async def until(batch: BatchHandle, holds: Callable[[Any], bool]) -> Any:
    async with asyncio.timeout(60):
        while not holds(found := await batch.describe()):  # noqa: ASYNC110 - a worker does it
            await asyncio.sleep(0.05)
    return found


async def test_a_filter_is_shown_before_anything_is_done(client: Client) -> None:
    async with worker(client):
        await begin(client, 12)

        found = await Batches(client).preview(RUNNING)

        assert found.count == 12
        assert len(found.sample) == 10
        assert await statuses(client) == {"running": 12}


async def test_all_runs_of_a_filter_are_terminated_and_no_others(client: Client) -> None:
    async with worker(client):
        await begin(client, 7)
        batches = Batches(client)

        batch = await batches.start("WorkflowId != 'w-3'", "terminate", reason="a bad deploy")
        progress = await batch.result()

        assert (progress.done, progress.skipped, progress.failed, progress.total) == (6, 0, 0, 6)
        assert await statuses(client) == {"running": 1, "terminated": 6}
        ended = (await client.get_workflow_handle("w-0").fetch_history()).events[-1].event
        assert isinstance(ended, WorkflowTerminated)
        assert (ended.reason, ended.identity) == ("a bad deploy", "ann")
        described = await batch.describe()
        assert (described.status, described.progress) == ("completed", progress)


async def test_a_batch_whose_filter_matches_itself_leaves_batches_alone(client: Client) -> None:
    async with worker(client):
        await begin(client, 3)
        query = "ExecutionStatus = 'Running' OR WorkflowType = 'perdure.batch'"

        batch = await Batches(client).start(query, "terminate")
        progress = await batch.result()

        assert progress.done == 3
        assert progress.failed == 0
        assert (await batch.describe()).status == "completed"
        # Nor are they among the runs of anybody else.
        assert [
            run.id async for run in client.list_workflows("ExecutionStatus = 'Completed'")
        ] == []
        assert [one.id for one in await Batches(client).list()] == [batch.id]


async def test_each_run_is_signalled_once_though_the_page_is_acted_on_twice(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    act, tried = batch_step._BatchPage.act, [0]

    async def dies_at_first(self: Any) -> Any:
        page = await act(self)
        tried[0] += 1
        if tried[0] == 1:
            raise RuntimeError("the worker is gone before it could say what was done")
        return page

    monkeypatch.setattr(batch_step._BatchPage, "act", dies_at_first)
    async with worker(client):
        for number in range(5):
            await client.start_workflow(Waiting.run, id=f"w-{number}", task_queue="q")
        batch = await Batches(client).start(
            "WorkflowType = 'Waiting'", "signal", signal="tell", args=["go"]
        )
        progress = await batch.result()

        assert tried[0] == 2
        assert progress.done == 5
        for number in range(5):
            assert await client.get_workflow_handle(f"w-{number}").result() == ["go"]
            history = await client.get_workflow_handle(f"w-{number}").fetch_history()
            kinds = [type(event.event).__name__ for event in history.events]
            assert kinds.count("WorkflowSignaled") == 1


async def test_runs_are_reset_once_though_their_new_runs_match_as_well(client: Client) -> None:
    async with worker(client):
        await begin(client, 4)

        batch = await Batches(client).start(RUNNING, "reset", to="first-workflow-task")
        progress = await batch.result()

        assert (progress.done, progress.failed) == (4, 0)
        assert await statuses(client) == {"running": 4, "terminated": 4}


async def test_what_backs_off_is_retried_now(client: Client) -> None:
    broken[0] = True
    async with worker(client):
        for number in range(3):
            await client.start_workflow(Fetching.run, number, id=f"f-{number}", task_queue="q")
        for number in range(3):
            handle = client.get_workflow_handle(f"f-{number}")
            async with asyncio.timeout(30):
                while not any(  # noqa: ASYNC110 - the host does it
                    one.attempt == 1 and one.state == "backing_off"
                    for one in (await handle.describe()).raw_description.pending_activities
                ):
                    await asyncio.sleep(0.05)
        broken[0] = False

        batch = await Batches(client).start("WorkflowType = 'Fetching'", "retry")

        assert (await batch.result()).done == 3
        async with asyncio.timeout(30):
            for number in range(3):
                assert await client.get_workflow_handle(f"f-{number}").result() == number


async def test_closed_runs_are_deleted_and_open_ones_told_of(client: Client) -> None:
    async with worker(client):
        await begin(client, 4)
        for number in range(3):
            await client.get_workflow_handle(f"w-{number}").terminate()

        batch = await Batches(client).start("WorkflowType = 'Waiting'", "delete")
        progress = await batch.result()

        assert (progress.done, progress.failed) == (3, 1)
        assert [one.workflow_id for one in progress.failures] == ["w-3"]
        assert "terminate it first" in progress.failures[0].message
        assert await statuses(client) == {"running": 1}


async def test_a_batch_is_paused_goes_on_with_another_worker_and_is_cancelled(
    client: Client,
) -> None:
    async with worker(client):
        await begin(client, 30)
        # One run a page, so that there is something to stop.
        batch = await Batches(client).start(RUNNING, "terminate", rate=10, id="slow")
        batch_id = batch.id
        await batch.pause()
        paused = await until(batch, lambda one: one.status == "paused")
        assert paused.progress.done <= 30
    assert batch_id == "slow"
    async with worker(client):
        again = Batches(client).handle("slow")
        await again.resume()
        progress = await again.result()
        assert progress.done + progress.skipped == 30
        assert await statuses(client) == {"terminated": 30}

        await begin_more(client)
        other = await Batches(client).start(RUNNING, "terminate", rate=0.5)
        await other.cancel()
        with pytest.raises(WorkflowFailureError):
            await other.result()
        assert (await other.describe()).status == "canceled"
        left = await statuses(client)
        assert left["running"] > 0


async def begin_more(client: Client) -> None:
    for number in range(40, 48):
        await client.start_workflow(Waiting.run, id=f"w-{number}", task_queue="q")


async def test_what_cannot_be_is_refused_and_nothing_begins(client: Client) -> None:
    async with worker(client):
        await begin(client, 1)
        batches = Batches(client)
        for query, action, more, text in (
            ("", "terminate", {}, "would be about every run"),
            (f"{RUNNING} ORDER BY StartTime", "terminate", {}, "no ORDER BY"),
            (RUNNING, "explode", {}, "'explode' is none of them"),
            (RUNNING, "signal", {}, "needs the signal's name"),
            (RUNNING, "reset", {"to": "yesterday"}, "a reset goes to"),
            (RUNNING, "terminate", {"rate": 0}, "the rate is 0 runs a second"),
            ("WorkflowType = 'Nobody'", "terminate", {}, "names no run"),
        ):
            with pytest.raises(ValueError, match=text):
                await batches.start(query, action, **more)
        with pytest.raises(RPCError, match="the filter is wrong"):
            await batches.start("WorkflowType ==", "terminate")
        assert await batches.list() == []
        found = await client.get_workflow_handle("w-0").describe()
        assert found.status == WorkflowExecutionStatus.RUNNING
