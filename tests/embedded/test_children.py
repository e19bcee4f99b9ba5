"""Parents and children with real workers on the embedded log, over two task queues."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from perdure import workflow
from perdure.client import (
    Client,
    RPCError,
    RPCStatusCode,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
)
from perdure.common import RetryPolicy
from perdure.exceptions import (
    ApplicationError,
    CancelledError,
    ChildWorkflowError,
    TerminatedError,
    WorkflowAlreadyStartedError,
)
from perdure.worker import Worker
from perdure_schemas import child_events, events

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(60)]
FAR, NEAR = "far", "near"


@dataclass
class Errand:
    """What a parent lets its child do, and how."""

    child: str
    value: int = 0
    queue: str | None = None
    id: str | None = None
    policy: int = workflow.ParentClosePolicy.TERMINATE
    attempts: int = 1
    awaits: bool = True


@workflow.defn
class Square:
    @workflow.run
    async def run(self, value: int) -> int:
        return value * value


@workflow.defn
class Asleep:
    @workflow.run
    async def run(self, value: int) -> int:
        await workflow.sleep(timedelta(hours=1))
        return value


@workflow.defn
class Broken:
    @workflow.run
    async def run(self, value: int) -> int:
        attempt = workflow.info().attempt
        if attempt < value:
            raise ApplicationError(f"attempt {attempt}", type="Broken")
        return attempt


@workflow.defn
class Told:
    """What a child knows of those above it."""

    @workflow.run
    async def run(self, value: int) -> list[str]:
        info = workflow.info()
        assert info.parent is not None
        assert info.root is not None
        return [info.parent.workflow_id, info.parent.run_id, info.root.workflow_id]


@workflow.defn
class Parent:
    @workflow.run
    async def run(self, errand: Errand) -> Any:
        child = await workflow.start_child_workflow(
            errand.child,
            errand.value,
            id=errand.id,
            task_queue=errand.queue,
            parent_close_policy=workflow.ParentClosePolicy(errand.policy),
            retry_policy=RetryPolicy(
                initial_interval=timedelta(milliseconds=10), maximum_attempts=errand.attempts
            ),
        )
        return await child if errand.awaits else child.first_execution_run_id


@workflow.defn
class Grandparent:
    @workflow.run
    async def run(self, errand: Errand) -> Any:
        return await workflow.execute_child_workflow(Parent.run, errand, id="middle")


@workflow.defn
class Fan:
    @workflow.run
    async def run(self, width: int) -> int:
        queues = [FAR, None]
        squares = await asyncio.gather(
            *[
                workflow.execute_child_workflow(Square.run, n, task_queue=queues[n % 2])
                for n in range(width)
            ]
        )
        return sum(squares)


KIDS = [Square, Asleep, Broken, Told]


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    client = await Client.connect(f"file:{tmp_path}")
    near = Worker(client, task_queue=NEAR, workflows=[Parent, Grandparent, Fan, *KIDS])
    far = Worker(client, task_queue=FAR, workflows=KIDS)
    async with near, far:
        yield client
    await client.close()


async def parent_of(client: Client, errand: Errand) -> WorkflowHandle[Any, Any]:
    return await client.start_workflow(Parent.run, errand, id="parent", task_queue=NEAR)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Ask until it is so; the test's own time bounds it."""
    while not await holds():  # noqa: ASYNC110 - what others do cannot be awaited
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("queue", [None, FAR])
async def test_a_child_runs_on_its_own_queue_or_another(client: Client, queue: str | None) -> None:
    handle = await parent_of(client, Errand("Square", 7, queue, id="kid"))

    assert await handle.result() == 49
    history = await handle.fetch_history()
    assert [type(event.event) for event in history.events] == [
        events.WorkflowStarted,
        child_events.ChildWorkflowInitiated,
        child_events.ChildWorkflowStarted,
        child_events.ChildWorkflowCompleted,
        events.WorkflowCompleted,
    ]


async def test_many_children_on_two_queues_each_come_back_once(client: Client) -> None:
    handle = await client.start_workflow(Fan.run, 40, id="fan", task_queue=NEAR)

    assert await handle.result() == sum(n * n for n in range(40))
    history = await handle.fetch_history()
    kinds = [type(event.event) for event in history.events]
    assert kinds.count(child_events.ChildWorkflowStarted) == 40
    assert kinds.count(child_events.ChildWorkflowCompleted) == 40


async def test_a_child_knows_its_parent_and_the_first_of_the_parents(client: Client) -> None:
    told = await client.execute_workflow(
        Grandparent.run, Errand("Told", queue=FAR), id="top", task_queue=NEAR
    )

    middle = await client.get_workflow_handle("middle").describe()
    assert told == ["middle", middle.run_id, "top"]


async def test_a_child_that_fails_is_retried_and_then_fails_its_parent(client: Client) -> None:
    fine = await parent_of(client, Errand("Broken", 3, FAR, attempts=3))
    assert await fine.result() == 3

    with pytest.raises(WorkflowFailureError) as caught:
        await (await parent_of(client, Errand("Broken", 9, FAR, attempts=2))).result()

    error = caught.value.cause
    assert isinstance(error, ChildWorkflowError)
    assert isinstance(error.cause, ApplicationError)
    assert (error.cause.message, error.workflow_type) == ("attempt 2", "Broken")
    assert error.retry_state is not None
    assert error.retry_state.name == "MAXIMUM_ATTEMPTS_REACHED"


async def test_a_child_whose_id_is_taken_is_refused(client: Client) -> None:
    await client.start_workflow(Asleep.run, 1, id="kid", task_queue=FAR)

    with pytest.raises(WorkflowFailureError) as caught:
        await (await parent_of(client, Errand("Asleep", 1, FAR, id="kid"))).result()

    assert "already started" in str(caught.value.cause)
    assert isinstance(caught.value.cause, WorkflowAlreadyStartedError | ApplicationError)


@pytest.mark.parametrize(
    ("policy", "status"),
    [
        (workflow.ParentClosePolicy.TERMINATE, WorkflowExecutionStatus.TERMINATED),
        (workflow.ParentClosePolicy.REQUEST_CANCEL, WorkflowExecutionStatus.CANCELED),
        (workflow.ParentClosePolicy.ABANDON, WorkflowExecutionStatus.RUNNING),
    ],
)
async def test_what_becomes_of_a_child_when_its_parent_closes(
    client: Client, policy: workflow.ParentClosePolicy, status: WorkflowExecutionStatus
) -> None:
    errand = Errand("Asleep", queue=FAR, id="kid", policy=policy, awaits=False)
    run_id = await (await parent_of(client, errand)).result()
    kid = client.get_workflow_handle("kid")

    async def is_so() -> bool:
        return (await kid.describe()).status == status

    await until(is_so)
    described = await kid.describe()
    assert described.run_id == run_id
    assert described.parent_id == "parent"


async def test_cancelling_a_parent_cancels_its_child_and_waits_for_it(client: Client) -> None:
    handle = await parent_of(client, Errand("Asleep", queue=FAR, id="kid"))
    kid = client.get_workflow_handle("kid")
    await until_running(kid)

    await handle.cancel()

    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert isinstance(caught.value.cause, CancelledError)
    assert (await kid.describe()).status == WorkflowExecutionStatus.CANCELED


async def until_running(handle: WorkflowHandle[Any, Any]) -> None:
    async def is_so() -> bool:
        try:
            return (await handle.describe()).status == WorkflowExecutionStatus.RUNNING
        except RPCError as error:
            assert error.status == RPCStatusCode.NOT_FOUND  # noqa: PT017 - it is on its way
            return False

    await until(is_so)


async def test_a_terminated_child_fails_its_parent(client: Client) -> None:
    handle = await parent_of(client, Errand("Asleep", queue=FAR, id="kid"))
    kid = client.get_workflow_handle("kid")
    await until_running(kid)

    await kid.terminate(reason="by hand")

    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    error = caught.value.cause
    assert isinstance(error, ChildWorkflowError)
    assert isinstance(error.cause, TerminatedError)
    assert error.cause.message == "by hand"
