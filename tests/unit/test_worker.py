"""The worker of the front door, on a real embedded log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from multiprocessing.managers import SyncManager
from pathlib import Path
from typing import Any

import pytest

from perdure import activity, workflow
from perdure.client import Client
from perdure.worker import SharedStateManager, Worker
from perdure_actors.definitions.signatures import DefinitionError
from perdure_topics.names import InvalidNameError
from perdure_topics.ports import TopicMismatchError, TopicSpec


@activity.defn
async def greet(name: str) -> str:
    return f"Hello, {name}!"


@activity.defn
def key_of() -> str:
    return activity.info().idempotency_key


@workflow.defn
class Greeting:
    @workflow.run
    async def run(self, name: str) -> list[str]:
        timeout = timedelta(seconds=30)
        hello = await workflow.execute_activity(greet, name, start_to_close_timeout=timeout)
        key = await workflow.execute_activity(key_of, start_to_close_timeout=timeout)
        return [hello, key]


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    client = await Client.connect(f"file:{tmp_path}")
    yield client
    await client.close()


async def test_one_process_is_host_worker_and_client(client: Client):
    async with Worker(
        client, task_queue="greetings", workflows=[Greeting], activities=[greet, key_of]
    ) as worker:
        assert worker.is_running
        handle = await client.start_workflow(
            Greeting.run, "World", id="greeting-1", task_queue="greetings"
        )

        hello, key = await handle.result()

    assert hello == "Hello, World!"
    assert key == f"{handle.first_execution_run_id}/2"
    assert worker.is_shutdown


async def test_activities_may_be_in_another_worker_than_workflows(client: Client):
    async with (
        Worker(client, task_queue="greetings", workflows=[Greeting]),
        Worker(client, task_queue="greetings", activities=[greet, key_of]),
    ):
        result = await client.execute_workflow(
            Greeting.run, "you", id="greeting-2", task_queue="greetings"
        )

    assert result[0] == "Hello, you!"


async def test_shutdown_ends_run_and_a_worker_runs_once(client: Client):
    worker = Worker(client, task_queue="greetings", activities=[greet])
    with pytest.raises(RuntimeError, match="never started"):
        await worker.shutdown()
    async with worker:
        await worker.shutdown()

        assert (worker.is_shutdown, worker.is_running) == (True, False)
    with pytest.raises(RuntimeError, match="started before"):
        await worker.run()


async def test_a_cancelled_run_stops_in_good_order(client: Client):
    worker = Worker(client, task_queue="greetings", activities=[greet])
    async with worker:
        assert worker._task is not None
        worker._task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await worker._task
        worker._task = asyncio.create_task(asyncio.sleep(0))

    assert worker.is_shutdown


async def test_a_fatal_error_is_told_and_raised(client: Client):
    told: list[BaseException] = []

    async def tell(error: BaseException) -> None:
        told.append(error)

    client.log.create_topics([TopicSpec("default.greetings.commands", 4, 1, {})])
    worker = Worker(client, task_queue="greetings", activities=[greet], on_fatal_error=tell)
    with pytest.raises(TopicMismatchError, match=r"'default\.greetings\.commands'") as raised:
        await worker.run()

    assert told == [raised.value]


async def test_topics_that_are_wrong_end_the_block_before_it_begins(client: Client):
    client.log.create_topics([TopicSpec("default.greetings.commands", 4, 1, {})])
    with pytest.raises(TopicMismatchError):
        async with Worker(client, task_queue="greetings", activities=[greet]):
            raise AssertionError("the block was entered")


async def test_what_cannot_work_is_refused_when_it_is_made(client: Client):
    @activity.defn(name="greet")
    async def other() -> None:
        pass

    with pytest.raises(ValueError, match="nothing to do"):
        Worker(client, task_queue="greetings")
    with pytest.raises(InvalidNameError, match="task queue is empty"):
        Worker(client, task_queue="", activities=[greet])
    with pytest.raises(DefinitionError, match="one activity name, 'greet'"):
        Worker(client, task_queue="greetings", activities=[greet, other])
    with pytest.raises(ValueError, match="at least 1"):
        Worker(client, task_queue="greetings", activities=[greet], max_concurrent_activities=0)
    with pytest.raises(ValueError, match="negative"):
        Worker(
            client,
            task_queue="greetings",
            activities=[greet],
            graceful_shutdown_timeout=timedelta(seconds=-1),
        )


async def test_too_few_threads_for_the_slots_are_warned_of(client: Client, caplog):
    caplog.set_level(logging.WARNING)
    with ThreadPoolExecutor(3) as pool:
        Worker(client, task_queue="greetings", activities=[key_of], activity_executor=pool)

    assert "has 3 threads for max_concurrent_activities=100" in caplog.text


def test_options_of_temporals_are_taken_and_typos_are_not(client: Client) -> None:
    def make(**options: Any) -> Worker:
        return Worker(client, task_queue="q", activities=[greet], **options)

    make(nonsticky_to_sticky_poll_ratio=0.5, disable_eager_activity_execution=True)
    manager = SyncManager()  # not started: a worker asks nothing of it
    make(shared_state_manager=SharedStateManager.create_from_multiprocessing(manager))
    with pytest.raises(TypeError, match="has no option 'max_cached_workflow'"):
        make(max_cached_workflow=1)
    with pytest.raises(TypeError, match="deployment_config: there are no worker deployments here"):
        make(deployment_config=object())
