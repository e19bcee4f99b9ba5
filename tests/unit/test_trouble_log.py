"""Trouble is told where it happens: each line says of what, and what follows; not too many."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from perdure import activity, workflow
from perdure.client import Client
from perdure.common import RetryPolicy
from perdure.exceptions import ApplicationError
from perdure.worker import Worker
from perdure_actors.trouble_log import LINES_MAX, TroubleLog, own_line
from perdure_actors.worker.attempt import application_failure
from perdure_schemas.payloads import RetryPolicy as Policy
from perdure_topics.kafka.settings import LIBRARY_LOG
from tests.unit.worker_world import make_task

QUEUE = "q"
MINUTE = timedelta(minutes=1)
NAME = "perdure.trouble"


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.name == NAME]


@activity.defn
async def pay(fails: int) -> str:
    if activity.info().attempt <= fails:
        raise ApplicationError("no money", type="Broke")
    return "paid"


SOON = timedelta(milliseconds=20)


@workflow.defn
class Buys:
    @workflow.run
    async def run(self, fails: int, attempts: int) -> str:
        return await workflow.execute_activity(
            pay,
            fails,
            start_to_close_timeout=MINUTE,
            retry_policy=RetryPolicy(initial_interval=SOON, maximum_attempts=attempts),
        )


@workflow.defn
class Waits:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(
            pay, 0, start_to_close_timeout=MINUTE, schedule_to_start_timeout=SOON
        )


@workflow.defn(name="Wrong")
class Wrong:
    @workflow.run
    async def run(self) -> str:
        there: dict[str, str] = {}
        return there["missing"]


@workflow.defn(name="Wrong")
class Mended:
    @workflow.run
    async def run(self) -> str:
        return "mended"


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    client = await Client.connect(f"file:{tmp_path}")
    yield client
    await client.close()


async def test_a_failed_attempt_is_told_with_what_follows(client: Client, caplog):
    async with Worker(client, task_queue=QUEUE, workflows=[Buys], activities=[pay]):
        handle = await client.start_workflow(Buys.run, args=[2, 0], id="b", task_queue=QUEUE)
        await handle.result()

    first, second = told(caplog)
    run_id = handle.first_execution_run_id
    head, _, trace = first.partition("\n")
    assert head.startswith(
        "attempt 1 (of any number) of activity pay '1' of workflow 'b' (Buys, run"
        f" {run_id}) failed: Broke: no money, at "
    )
    assert "test_trouble_log.py" in head
    assert head.endswith("in pay; the next in 0.02 s")
    assert "ApplicationError" in trace or "no money" in trace
    assert "\n" not in second, "the whole trace is told once"
    record = next(one for one in caplog.records if one.name == NAME)
    assert record.levelno == logging.WARNING
    assert (record.workflow_id, record.workflow_type, record.run_id) == ("b", "Buys", run_id)


async def test_the_last_attempt_says_that_no_other_follows(client: Client, caplog):
    async with Worker(client, task_queue=QUEUE, workflows=[Buys], activities=[pay]):
        handle = await client.start_workflow(Buys.run, args=[9, 2], id="b", task_queue=QUEUE)
        with pytest.raises(Exception, match="failed"):
            await handle.result()

    assert ["1 of 2" in told(caplog)[0], "the next in" in told(caplog)[0]] == [True, True]
    assert told(caplog)[1].startswith("attempt 2 of 2 of activity pay")
    assert told(caplog)[1].endswith("no other follows")


async def test_what_only_the_host_knows_of_is_told_by_the_host(client: Client, caplog):
    async with Worker(client, task_queue=QUEUE, workflows=[Waits]):
        handle = await client.start_workflow(Waits.run, id="w", task_queue=QUEUE)
        with pytest.raises(Exception, match="failed"):
            await handle.result()

    (line,) = told(caplog)
    assert " of activity '1' of workflow 'w' (Waits, run " in line
    assert line.endswith("activity pay timed out: schedule_to_start; no other follows")


async def test_a_blocked_run_and_its_going_on_are_told(client: Client, caplog):
    async with Worker(client, task_queue=QUEUE, workflows=[Wrong]):
        handle = await client.start_workflow("Wrong", id="x", task_queue=QUEUE)
        async with asyncio.timeout(20):
            while not told(caplog):  # noqa: ASYNC110 - a log tells nobody
                await asyncio.sleep(0.02)
    async with Worker(client, task_queue=QUEUE, workflows=[Mended]):
        assert await handle.result() == "mended"

    blocked, goes_on = told(caplog)
    where = f"workflow 'x' (Wrong, run {handle.first_execution_run_id})"
    assert blocked.startswith(f"{where} is blocked (error): Wrong raised KeyError: 'missing'")
    assert "test_trouble_log.py" in blocked
    assert goes_on == f"{where} was blocked, and goes on"


def test_lines_of_one_type_are_few_a_minute_and_what_is_held_back_is_counted(caplog):
    clock = Clock()
    log = TroubleLog(clock=clock)
    task, other = make_task(1), make_task(2, "other")
    for _ in range(1_000):
        log.attempt_failed(task, application_failure("no", "Broke"), now_ms=0)
    log.attempt_failed(other, application_failure("no", "Broke"), now_ms=0)
    assert len(told(caplog)) == LINES_MAX + 1

    clock.now_s = 61
    log.flush()
    assert (
        told(caplog)[-1] == "995 more of this kind were held back within 61 s: attempt work Broke"
    )
    log.attempt_failed(task, application_failure("no", "Broke"), now_ms=0)
    assert len(told(caplog)) == LINES_MAX + 3


def test_how_many_types_are_remembered_is_limited(caplog):
    log = TroubleLog(clock=Clock())
    for number in range(3_000):
        log.tell(f"type {number}", "line")

    assert len(log._types) == 1_000


def test_attempts_say_when_no_other_follows(caplog):
    log = TroubleLog(clock=Clock())
    policy = Policy(maximum_attempts=3)
    failure = application_failure("no", "Broke", non_retryable=True)
    log.attempt_failed(make_task(1, attempt=1, retry_policy=policy), failure, now_ms=0)

    assert told(caplog)[0].endswith("failed: Broke: no; no other follows")


def test_the_own_line_of_a_stack_is_the_users():
    stack = """Traceback (most recent call last):
  File "/x/sdk/perdure/activity.py", line 1, in call
    a
  File "/app/shop.py", line 7, in pay
    b
  File "/usr/lib/python3.11/json/__init__.py", line 3, in loads
    c
ValueError: no
"""
    assert own_line(stack) == "/app/shop.py:7 in pay"
    assert own_line("nothing") == ""


def test_lines_of_the_library_that_heal_are_for_who_looks_closely(caplog):
    line, lasting = "10:9092: Connection refused", "SASL authentication error: no such user"
    for text in (line, lasting):
        LIBRARY_LOG.log(logging.ERROR, "%s [%s] %s", "FAIL", "perdure#producer-1", text)
    assert [one.getMessage() for one in caplog.records] == [f"FAIL [perdure#producer-1] {lasting}"]

    caplog.clear()
    caplog.set_level(logging.DEBUG, LIBRARY_LOG.name)
    LIBRARY_LOG.log(logging.ERROR, "%s [%s] %s", "FAIL", "perdure#producer-1", line)
    assert [one.levelno for one in caplog.records] == [logging.DEBUG]
