"""Activities that a host hands to the worker of its process, through the whole engine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from perdure import activity, workflow
from perdure.client import Client
from perdure.common import RetryPolicy
from perdure.exceptions import ActivityError, ApplicationError
from perdure.worker import (
    Interceptor,
    StartActivityInput,
    Worker,
    WorkflowInboundInterceptor,
    WorkflowOutboundInterceptor,
)
from perdure.workflow import ActivityCancellationType, ActivityHandle
from perdure_schemas.events import ActivityStarted
from perdure_topics.names import topic_name

pytestmark = pytest.mark.timeout(60)
QUEUE = "eager"
MINUTE = timedelta(minutes=1)
SOON = RetryPolicy(initial_interval=timedelta(milliseconds=10))


class Seen:
    """What activities have done."""

    def __init__(self) -> None:
        self.threads: set[str] = set()
        self.cancelled = threading.Event()
        self.details: list[Any] = []


seen = Seen()


@pytest.fixture(autouse=True)
def _fresh() -> None:
    seen.__init__()  # type: ignore[misc]


@activity.defn
async def double(value: int) -> int:
    seen.threads.add(threading.current_thread().name)
    return 2 * value


@activity.defn
def plain(value: int) -> int:
    seen.threads.add(threading.current_thread().name)
    return 2 * value


@activity.defn
async def flaky(value: int) -> int:
    if activity.info().attempt == 1:
        raise ApplicationError("not yet")
    return value


@activity.defn
async def forever() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        seen.cancelled.set()


@activity.defn
async def beating() -> list[Any]:
    if activity.info().attempt == 1:
        activity.heartbeat("half")
        raise ApplicationError("not yet")
    return list(activity.info().heartbeat_details)


@activity.defn
async def large(size: int) -> str:
    return "x" * size


ACTIVITIES: list[Any] = [double, plain, flaky, forever, beating, large]


@workflow.defn
class Calling:
    @workflow.run
    async def run(self, name: str, arg: Any = None, heartbeat_s: float = 0.0) -> Any:
        return await workflow.execute_activity(
            name,
            args=[] if arg is None else [arg],
            start_to_close_timeout=MINUTE,
            heartbeat_timeout=timedelta(seconds=heartbeat_s) if heartbeat_s else None,
            retry_policy=SOON,
        )


@workflow.defn
class Cancelling:
    @workflow.run
    async def run(self) -> str:
        handle = workflow.start_activity(
            forever,
            start_to_close_timeout=MINUTE,
            cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
        await workflow.sleep(0.01)
        handle.cancel()
        try:
            await handle
        except ActivityError as error:
            return type(error.cause).__name__
        return "it returned"


@workflow.defn
class Many:
    @workflow.run
    async def run(self, count: int) -> int:
        calls = [
            workflow.execute_activity(double, number, start_to_close_timeout=MINUTE)
            for number in range(count)
        ]
        return sum(await asyncio.gather(*calls))


WORKFLOWS = [Calling, Cancelling, Many]


class _Outbound(WorkflowOutboundInterceptor):
    def start_activity(self, input: StartActivityInput) -> ActivityHandle[Any]:
        return super().start_activity(replace(input, disable_eager_execution=True))


class _Inbound(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_Outbound(outbound))


class ByTheLog(Interceptor):
    """Every activity goes by the log."""

    def workflow_interceptor_class(self, input: Any) -> type[WorkflowInboundInterceptor]:
        return _Inbound


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    client = await Client.connect(f"file:{tmp_path}")
    yield client
    await client.close()


def worker(client: Client, **options: Any) -> Worker:
    return Worker(client, task_queue=QUEUE, workflows=WORKFLOWS, activities=ACTIVITIES, **options)


def tasks_of(client: Client) -> int:
    """How many tasks went by the log."""
    log = client.log
    name = topic_name("tasks", client.namespace, QUEUE)
    info = log.topic(name)
    assert info is not None
    return sum(log.offsets(name, number)[1] for number in range(info.partitions))


async def call(client: Client, *args: Any) -> Any:
    return await client.execute_workflow(Calling.run, args=args, id="call", task_queue=QUEUE)


async def ready(client: Client) -> None:
    """Have the worker take its first task: from then on it has room."""
    while True:
        await client.execute_workflow(Calling.run, args=["double", 0], id="first", task_queue=QUEUE)
        before = tasks_of(client)
        await client.execute_workflow(Calling.run, args=["double", 0], id="first", task_queue=QUEUE)
        if tasks_of(client) == before:
            return


@pytest.mark.parametrize("name", ["double", "plain"])
async def test_a_task_of_the_same_process_is_no_record(client: Client, name: str) -> None:
    async with worker(client):
        await ready(client)
        before = tasks_of(client)
        assert await call(client, name, 21) == 42
        assert tasks_of(client) == before

    # Never on the thread of the host.
    assert not any(thread.startswith("perdure-host") for thread in seen.threads)


async def test_many_at_once_keep_to_the_slots(client: Client) -> None:
    async with worker(client, max_concurrent_activities=3):
        result = await client.execute_workflow(Many.run, 40, id="many", task_queue=QUEUE)

    assert result == sum(2 * number for number in range(40))


@pytest.mark.parametrize("options", [{"disable_eager_activity_execution": True}, {"by": "call"}])
async def test_who_wants_the_log_has_it(client: Client, options: dict[str, Any]) -> None:
    if options.pop("by", ""):
        options = {"interceptors": [ByTheLog()]}
    async with worker(client, **options):
        for number in range(3):
            assert await call(client, "double", number) == 2 * number
        assert tasks_of(client) == 3


async def test_a_retry_goes_by_the_log(client: Client) -> None:
    async with worker(client):
        await ready(client)
        before = tasks_of(client)
        assert await call(client, "flaky", 7) == 7
        assert tasks_of(client) == before + 1


@pytest.mark.parametrize("size", [300_000, 900_000])
async def test_a_large_result_comes_by_the_log(client: Client, size: int) -> None:
    async with worker(client):
        await ready(client)
        assert len(await call(client, "large", size)) == size


async def test_a_cancellation_reaches_an_attempt_once_it_is_promoted(client: Client) -> None:
    async with worker(client):
        await ready(client)
        result = await client.execute_workflow(Cancelling.run, id="cancel", task_queue=QUEUE)

    assert result == "CancelledError"
    assert seen.cancelled.is_set()


async def test_one_that_gives_signs_of_life_has_its_start_on_the_log(client: Client) -> None:
    async with worker(client):
        await ready(client)
        handle = await client.start_workflow(
            Calling.run, args=["beating", None, 30.0], id="beat", task_queue=QUEUE
        )
        assert await handle.result() == ["half"]
        history = await handle.fetch_history()

    assert any(isinstance(item.event, ActivityStarted) for item in history.events)


async def test_heartbeat_details_of_an_attempt_without_a_timeout_reach_the_next(
    client: Client,
) -> None:
    async with worker(client):
        await ready(client)
        assert await call(client, "beating") == ["half"]


async def test_a_stop_loses_no_outcome(client: Client) -> None:
    handles = []
    async with worker(client, graceful_shutdown_timeout=timedelta(seconds=5)):
        await ready(client)
        for number in range(20):
            handles.append(
                await client.start_workflow(Many.run, 3, id=f"stop-{number}", task_queue=QUEUE)
            )
    async with worker(client):
        assert [await handle.result() for handle in handles] == [6] * 20
