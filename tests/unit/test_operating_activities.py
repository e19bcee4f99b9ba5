"""Activities that wait for a person, and what people do to them, through the whole engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from perdure import activity, workflow
from perdure import client as client_module
from perdure.client import (
    Client,
    CompleteAsyncActivityInput,
    HeartbeatAsyncActivityInput,
    RPCError,
    WorkflowFailureError,
    WorkflowHandle,
)
from perdure.common import RetryPolicy
from perdure.exceptions import ActivityError, ApplicationError
from perdure.service import RPCStatusCode
from perdure.worker import Worker

QUEUE = "operated"
MINUTE = timedelta(minutes=1)
SOON = timedelta(milliseconds=10)


class World:
    """What the activities meet."""

    def __init__(self) -> None:
        self.is_broken = True
        self.attempts: list[int] = []
        self.tokens: list[bytes] = []
        self.told: list[str] = []


world = World()


@pytest.fixture(autouse=True)
def _fresh() -> None:
    world.__init__()  # type: ignore[misc]


@activity.defn
async def refund(amount: int) -> str:
    world.attempts.append(activity.info().attempt)
    if world.is_broken:
        raise ApplicationError("the bank is closed")
    return f"refunded {amount}"


@activity.defn
async def approve() -> str:
    world.tokens.append(activity.info().task_token)
    activity.raise_complete_async()


@activity.defn
async def long() -> str:
    world.attempts.append(activity.info().attempt)
    if len(world.attempts) > 1:
        return f"attempt {activity.info().attempt}"
    try:
        while True:
            activity.heartbeat("alive")
            await asyncio.sleep(0.05)
    except asyncio.CancelledError:
        world.told.append(str(activity.cancellation_details()))
        raise


@workflow.defn
class Refunding:
    """A saga whose compensation fails."""

    @workflow.run
    async def run(self, slow: int) -> str:
        try:
            return await workflow.execute_activity(
                refund,
                7,
                start_to_close_timeout=MINUTE,
                retry_policy=RetryPolicy(
                    initial_interval=MINUTE if slow else SOON, maximum_attempts=0 if slow else 2
                ),
                on_exhausted="pause",
            )
        except ActivityError as error:
            return f"given up: {error.cause}"


@workflow.defn
class Approving:
    @workflow.run
    async def run(self, once: int) -> str:
        handle = workflow.start_activity(
            approve,
            start_to_close_timeout=MINUTE,
            retry_policy=RetryPolicy(initial_interval=SOON, maximum_attempts=once),
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
        return await handle


@workflow.defn
class Long:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_activity(
            long,
            start_to_close_timeout=MINUTE,
            heartbeat_timeout=timedelta(seconds=30),
            retry_policy=RetryPolicy(maximum_attempts=1),
        )


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    client = await Client.connect(f"file:{tmp_path}")
    async with Worker(
        client,
        task_queue=QUEUE,
        workflows=[Refunding, Approving, Long],
        activities=[refund, approve, long],
    ):
        yield client
    await client.close()


async def until(look: Callable[[], Awaitable[Any]]) -> Any:
    """What a look at the engine finds, once it finds something; each look waits for an answer."""
    async with asyncio.timeout(20):
        while not (found := await look()):
            continue
    return found


async def state_of(handle: WorkflowHandle[Any, Any], *states: str) -> Any:
    async def look() -> Any:
        pending = (await handle.describe()).pending_activities
        return pending[0] if pending and pending[0].state in states else None

    return await until(look)


async def parked(client: Client) -> WorkflowHandle[Any, Any]:
    handle = await client.start_workflow(Refunding.run, 0, id="r-1", task_queue=QUEUE)
    await state_of(handle, "exhausted")
    return handle


async def test_a_compensation_out_of_attempts_needs_a_person_who_tries_it_again(
    client: Client,
) -> None:
    handle = await parked(client)

    description = await handle.describe()
    assert description.raw_info.status == "blocked"
    assert description.block is not None
    assert description.block.cause == "exhausted"
    assert "refund (id 1) is out of attempts after 2: the bank is closed" in (
        description.block.message
    )
    listed = [run async for run in client.list_workflows()]
    assert [(run.id, run.raw_info.status) for run in listed] == [("r-1", "blocked")]
    assert world.attempts == [1, 2]

    world.is_broken = False
    await client.pending_activities("r-1", task_queue=QUEUE).retry(activity_id="1")

    assert await handle.result() == "refunded 7"
    assert world.attempts == [1, 2, 3]


async def test_or_gives_it_up(client: Client) -> None:
    handle = await parked(client)

    await client.pending_activities("r-1").fail(
        ApplicationError("paid by cheque", type="Manual"), activity_type="refund"
    )

    assert await handle.result() == "given up: Manual: paid by cheque"


async def test_what_fails_again_waits_again(client: Client) -> None:
    handle = await parked(client)

    await client.pending_activities("r-1").retry(activity_id="1")
    pending = await state_of(handle, "exhausted")

    assert pending.attempt == 3


async def test_pause_unpause_reset_and_other_options(client: Client) -> None:
    handle = await client.start_workflow(Refunding.run, 1, id="r-2", task_queue=QUEUE)
    await state_of(handle, "backing_off")
    activities = client.pending_activities("r-2", task_queue=QUEUE)

    await activities.pause(activity_id="1", reason="the bank asked us to")
    pending = await state_of(handle, "paused")
    assert pending.pause_reason == "the bank asked us to"
    assert pending.paused_ms > 0
    with pytest.raises(RPCError, match="is paused: unpause it"):
        await activities.retry(activity_id="1")
    await activities.update_options(activity_id="1", start_to_close_timeout=timedelta(seconds=9))
    await activities.unpause(activity_id="1", reset_attempts=True)
    await state_of(handle, "backing_off")
    assert world.attempts == [1, 1]

    world.is_broken = False
    await activities.reset(activity_id="1")
    assert await handle.result() == "refunded 7"
    assert world.attempts == [1, 1, 1]


async def test_what_runs_is_told_of_a_pause_and_goes_on_uncounted(client: Client) -> None:
    handle = await client.start_workflow(Long.run, id="r-3", task_queue=QUEUE)
    await state_of(handle, "started")

    await client.pending_activities("r-3").pause(activity_type="long")
    await state_of(handle, "paused")
    assert "paused=True" in world.told[0]
    await client.pending_activities("r-3").unpause(activity_type="long")

    assert await handle.result() == "attempt 1"


async def test_naming_nothing_or_too_much_is_refused(client: Client) -> None:
    activities = client.pending_activities("nobody", task_queue=QUEUE)

    with pytest.raises(ValueError, match="by activity_id or by activity_type"):
        await activities.pause()
    with pytest.raises(RPCError, match="no workflow 'nobody'") as raised:
        await activities.pause(activity_id="1")
    assert raised.value.status is RPCStatusCode.NOT_FOUND


# From elsewhere.


async def token_of(handle: WorkflowHandle[Any, Any], count: int = 1) -> bytes:
    async def look() -> bool:
        await handle.describe()
        return len(world.tokens) == count

    await until(look)
    return world.tokens[-1]


async def test_an_activity_is_completed_by_its_token(client: Client) -> None:
    handle = await client.start_workflow(Approving.run, 1, id="a-1", task_queue=QUEUE)
    elsewhere = client.get_async_activity_handle(task_token=await token_of(handle))

    await elsewhere.heartbeat("looking at it")
    await elsewhere.complete("yes")

    assert await handle.result() == "yes"
    with pytest.raises(RPCError, match="no such activity is pending") as raised:
        await elsewhere.complete("again")
    assert raised.value.status is RPCStatusCode.NOT_FOUND
    with pytest.raises(RPCError, match="no such activity is pending"):
        await elsewhere.heartbeat()


async def test_or_by_its_ids_and_a_failed_attempt_is_followed_by_another(client: Client) -> None:
    handle = await client.start_workflow(Approving.run, 2, id="a-2", task_queue=QUEUE)
    await token_of(handle)
    elsewhere = client.get_async_activity_handle(workflow_id="a-2", activity_id="1")

    await elsewhere.fail(ApplicationError("not today"), last_heartbeat_details=["seen"])

    await token_of(handle, 2)
    pending = await state_of(handle, "started")
    assert pending.attempt == 2
    await elsewhere.fail(ApplicationError("never"))
    with pytest.raises(WorkflowFailureError) as raised:
        await handle.result()
    assert str(raised.value.cause.__cause__) == "never"


class Watching(client_module.OutboundInterceptor):
    """A link that notes what is reported from elsewhere, and may change it."""

    async def heartbeat_async_activity(self, input: HeartbeatAsyncActivityInput) -> None:
        world.told.append(f"alive: {input.details}")
        await super().heartbeat_async_activity(input)

    async def complete_async_activity(self, input: CompleteAsyncActivityInput) -> None:
        world.told.append(f"done: {input.result}")
        await super().complete_async_activity(replace(input, result="yes, seen"))


class Watched(client_module.Interceptor):
    """What puts it into the chain."""

    def intercept_client(
        self, next: client_module.OutboundInterceptor
    ) -> client_module.OutboundInterceptor:
        return Watching(next)


async def test_what_is_reported_from_elsewhere_goes_through_the_interceptors(
    client: Client,
) -> None:
    handle = await client.start_workflow(Approving.run, 1, id="a-4", task_queue=QUEUE)
    config = client.config()
    config["interceptors"] = [Watched()]
    watched = Client(**config)
    elsewhere = watched.get_async_activity_handle(task_token=await token_of(handle))

    await elsewhere.heartbeat("on it")
    await elsewhere.complete("yes")

    assert world.told == ["alive: ('on it',)", "done: yes"]
    assert await handle.result() == "yes, seen"


async def test_it_hears_that_it_is_cancelled_and_confirms(client: Client) -> None:
    handle = await client.start_workflow(Approving.run, 1, id="a-3", task_queue=QUEUE)
    elsewhere = client.get_async_activity_handle(task_token=await token_of(handle))
    await state_of(handle, "started")
    await handle.cancel()
    await state_of(handle, "cancel_requested")

    from perdure.client import AsyncActivityCancelledError

    with pytest.raises(AsyncActivityCancelledError) as told:
        await elsewhere.heartbeat()
    assert told.value.details is not None
    assert told.value.details.cancel_requested
    await elsewhere.report_cancellation("tidied up")

    with pytest.raises(WorkflowFailureError):
        await handle.result()
    assert (await handle.describe()).raw_info.status == "canceled"


async def test_what_names_no_activity_is_refused_at_once(client: Client) -> None:
    with pytest.raises(ValueError, match="this is no task token"):
        client.get_async_activity_handle(task_token=b"nonsense")
    with pytest.raises(ValueError, match="give task_token, or workflow_id and activity_id"):
        client.get_async_activity_handle(workflow_id="x")
    with pytest.raises(ValueError, match="not both"):
        client.get_async_activity_handle(task_token=b"x", activity_id="1")
