"""Local activities through the whole engine, on an embedded log."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from perdure import activity, workflow
from perdure.client import Client, WorkflowFailureError
from perdure.common import RetryPolicy
from perdure.exceptions import ActivityError, ApplicationError, CancelledError, TimeoutType
from perdure.exceptions import TimeoutError as ActivityTimeoutError
from perdure.worker import Worker
from perdure.workflow import ActivityCancellationType
from perdure_schemas.events import ActivityRetryScheduled, ActivityScheduled, ActivityStarted

QUEUE = "locals"
MINUTE = timedelta(minutes=1)
ONCE = RetryPolicy(maximum_attempts=1)
SOON = RetryPolicy(initial_interval=timedelta(milliseconds=10), maximum_attempts=5)


class Seen:
    """What activities have done, told between tests and them."""

    def __init__(self) -> None:
        self.attempts: list[int] = []
        self.cancelled: list[str] = []
        self.running = 0
        self.most = 0
        self.began = threading.Event()
        self.go = threading.Event()


seen = Seen()


@pytest.fixture(autouse=True)
def _fresh() -> None:
    seen.__init__()  # type: ignore[misc]


@activity.defn
async def greet(name: str) -> str:
    info = activity.info()
    return f"Hello, {name}! {info.is_local} {info.attempt}"


@activity.defn
def thread_of() -> str:
    return threading.current_thread().name


@activity.defn
async def flaky(fails: int) -> int:
    attempt = activity.info().attempt
    seen.attempts.append(attempt)
    if attempt <= fails:
        raise ApplicationError("not yet")
    return attempt


@activity.defn
async def forever() -> None:
    seen.began.set()
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        details = activity.cancellation_details()
        seen.cancelled.append(str(details))
        raise


@activity.defn
def held() -> str:
    seen.attempts.append(activity.info().attempt)
    seen.began.set()
    if activity.info().attempt == 1:
        activity.wait_for_cancelled_sync(60)
    return f"attempt {activity.info().attempt}"


@activity.defn
async def finishing() -> str:
    seen.attempts.append(activity.info().attempt)
    seen.began.set()
    await activity.wait_for_worker_shutdown()
    return "it knew of the stop"


@activity.defn
def finishing_in_a_thread() -> str:
    seen.attempts.append(activity.info().attempt)
    seen.began.set()
    activity.wait_for_worker_shutdown_sync(60)
    return "it knew of the stop"


@activity.defn
def counted() -> None:
    seen.running += 1
    seen.most = max(seen.most, seen.running)
    seen.go.wait(0.02)
    seen.running -= 1


@activity.defn
async def large() -> str:
    return "x" * 2_000_000


class Desk:
    @activity.defn
    async def file(self, paper: str) -> str:
        return f"filed {paper}"


ACTIVITIES: list[Any] = [
    greet,
    thread_of,
    flaky,
    forever,
    held,
    finishing,
    finishing_in_a_thread,
    counted,
    large,
    Desk().file,
]


@workflow.defn
class Simple:
    @workflow.run
    async def run(self) -> list[Any]:
        hello = await workflow.execute_local_activity(greet, "you", start_to_close_timeout=MINUTE)
        name = await workflow.execute_local_activity(thread_of, start_to_close_timeout=MINUTE)
        filed = await workflow.execute_local_activity_method(
            Desk.file, "it", schedule_to_close_timeout=MINUTE
        )
        tries = await workflow.start_local_activity(
            flaky, 2, start_to_close_timeout=MINUTE, retry_policy=SOON
        )
        return [hello, name, filed, tries]


@workflow.defn
class Calling:
    """One local activity, as told."""

    @workflow.run
    async def run(self, name: str, arg: int | None, timeout_ms: int, attempts: int) -> Any:
        return await workflow.execute_local_activity(
            name,
            args=[] if arg is None else [arg],
            start_to_close_timeout=timedelta(milliseconds=timeout_ms),
            retry_policy=RetryPolicy(
                initial_interval=timedelta(milliseconds=10), maximum_attempts=attempts
            ),
        )


@workflow.defn
class Cancelling:
    @workflow.run
    async def run(self, kind: int) -> str:
        handle = workflow.start_local_activity(
            forever,
            start_to_close_timeout=MINUTE,
            cancellation_type=ActivityCancellationType(kind),
        )
        await workflow.sleep(0.05)
        handle.cancel()
        try:
            await handle
        except ActivityError as error:
            return type(error.cause).__name__
        return "it returned"


@workflow.defn
class Many:
    @workflow.run
    async def run(self) -> int:
        async with asyncio.TaskGroup() as group:
            for _ in range(6):
                group.create_task(
                    workflow.execute_local_activity(counted, start_to_close_timeout=MINUTE)
                )
        return 6


WORKFLOWS = [Simple, Calling, Cancelling, Many]


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    client = await Client.connect(f"file:{tmp_path}")
    yield client
    await client.close()


def worker(client: Client, **options: Any) -> Worker:
    return Worker(client, task_queue=QUEUE, workflows=WORKFLOWS, activities=ACTIVITIES, **options)


async def test_they_run_in_their_host_in_loops_threads_and_methods(client: Client) -> None:
    async with worker(client):
        handle = await client.start_workflow(Simple.run, id="l-1", task_queue=QUEUE)
        hello, thread, filed, tries = await handle.result()
        history = await handle.fetch_history()

    assert hello == "Hello, you! True 1"
    assert thread.startswith("perdure-local")
    assert filed == "filed it"
    assert tries == 3
    assert seen.attempts == [1, 2, 3]
    events = [item.event for item in history.events]
    scheduled = [event for event in events if isinstance(event, ActivityScheduled)]
    assert [event.local for event in scheduled] == [True] * 4
    assert sum(isinstance(event, ActivityRetryScheduled) for event in events) == 2
    assert not any(isinstance(event, ActivityStarted) for event in events)


async def failure_of(client: Client, *args: Any) -> BaseException | None:
    async with worker(client):
        with pytest.raises(WorkflowFailureError) as raised:
            await client.execute_workflow(Calling.run, args=args, id="l-2", task_queue=QUEUE)
    error = raised.value.cause
    assert isinstance(error, ActivityError)
    return error.cause


async def test_they_fail_when_they_are_out_of_attempts(client: Client) -> None:
    cause = await failure_of(client, "flaky", 9, 60_000, 2)

    assert isinstance(cause, ApplicationError)
    assert cause.message == "not yet"
    assert seen.attempts == [1, 2]


async def test_an_attempt_that_takes_too_long_is_stopped(client: Client) -> None:
    cause = await failure_of(client, "forever", None, 50, 1)

    assert isinstance(cause, ActivityTimeoutError)
    assert cause.type is TimeoutType.START_TO_CLOSE
    assert len(seen.cancelled) == 1
    assert "timed_out=True" in seen.cancelled[0]


async def test_one_that_is_not_registered_with_the_host_says_so(client: Client) -> None:
    """And fails at once, however many attempts it may have: nobody else runs it."""
    cause = await failure_of(client, "unheard_of", None, 60_000, 0)

    assert isinstance(cause, ApplicationError)
    assert cause.type == "NotFoundError"
    assert "unheard_of is not registered on this worker" in cause.message


async def test_a_host_without_activities_says_so(client: Client) -> None:
    async with Worker(client, task_queue=QUEUE, workflows=WORKFLOWS):
        with pytest.raises(WorkflowFailureError) as raised:
            await client.execute_workflow(
                Calling.run, args=["greet", None, 60_000, 0], id="l-3", task_queue=QUEUE
            )

    assert "give it to that worker's activities" in str(raised.value.cause.__cause__)


async def test_a_result_that_is_too_large_fails_it(client: Client) -> None:
    cause = await failure_of(client, "large", None, 60_000, 0)

    assert isinstance(cause, ApplicationError)
    assert cause.type == "PayloadTooLargeError"


@pytest.mark.parametrize("kind", list(ActivityCancellationType))
async def test_cancelling_reaches_the_code_as_its_type_says(
    client: Client, kind: ActivityCancellationType
) -> None:
    async with worker(client):
        result = await client.execute_workflow(
            Cancelling.run, int(kind), id="l-4", task_queue=QUEUE
        )

    assert result == CancelledError.__name__
    if kind is ActivityCancellationType.WAIT_CANCELLATION_COMPLETED:
        assert len(seen.cancelled) == 1
    assert all(
        "cancel_requested=True" in details
        or "not_found=True" in details
        or "worker_shutdown=True" in details
        for details in seen.cancelled
    )


async def test_no_more_run_at_once_than_there_are_slots(client: Client) -> None:
    async with worker(client, max_concurrent_local_activities=2):
        await client.execute_workflow(Many.run, id="l-5", task_queue=QUEUE)

    assert 1 <= seen.most <= 2


async def test_an_attempt_whose_host_stopped_is_lost_and_made_again(client: Client) -> None:
    async with worker(client):
        handle = await client.start_workflow(
            Calling.run, args=["held", None, 60_000, 3], id="l-6", task_queue=QUEUE
        )
        assert await asyncio.to_thread(seen.began.wait, 10)
    async with worker(client):
        result = await handle.result()
        history = await handle.fetch_history()

    assert result == "attempt 2"
    (lost,) = [
        item.event for item in history.events if isinstance(item.event, ActivityRetryScheduled)
    ]
    assert lost.failure.chain[0].type == "HostLost"


@pytest.mark.parametrize("name", ["finishing", "finishing_in_a_thread"])
async def test_one_that_runs_may_finish_as_its_worker_stops(client: Client, name: str) -> None:
    async with worker(client, graceful_shutdown_timeout=MINUTE):
        handle = await client.start_workflow(
            Calling.run, args=[name, None, 60_000, 1], id="l-7", task_queue=QUEUE
        )
        assert await asyncio.to_thread(seen.began.wait, 10)
    async with worker(client):
        assert await handle.result() == "it knew of the stop"

    assert seen.attempts == [1]


def test_a_worker_needs_a_slot_for_them(tmp_path: Path) -> None:
    async def make() -> None:
        client = await Client.connect(f"file:{tmp_path}")
        try:
            worker(client, max_concurrent_local_activities=0)
        finally:
            await client.close()

    with pytest.raises(ValueError, match="max_concurrent_local_activities is 0: give at least 1"):
        asyncio.run(make())
