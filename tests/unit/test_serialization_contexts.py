"""Converters and codecs that ask whose values it is: told so, and the same to write and to read."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from perdure import activity, workflow
from perdure.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowFailureError,
)
from perdure.common import WorkflowIDConflictPolicy
from perdure.converter import (
    ActivitySerializationContext,
    DataConverter,
    DefaultPayloadConverter,
    WithSerializationContext,
    WorkflowSerializationContext,
    records_converter,
)
from perdure.exceptions import ApplicationError
from perdure.worker import Replayer, Worker
from tests.unit.context_world import Sealing, Trace, TracingConverter

pytestmark = pytest.mark.embedded
A_MINUTE = timedelta(minutes=1)


@activity.defn
async def passing(trace: Trace) -> Trace:
    return trace


@activity.defn
async def beating(text: str) -> str:
    details = activity.info().heartbeat_details
    if not details:
        activity.heartbeat(text)
        raise ApplicationError("once more", text, next_retry_delay=timedelta(milliseconds=1))
    return f"{details[0]} came along"


@activity.defn
async def declining(text: str) -> None:
    raise ApplicationError("declined", text, non_retryable=True)


tokens: asyncio.Queue[bytes] = asyncio.Queue()


@activity.defn
async def elsewhere(text: str) -> str:
    tokens.put_nowait(activity.info().task_token)
    activity.raise_complete_async()


@workflow.defn
class Echo:
    @workflow.run
    async def run(self, trace: Trace) -> Trace:
        return trace


@workflow.defn
class Tour:
    @workflow.run
    async def run(self, trace: Trace) -> Trace:
        trace = await workflow.execute_activity(
            passing, trace, activity_id="a", start_to_close_timeout=A_MINUTE
        )
        trace = await workflow.execute_local_activity(
            passing, trace, activity_id="l", start_to_close_timeout=A_MINUTE
        )
        return await workflow.execute_child_workflow(Echo.run, trace, id="child")


@workflow.defn
class Box:
    """Takes words by every way, until there are enough."""

    def __init__(self) -> None:
        self.words: list[str] = []

    @workflow.run
    async def run(self, wanted: int) -> list[str]:
        await workflow.wait_condition(lambda: len(self.words) >= wanted)
        return self.words

    @workflow.signal
    def put(self, word: str) -> None:
        self.words.append(word)

    @workflow.update
    async def add(self, word: str) -> str:
        self.words.append(word)
        return f"{word} added"

    @add.validator
    def check(self, word: str) -> None:
        if word == "bad":
            raise ApplicationError("refused", word)

    @workflow.query
    def has(self, word: str) -> bool:
        return word in self.words


@workflow.defn
class Everything:
    @workflow.run
    async def run(self, text: str, times: int) -> list[str]:
        if times:
            workflow.continue_as_new(args=[text, times - 1])
        found = [workflow.memo_value("m", type_hint=str)]
        found.append(
            await workflow.execute_activity(beating, text, start_to_close_timeout=A_MINUTE)
        )
        child = await workflow.start_child_workflow(Box.run, 1, id="box", memo={"m": text})
        await child.signal(Box.put, text)
        found += await child
        other = await workflow.signal_with_start_workflow(
            Box.run, 2, id="other", task_queue="q", signal=Box.put, signal_args=text
        )
        await other.signal(Box.put, "again")
        found.append(
            await workflow.execute_activity(
                elsewhere, text, activity_id="e", start_to_close_timeout=A_MINUTE
            )
        )
        await workflow.execute_local_activity(declining, text, start_to_close_timeout=A_MINUTE)
        return found


ACTIVITIES: list[Any] = [passing, beating, declining, elsewhere]
WORKFLOWS = [Echo, Tour, Box, Everything]


async def connect(tmp_path: Path, converter: DataConverter) -> AsyncIterator[Client]:
    client = await Client.connect(f"file:{tmp_path}/log", data_converter=converter)
    async with Worker(client, task_queue="q", workflows=WORKFLOWS, activities=ACTIVITIES):
        yield client
    await client.close()


@pytest.fixture
async def tracing(tmp_path: Path) -> AsyncIterator[Client]:
    converter = DataConverter(payload_converter_class=TracingConverter)
    async for client in connect(tmp_path, converter):
        yield client


@pytest.fixture
async def sealing(tmp_path: Path) -> AsyncIterator[Client]:
    async for client in connect(tmp_path, DataConverter(payload_codec=Sealing())):
        yield client


async def test_each_conversion_is_told_whose_value_it_is(tracing: Client) -> None:
    found = await tracing.execute_workflow(Tour.run, Trace(), id="w", task_queue="q")

    own, child = "default workflow w", "default workflow child"
    remote = "default activity a passing on q of Tour w"
    local = "default local activity l passing on q of Tour w"
    whose = [own, own, *[remote] * 4, *[local] * 4, *[child] * 4, own, own]
    ways = ["write", "read"] * 8
    assert [tuple(step) for step in found.steps] == list(zip(ways, whose, strict=True))


async def test_what_is_written_for_one_is_read_for_the_same(sealing: Client) -> None:
    global tokens
    tokens = asyncio.Queue()
    handle = await sealing.start_workflow(
        Everything.run, args=["text", 1], id="w", task_queue="q", memo={"m": "kept"}
    )
    token = await asyncio.wait_for(tokens.get(), 30)
    outside = sealing.get_async_activity_handle(workflow_id="w", activity_id="e")
    await sealing.get_async_activity_handle(task_token=token).heartbeat("alive")
    await outside.complete("done elsewhere")
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()

    link: BaseException | None = failed.value
    while link is not None and not isinstance(link, ApplicationError):
        link = link.__cause__
    assert isinstance(link, ApplicationError)
    assert link.details == ("text",)
    assert await (await handle.describe()).memo() == {"m": "kept"}
    listed = [one async for one in sealing.list_workflows("WorkflowId = 'box'")]
    assert [await one.memo() for one in listed] == [{"m": "text"}]
    other = sealing.get_workflow_handle("other")
    assert await other.result() == ["text", "again"]
    converter = DataConverter(payload_codec=Sealing())
    replayer = Replayer(workflows=WORKFLOWS, data_converter=converter)
    await replayer.replay_workflow(await handle.fetch_history())


async def test_messages_are_in_the_context_of_their_workflow(sealing: Client) -> None:
    start = WithStartWorkflowOperation(
        Box.run,
        3,
        id="box",
        task_queue="q",
        id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
    )
    added = await sealing.execute_update_with_start_workflow(
        Box.add, "one", start_workflow_operation=start
    )
    box = sealing.get_workflow_handle_for(Box.run, "box")
    await box.signal(Box.put, "two")

    assert added == "one added"
    assert await box.query(Box.has, "two")
    with pytest.raises(Exception, match="failed") as refused:
        await box.execute_update(Box.add, "bad")
    assert isinstance(refused.value.__cause__, ApplicationError)
    assert refused.value.__cause__.details == ("bad",)
    assert await box.execute_update(Box.add, "three") == "three added"
    assert await box.result() == ["one", "two", "three"]


async def test_a_handle_of_an_activity_may_be_given_its_context() -> None:
    context = ActivitySerializationContext("n", "a", "t", "q", "w", "W", is_local=False)
    converter = DataConverter(payload_codec=Sealing()).with_context(context)
    assert isinstance(converter.payload_codec, Sealing)

    sealed = await converter.encode(["x"])

    assert sealed[0].metadata["seal"] == b"w/a"
    assert await converter.decode(sealed) == ["x"]


def test_those_who_do_not_ask_are_left_as_they_are() -> None:
    context = WorkflowSerializationContext("n", "w")
    plain = DataConverter()
    composite = DefaultPayloadConverter()

    assert plain.with_context(context) is plain
    assert composite.with_context(context) is composite
    assert composite.get_converters_with_context(context) == [*composite.converters.values()]
    assert not records_converter(plain).is_contextual
    assert records_converter(DataConverter(TracingConverter)).is_contextual
    assert not records_converter(
        dataclasses.replace(plain, payload_converter_class=DefaultPayloadConverter)
    ).is_contextual


def test_a_subclass_of_the_interface_must_say_how() -> None:
    class Careless(WithSerializationContext):
        pass

    with pytest.raises(NotImplementedError):
        Careless().with_context(WorkflowSerializationContext("n", "w"))
