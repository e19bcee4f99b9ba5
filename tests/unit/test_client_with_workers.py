"""The client with real workers on the embedded log, in this process: nothing is scripted."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from perdure import activity, workflow
from perdure.client import (
    Client,
    RPCError,
    RPCStatusCode,
    WorkflowExecutionStatus,
    WorkflowFailureError,
)
from perdure.common import RetryPolicy, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from perdure.exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    TerminatedError,
    WorkflowAlreadyStartedError,
)
from perdure.worker import Worker
from perdure_schemas import events

pytestmark = pytest.mark.embedded
A_MINUTE = timedelta(minutes=1)


@dataclass
class Basket:
    items: list[str]


@activity.defn
async def price_of(basket: Basket) -> int:
    return 10 * len(basket.items)


@activity.defn
async def decline(basket: Basket) -> None:
    raise ApplicationError("card declined", type="CardError", non_retryable=True)


@workflow.defn
class Buying:
    @workflow.run
    async def run(self, basket: Basket) -> int:
        return await workflow.execute_activity(price_of, basket, start_to_close_timeout=A_MINUTE)


@workflow.defn
class Declining:
    @workflow.run
    async def run(self, basket: Basket) -> None:
        await workflow.execute_activity(decline, basket, start_to_close_timeout=A_MINUTE)


@workflow.defn
class Sleeping:
    @workflow.run
    async def run(self) -> None:
        await asyncio.sleep(3600)


@workflow.defn
class Buggy:
    @workflow.run
    async def run(self) -> str:
        prices: dict[str, str] = {}
        return prices["lamp"]


WORKFLOWS = [Buying, Declining, Sleeping, Buggy]


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    client = await Client.connect(f"file:{tmp_path}")
    yield client
    await client.close()


@pytest.fixture
async def worker(client: Client) -> AsyncIterator[Worker]:
    made = Worker(client, task_queue="q", workflows=WORKFLOWS, activities=[price_of, decline])
    async with made:
        yield made


async def until_warned(caplog: pytest.LogCaptureFixture, text: str, *, within_s: float) -> float:
    """How long it took until a waiting user was told; fails when it takes too long."""
    began = time.monotonic()
    async with asyncio.timeout(within_s):
        while not any(text in record.getMessage() for record in caplog.records):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return time.monotonic() - began


async def test_a_workflow_runs_its_activity_and_returns(client: Client, worker: Worker) -> None:
    price = await client.execute_workflow(
        Buying.run, Basket(["lamp", "table"]), id="b-1", task_queue="q"
    )
    found = await client.get_workflow_handle("b-1").describe()
    history = await client.get_workflow_handle("b-1").fetch_history()
    listed = [run.id async for run in client.list_workflows()]

    assert price == 20
    assert found.status == WorkflowExecutionStatus.COMPLETED
    assert found.workflow_type == "Buying"
    assert found.close_time is not None
    assert [type(event.event) for event in history.events] == [
        events.WorkflowStarted,
        events.ActivityScheduled,
        events.ActivityCompleted,
        events.WorkflowCompleted,
    ]
    assert listed == ["b-1"]
    assert (await client.count_workflows()).count == 1


async def test_an_activitys_error_is_the_first_line_at_the_client(
    client: Client, worker: Worker
) -> None:
    with pytest.raises(WorkflowFailureError, match="CardError: card declined") as caught:
        await client.execute_workflow(Declining.run, Basket([]), id="d-1", task_queue="q")

    assert isinstance(caught.value.cause, ActivityError)
    assert isinstance(caught.value.cause.cause, ApplicationError)


async def test_cancel_and_terminate_end_a_run_each_in_its_way(
    client: Client, worker: Worker
) -> None:
    first = await client.start_workflow(Sleeping.run, id="s-1", task_queue="q")
    second = await client.start_workflow(Sleeping.run, id="s-2", task_queue="q")

    await first.cancel(reason="changed my mind")
    await second.terminate("a detail", reason="enough")

    with pytest.raises(WorkflowFailureError) as cancelled:
        await first.result()
    with pytest.raises(WorkflowFailureError, match="enough") as terminated:
        await second.result()
    assert isinstance(cancelled.value.cause, CancelledError)
    assert isinstance(terminated.value.cause, TerminatedError)
    assert list(terminated.value.cause.details) == ["a detail"]
    await second.cancel()
    with pytest.raises(RPCError) as again:
        await second.terminate()
    assert again.value.status == RPCStatusCode.NOT_FOUND


async def test_id_policies_are_decided_in_the_partition(client: Client, worker: Worker) -> None:
    open_one = await client.start_workflow(Sleeping.run, id="s", task_queue="q")

    with pytest.raises(WorkflowAlreadyStartedError) as refused:
        await client.start_workflow(Sleeping.run, id="s", task_queue="q")
    same = await client.start_workflow(
        Sleeping.run,
        id="s",
        task_queue="q",
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
    )
    await open_one.terminate()
    with pytest.raises(WorkflowAlreadyStartedError):
        await client.start_workflow(
            Sleeping.run,
            id="s",
            task_queue="q",
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
        )
    next_one = await client.start_workflow(
        Sleeping.run,
        id="s",
        task_queue="q",
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
    )

    assert refused.value.run_id == open_one.result_run_id == same.result_run_id
    assert next_one.result_run_id != open_one.result_run_id


async def test_a_blocked_run_is_told_to_who_waits_and_shown_with_its_cause(
    client: Client, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "perdure.client")
    waiting = asyncio.create_task(client.execute_workflow(Buggy.run, id="bug", task_queue="q"))

    await until_warned(caplog, "KeyError", within_s=3)
    found = await client.get_workflow_handle("bug").describe()
    waiting.cancel()

    assert found.status == WorkflowExecutionStatus.BLOCKED
    assert found.block is not None
    assert "KeyError: 'lamp'" in found.block.message
    assert "prices" in found.block.stack_trace


async def test_no_worker_for_activities_is_told_within_about_a_second(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "perdure.client")
    async with Worker(client, task_queue="q", workflows=WORKFLOWS):
        await client.start_workflow(Sleeping.run, id="warm", task_queue="q")
        basket = Basket(["lamp"])
        waiting = asyncio.create_task(
            client.execute_workflow(Buying.run, basket, id="b", task_queue="q")
        )

        took_s = await until_warned(caplog, "no worker listens on task queue 'q'", within_s=5)
        found = await client.get_workflow_handle("b").describe()
        waiting.cancel()

    # A second is promised; a machine that does other work may take a little longer to say it.
    assert took_s < 2.5
    assert [notice.code for notice in found.notices] == ["no_worker"]
    assert [pending.activity_type for pending in found.pending_activities] == ["price_of"]


async def test_a_result_is_followed_over_the_workflows_own_retries(
    client: Client, worker: Worker
) -> None:
    with pytest.raises(WorkflowFailureError, match="card declined"):
        await client.execute_workflow(
            Declining.run,
            Basket([]),
            id="again",
            task_queue="q",
            retry_policy=RetryPolicy(
                initial_interval=timedelta(milliseconds=300), maximum_attempts=2
            ),
        )

    runs = [run async for run in client.list_workflows() if run.id == "again"]
    assert [run.status for run in runs] == [WorkflowExecutionStatus.FAILED] * 2
    assert runs[0].raw_info.attempt == 2


async def test_a_second_process_is_refused_the_directory(client: Client, tmp_path: Path) -> None:
    code = (
        "import asyncio\n"
        "from perdure.client import Client\n"
        f"asyncio.run(Client.connect('file:{tmp_path}'))\n"
    )

    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", code],
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "RPCError" in last
    assert str(tmp_path) in last
