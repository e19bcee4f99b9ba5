"""The workflows of the process tests: each a pure function of its input, so a wrong turn shows.

Started as `perdure worker tests.broker.orders_app`. Every run of an activity leaves a line in the
journal that PROCESS_JOURNAL names, before it returns: what really happened, whatever came after.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from perdure import activity, workflow
from perdure._records.task_tokens import read_token
from perdure.common import RawValue, RetryPolicy, SearchAttributeKey
from perdure.exceptions import ApplicationError

JOURNAL = "PROCESS_JOURNAL"
TURN = SearchAttributeKey.for_int("Turn")
STAGE = SearchAttributeKey.for_keyword("Stage")
QUICK_RETRY = RetryPolicy(initial_interval=timedelta(milliseconds=100), maximum_attempts=20)


@dataclass
class Job:
    """What a chain is to do."""

    name: str
    steps: int = 3
    pause_ms: int = 0
    """How long each activity takes."""
    nap_ms: int = 0
    """How long the workflow sleeps after each."""
    failures: int = 0
    """How many attempts of each activity fail first."""
    gate: str = ""
    """A file beside the journal that an attempt waits for before it succeeds."""


def link(value: str, number: int) -> str:
    """The next value of a chain: it shows every step before it, and their order."""
    return hashlib.sha256(f"{value}/{number}".encode()).hexdigest()[:16]


def outcome_of(job: Job) -> str:
    """What the chain of a job returns."""
    value = job.name
    for number in range(job.steps):
        value = link(value, number)
    return value


def write_journal(result: str | None) -> None:
    """A line for an attempt; one write to a file opened to append is whole."""
    info = activity.info()
    line = json.dumps(
        {
            "at_ms": time.time_ns() // 1_000_000,
            "token": read_token(info.task_token).token.hex(),
            "worker_id": str(os.getpid()),
            "run_id": info.workflow_run_id,
            "activity_id": info.activity_id,
            "attempt": info.attempt,
            "result": result,
            "workflow_id": info.workflow_id,
        }
    )
    file = os.open(os.environ[JOURNAL], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, f"{line}\n".encode())
    finally:
        os.close(file)


async def opened(gate: Path) -> None:
    """Wait until a test has made a file."""
    while not os.path.exists(gate):  # noqa: ASYNC110, ASYNC240, PTH110 - another process makes it
        await asyncio.sleep(0.02)


@activity.defn
async def forge(job: Job, value: str, number: int) -> str:
    """One step: the next value of the chain."""
    fails = activity.info().attempt <= job.failures
    result = link(value, number)
    write_journal(None if fails else result)
    await asyncio.sleep(job.pause_ms / 1000)
    if fails:
        raise ConnectionError(f"attempt {activity.info().attempt} of {job.name} fails on purpose")
    if job.gate:
        await opened(Path(os.environ[JOURNAL]).with_name(job.gate))
    return result


@activity.defn
async def big_result(size: int) -> str:
    """A result of so many characters."""
    return "x" * size


@workflow.defn
class Chain:
    """Steps in sequence, each fed with the result of the one before."""

    @workflow.run
    async def run(self, job: Job) -> str:
        value = job.name
        for number in range(job.steps):
            value = await workflow.execute_activity(
                forge,
                args=[job, value, number],
                start_to_close_timeout=timedelta(seconds=60),
                retry_policy=QUICK_RETRY,
            )
            if job.nap_ms:
                await workflow.sleep(job.nap_ms / 1000)
        return value


@workflow.defn
class OrderWorkflow:
    """What the recipe for any producer starts."""

    @workflow.run
    async def run(self, order: dict[str, object]) -> str:
        return f"{order['id']} costs {order['total']}"


@workflow.defn
class Nap:
    """Sleeps, and says so."""

    @workflow.run
    async def run(self, seconds: float) -> str:
        await workflow.sleep(seconds)
        return "awake"


@workflow.defn
class Visit:
    """Lasts until it is told to end: never a moment less, however slow the machine is."""

    def __init__(self) -> None:
        self.is_over = False

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self.is_over)
        return "over"

    @workflow.signal
    def end(self) -> None:
        self.is_over = True


@workflow.defn
class Boast:
    """Returns, or has an activity return, more than the log takes."""

    @workflow.run
    async def run(self, size: int, by: str) -> str:
        if by == "workflow":
            return "x" * size
        if by == "argument":
            await workflow.execute_activity(
                forge,
                args=[Job("x" * size), "", 0],
                start_to_close_timeout=timedelta(seconds=10),
                retry_policy=RetryPolicy(maximum_attempts=1),
            )
            return "it was taken"
        return await workflow.execute_activity(
            big_result,
            size,
            start_to_close_timeout=timedelta(seconds=10),
            retry_policy=RetryPolicy(maximum_attempts=1),
        )


@workflow.defn
class Stranger:
    """Calls an activity that nobody has."""

    @workflow.run
    async def run(self) -> str:
        result: str = await workflow.execute_activity(
            "nobody_has_this",
            start_to_close_timeout=timedelta(seconds=10),
            retry_policy=RetryPolicy(
                initial_interval=timedelta(milliseconds=100), maximum_attempts=2
            ),
        )
        return result


@workflow.defn
class Life:
    """Notes things down, goes on as a new run, fails once, and ends when it is told to."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    @workflow.run
    async def run(self, turn: int) -> dict[str, Any]:
        workflow.upsert_memo({"turn": turn, "first": None})
        stage = "late" if workflow.patched("late") else "early"
        workflow.upsert_search_attributes([TURN.value_set(turn), STAGE.value_set(stage)])
        number = workflow.side_effect(lambda: turn * 10)
        if turn == 1:
            workflow.continue_as_new(2)
        if workflow.info().attempt == 1:
            raise ApplicationError("once more", type="Again")
        await workflow.wait_condition(lambda: "end" in self.heard)
        failure = workflow.get_last_failure()
        return {
            "number": number,
            "memo": dict(workflow.memo()),
            "turn": workflow.info().typed_search_attributes.get(TURN),
            "failure": str(failure),
            "heard": self.heard,
        }

    @workflow.signal(dynamic=True)
    def any_signal(self, name: str, args: Sequence[RawValue]) -> None:
        self.heard.append(name)

    @workflow.update(dynamic=True)
    def any_update(self, name: str, args: Sequence[RawValue]) -> RawValue:
        self.heard.append(name)
        return args[0]

    @workflow.query(dynamic=True)
    def any_query(self, name: str, args: Sequence[RawValue]) -> list[str]:
        return self.heard
