"""Contexts of values that clients write for activities and schedules, from elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from perdure import activity, workflow
from perdure.client import (
    Client,
    Schedule,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionStartWorkflow,
    ScheduleIntervalSpec,
    ScheduleSpec,
    WorkflowFailureError,
)
from perdure.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from perdure.converter import ActivitySerializationContext, DataConverter
from perdure.exceptions import ApplicationError
from perdure.worker import Worker
from tests.unit.context_world import Sealing

pytestmark = pytest.mark.embedded
A_MINUTE = timedelta(minutes=1)
tokens: asyncio.Queue[bytes] = asyncio.Queue()


@activity.defn
async def elsewhere(text: str) -> str:
    tokens.put_nowait(activity.info().task_token)
    activity.raise_complete_async()


@workflow.defn
class Waits:
    @workflow.run
    async def run(self, text: str) -> str:
        return await workflow.execute_activity(
            elsewhere, text, activity_id="e", start_to_close_timeout=A_MINUTE
        )


@workflow.defn
class Box:
    @workflow.run
    async def run(self, wanted: int) -> list[str]:
        return ["nothing"] * wanted


@pytest.fixture
async def sealing(tmp_path: Path) -> AsyncIterator[Client]:
    converter = DataConverter(payload_codec=Sealing())
    client = await Client.connect(f"file:{tmp_path}/log", data_converter=converter)
    async with Worker(client, task_queue="q", workflows=[Waits, Box], activities=[elsewhere]):
        yield client
    await client.close()


async def waiting_elsewhere(client: Client) -> Any:
    """A run whose activity waits for somebody else to report it."""
    global tokens
    tokens = asyncio.Queue()
    return await client.start_workflow(Waits.run, "text", id="w", task_queue="q")


async def test_a_handle_reports_in_the_context_that_it_was_given(sealing: Client) -> None:
    handle = await waiting_elsewhere(sealing)
    token = await asyncio.wait_for(tokens.get(), 30)
    context = ActivitySerializationContext(
        "default", "e", "elsewhere", "q", "w", "Waits", is_local=False
    )
    outside = sealing.get_async_activity_handle(task_token=token).with_context(context)

    await outside.heartbeat("alive")
    await outside.complete("done")

    assert await handle.result() == "done"


async def test_people_fail_an_activity_in_its_context(sealing: Client) -> None:
    handle = await waiting_elsewhere(sealing)
    await asyncio.wait_for(tokens.get(), 30)
    error = ApplicationError("by hand", "why", non_retryable=True)

    await sealing.pending_activities("w").fail(error, activity_id="e")

    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    link = failed.value.cause.__cause__
    assert isinstance(link, ApplicationError)
    assert link.details == ("why",)


TYPED = SearchAttributeKey.for_int("Typed")


async def test_a_schedule_writes_for_what_it_starts(sealing: Client) -> None:
    made = await sealing.create_schedule(
        "s",
        Schedule(
            action=ScheduleActionStartWorkflow(
                Box.run,
                0,
                id="planned",
                task_queue="q",
                memo={"m": "kept"},
                typed_search_attributes=TypedSearchAttributes([SearchAttributePair(TYPED, 1)]),
                untyped_search_attributes={"Untyped": ["x"]},
            ),
            spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(days=999))]),
        ),
        memo={"own": "memo"},
        trigger_immediately=True,
    )

    async with asyncio.timeout(30):
        found = await made.describe()
        while not found.info.recent_actions:
            found = await made.describe()
    assert await found.memo() == {"own": "memo"}
    started = found.info.recent_actions[0].action
    assert isinstance(started, ScheduleActionExecutionStartWorkflow)
    run = sealing.get_workflow_handle(started.workflow_id)
    assert await run.result() == []
    assert (await run.describe()).search_attributes["Untyped"] == ["x"]
    assert (await run.describe()).typed_search_attributes[TYPED] == 1
    assert await (await run.describe()).memo() == {"m": "kept"}
    await made.delete()


async def test_a_search_attribute_is_typed_or_not(sealing: Client) -> None:
    action = ScheduleActionStartWorkflow(
        Box.run,
        0,
        id="planned",
        task_queue="q",
        typed_search_attributes=TypedSearchAttributes([SearchAttributePair(TYPED, 1)]),
        untyped_search_attributes={"Typed": [2]},
    )
    spec = ScheduleSpec(intervals=[ScheduleIntervalSpec(every=A_MINUTE)])

    with pytest.raises(ValueError, match="'Typed' is given twice"):
        await sealing.create_schedule("s", Schedule(action=action, spec=spec))
