"""Processes that run workflows and their activities: tasks pass the log by, and nothing is lost."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from perdure import activity, workflow
from perdure.client import Client
from perdure.exceptions import ActivityError
from perdure.worker import Worker
from perdure_schemas import events as ev
from perdure_schemas.avro import decode_as
from perdure_schemas.tasks import ActivityTask
from perdure_topics.names import topic_name
from tests.broker.orders_app import Job
from tests.broker.processes import PARTITIONS, QUEUE, Crew, Process, until

pytestmark = [pytest.mark.broker, pytest.mark.timeout(150)]
TAKEOVER_S = 40.0
"""A session of 6 s, and room for a machine with other work."""
FINISH_S = 60.0


def jobs_named(prefix: str, count: int, **facts: Any) -> list[Job]:
    return [Job(f"{prefix}-{number}", **facts) for number in range(count)]


def tasks_of(crew: Crew) -> list[ActivityTask]:
    """The tasks that went by the log."""
    name = topic_name("tasks", crew.namespace, QUEUE)
    return [decode_as(ActivityTask, record.value) for record in crew.dump()[name]]


async def owned_by(crew: Crew, client: Client, *processes: Process) -> None:
    """Wait until these processes own all partitions, and each of them some."""
    pids = {str(process.pid) for process in processes}

    async def shared() -> bool:
        owners = await crew.owners(client)
        return len(owners) == PARTITIONS and {o.split("@")[0] for o in owners.values()} == pids

    await until(shared, f"processes {pids} own the partitions", timeout_s=TAKEOVER_S)


async def test_tasks_of_one_process_pass_the_log_by(crew: Crew) -> None:
    only = crew.both()
    jobs = jobs_named("job", 40, steps=5)
    async with crew.client() as client:
        await owned_by(crew, client, only)
        await asyncio.gather(*(crew.start(client, job) for job in jobs))
        await crew.finish(client, jobs, timeout_s=FINISH_S)
    crew.check()

    ran = len(crew.lines())
    assert ran == 200
    assert len(tasks_of(crew)) < ran // 2


async def test_a_process_that_is_killed_loses_no_outcome(crew: Crew) -> None:
    first, second = crew.both("first"), crew.both("second")
    jobs = jobs_named("job", 40, steps=6, pause_ms=30)
    async with crew.client() as client:
        await owned_by(crew, client, first, second)
        await asyncio.gather(*(crew.start(client, job) for job in jobs))
        await until(lambda: len(crew.lines()) >= 60, "activities run")

        first.kill()

        await owned_by(crew, client, second)
        await crew.finish(client, jobs, timeout_s=FINISH_S)
    ledger = crew.check()
    assert len(ledger.runs) == len(jobs)


async def test_partitions_that_move_take_their_outcomes_along(crew: Crew) -> None:
    first = crew.both("first")
    jobs = jobs_named("job", 40, steps=8, pause_ms=100)
    async with crew.client() as client:
        await owned_by(crew, client, first)
        await asyncio.gather(*(crew.start(client, job) for job in jobs))
        await until(lambda: len(crew.lines()) >= 40, "activities run")

        second = crew.both("second")
        await owned_by(crew, client, first, second)
        assert first.stop() == 0

        await owned_by(crew, client, second)
        await crew.finish(client, jobs, timeout_s=FINISH_S)
    crew.check()


async def test_a_process_that_froze_tells_the_next_owner_by_the_log(crew: Crew) -> None:
    first, second = crew.both("first"), crew.both("second")
    # Each activity outlasts the freeze, or waits for it to be over.
    jobs = jobs_named("job", 24, steps=2, gate="open")
    async with crew.client() as client:
        await owned_by(crew, client, first, second)
        await asyncio.gather(*(crew.start(client, job) for job in jobs))
        await until(lambda: len(crew.lines()) >= len(jobs), "all have begun")

        first.pause()
        await owned_by(crew, client, second)
        (crew.folder / "open").touch()
        first.resume()

        await crew.finish(client, jobs, timeout_s=FINISH_S)
        await owned_by(crew, client, first, second)
    crew.check()


@activity.defn
async def wait_for_ever() -> None:
    await asyncio.Event().wait()


@activity.defn
async def beat(times: int) -> list[Any]:
    """Fail after so many signs of life; the next attempt says what it was left."""
    if activity.info().attempt > 1:
        return list(activity.info().heartbeat_details)
    for number in range(times):
        activity.heartbeat(number)
    raise ConnectionError("fails on purpose")


@workflow.defn
class Stopping:
    """An activity that is cancelled before any host knows that it has begun."""

    @workflow.run
    async def run(self) -> str:
        handle = workflow.start_activity(
            wait_for_ever,
            start_to_close_timeout=timedelta(minutes=1),
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
        await workflow.sleep(0.05)
        handle.cancel()
        try:
            await handle
        except ActivityError as error:
            return type(error.cause).__name__
        return "it returned"


@workflow.defn
class Beating:
    @workflow.run
    async def run(self, heartbeat_s: float) -> list[Any]:
        result: list[Any] = await workflow.execute_activity(
            beat,
            3,
            start_to_close_timeout=timedelta(minutes=1),
            heartbeat_timeout=timedelta(seconds=heartbeat_s) if heartbeat_s else None,
        )
        return result


async def test_cancellation_and_signs_of_life_of_eager_attempts(crew: Crew, tmp_path: Path) -> None:
    async with (
        crew.client() as client,
        Worker(
            client,
            task_queue=QUEUE,
            workflows=[Stopping, Beating],
            activities=[wait_for_ever, beat],
            state_directory=tmp_path / "tables",
        ),
    ):

        async def told(workflow_type: Any, name: str, *args: Any) -> tuple[Any, list[type]]:
            handle = await client.start_workflow(
                workflow_type, args=args, id=name, task_queue=QUEUE
            )
            result = await handle.result()
            history = await handle.fetch_history()
            return result, [type(item.event) for item in history.events]

        for round_number in range(3):
            result, events = await told(Stopping.run, f"stop-{round_number}")
            assert result == "CancelledError"
            assert events.count(ev.ActivityCanceled) == 1
            for heartbeat_s in (0.0, 20.0):
                name = f"beat-{round_number}-{heartbeat_s}"
                result, events = await told(Beating.run, name, heartbeat_s)
                assert result == [2]
                assert events.count(ev.ActivityRetryScheduled) == 1
                assert (ev.ActivityStarted in events) or not heartbeat_s
    crew.check()
