"""Cron schedules with real workers on the embedded log: what one run leaves to the next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from perdure import workflow
from perdure.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from perdure.exceptions import ApplicationError, CancelledError
from perdure.worker import Worker

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(60)]


@workflow.defn
class Counting:
    """Counts its runs by what the last one returned; the third one fails, once."""

    @workflow.run
    async def run(self) -> int:
        last = workflow.get_last_completion_result(int) or 0
        failure = workflow.get_last_failure()
        assert workflow.has_last_completion_result() == (last > 0)
        assert workflow.info().cron_schedule == "@every 1s"
        if last == 2 and failure is None:
            raise ApplicationError("the third")
        return last + (10 if failure is not None else 1)


@workflow.defn
class Sized:
    """Watches its history grow."""

    @workflow.run
    async def run(self) -> list[Any]:
        info = workflow.info()
        sizes = [info.get_current_history_size()]
        for _ in range(3):
            await workflow.sleep(0.01)
            sizes.append(info.get_current_history_size())
        grows = sizes == sorted(set(sizes)) and sizes[0] == 0
        return [grows, info.get_current_history_length(), info.is_continue_as_new_suggested()]


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    client = await Client.connect(f"file:{tmp_path}")
    async with Worker(client, task_queue="q", workflows=[Counting, Sized]):
        yield client
    await client.close()


async def test_each_run_is_told_how_the_one_before_ended(client: Client) -> None:
    handle = await client.start_workflow(
        Counting.run, id="c", task_queue="q", cron_schedule="@every 1s"
    )
    results: list[Any] = []
    run_id = handle.first_execution_run_id
    assert run_id is not None
    while len(results) < 4:
        run = client.get_workflow_handle_for(Counting.run, "c", run_id=run_id)
        try:
            results.append(await run.result(follow_runs=False))
        except WorkflowFailureError as error:
            results.append(str(error.cause))
        run_id = await following(client, run_id)

    assert results == [1, 2, "the third", 12]

    await handle.cancel()
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert isinstance(caught.value.cause, CancelledError)
    assert (await handle.describe()).status == WorkflowExecutionStatus.CANCELED


async def test_a_run_is_there_before_it_is_due(client: Client) -> None:
    handle = await client.start_workflow(
        Sized.run, id="hourly", task_queue="q", cron_schedule="@every 1h"
    )

    assert (await handle.describe()).status == WorkflowExecutionStatus.RUNNING


async def following(client: Client, run_id: str) -> str:
    """The run after one, once it is there."""
    while True:
        found = await client.get_workflow_handle("c").describe()
        if found.run_id != run_id:
            return found.run_id
        await asyncio.sleep(0.02)


async def test_a_bad_schedule_is_refused_before_anything_is_sent(client: Client) -> None:
    with pytest.raises(ValueError, match="wrong number of fields"):
        await client.start_workflow(
            Counting.run, id="bad", task_queue="q", cron_schedule="every day"
        )
    with pytest.raises(Exception, match="start_delay cannot be given"):
        await client.start_workflow(
            Counting.run,
            id="bad",
            task_queue="q",
            cron_schedule="@daily",
            start_delay=timedelta(seconds=1),
        )


async def test_a_run_knows_how_large_its_history_is(client: Client) -> None:
    told = await client.execute_workflow(Sized.run, id="sized", task_queue="q")

    assert told == [True, 7, False]
