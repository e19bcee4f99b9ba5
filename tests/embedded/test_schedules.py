"""Schedules with real workers on the embedded log: what they start, skip and tell."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from perdure import workflow
from perdure.client import (
    Client,
    RPCError,
    RPCStatusCode,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleBackfill,
    ScheduleDescription,
    ScheduleHandle,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
    ScheduleUpdateInput,
    WorkflowExecutionStatus,
)
from perdure.exceptions import ApplicationError
from perdure.worker import Worker

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(60)]
RARELY = ScheduleSpec(cron_expressions=["0 0 1 1 *"])
SECONDLY = ScheduleSpec(intervals=[ScheduleIntervalSpec(timedelta(seconds=1))])


@workflow.defn
class Report:
    """Counts by what the last one returned."""

    @workflow.run
    async def run(self, name: str) -> int:
        assert workflow.info().parent is None
        last = workflow.get_last_completion_result(int) or 0
        if name == "fails":
            raise ApplicationError("no figures")
        return last + 1


@workflow.defn
class Long:
    @workflow.run
    async def run(self) -> str:
        await workflow.sleep(3600)
        return "done"


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    client = await Client.connect(f"file:{tmp_path}")
    async with Worker(client, task_queue="q", workflows=[Report, Long]):
        yield client
    await client.close()


def report(name: str = "x", **facts: Any) -> Schedule:
    action = ScheduleActionStartWorkflow(Report.run, name, id="report", task_queue="q")
    return Schedule(**{"action": action, "spec": RARELY, **facts})


def long(**facts: Any) -> Schedule:
    action = ScheduleActionStartWorkflow(Long.run, id="long", task_queue="q")
    return Schedule(**{"action": action, "spec": RARELY, **facts})


async def until(
    handle: ScheduleHandle, holds: Callable[[ScheduleDescription], bool]
) -> ScheduleDescription:
    """How the schedule stands once it is so; the test's own time bounds it."""
    while True:
        found = await handle.describe()
        if holds(found):
            return found
        await asyncio.sleep(0.05)


async def started(client: Client, found: ScheduleDescription) -> list[Any]:
    """The results of the recent actions."""
    actions: list[Any] = [one.action for one in found.info.recent_actions if one.action]
    return [await client.get_workflow_handle(one.workflow_id).result() for one in actions]


async def test_a_schedule_acts_at_its_times_and_each_action_is_told_the_last_result(
    client: Client,
) -> None:
    # A run that is slow is waited for: it is no reason to skip a time.
    policy = SchedulePolicy(ScheduleOverlapPolicy.BUFFER_ALL)
    handle = await client.create_schedule("s", report(spec=SECONDLY, policy=policy))

    found = await until(handle, lambda it: it.info.num_actions >= 3 and not it.info.running_actions)

    assert (await started(client, found))[:3] == [1, 2, 3]
    assert [one.scheduled_at.microsecond for one in found.info.recent_actions[:3]] == [0, 0, 0]
    assert found.info.next_action_times[0] > found.info.recent_actions[-1].scheduled_at
    assert found.info.num_actions_skipped_overlap == 0


async def test_pause_trigger_unpause_update_and_delete(client: Client) -> None:
    handle = await client.create_schedule(
        "s", report(state=ScheduleState(paused=True, note="not yet"))
    )
    found = await handle.describe()
    assert (found.schedule.state.paused, found.schedule.state.note) == (True, "not yet")

    await handle.trigger()
    found = await until(handle, lambda it: it.info.num_actions == 1 and not it.info.running_actions)
    assert await started(client, found) == [1]

    await handle.unpause(note="go")
    assert (await handle.describe()).schedule.state == ScheduleState(note="go")
    await handle.pause(note="stop")
    assert (await handle.describe()).schedule.state.paused

    def other(given: ScheduleUpdateInput) -> ScheduleUpdate:
        schedule = given.description.schedule
        schedule.spec = ScheduleSpec(cron_expressions=["0 0 2 2 *"])
        return ScheduleUpdate(schedule)

    await handle.update(other)
    found = await handle.describe()
    assert found.schedule.spec.cron_expressions == ["0 0 2 2 *"]
    assert found.info.last_updated_at is not None
    assert found.info.next_action_times[0].month == 2
    assert [one.id async for one in await client.list_schedules()] == ["s"]

    await handle.delete()
    with pytest.raises(RPCError) as caught:
        await handle.describe()
    assert caught.value.status == RPCStatusCode.NOT_FOUND
    assert [one.id async for one in await client.list_schedules()] == []
    await client.create_schedule("s", report())


async def test_a_schedule_that_exists_is_not_made_again(client: Client) -> None:
    await client.create_schedule("s", report())

    with pytest.raises(ScheduleAlreadyRunningError):
        await client.create_schedule("s", report())
    with pytest.raises(RPCError) as caught:
        await client.get_schedule_handle("nobody").describe()
    assert caught.value.status == RPCStatusCode.NOT_FOUND
    with pytest.raises(ValueError, match="says no time"):
        await client.create_schedule("bad", report(spec=ScheduleSpec()))


@pytest.mark.parametrize(
    ("policy", "running", "skipped", "first"),
    [
        (ScheduleOverlapPolicy.SKIP, 1, 2, "RUNNING"),
        (ScheduleOverlapPolicy.BUFFER_ONE, 1, 1, "RUNNING"),
        (ScheduleOverlapPolicy.BUFFER_ALL, 1, 0, "RUNNING"),
        (ScheduleOverlapPolicy.ALLOW_ALL, 3, 0, "RUNNING"),
        (ScheduleOverlapPolicy.CANCEL_OTHER, 1, 1, "CANCELED"),
        (ScheduleOverlapPolicy.TERMINATE_OTHER, 1, 1, "TERMINATED"),
    ],
)
async def test_what_happens_when_an_action_still_runs(
    client: Client, policy: ScheduleOverlapPolicy, running: int, skipped: int, first: str
) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    spec = ScheduleSpec(
        intervals=[ScheduleIntervalSpec(timedelta(days=1))], end_at=start + timedelta(days=2)
    )
    handle = await client.create_schedule("s", long(spec=spec, policy=SchedulePolicy(policy)))

    await handle.backfill(ScheduleBackfill(start, start + timedelta(days=2)))

    def settled(it: ScheduleDescription) -> bool:
        info = it.info
        actions: list[Any] = list(info.running_actions)
        ids = {one.workflow_id for one in actions}
        ended = first == "RUNNING" or "long-2026-01-01T00:00:00Z" not in ids
        known = all(one.first_execution_run_id for one in actions)
        return ended and known and len(info.running_actions) == running

    found = await until(handle, settled)
    assert found.info.num_actions_skipped_overlap == skipped
    reasons = [one.reason for one in found.info.recent_actions if one.action is None]
    assert len(reasons) == skipped
    assert all(reason.startswith("skipped: ") for reason in reasons)
    described = await client.get_workflow_handle("long-2026-01-01T00:00:00Z").describe()
    assert described.status == WorkflowExecutionStatus[first]


async def test_a_failure_pauses_a_schedule_that_says_so(client: Client) -> None:
    handle = await client.create_schedule(
        "s", report("fails", policy=SchedulePolicy(pause_on_failure=True)), trigger_immediately=True
    )

    found = await until(handle, lambda it: it.schedule.state.paused)

    assert found.schedule.state.note is not None
    assert "no figures" in found.schedule.state.note


async def test_only_so_many_actions_are_taken(client: Client) -> None:
    handle = await client.create_schedule(
        "s",
        report(spec=SECONDLY, state=ScheduleState(limited_actions=True, remaining_actions=2)),
    )

    found = await until(handle, lambda it: it.info.num_actions == 2)

    assert found.schedule.state.remaining_actions == 0
    with pytest.raises(ValueError, match="remaining_actions"):
        await client.create_schedule("t", report(state=ScheduleState(limited_actions=True)))
