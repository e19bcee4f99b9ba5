"""Ordinary asyncio in workflows: timers, timeouts, groups, locks, queues and conditions."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from perdure import workflow
from perdure_actors.replay.blocked import BlockedError
from perdure_schemas.events import (
    TimerStarted,
    WorkflowFailed,
)
from tests.unit.player import Play, Player, kinds, result_of

MINUTE = timedelta(minutes=1)


@workflow.defn
class Sleeping:
    @workflow.run
    async def run(self) -> list[float]:
        began = workflow.time()
        await asyncio.sleep(0)
        await asyncio.sleep(1.5)
        await workflow.sleep(timedelta(hours=1), summary="a nap")
        return [workflow.time() - began, asyncio.get_running_loop().time() - began]


def test_sleep_is_a_durable_timer_on_the_clock_of_the_history(play: Play) -> None:
    player = play(Sleeping)
    (first,) = player.outputs
    assert isinstance(first, TimerStarted)
    assert (first.timer_id, first.duration_ms) == ("1", 1500)
    assert "in Sleeping.run" in first.call_site

    (second,) = player.fire("1", after_s=2)
    assert isinstance(second, TimerStarted)
    assert (second.timer_id, second.duration_ms) == ("2", 3_600_000)
    assert second.summary is not None

    (end,) = player.fire("2", after_s=3600)
    assert result_of(end) == [3602.0, 3602.0]


@workflow.defn
class Timing:
    @workflow.run
    async def run(self, how: str) -> str:
        activity = workflow.execute_activity("slow", start_to_close_timeout=MINUTE)
        try:
            if how == "wait_for":
                await asyncio.wait_for(activity, 5)
            elif how == "timeout":
                async with asyncio.timeout(5):
                    await activity
            else:
                async with asyncio.timeout(5), asyncio.TaskGroup() as group:
                    group.create_task(activity)
        except TimeoutError:
            return "late"
        return "in time"


@workflow.defn
class Impatient:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False, timeout=5)


def test_a_timeout_that_nobody_catches_fails_the_run(play: Play) -> None:
    player = play(Impatient)

    (end,) = player.fire("1", after_s=5)

    assert isinstance(end, WorkflowFailed)
    assert end.failure is not None
    assert (end.failure.chain[0].kind, end.failure.chain[0].type) == ("application", "TimeoutError")
    assert "in Impatient.run" in end.call_site


@pytest.mark.parametrize("how", ["wait_for", "timeout", "group"])
def test_asyncio_timeouts_end_an_activity(play: Play, how: str) -> None:
    player = play(Timing, how)
    assert sorted(kinds(player.outputs)) == ["ActivityScheduled", "TimerStarted"]

    player.fire("1", after_s=5)

    assert kinds(player.outputs) == ["ActivityCancelRequested", "WorkflowCompleted"]
    assert result_of(player.outputs[1]) == "late"


@pytest.mark.parametrize("how", ["wait_for", "timeout", "group"])
def test_a_result_in_time_cancels_the_timer(play: Play, how: str) -> None:
    player = play(Timing, how)

    player.complete("1")

    assert kinds(player.outputs) == ["TimerCanceled", "WorkflowCompleted"]
    assert result_of(player.outputs[1]) == "in time"


@workflow.defn
class Grouped:
    @workflow.run
    async def run(self) -> str:
        async with asyncio.TaskGroup() as group:
            for name in ("a", "b", "c"):
                group.create_task(workflow.execute_activity(name, start_to_close_timeout=MINUTE))
        return "all"


def test_a_task_group_cancels_the_others_and_fails_the_run_with_the_failure(play: Play) -> None:
    player = play(Grouped)

    player.fail("2", "b broke")

    assert kinds(player.outputs) == [
        "ActivityCancelRequested",
        "ActivityCancelRequested",
        "WorkflowFailed",
    ]
    assert [getattr(output, "activity_id", "") for output in player.outputs] == ["1", "3", ""]
    failed = player.outputs[2]
    assert isinstance(failed, WorkflowFailed)
    assert failed.failure.chain[-1].message == "b broke"


@workflow.defn
class Synchronised:
    def __init__(self) -> None:
        self.seen: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        lock, event, queue = asyncio.Lock(), asyncio.Event(), asyncio.Queue[str]()

        async def worker(name: str) -> None:
            await event.wait()
            async with lock:
                await asyncio.sleep(0)
                self.seen.append(name)
                await queue.put(name)

        tasks = {asyncio.create_task(worker(name)) for name in "abcdefgh"}
        await asyncio.sleep(1)
        event.set()
        first = await queue.get()
        done, _ = await asyncio.wait(tasks)
        assert await asyncio.shield(asyncio.sleep(0, result=True))
        order = [task.get_name() for task in done]
        ended = [await each for each in workflow.as_completed([asyncio.sleep(0, "x")])]
        return [first, *self.seen, *order, *ended]


def test_locks_events_queues_and_sets_of_tasks_are_deterministic(play: Play) -> None:
    player = play(Synchronised)

    (end,) = player.fire("1", after_s=1)

    names = result_of(end)
    assert names[:9] == ["a", *"abcdefgh"]
    assert names[-1] == "x"
    for _ in range(5):
        again = player.replayed()
        assert again.instance.seen == list("abcdefgh")
        again.close()
    other = Player(Synchronised)
    assert result_of(other.fire("1", after_s=1)[0]) == names


@workflow.defn
class Conditional:
    def __init__(self) -> None:
        self.slots = 0
        self.log: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        async def take(name: str) -> None:
            await workflow.wait_condition(lambda: self.slots > 0)
            self.slots -= 1
            self.log.append(f"{name}{self.slots}")

        tasks = [asyncio.create_task(take(name)) for name in "ab"]
        await asyncio.sleep(1)
        self.slots = 1
        try:
            await workflow.wait_condition(lambda: len(self.log) == 2, timeout=5)
        except TimeoutError:
            self.log.append("late")
            self.slots = 1
        await asyncio.gather(*tasks)
        return self.log


def test_conditions_wake_one_waiter_at_a_time_and_time_out(play: Play) -> None:
    player = play(Conditional)
    assert kinds(player.fire("1", after_s=1)) == ["TimerStarted"]
    assert player.run.instance.log == ["a0"]

    player.fire("2", after_s=5)

    assert result_of(player.outputs[-1]) == ["a0", "late", "b0"]


@workflow.defn
class Peeking:
    @workflow.run
    async def run(self) -> None:
        self.is_set = False

        def look() -> bool:
            if self.is_set:
                workflow.start_activity("act", start_to_close_timeout=MINUTE)
            return False

        waiter = asyncio.create_task(workflow.wait_condition(look))
        await asyncio.sleep(0)
        self.is_set = True
        await waiter


def test_a_condition_may_only_look() -> None:
    with pytest.raises(BlockedError, match="must only look") as blocked:
        Player(Peeking)
    assert blocked.value.cause == "error"
