"""Schedules, local activities, completion from elsewhere and operators, while all is killed."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from perdure.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleHandle,
    ScheduleOverlapPolicy,
    ScheduleSpec,
    WorkflowExecutionStatus,
)
from perdure.exceptions import ApplicationError
from tests.broker.operated_app import OPENED
from tests.broker.processes import QUEUE, Crew, Process, until

pytestmark = [pytest.mark.broker, pytest.mark.timeout(120)]
APP = "tests.broker.operated_app"
GIVEN_UP = "we give it up"
RARELY = ScheduleSpec(cron_expressions=["0 0 1 1 *"])


def worker(crew: Crew, name: str) -> Process:
    """A process that runs all: the host of a local activity has it, too."""
    options = ["--task-queue", QUEUE, "--state-dir", str(crew.tables_of(name)), "--verbose"]
    return crew.process(name, "worker", APP, *crew.where, *options)


def noted(crew: Crew, what: str, workflow_id: str) -> list[dict[str, Any]]:
    return [
        line
        for line in crew.lines()
        if line["what"] == what and line["workflow_id"].startswith(workflow_id)
    ]


async def both_wait(crew: Crew, client: Client) -> bool:
    """Whether the log has that both approvals come from elsewhere.

    What an activity wrote is not yet what its host has taken: a kill could fall between.
    """
    for name in ("by-time", "by-hand"):
        for line in noted(crew, "approve", name):
            handle = client.get_workflow_handle(line["workflow_id"], task_queue=QUEUE)
            if "ActivityDetached" in [e.event_type async for e in handle.fetch_history_events()]:
                break
        else:
            return False
    return True


async def scheduled(client: Client) -> ScheduleHandle:
    """A schedule that has taken an action."""
    action = ScheduleActionStartWorkflow("Operated", "a", id="by-time", task_queue=QUEUE)
    return await client.create_schedule(
        "s", Schedule(action=action, spec=RARELY), trigger_immediately=True
    )


async def test_what_waits_for_others_is_neither_lost_nor_done_twice(crew: Crew) -> None:
    crew.create_topics()
    first = worker(crew, "first")
    async with crew.client() as client:
        schedule = await scheduled(client)
        by_hand = await client.start_workflow("Operated", "b", id="by-hand", task_queue=QUEUE)

        await until(partial(both_wait, crew, client), "both wait for somebody", timeout_s=30.0)
        first.kill()
        second = worker(crew, "second")
        # Nobody needs to have come back for this: the answer comes when a host has.
        token = noted(crew, "approve", "by-time")[0]["token"]
        await client.get_async_activity_handle(task_token=bytes.fromhex(token)).complete("by token")
        activity_id = noted(crew, "approve", "by-hand")[0]["activity_id"]
        by_id = client.get_async_activity_handle(workflow_id="by-hand", activity_id=activity_id)
        await by_id.complete("by id")

        (run,) = (await schedule.describe()).info.running_actions
        by_time = client.get_workflow_handle(getattr(run, "workflow_id", ""), task_queue=QUEUE)

        async def parked() -> bool:
            found = await asyncio.gather(by_time.describe(), by_hand.describe())
            return all(one.status is WorkflowExecutionStatus.BLOCKED for one in found)

        await until(parked, "both refunds are out of attempts", timeout_s=30.0)
        second.kill()
        worker(crew, "third")
        (crew.folder / OPENED).touch()
        pending = client.pending_activities(by_time.id, task_queue=QUEUE)
        await pending.update_options(
            activity_type="refund", start_to_close_timeout=timedelta(seconds=30)
        )
        await schedule.trigger(overlap=ScheduleOverlapPolicy.SKIP)
        await pending.retry(activity_type="refund")
        given_up = ApplicationError("we give it up", non_retryable=True)
        await client.pending_activities("by-hand").fail(given_up, activity_type="refund")

        async with asyncio.timeout(40):
            assert await by_time.result() == ["price of a", "by token", "refunded"]
            assert await by_hand.result() == [
                "price of b",
                "by id",
                "we give it up",
            ]

        async def over() -> bool:
            return not (await schedule.describe()).info.running_actions

        await until(over, "the schedule heard that its action ended")
        outcomes = Counter([event.event_type async for event in by_time.fetch_history_events()])
        assert outcomes["ActivityCompleted"] == 3
        assert outcomes["WorkflowCompleted"] == 1
        info = (await schedule.describe()).info
        assert (info.num_actions, info.num_actions_skipped_overlap) == (1, 1)
    assert len(noted(crew, "approve", "by-")) == 2
    assert [line["attempt"] for line in noted(crew, "refund", "by-hand")] == [1, 2]
    assert len(noted(crew, "refund", "by-time")) == 3
