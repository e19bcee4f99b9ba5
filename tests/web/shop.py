"""Workflows that the pages are looked at with: quick, slow, failing, blocked, and hostile ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from perdure import activity, workflow
from perdure.common import RetryPolicy
from perdure.exceptions import ApplicationError

TASK_QUEUE = "shop"
SOON = timedelta(seconds=20)
HOUR_S = 3600
"""Longer than any test: a run that sleeps so long is there until it is ended."""


@activity.defn
async def greet(name: str) -> str:
    return f"Hello, {name}!"


@activity.defn
async def stumble(fails: int) -> str:
    attempt = activity.info().attempt
    if attempt <= fails:
        raise ConnectionError(f"the bank did not answer ({attempt})")
    return f"answered at attempt {attempt}"


@activity.defn
async def refuse(said: str) -> None:
    raise ApplicationError(said, type="Refused", non_retryable=True)


@workflow.defn
class Greeting:
    @workflow.run
    async def run(self, name: str) -> str:
        return await workflow.execute_activity(greet, name, start_to_close_timeout=SOON)


@workflow.defn
class Sleeping:
    @workflow.run
    async def run(self, seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "slept"


@workflow.defn
class Stumbling:
    @workflow.run
    async def run(self, fails: int, back_off_s: float) -> str:
        return await workflow.execute_activity(
            stumble,
            fails,
            start_to_close_timeout=SOON,
            retry_policy=RetryPolicy(
                initial_interval=timedelta(seconds=back_off_s), backoff_coefficient=1.0
            ),
        )


@workflow.defn
class Refusing:
    @workflow.run
    async def run(self, said: str) -> None:
        await workflow.execute_activity(refuse, said, start_to_close_timeout=SOON)


@workflow.defn
class Echoing:
    @workflow.run
    async def run(self, value: Any) -> Any:
        return value


@workflow.defn
class Family:
    @workflow.run
    async def run(self, child: str) -> Any:
        return await workflow.execute_child_workflow(Greeting.run, "child", id=child)


@workflow.defn
class Lonely:
    """Asks for an activity where nobody listens."""

    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_activity(
            greet, "you", task_queue="nobody-is-here", start_to_close_timeout=SOON
        )


@workflow.defn
class Counting:
    """Counts what it is told, until it is told to stop."""

    def __init__(self) -> None:
        self.total = 0
        self.is_over = False

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_condition(lambda: self.is_over)
        return self.total

    @workflow.signal
    def add(self, number: int) -> None:
        self.total += number

    @workflow.signal
    def stop(self) -> None:
        self.is_over = True

    @workflow.query
    def count(self) -> int:
        return self.total

    @workflow.update
    async def double(self) -> int:
        self.total *= 2
        return self.total

    @double.validator
    def check_double(self) -> None:
        if not self.total:
            raise ValueError("there is nothing to double")


@workflow.defn
class Leaving:
    """Starts children that wait for a signal, and fails before they end."""

    @workflow.run
    async def run(self, children: list[str]) -> None:
        for child in children:
            await workflow.start_child_workflow(
                Counting.run,
                id=child,
                parent_close_policy=workflow.ParentClosePolicy.ABANDON,
            )
        raise ApplicationError("left", non_retryable=True)


@workflow.defn
class Buggy:
    @workflow.run
    async def run(self) -> str:
        prices: dict[str, str] = {}
        return prices["<b>lamp</b>"]


@workflow.defn
class Rolling:
    """Goes on as a new run so many times, then fails once and is tried again."""

    @workflow.run
    async def run(self, times: int) -> str:
        if times:
            workflow.continue_as_new(times - 1)
        if workflow.info().attempt == 1:
            raise ApplicationError("once")
        return "rolled"


@workflow.defn
class Busy:
    @workflow.run
    async def run(self, number: int, chars: int) -> int:
        greetings = [
            workflow.execute_activity(greet, str(one).zfill(chars), start_to_close_timeout=SOON)
            for one in range(number)
        ]
        return len(await asyncio.gather(*greetings))


WORKFLOWS = [
    Rolling,
    Greeting,
    Sleeping,
    Stumbling,
    Refusing,
    Echoing,
    Family,
    Leaving,
    Lonely,
    Counting,
    Buggy,
    Busy,
]
ACTIVITIES: list[Callable[..., Any]] = [greet, stumble, refuse]
