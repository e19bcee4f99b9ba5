"""Resets as a user asks for them: each kind of point; nothing is scripted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from perdure import activity, workflow
from perdure.client import Client, RPCError, WorkflowFailureError, WorkflowHandle
from perdure.exceptions import ApplicationError
from perdure.worker import Worker
from perdure_schemas import events as ev
from perdure_schemas.answers.reset_points import ResetPoint, read_point

pytestmark = pytest.mark.embedded
SOON = timedelta(seconds=30)
prices: dict[str, int] = {}
asked: list[str] = []


@activity.defn
async def price_of(thing: str) -> int:
    asked.append(thing)
    if prices[thing] < 0:
        raise ApplicationError(f"no price for {thing}", non_retryable=True)
    return prices[thing]


@workflow.defn
class Pricing:
    def __init__(self) -> None:
        self.notes: list[str] = []

    @workflow.run
    async def run(self, things: list[str]) -> list[object]:
        found: list[object] = []
        for thing in things:
            found.append(
                await workflow.execute_activity(price_of, thing, start_to_close_timeout=SOON)
            )
        return [*found, self.notes]

    @workflow.signal
    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    prices.clear()
    asked.clear()
    client = await Client.connect(f"file:{tmp_path}")
    async with Worker(
        client, task_queue="q", workflows=[Pricing], activities=[price_of], build_id="one"
    ):
        yield client
    await client.close()


async def ended(client: Client) -> WorkflowHandle[Pricing, list[object]]:
    """A run of three prices that failed at the third; its events are 1 to 8."""
    prices.update(lamp=10, table=20, chair=-1)
    handle = await client.start_workflow(
        Pricing.run, ["lamp", "table", "chair"], id="p-1", task_queue="q"
    )
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    prices["chair"] = 5
    return handle


async def kept(handle: WorkflowHandle[Pricing, list[object]]) -> int:
    history = await handle.fetch_history()
    started = history.events[0].event
    assert isinstance(started, ev.WorkflowStarted)
    assert started.reset is not None
    return started.reset.seq


async def test_the_last_task_is_taken_anew_unless_another_point_is_named(client: Client) -> None:
    handle = await ended(client)

    again = await handle.reset()

    # The code takes again that the third has failed.
    with pytest.raises(WorkflowFailureError):
        await again.result()
    assert await kept(again) == 7
    assert asked == ["lamp", "table", "chair"]


async def test_the_last_activity_is_asked_for_again(client: Client) -> None:
    handle = await ended(client)

    again = await handle.reset("LastActivity", reason="the price list was wrong")

    assert await again.result() == [10, 20, 5, []]
    assert asked == ["lamp", "table", "chair", "chair"]
    described = await client.get_workflow_handle("p-1").describe()
    assert described.run_id == again.run_id


async def test_the_first_activity_is_asked_for_again(client: Client) -> None:
    handle = await ended(client)

    again = await handle.reset("first-activity")

    assert await again.result() == [10, 20, 5, []]
    assert asked == ["lamp", "table", "chair"] * 2
    assert await kept(again) == 1


@pytest.mark.parametrize("to", [5, "5", "event:5", "event:6"])
async def test_an_event_is_gone_back_to(client: Client, to: int | str) -> None:
    handle = await ended(client)

    again = await handle.reset(to)

    assert await again.result() == [10, 20, 5, []]
    assert await kept(again) == 5
    assert asked == ["lamp", "table", "chair", "chair"]


async def test_a_time_and_a_build_are_gone_back_to(client: Client) -> None:
    handle = await ended(client)
    history = await handle.fetch_history()
    third = history.events[4].event_time

    again = await handle.reset(third)
    assert await again.result() == [10, 20, 5, []]
    assert await kept(again) <= 5, "events of one millisecond are one time"
    newest = await again.reset("build:one")
    assert await newest.result() == [10, 20, 5, []]
    assert await kept(newest) == 1

    with pytest.raises(ValueError, match="took no step by build nobodys"):
        await newest.reset("build:nobodys")
    later = datetime.now(UTC) + timedelta(days=1)
    with pytest.raises(ValueError, match="took no step at 2"):
        await newest.reset(later)


async def test_a_run_without_activities_says_so(client: Client) -> None:
    handle = await client.start_workflow(Pricing.run, list[str](), id="p-2", task_queue="q")
    await handle.result()

    with pytest.raises(ValueError, match=r"workflow 'p-2' run .* has asked for no activity"):
        await handle.reset("first-activity")
    with pytest.raises(RPCError, match="has no event 99: its events are 1 to 2"):
        await handle.reset(99)


async def test_who_waits_for_the_old_run_gets_the_result_of_the_new_one(client: Client) -> None:
    prices.update(lamp=10)
    gate = asyncio.Event()

    @activity.defn(name="price_of")
    async def waits(_thing: str) -> int:
        await gate.wait()
        return 7

    async with Worker(client, task_queue="slow", workflows=[Pricing], activities=[waits]):
        handle = await client.start_workflow(Pricing.run, ["lamp"], id="p-3", task_queue="slow")
        waiting = asyncio.create_task(handle.result())
        async with asyncio.timeout(30):
            await handle.signal(Pricing.note, "early")
            again = await handle.reset("first-activity", exclude=["signal"])
            gate.set()
            assert await again.result() == [7, []]
            assert await waiting == [7, []]


def test_points_are_written_in_several_ways() -> None:
    for text in ("FirstActivity", "first-activity", "first_activity", " FIRSTACTIVITY "):
        assert read_point(text) == ResetPoint("first-activity")
    assert read_point("LastWorkflowTask") == ResetPoint("last-workflow-task")
    assert read_point("12") == read_point("event:12") == ResetPoint("event", "12")
    assert read_point("build:v2:rc") == ResetPoint("build", "v2:rc")
    for text in ("", "event:", "event:x", "-1", "build:", "time:noon", "LastFriday"):
        with pytest.raises(ValueError, match=r"a reset goes to|no event's number|is no time"):
            read_point(text)
