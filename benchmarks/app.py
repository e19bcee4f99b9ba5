"""The workflows and activities that the benchmarks run."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import Any

from benchmarks.requests import count_requests
from benchmarks.thread_names import name_threads
from perdure import activity, workflow
from perdure.common import RetryPolicy
from perdure.exceptions import ApplicationError

TASK_QUEUE = "bench"
count_requests()
name_threads()
MINUTE = timedelta(minutes=1)
RETRY = RetryPolicy(
    initial_interval=timedelta(milliseconds=100), backoff_coefficient=2.0, maximum_attempts=5
)


@activity.defn
async def charge_payment(order: dict[str, Any]) -> dict[str, Any]:
    """An instant activity."""
    return {"charged": order["order_id"]}


@activity.defn
async def deduct_inventory(order: dict[str, Any]) -> dict[str, Any]:
    """An instant activity."""
    return {"deducted": order["quantity"]}


@activity.defn
async def send_notification(order: dict[str, Any]) -> dict[str, Any]:
    """An instant activity."""
    return {"notified": order["user_id"]}


@activity.defn
async def nap(number: int, seconds: float) -> int:
    """An activity that takes its time."""
    if seconds:
        await asyncio.sleep(seconds)
    return number


@activity.defn
async def fails_twice() -> int:
    """An activity whose third attempt succeeds."""
    attempt = activity.info().attempt
    if attempt < 3:
        raise ApplicationError(f"attempt {attempt} fails")
    return attempt


@workflow.defn
class OrderWorkflow:
    """The work of peers.md: three instant activities in sequence."""

    @workflow.run
    async def run(self, order: dict[str, Any]) -> dict[str, Any]:
        """Charge, deduct, notify."""
        for step in (charge_payment, deduct_inventory, send_notification):
            await workflow.execute_activity(
                step, order, start_to_close_timeout=MINUTE, retry_policy=RETRY
            )
        return {"order_id": order["order_id"], "status": "done"}


@workflow.defn
class FanOutWorkflow:
    """Many activities at once."""

    @workflow.run
    async def run(self, count: int, seconds: float) -> int:
        """Start them all, then wait for all."""
        handles = [
            workflow.start_activity(nap, args=[n, seconds], start_to_close_timeout=MINUTE)
            for n in range(count)
        ]
        return sum(await asyncio.gather(*handles))


@workflow.defn
class SequenceWorkflow:
    """Many activities one after another; it returns when each began, in ms."""

    @workflow.run
    async def run(self, count: int) -> list[float]:
        """One after another."""
        times = []
        for number in range(count):
            times.append(workflow.time() * 1000)
            await workflow.execute_activity(nap, args=[number, 0.0], start_to_close_timeout=MINUTE)
        times.append(workflow.time() * 1000)
        return times


@workflow.defn
class SleeperWorkflow:
    """A workflow that waits for a day."""

    @workflow.run
    async def run(self) -> None:
        """Sleep."""
        await workflow.sleep(timedelta(days=1))


@workflow.defn
class ListenerWorkflow:
    """A workflow that is told things, and changes when it is asked to."""

    def __init__(self) -> None:
        self.told = 0

    @workflow.run
    async def run(self) -> None:
        """Listen for ever."""
        await workflow.wait_condition(lambda: False)

    @workflow.signal
    def tell(self, number: int) -> None:
        """Count it."""
        del number
        self.told += 1

    @workflow.update
    async def change(self, number: int) -> int:
        """Count it, and say how many there were."""
        self.told += 1
        return self.told + number

    @workflow.query
    def heard(self) -> int:
        """How many there were."""
        return self.told


@workflow.defn
class TimersWorkflow:
    """Many timers due within one second; it returns the earliest and the latest, in s."""

    @workflow.run
    async def run(self, due_s: float, count: int) -> tuple[float, float]:
        """Sleep in many tasks, and say how late each was."""

        async def nap(at_s: float) -> float:
            await asyncio.sleep(max(0.0, at_s - workflow.time()))
            return workflow.time() - at_s

        late = await asyncio.gather(*(nap(due_s + n / count) for n in range(count)))
        return min(late), max(late)


@workflow.defn
class TickerWorkflow:
    """A workflow of many transitions: timers, one after another."""

    @workflow.run
    async def run(self, count: int, rest_s: float = 0.0) -> int:
        """Tick, then rest."""
        for _ in range(count):
            await workflow.sleep(timedelta(milliseconds=1))
        if rest_s:
            await workflow.sleep(rest_s)
        return count


@workflow.defn
class RoundsWorkflow:
    """A workflow of all kinds of steps, round after round: activities, a timer, a signal."""

    def __init__(self) -> None:
        self.told = 0

    @workflow.run
    async def run(self, order: dict[str, Any], rounds: int) -> int:
        """Charge, sleep, wait to be told, deduct."""
        for number in range(rounds):
            await workflow.execute_activity(
                charge_payment, order, start_to_close_timeout=MINUTE, retry_policy=RETRY
            )
            await workflow.sleep(timedelta(seconds=1))
            await workflow.wait_condition(partial(self._is_told, number))
            await workflow.execute_activity(
                deduct_inventory, order, start_to_close_timeout=MINUTE, retry_policy=RETRY
            )
        return self.told

    def _is_told(self, number: int) -> bool:
        return self.told > number

    @workflow.signal
    def tell(self, news: dict[str, Any]) -> None:
        """Count it."""
        self.told += 1


@workflow.defn
class RetryWorkflow:
    """One activity that fails twice."""

    @workflow.run
    async def run(self) -> int:
        """Wait for the third attempt."""
        return await workflow.execute_activity(
            fails_twice, start_to_close_timeout=MINUTE, retry_policy=RETRY
        )
