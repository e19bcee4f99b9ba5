"""Interceptors around local activities, a rate that workers share, attributes of one type."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from perdure import activity, workflow
from perdure.client import Client
from perdure.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from perdure.worker import (
    ActivityInboundInterceptor,
    ActivityOutboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
    StartLocalActivityInput,
    Worker,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)
from perdure.workflow import ActivityHandle
from perdure_actors.worker import activity_worker

pytestmark = pytest.mark.embedded
A_MINUTE = timedelta(minutes=1)
SEEN: list[str] = []
BEGUN_S: list[float] = []


@activity.defn
async def greet(name: str) -> str:
    info = activity.info()
    return f"hello {name}, {'local' if info.is_local else 'remote'}"


@activity.defn
def shout(name: str) -> str:
    activity.heartbeat("in a thread")
    return name.upper()


@activity.defn
async def begin() -> None:
    BEGUN_S.append(time.monotonic())


@workflow.defn
class Locally:
    @workflow.run
    async def run(self) -> list[str]:
        said = await workflow.execute_local_activity(greet, "you", start_to_close_timeout=A_MINUTE)
        return [
            said,
            await workflow.execute_local_activity(shout, said, start_to_close_timeout=A_MINUTE),
        ]


@workflow.defn
class Begins:
    @workflow.run
    async def run(self, count: int) -> None:
        await asyncio.gather(
            *(
                workflow.execute_activity(begin, start_to_close_timeout=A_MINUTE)
                for _ in range(count)
            )
        )


class Notes(Interceptor):
    """Writes down what passes, changes an argument on its way out and a result on its way back."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Inbound(next)

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor]:
        del input
        return _OfWorkflow


class _Inbound(ActivityInboundInterceptor):
    def init(self, outbound: ActivityOutboundInterceptor) -> None:
        super().init(_Beats(outbound))

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        SEEN.append(f"run {input.fn.__name__}")
        return f"{await super().execute_activity(input)}!"


class _Beats(ActivityOutboundInterceptor):
    def heartbeat(self, *details: Any) -> None:
        SEEN.append(f"beat {details[0]}")
        super().heartbeat(*details)


class _OfWorkflow(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_Asks(outbound))


class _Asks(WorkflowOutboundInterceptor):
    def start_local_activity(self, input: StartLocalActivityInput) -> ActivityHandle[Any]:
        SEEN.append(f"ask {input.activity}")
        input.args = [f"dear {input.args[0]}"]
        return super().start_local_activity(input)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    SEEN.clear()
    BEGUN_S.clear()
    client = await Client.connect(f"file:{tmp_path}")
    yield client
    await client.close()


async def test_local_activities_go_through_the_interceptors_of_both_sides(client: Client) -> None:
    async with Worker(
        client,
        task_queue="q",
        workflows=[Locally],
        activities=[greet, shout],
        interceptors=[Notes()],
    ):
        result = await client.execute_workflow(Locally.run, id="w", task_queue="q")

    assert result == ["hello dear you, local!", "DEAR HELLO DEAR YOU, LOCAL!!"]
    assert SEEN == ["ask greet", "run greet", "ask shout", "run shout", "beat in a thread"]


async def test_workers_of_a_queue_share_its_rate(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activity_worker, "SHARE_EVERY_S", 0.1)
    options: dict[str, Any] = {"task_queue": "q", "activities": [begin]}
    options["max_task_queue_activities_per_second"] = 10
    async with (
        Worker(client, workflows=[Begins], **options),
        Worker(client, **options),
    ):
        # What gathered before the workers knew of each other is spent first.
        await client.execute_workflow(Begins.run, 30, id="first", task_queue="q")
        BEGUN_S.clear()
        await client.execute_workflow(Begins.run, 25, id="then", task_queue="q")

    # Ten a second, and as many as a second brings may have gathered meanwhile.
    assert len(BEGUN_S) == 25
    for number in range(len(BEGUN_S) - 21):
        assert BEGUN_S[number + 21] - BEGUN_S[number] > 0.9, "22 in less than a second"


async def test_an_attribute_of_a_second_type_is_refused_before_it_is_sent(client: Client) -> None:
    def attribute(key: SearchAttributeKey[Any], value: Any) -> TypedSearchAttributes:
        return TypedSearchAttributes([SearchAttributePair(key, value)])

    async with Worker(client, task_queue="q", workflows=[Begins], activities=[begin]):
        word = attribute(SearchAttributeKey.for_keyword("Size"), "large")
        number = attribute(SearchAttributeKey.for_int("Size"), 7)
        await client.execute_workflow(Begins.run, 0, id="a", task_queue="q", search_attributes=word)
        with pytest.raises(TypeError, match="'Size' was given by this client as Keyword, and"):
            await client.start_workflow(
                Begins.run, 0, id="b", task_queue="q", search_attributes=number
            )
        assert (await client.count_workflows()).count == 1
