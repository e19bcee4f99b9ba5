"""A worker that ends by itself: its block is cancelled, its error raised, whoever asked is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from perdure import activity, workflow
from perdure._gateway.serve import serving_engine
from perdure.client import Client
from perdure.worker import Worker
from perdure.worker._fatal import take_back
from perdure_views.gateway.settings import Settings

MINUTE = timedelta(minutes=1)


@activity.defn
def plain() -> str:
    return "done"


@workflow.defn
class Plain:
    @workflow.run
    async def run(self, name: str) -> Any:
        return await workflow.execute_activity(name, start_to_close_timeout=MINUTE)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    client = await Client.connect(f"file:{tmp_path}")
    yield client
    await client.close()


class Falls:
    """A worker whose executor is shut down under it: the next plain activity is its end."""

    def __init__(self, client: Client, *others: Any, **options: Any) -> None:
        self.told: list[BaseException] = []
        self._pool = ThreadPoolExecutor(100)
        self.worker = Worker(
            client,
            task_queue="q",
            workflows=[Plain],
            activities=[plain, *others],
            activity_executor=self._pool,
            on_fatal_error=self._tell,
            **options,
        )
        self._client = client

    async def _tell(self, error: BaseException) -> None:
        self.told.append(error)

    async def fall(self) -> None:
        """Make the worker end, maybe before this does: it may be cancelled with its block."""
        self._pool.shutdown()
        await self._client.start_workflow(Plain.run, "plain", id="falls", task_queue="q")


async def test_the_block_is_cancelled_and_the_error_raised_out_of_it(client: Client):
    falls = Falls(client)

    async def serve() -> None:
        async with falls.worker:
            await falls.fall()
            await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="the activity executor takes no work"):
        await serve()

    assert [str(error)[:21] for error in falls.told] == ["the activity executor"]
    assert not falls.worker.is_running
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling(), "a cancellation is left that nobody asked for"
    await asyncio.sleep(0)


async def test_the_block_hears_of_it_before_what_runs_has_finished(client: Client):
    begun, may_end = asyncio.Event(), asyncio.Event()

    @activity.defn
    async def lasts() -> None:
        begun.set()
        await may_end.wait()

    falls = Falls(client, lasts, graceful_shutdown_timeout=timedelta(minutes=30))

    async def serve() -> None:
        async with falls.worker:
            await client.start_workflow(Plain.run, "lasts", id="w", task_queue="q")
            await begun.wait()
            try:
                await falls.fall()
                await asyncio.Event().wait()
            finally:
                may_end.set()

    with pytest.raises(RuntimeError, match="takes no work"):
        await serve()

    assert len(falls.told) == 1


async def test_what_the_block_raises_meanwhile_is_what_comes_out(client: Client):
    falls = Falls(client)

    async def serve() -> None:
        async with falls.worker:
            try:
                await falls.fall()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise ValueError("of the block's own") from None

    with pytest.raises(ValueError, match="of the block's own"):
        await serve()

    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_who_cancelled_the_block_is_not_robbed_of_it(client: Client):
    falls = Falls(client)

    async def serve() -> None:
        async with falls.worker:
            try:
                await falls.fall()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
                raise

    serving = asyncio.create_task(serve())
    await asyncio.wait([serving])

    assert serving.cancelled()


async def test_a_block_that_hears_it_and_ends_raises_the_error(client: Client):
    falls = Falls(client)

    async def serve() -> None:
        async with falls.worker:
            with suppress(asyncio.CancelledError):
                await falls.fall()
                await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="takes no work"):
        await serve()


async def test_a_cancellation_that_was_not_heard_of_is_taken_back():
    task = asyncio.current_task()
    assert task is not None
    task.cancel()

    assert await take_back(task, None)
    await asyncio.sleep(0)


async def test_run_raises_it_too(client: Client):
    falls = Falls(client)
    running = asyncio.create_task(falls.worker.run())
    await falls.worker._has_topics.wait()
    await falls.fall()

    with pytest.raises(RuntimeError, match="takes no work"):
        await running
    assert len(falls.told) == 1


async def test_workflows_are_not_hosted_beside_an_engine(client: Client):
    async with serving_engine(client, Settings(port=0)) as address:
        beside = await Client.connect(address)
        with pytest.raises(ValueError, match=r"`perdure engine MODULE --data DIRECTORY"):
            Worker(beside, task_queue="q", workflows=[Plain])
        Worker(beside, task_queue="q", activities=[plain])
        await beside.close()
