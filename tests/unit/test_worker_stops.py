"""Workers that stop, and workers that are busy: what is an attempt, and what is no history."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from perdure import activity, workflow
from perdure.client import Client, WorkflowFailureError
from perdure.common import RetryPolicy
from perdure.exceptions import ActivityError, ApplicationError
from perdure.worker import Worker
from perdure_schemas.commands import FailActivity, HandBackActivity
from tests.unit.worker_world import make_task, worker_world

QUEUE = "q"
MINUTE = timedelta(minutes=1)


class Seen:
    """What activities have done."""

    def __init__(self) -> None:
        self.attempts: list[int] = []
        self.began = asyncio.Event()
        self.go = asyncio.Event()


seen: Seen


@pytest.fixture(autouse=True)
async def _fresh() -> None:
    global seen
    seen = Seen()


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    client = await Client.connect(f"file:{tmp_path}")
    yield client
    await client.close()


@activity.defn
async def charge() -> str:
    seen.attempts.append(activity.info().attempt)
    seen.began.set()
    await seen.go.wait()
    return "charged"


@workflow.defn
class Pays:
    @workflow.run
    async def run(self, attempts: int) -> str:
        return await workflow.execute_activity(
            charge,
            start_to_close_timeout=MINUTE,
            retry_policy=RetryPolicy(
                maximum_attempts=attempts, initial_interval=timedelta(milliseconds=1)
            ),
        )


@workflow.defn
class Fan:
    @workflow.run
    async def run(self, count: int) -> int:
        calls = [
            workflow.execute_activity(charge, start_to_close_timeout=MINUTE) for _ in range(count)
        ]
        return len(await asyncio.gather(*calls))


async def stopped_once(client: Client, attempts: int) -> Any:
    """The handle of a run whose activity had begun when its worker was stopped."""
    async with Worker(client, task_queue=QUEUE, activities=[charge]):
        handle = await client.start_workflow(Pays.run, attempts, id="p", task_queue=QUEUE)
        await seen.began.wait()
    seen.go.set()
    return handle


async def test_one_attempt_is_one_over_a_graceful_stop(client: Client):
    async with Worker(client, task_queue=QUEUE, workflows=[Pays]):
        handle = await stopped_once(client, 1)
        async with Worker(client, task_queue=QUEUE, activities=[charge]):
            with pytest.raises(WorkflowFailureError) as raised:
                await handle.result()

    assert seen.attempts == [1]
    assert isinstance(raised.value.cause, ActivityError)
    cause = raised.value.cause.cause
    assert isinstance(cause, ApplicationError)
    assert cause.type == "WorkerShutdown"


async def test_where_more_are_allowed_the_next_one_counts(client: Client):
    async with Worker(client, task_queue=QUEUE, workflows=[Pays]):
        handle = await stopped_once(client, 3)
        async with Worker(client, task_queue=QUEUE, activities=[charge]):
            assert await handle.result() == "charged"

    assert seen.attempts == [1, 2]


async def test_busy_workers_leave_no_history_and_share_what_waits(client: Client):
    """Three slots for eight; then another worker has room for all of them."""
    async with Worker(client, task_queue=QUEUE, workflows=[Fan]):
        busy = Worker(client, task_queue=QUEUE, activities=[charge], max_concurrent_activities=3)
        async with busy:
            handle = await client.start_workflow(Fan.run, 8, id="f", task_queue=QUEUE)
            await seen.began.wait()
            async with Worker(client, task_queue=QUEUE, activities=[charge]):
                async with asyncio.timeout(40):
                    while len(seen.attempts) < 8:  # noqa: ASYNC110 - told by several at once
                        await asyncio.sleep(0.05)
                seen.go.set()
                assert await handle.result() == 8
            kinds = [event.event_type for event in (await handle.fetch_history()).events]

    assert "ActivityAttemptScheduled" not in kinds
    assert sorted(seen.attempts) == [1] * 8


async def test_what_waits_in_a_pool_has_not_begun_and_is_handed_back():
    """One thread for two slots: one runs, one has not begun, and never does here."""
    begun, may_end = threading.Event(), threading.Event()
    ran: list[int] = []

    @activity.defn(no_thread_cancel_exception=True)
    def holds(number: int) -> None:
        ran.append(number)
        begun.set()
        may_end.wait(30)

    with ThreadPoolExecutor(1) as pool:
        async with worker_world([holds], executor=pool) as world:
            for number in (1, 2):
                world.host.send(make_task(number, "holds", args=[number], wants_claim=False))
            await asyncio.to_thread(begun.wait)
            while len(world.worker._runner.running) < 2:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
            world.worker.stop()
            back = await world.host.first(HandBackActivity)
            may_end.set()
            await world.run

            assert back.token == b"token-%d" % (3 - ran[0])
            assert not [one for one in world.host.commands(FailActivity) if one.token == back.token]

    assert len(ran) == 1
