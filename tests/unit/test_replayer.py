"""Replaying histories: from JSON, from handles and lists, and straight from the log."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from perdure import activity, workflow
from perdure.cli import run
from perdure.client import Client, WorkflowHistory
from perdure.worker import Replayer, Worker
from perdure.workflow._replay_errors import ReplayError

QUEUE = "replayed"
APP = """
from datetime import timedelta
from perdure import workflow

LIMIT = timedelta(seconds=30)

@workflow.defn(name="Order")
class Order:
    @workflow.run
    async def run(self, name: str) -> str:
        await workflow.execute_activity("{step}", name, start_to_close_timeout=LIMIT)
        await workflow.sleep(0.01)
        return name
"""


@activity.defn
async def charge(name: str) -> str:
    return name


def order(step: str) -> Any:
    @workflow.defn(name="Order")
    class Order:
        @workflow.run
        async def run(self, name: str) -> str:
            await workflow.execute_activity(
                step, name, start_to_close_timeout=timedelta(seconds=30)
            )
            await workflow.sleep(0.01)
            return name

    return Order


GOOD, CHANGED = order("charge"), order("bill")


@workflow.defn(name="Other")
class Other:
    @workflow.run
    async def run(self) -> None:
        return None


@pytest.fixture
async def histories(tmp_path: Path) -> list[WorkflowHistory]:
    """Two closed runs, as a list maps them; the log stays in tmp_path/data."""
    client = await Client.connect(f"file:{tmp_path}/data")
    async with Worker(client, task_queue=QUEUE, workflows=[GOOD], activities=[charge]):
        for name in ("a", "b"):
            await client.execute_workflow("Order", name, id=name, task_queue=QUEUE)
        found = [one async for one in client.list_workflows(task_queue=QUEUE).map_histories()]
    await client.close()
    return found


async def each(histories: list[WorkflowHistory]) -> AsyncIterator[WorkflowHistory]:
    for history in histories:
        yield history


async def test_code_that_fits_replays(histories: list[WorkflowHistory]) -> None:
    replayer = Replayer(workflows=[GOOD])

    result = await replayer.replay_workflow(histories[0])
    assert result.replay_failure is None
    assert (await replayer.replay_workflows(each(histories))).replay_failures == {}


async def test_code_that_does_not_fit_says_both_sides(histories: list[WorkflowHistory]) -> None:
    replayer = Replayer(workflows=[CHANGED])

    with pytest.raises(workflow.NondeterminismError, match="recorded activity 'charge'") as raised:
        await replayer.replay_workflow(histories[0])
    assert raised.value.recorded.startswith("activity 'charge' (id 1)")
    assert raised.value.produced.startswith("activity 'bill' (id 1)")

    results = await replayer.replay_workflows(each(histories), raise_on_replay_failure=False)
    assert set(results.replay_failures) == {history.run_id for history in histories}
    async with replayer.workflow_replay_iterator(each(histories)) as seen:
        assert [type(one.replay_failure).__name__ async for one in seen] == [
            "NondeterminismError"
        ] * 2


async def test_a_type_that_is_not_there_is_named(histories: list[WorkflowHistory]) -> None:
    with pytest.raises(ReplayError, match="workflow type 'Order' is not registered") as raised:
        await Replayer(workflows=[Other]).replay_workflow(histories[0])

    assert raised.value.kind == "unregistered"
    with pytest.raises(ValueError, match="nothing to replay"):
        Replayer(workflows=[])


async def test_json_has_temporals_shape_and_loses_nothing(histories: list[WorkflowHistory]) -> None:
    history = histories[0]
    value = json.loads(history.to_json())

    first, second = value["events"][:2]
    assert first["eventId"] == "1"
    assert first["eventType"] == "EVENT_TYPE_WORKFLOW_EXECUTION_STARTED"
    attributes = first["workflowExecutionStartedEventAttributes"]
    assert attributes["workflowType"] == {"name": "Order"}
    assert attributes["input"]["payloads"][0]["metadata"]["encoding"] == "anNvbi9wbGFpbg=="
    assert second["eventType"] == "EVENT_TYPE_ACTIVITY_TASK_SCHEDULED"
    assert second["activityTaskScheduledEventAttributes"]["startToCloseTimeout"] == "30s"
    again = WorkflowHistory.from_json(history.workflow_id, history.to_json())
    assert again == history
    assert (await Replayer(workflows=[GOOD]).replay_workflow(again)).replay_failure is None


@pytest.mark.parametrize("change", ["one is missing", "one is there twice"])
async def test_a_history_that_is_not_whole_does_not_replay(
    histories: list[WorkflowHistory], change: str
) -> None:
    whole = histories[0]
    for place in range(1, len(whole.events) - 1):
        kept = 0 if change == "one is missing" else 2
        events = [*whole.events[:place], *[whole.events[place]] * kept, *whole.events[place + 1 :]]
        history = replace(whole, events=events)

        result = await Replayer(workflows=[GOOD]).replay_workflow(
            history, raise_on_replay_failure=False
        )

        assert "is not whole" in str(result.replay_failure)


def test_a_history_of_another_system_is_refused() -> None:
    theirs = {"events": [{"eventId": "1", "eventType": "EVENT_TYPE_WORKFLOW_TASK_STARTED"}]}

    with pytest.raises(ValueError, match="was written by another system"):
        WorkflowHistory.from_json("x", theirs)


def replayed(tmp_path: Path, step: str, *options: str) -> int:
    (tmp_path / "app.py").write_text(APP.replace("{step}", step))
    broker = f"file:{tmp_path}/data"
    return run(["replay", str(tmp_path / "app.py"), "-q", QUEUE, "--broker", broker, *options])


async def test_the_command_replays_a_log_and_fails_for_ci(
    histories: list[WorkflowHistory], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import asyncio

    assert await asyncio.to_thread(replayed, tmp_path, "charge", "--since", "1d") == 0
    assert capsys.readouterr().out == "2 histories replayed, 0 of them do not fit\n"
    assert await asyncio.to_thread(replayed, tmp_path, "bill") == 1
    out = capsys.readouterr().out
    assert f"a (run {histories[-1].run_id}): nondeterminism" in out
    assert "  recorded  activity 'charge' (id 1)" in out
    assert "  produced  activity 'bill' (id 1)" in out
    assert out.endswith("2 histories replayed, 2 of them do not fit\n")
    assert await asyncio.to_thread(replayed, tmp_path, "bill", "--open-only") == 0
    assert await asyncio.to_thread(replayed, tmp_path, "bill", "--since", "soon") != 0
