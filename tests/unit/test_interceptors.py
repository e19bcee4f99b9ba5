"""Interceptors of client, workflow and activity: what they see, change and pass on."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import pytest

from perdure import activity, client, workflow
from perdure.api.common.v1 import Payload
from perdure.client import Client, StartWorkflowInput, WorkflowFailureError, WorkflowHandle
from perdure.common import RetryPolicy
from perdure.converter import PayloadConverter
from perdure.exceptions import ActivityError, ApplicationError, CancelledError
from perdure.worker import (
    ActivityInboundInterceptor,
    ActivityOutboundInterceptor,
    ContinueAsNewInput,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    Interceptor,
    StartActivityInput,
    Worker,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)
from perdure.workflow import ActivityHandle

pytestmark = pytest.mark.embedded
A_MINUTE = timedelta(minutes=1)
SEEN: list[str] = []
USER = "user"
convert = PayloadConverter.default


def user_of(headers: Any) -> str:
    payload = headers.get(USER)
    return "" if payload is None else convert.from_payload(payload, str)


@activity.defn
async def greet(name: str) -> str:
    activity.heartbeat("on it")
    return f"hello {name}, {activity.info().activity_id}"


@activity.defn
def shout(name: str) -> str:
    SEEN.append(f"shout on {threading.current_thread().name.partition('_')[0]}")
    return name.upper()


@activity.defn
def decline(name: str) -> None:
    raise ApplicationError(f"no {name}", type="No", non_retryable=True)


@workflow.defn
class Greeting:
    @workflow.run
    async def run(self, name: str) -> list[str]:
        first = await workflow.execute_activity(greet, name, start_to_close_timeout=A_MINUTE)
        second = await workflow.start_activity(shout, name, start_to_close_timeout=A_MINUTE)
        return [first, second, workflow.info().workflow_type]


@workflow.defn
class Counting:
    @workflow.run
    async def run(self, left: int) -> str:
        if left:
            workflow.continue_as_new(left - 1)
        return user_of(workflow.info().headers)


@workflow.defn
class Declining:
    @workflow.run
    async def run(self, name: str) -> None:
        await workflow.execute_activity(decline, name, start_to_close_timeout=A_MINUTE)


class InWorkflow(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        self.out = OutOfWorkflow(outbound)
        super().init(self.out)

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        self.out.user = user_of(input.headers)
        SEEN.append(f"workflow {input.type.__name__} {list(input.args)} for {self.out.user}")
        return await super().execute_workflow(input)


class OutOfWorkflow(WorkflowOutboundInterceptor):
    user = ""

    def info(self) -> workflow.Info:
        return replace(super().info(), workflow_type=f"seen {super().info().workflow_type}")

    def start_activity(self, input: StartActivityInput) -> ActivityHandle[Any]:
        SEEN.append(f"starts {input.activity} {list(input.args)}")
        headers = {**input.headers, USER: convert.to_payload(self.user)}
        return super().start_activity(replace(input, headers=headers))

    def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:
        SEEN.append(f"continues {list(input.args)}")
        input.headers = {**input.headers, USER: convert.to_payload(f"{self.user}'")}
        super().continue_as_new(input)


class InActivity(ActivityInboundInterceptor):
    def init(self, outbound: ActivityOutboundInterceptor) -> None:
        super().init(OutOfActivity(outbound))

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        SEEN.append(f"activity {input.fn.__name__} {list(input.args)} for {user_of(input.headers)}")
        if input.fn is greet:
            input.args = [f"dear {input.args[0]}"]
        try:
            result = await super().execute_activity(input)
        except BaseException as error:
            SEEN.append(f"raised {type(error).__name__}: {error}")
            raise
        SEEN.append(f"returned {result}")
        return f"{result}!" if isinstance(result, str) else result


class OutOfActivity(ActivityOutboundInterceptor):
    def info(self) -> activity.Info:
        return replace(super().info(), activity_id="masked")

    def heartbeat(self, *details: Any) -> None:
        SEEN.append(f"beats {list(details)}")
        super().heartbeat(*details)


class OutOfClient(client.OutboundInterceptor):
    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        input.headers = {**input.headers, USER: convert.to_payload("ada")}
        return await super().start_workflow(input)


class Everywhere(client.Interceptor, Interceptor):
    def intercept_client(self, next: client.OutboundInterceptor) -> client.OutboundInterceptor:
        return OutOfClient(super().intercept_client(next))

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return InActivity(super().intercept_activity(next))

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor]:
        return InWorkflow


@pytest.fixture
async def user(tmp_path: Path) -> AsyncIterator[Client]:
    SEEN.clear()
    made = await Client.connect(f"file:{tmp_path}", interceptors=[Everywhere()])
    yield made
    await made.close()


def worker_of(user: Client, **options: Any) -> Worker:
    activities: Sequence[Callable[..., Any]] = [greet, shout, decline]
    return Worker(
        user,
        task_queue="q",
        workflows=[Greeting, Counting, Declining],
        activities=activities,
        **options,
    )


async def test_all_calls_go_through_and_headers_travel(user: Client) -> None:
    async with worker_of(user):
        found = await user.execute_workflow(Greeting.run, "bob", id="w", task_queue="q")

    assert found == ["hello dear bob, masked!", "BOB!", "seen Greeting"]
    assert SEEN == [
        "workflow Greeting ['bob'] for ada",
        "starts greet ['bob']",
        "activity greet ['bob'] for ada",
        "beats ['on it']",
        "returned hello dear bob, masked",
        "starts shout ['bob']",
        "activity shout ['bob'] for ada",
        "shout on perdure-activity",
        "returned BOB",
    ]


async def test_headers_travel_through_continue_as_new(user: Client) -> None:
    async with worker_of(user):
        found = await user.execute_workflow(Counting.run, 2, id="w", task_queue="q")

    assert found == "ada''"
    assert SEEN == [
        "workflow Counting [2] for ada",
        "continues [1]",
        "workflow Counting [1] for ada'",
        "continues [0]",
        "workflow Counting [0] for ada''",
    ]


async def test_errors_go_through(user: Client) -> None:
    async with worker_of(user):
        with pytest.raises(WorkflowFailureError) as caught:
            await user.execute_workflow(Declining.run, "x", id="w", task_queue="q")

    assert isinstance(caught.value.cause, ActivityError)
    cause = caught.value.cause.cause
    assert isinstance(cause, ApplicationError)
    assert (cause.message, cause.type) == ("no x", "No")
    assert SEEN[-1] == "raised ApplicationError: No: no x"


async def test_activities_in_processes_go_through(user: Client) -> None:
    with ProcessPoolExecutor(1) as pool:
        async with worker_of(user, activity_executor=pool):
            found = await user.execute_workflow(Greeting.run, "bob", id="w", task_queue="q")
            with pytest.raises(WorkflowFailureError, match="No: no x"):
                await user.execute_workflow(Declining.run, "x", id="d", task_queue="q")

    assert found[1] == "BOB!"
    assert "returned BOB" in SEEN
    assert SEEN[-1] == "raised ApplicationError: No: no x"


@activity.defn
def wait_in_a_thread() -> None:
    SEEN.append("waits")
    activity.wait_for_cancelled_sync()
    while True:
        threading.Event().wait(0.01)


@workflow.defn
class Stopping:
    @workflow.run
    async def run(self) -> str:
        waiting = workflow.start_activity(
            wait_in_a_thread,
            start_to_close_timeout=A_MINUTE,
            heartbeat_timeout=A_MINUTE,
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            retry_policy=RetryPolicy(maximum_attempts=1),
        )
        await workflow.sleep(0.3)
        waiting.cancel()
        try:
            await waiting
        except ActivityError as error:
            return type(error.cause).__name__
        return "not cancelled"


async def test_a_cancellation_reaches_a_thread_by_way_of_the_chain(user: Client) -> None:
    worker = Worker(user, task_queue="q", workflows=[Stopping], activities=[wait_in_a_thread])
    async with worker:
        found = await user.execute_workflow(Stopping.run, id="w", task_queue="q")

    assert found == CancelledError.__name__
    assert SEEN[-1].startswith("raised CancelledError")


async def test_the_order_is_the_clients_then_the_workers_outermost_first(tmp_path: Path) -> None:
    class Named(Interceptor):
        def __init__(self, name: str) -> None:
            self.name = name

        def intercept_activity(
            self, next: ActivityInboundInterceptor
        ) -> ActivityInboundInterceptor:
            name = self.name

            class Link(ActivityInboundInterceptor):
                async def execute_activity(self, input: ExecuteActivityInput) -> Any:
                    SEEN.append(name)
                    return await super().execute_activity(input)

            return Link(next)

    class Both(Named, client.Interceptor):
        pass

    SEEN.clear()
    user = await Client.connect(f"file:{tmp_path}", interceptors=[Both("client")])
    async with worker_of(user, interceptors=[Named("first"), Named("second")]):
        await user.execute_workflow(Greeting.run, "bob", id="w", task_queue="q")
    await user.close()

    assert SEEN[:3] == ["client", "first", "second"]


async def test_runs_are_replayed_with_their_interceptors(user: Client) -> None:
    """Without what is kept in memory every event replays the run from its history."""
    async with worker_of(user, max_cached_workflows=1):
        handles = [
            await user.start_workflow(Greeting.run, name, id=name, task_queue="q")
            for name in ("ann", "bob", "cid")
        ]
        found = [await handle.result() for handle in handles]

    assert [one[1] for one in found] == ["ANN!", "BOB!", "CID!"]


def test_headers_are_payloads_as_users_know_them() -> None:
    payload = convert.to_payload("x")

    assert isinstance(payload, Payload)
    assert user_of({USER: payload}) == "x"
