"""The test kit: an engine whose time leaps, and activities run without a worker."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import timedelta
from typing import Any

import pytest

from perdure import activity, workflow
from perdure.client import Client, WorkflowFailureError
from perdure.common import RetryPolicy
from perdure.exceptions import ActivityError, ApplicationError, CancelledError, TimeoutType
from perdure.exceptions import TimeoutError as ActivityTimeoutError
from perdure.testing import ActivityEnvironment, WorkflowEnvironment
from perdure.worker import Worker

QUEUE = "tested"
YEAR = timedelta(days=365)


@activity.defn
async def flaky() -> int:
    if activity.info().attempt < 4:
        raise ApplicationError("not yet")
    return activity.info().attempt


@activity.defn
async def slow() -> str:
    await asyncio.sleep(0.3)
    return "done"


@workflow.defn
class Sleeper:
    @workflow.run
    async def run(self, years: int) -> float:
        began = workflow.time()
        for _ in range(years):
            await workflow.sleep(YEAR)
        return workflow.time() - began


@workflow.defn
class Trying:
    @workflow.run
    async def run(self) -> int:
        return await workflow.execute_activity(
            flaky,
            start_to_close_timeout=timedelta(minutes=1),
            retry_policy=RetryPolicy(initial_interval=timedelta(hours=1)),
        )


@workflow.defn
class Working:
    """An activity really runs while a timer of a year is pending: time must not leap over it."""

    @workflow.run
    async def run(self) -> str:
        async with asyncio.timeout(YEAR.total_seconds()):
            return await workflow.execute_activity(
                slow, start_to_close_timeout=timedelta(seconds=30)
            )


@workflow.defn
class Unserved:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_local_activity(
            slow,
            start_to_close_timeout=timedelta(milliseconds=20),
            retry_policy=RetryPolicy(maximum_attempts=2, initial_interval=YEAR),
        )


@workflow.defn
class Family:
    @workflow.run
    async def run(self) -> list[float]:
        handles = [
            await workflow.start_child_workflow(Sleeper.run, n, id=f"kid-{n}") for n in (1, 2)
        ]
        return [await handle for handle in handles]


@activity.defn
def who() -> str:
    return activity.client().identity


@workflow.defn
class Asking:
    @workflow.run
    async def run(self) -> list[str]:
        limit = timedelta(seconds=30)
        return [
            await workflow.execute_activity(who, start_to_close_timeout=limit),
            await workflow.execute_local_activity(who, start_to_close_timeout=limit),
        ]


WORKFLOWS = [Asking, Sleeper, Trying, Working, Unserved, Family]


def worker(env: WorkflowEnvironment) -> Worker:
    return Worker(env.client, task_queue=QUEUE, workflows=WORKFLOWS, activities=[flaky, slow, who])


async def run(env: WorkflowEnvironment, kind: Any, *args: Any) -> Any:
    return await env.client.execute_workflow(
        kind.run, args=list(args), id=f"{kind.__name__}-1", task_queue=QUEUE
    )


async def test_a_sleeper_of_years_is_done_in_a_moment() -> None:
    async with await WorkflowEnvironment.start_time_skipping() as env, worker(env):
        began = await env.get_current_time()
        wall_s = time.monotonic()

        assert await run(env, Sleeper, 30) == pytest.approx(30 * YEAR.total_seconds(), abs=60)

        assert (await env.get_current_time()) - began >= 30 * YEAR
        # Bounded for a loaded machine; it is a fraction of a second on a quiet one.
        assert time.monotonic() - wall_s < 10
        # Starts and calls go on working after the leap.
        assert await run(env, Trying) == 4


async def test_back_offs_are_skipped() -> None:
    async with await WorkflowEnvironment.start_time_skipping() as env, worker(env):
        began = await env.get_current_time()

        assert await run(env, Trying) == 4

        passed = (await env.get_current_time()) - began
        assert timedelta(hours=7) <= passed < timedelta(hours=8)


async def test_time_does_not_leap_while_an_activity_runs() -> None:
    async with await WorkflowEnvironment.start_time_skipping() as env, worker(env):
        began = await env.get_current_time()

        assert await run(env, Working) == "done"

        assert (await env.get_current_time()) - began < timedelta(days=1)


async def test_local_activities_keep_their_real_timeouts() -> None:
    async with await WorkflowEnvironment.start_time_skipping() as env, worker(env):
        began = await env.get_current_time()
        with pytest.raises(WorkflowFailureError) as raised:
            await run(env, Unserved)

        error = raised.value.cause
        assert isinstance(error, ActivityError)
        assert isinstance(error.cause, ActivityTimeoutError)
        assert error.cause.type is TimeoutType.START_TO_CLOSE
        assert (await env.get_current_time()) - began >= YEAR


async def test_parents_and_children_leap_together() -> None:
    async with await WorkflowEnvironment.start_time_skipping() as env, worker(env):
        slept = await run(env, Family)

    assert slept == [pytest.approx(n * YEAR.total_seconds(), abs=60) for n in (1, 2)]


async def test_sleep_lets_time_pass_and_a_held_time_does_not_leap() -> None:
    async with await WorkflowEnvironment.start_time_skipping() as env, worker(env):
        assert env.supports_time_skipping
        handle = await env.client.start_workflow(Sleeper.run, 1, id="held", task_queue=QUEUE)
        with env.auto_time_skipping_disabled(), pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await handle.result()
        began = await env.get_current_time()

        await env.sleep(timedelta(days=364))
        description = await handle.describe()
        assert description.raw_info.status == "running"
        await env.sleep(timedelta(days=2))
        passed = (await env.get_current_time()) - began

        assert timedelta(days=366) <= passed < timedelta(days=367)
        assert await handle.result() == pytest.approx(YEAR.total_seconds(), abs=60)


async def test_sleep_needs_no_worker() -> None:
    async with await WorkflowEnvironment.start_time_skipping() as env:
        began = await env.get_current_time()
        await env.sleep(3600)

        assert (await env.get_current_time()) - began >= timedelta(hours=1)


async def test_a_local_environment_has_the_machines_time() -> None:
    async with await WorkflowEnvironment.start_local(ui=False) as env, worker(env):
        assert not env.supports_time_skipping
        began = await env.get_current_time()
        assert await run(env, Sleeper, 0) == 0
        await env.sleep(0.01)
        with env.auto_time_skipping_disabled():
            assert (await env.get_current_time()) - began < timedelta(minutes=5)


async def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(TypeError, match="has no option 'downlaod_dest_dir'"):
        await WorkflowEnvironment.start_local(downlaod_dest_dir="x")


async def test_a_clients_environment_leaves_the_client_alone(tmp_path: Any) -> None:
    client = await Client.connect(f"file:{tmp_path}")
    async with WorkflowEnvironment.from_client(client) as env:
        assert env.client is client
    async with Worker(client, task_queue=QUEUE, workflows=WORKFLOWS):
        assert await client.execute_workflow(Sleeper.run, 0, id="s", task_queue=QUEUE) == 0
    await client.close()


async def test_activities_have_the_client_of_their_worker() -> None:
    async with await WorkflowEnvironment.start_local(identity="me") as env, worker(env):
        assert await run(env, Asking) == ["me", "me"]
        assert ActivityEnvironment(env.client).run(who) == "me"
    with pytest.raises(RuntimeError, match="there is no client here"):
        ActivityEnvironment().run(who)


# Activities.


@activity.defn
async def told(name: str) -> str:
    activity.heartbeat("half", 1)
    info = activity.info()
    return f"{name} {info.activity_type} {info.attempt} {activity.in_activity()}"


@activity.defn
def in_a_thread() -> str:
    activity.heartbeat()
    activity.wait_for_worker_shutdown_sync(0)
    return f"{activity.info().workflow_id} {activity.is_worker_shutdown()}"


@activity.defn
async def until_cancelled() -> str:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        details = activity.cancellation_details()
        return f"cancelled {details is not None and details.cancel_requested}"
    return "never"


class Desk:
    def __init__(self, name: str) -> None:
        self.name = name

    @activity.defn
    async def file(self, paper: str) -> str:
        return f"{self.name} {paper} {activity.info().activity_type}"


async def test_an_async_activity_runs_with_its_context() -> None:
    env = ActivityEnvironment()
    beats: list[Any] = []
    env.on_heartbeat = lambda *details: beats.append(details)

    assert await env.run(told, "you") == "you told 1 True"
    assert beats == [("half", 1)]
    assert not activity.in_activity()
    assert await env.run(Desk("left").file, "it") == "left it file"


def test_a_plain_activity_runs_here() -> None:
    env = ActivityEnvironment()
    env.worker_shutdown()

    assert env.run(in_a_thread) == "test True"


async def test_a_cancellation_reaches_a_coroutine() -> None:
    env = ActivityEnvironment()
    running = asyncio.ensure_future(env.run(until_cancelled))
    asyncio.get_running_loop().call_soon(env.cancel)

    assert await running == "cancelled True"


def test_a_cancellation_is_raised_in_a_thread() -> None:
    env = ActivityEnvironment()
    began = threading.Event()

    @activity.defn
    def waiting() -> str:
        began.set()
        while True:
            activity.wait_for_cancelled_sync(0.01)

    caught: list[BaseException] = []

    def call() -> None:
        try:
            env.run(waiting)
        except CancelledError as error:
            caught.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    assert began.wait(10)
    env.cancel()
    thread.join(10)

    assert len(caught) == 1


def test_what_an_activity_raises_comes_out() -> None:
    @activity.defn
    def broken() -> None:
        raise ApplicationError("no")

    with pytest.raises(ApplicationError, match="no"):
        ActivityEnvironment().run(broken)
