"""anyio in workflow code: cancel scopes, task groups, streams and locks."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import pytest

from perdure import workflow
from tests.unit.player import Play, Player, kinds, result_of

MINUTE = timedelta(minutes=1)
WAITS = workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
KINDS = list(workflow.ActivityCancellationType)


async def act(kind: int = WAITS, name: str = "act") -> Any:
    return await workflow.execute_activity(
        name,
        start_to_close_timeout=MINUTE,
        cancellation_type=workflow.ActivityCancellationType(kind),
    )


async def act_by_handle(kind: int) -> Any:
    return await workflow.start_activity(
        "act",
        start_to_close_timeout=MINUTE,
        cancellation_type=workflow.ActivityCancellationType(kind),
    )


@workflow.defn
class Moving:
    """It moves on after five seconds."""

    @workflow.run
    async def run(self, kind: int, way: str) -> str:
        with anyio.move_on_after(5) as scope:
            if way == "call":
                await act(kind)
            elif way == "handle":
                await act_by_handle(kind)
            elif way == "group":
                async with anyio.create_task_group() as group:
                    group.start_soon(act, kind)
                    await anyio.sleep(100)
            else:
                await workflow.wait_condition(lambda: False)
        await workflow.sleep(1)
        return "moved on" if scope.cancelled_caught else "in time"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["call", "handle", "group", "condition"])
def test_a_scope_moves_on_after_a_time(play: Play, kind: int, way: str) -> None:
    player = play(Moving, kind, way)
    outputs = player.fire("1", after_s=5)

    if kind == WAITS and way != "condition":
        # What waits for the end of its activity is cancelled once that has come.
        assert "ActivityCancelRequested" in kinds(outputs)
        outputs = player.confirm_canceled("1")
    (slept,) = [output for output in outputs if kinds([output]) == ["TimerStarted"]]
    (end,) = player.fire(slept.timer_id, after_s=1)  # type: ignore[attr-defined]
    assert result_of(end) == "moved on"


def test_a_scope_is_not_told_that_its_activity_ended_in_time(play: Play) -> None:
    player = play(Moving, WAITS, "call")

    assert kinds(player.complete("1", "fine")) == ["TimerCanceled", "TimerStarted"]


@pytest.mark.parametrize("way", ["call", "handle"])
def test_a_result_after_a_scope_was_cancelled_is_late(play: Play, way: str) -> None:
    player = play(Moving, WAITS, way)
    player.fire("1", after_s=5)

    assert kinds(player.complete("1", "too late")) == ["TimerStarted"]
    (end,) = player.fire("2", after_s=1)
    assert result_of(end) == "moved on"


@workflow.defn
class Grouping:
    @workflow.run
    async def run(self, how: str) -> list[str]:
        self.heard: list[str] = []
        try:
            async with anyio.create_task_group() as group:
                await group.start(self._begin)
                group.start_soon(self._work, "a")
                group.start_soon(self._work, "b")
                if how == "fail":
                    group.start_soon(self._fail)
        except BaseExceptionGroup as errors:
            self.heard.append(f"failed {len(errors.exceptions)}")
        except asyncio.CancelledError:
            self.heard.append("cancelled")
        return self.heard

    async def _begin(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        await anyio.sleep(1)
        task_status.started()
        self.heard.append("begun")

    async def _work(self, name: str) -> None:
        try:
            await act(workflow.ActivityCancellationType.TRY_CANCEL, name)
        except asyncio.CancelledError:
            self.heard.append(f"{name} cancelled")
            raise
        self.heard.append(f"{name} done")

    async def _fail(self) -> None:
        await anyio.sleep(2)
        raise ValueError("a bug")


def test_a_task_group_awaits_its_tasks(play: Play) -> None:
    player = play(Grouping, "")
    assert kinds(player.fire("1", after_s=1)) == ["ActivityScheduled", "ActivityScheduled"]
    player.complete("2")
    (end,) = player.complete("1")

    assert result_of(end) == ["begun", "b done", "a done"]


def test_a_task_group_cancels_its_tasks_when_one_fails(play: Play) -> None:
    player = play(Grouping, "fail")
    player.fire("1", after_s=1)
    outputs = player.fire("2", after_s=2)

    assert result_of(outputs[-1]) == ["begun", "a cancelled", "b cancelled", "failed 1"]


def test_cancelling_the_run_cancels_a_task_group(play: Play) -> None:
    player = play(Grouping, "")
    player.fire("1", after_s=1)
    outputs = player.cancel()

    assert result_of(outputs[-1]) == ["begun", "a cancelled", "b cancelled", "cancelled"]


@workflow.defn
class Stubborn:
    """What it catches comes again, as long as its scope lasts."""

    @workflow.run
    async def run(self) -> list[str]:
        heard = []
        with anyio.CancelScope() as scope:
            asyncio.get_running_loop().call_later(1, scope.cancel)
            for name in ("first", "second"):
                try:
                    await workflow.sleep(100)
                except asyncio.CancelledError:
                    heard.append(name)
            with anyio.CancelScope(shield=True):
                await act()
                heard.append("shielded")
            await anyio.lowlevel.checkpoint()
            heard.append("never")
        return heard


def test_a_scope_that_is_cancelled_is_so_at_every_wait(play: Play) -> None:
    player = play(Stubborn)
    assert kinds(player.fire("1", after_s=1))[-1] == "ActivityScheduled"

    (end,) = player.complete("1")

    assert result_of(end) == ["first", "second", "shielded"]


@workflow.defn
class Streaming:
    @workflow.run
    async def run(self) -> list[int]:
        got: list[int] = []
        limit, done, lock = anyio.Semaphore(1), anyio.Event(), anyio.Lock()
        sender, receiver = anyio.create_memory_object_stream[int](2)

        async def produce() -> None:
            async with sender, limit:
                for number in range(5):
                    await sender.send(number)
                    await anyio.lowlevel.checkpoint()

        async def consume() -> None:
            async with receiver, lock:
                async for number in receiver:
                    got.append(number)
            done.set()

        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(produce)
                group.start_soon(consume)
                await done.wait()
        return got


def test_streams_locks_and_events(play: Play) -> None:
    player = play(Streaming)

    assert kinds(player.outputs) == ["WorkflowCompleted"]
    assert result_of(player.outputs[-1]) == [0, 1, 2, 3, 4]


@workflow.defn
class Failing:
    @workflow.run
    async def run(self) -> str:
        try:
            with anyio.fail_after(3):
                await act(workflow.ActivityCancellationType.TRY_CANCEL)
        except TimeoutError:
            return f"late at {anyio.current_time():.0f}"
        return "in time"


def test_failing_after_a_time(play: Play) -> None:
    player: Player = play(Failing)
    start_s = player.time_ms / 1000

    outputs = player.fire("1", after_s=3)

    assert result_of(outputs[-1]) == f"late at {start_s + 3:.0f}"
