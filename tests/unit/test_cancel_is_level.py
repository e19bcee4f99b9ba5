"""A cancellation is seen, whatever ends in the step that it finds the code waiting for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from perdure import workflow
from perdure.exceptions import ActivityError, ChildWorkflowError
from perdure_schemas import child_events as ce
from perdure_schemas.payloads import Record
from tests.unit.player import CONVERTER, Play, Player, kinds, result_of

MINUTE = timedelta(minutes=1)
WAITS = workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
Kind = workflow.ChildWorkflowCancellationType


async def by_call() -> Any:
    return await workflow.execute_activity(
        "act", start_to_close_timeout=MINUTE, cancellation_type=WAITS
    )


async def by_local_call() -> Any:
    return await workflow.execute_local_activity(
        "act", start_to_close_timeout=MINUTE, cancellation_type=WAITS
    )


async def by_handle() -> Any:
    return await workflow.start_activity(
        "act", start_to_close_timeout=MINUTE, cancellation_type=WAITS
    )


async def by_task() -> Any:
    return await asyncio.create_task(by_call())


async def by_task_of_handle() -> Any:
    return await asyncio.create_task(by_handle())


async def by_gather() -> Any:
    return await asyncio.gather(by_call())


async def by_gathered_handles() -> Any:
    handle = workflow.start_activity("act", start_to_close_timeout=MINUTE, cancellation_type=WAITS)
    return await asyncio.gather(handle)


async def by_group() -> Any:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(by_call())
    return task.result()


async def by_wait() -> Any:
    done, _ = await asyncio.wait([asyncio.create_task(by_call())])
    return done.pop().result()


async def by_shield() -> Any:
    return await asyncio.shield(by_handle())


async def by_wait_for() -> Any:
    return await asyncio.wait_for(by_call(), 100)


async def by_timeout() -> Any:
    async with asyncio.timeout(100):
        return await by_call()


async def by_child() -> Any:
    return await workflow.execute_child_workflow("Kid", id="kid")


async def by_child_handle() -> Any:
    return await (await workflow.start_child_workflow("Kid", id="kid"))


async def by_asked_child() -> Any:
    return await workflow.execute_child_workflow(
        "Kid", id="kid", cancellation_type=Kind.WAIT_CANCELLATION_REQUESTED
    )


OF_ACTIVITIES = [
    by_call,
    by_local_call,
    by_handle,
    by_task,
    by_task_of_handle,
    by_gather,
    by_gathered_handles,
    by_group,
    by_wait,
    by_shield,
    by_wait_for,
    by_timeout,
]
OF_CHILDREN = [by_child, by_child_handle, by_asked_child]
WAYS = {way.__name__: way for way in [*OF_ACTIVITIES, *OF_CHILDREN]}


@workflow.defn
class Stepping:
    """It takes a step, and another, and would go on."""

    @workflow.run
    async def run(self, way: str) -> str:
        try:
            await WAYS[way]()
        except (ActivityError, ChildWorkflowError):
            if workflow.cancellation_reason() is None:
                raise
        await workflow.sleep(10)
        return "went on"


def _names(ways: list[Callable[[], Any]]) -> list[str]:
    return [way.__name__ for way in ways]


@pytest.mark.parametrize("way", _names(OF_ACTIVITIES))
@pytest.mark.parametrize("how", ["complete", "fail", "time_out"])
def test_a_cancel_while_an_activity_ends_is_seen_at_the_next_wait(
    play: Play, way: str, how: str
) -> None:
    player = play(Stepping, way)
    player.cancel("because")
    if kinds(player.all_outputs)[-1] == "WorkflowCanceled":
        assert way in ("by_wait", "by_shield"), "these let go at once"
        return

    outputs = getattr(player, how)("1")

    assert kinds(outputs)[-1] == "WorkflowCanceled"
    assert "TimerStarted" not in kinds(outputs), "the next step is not taken"


@pytest.mark.parametrize("way", _names(OF_CHILDREN))
@pytest.mark.parametrize(
    "ended",
    [
        ce.ChildWorkflowCompleted(child_id="1", run_id="r", result=CONVERTER.to_payload(5)),
        ce.ChildWorkflowTimedOut(child_id="1", run_id="r"),
        ce.ChildWorkflowTerminated(child_id="1", run_id="r"),
    ],
)
def test_a_cancel_while_a_child_ends_is_seen_at_the_next_wait(
    play: Play, way: str, ended: Record
) -> None:
    player = play(Stepping, way)
    player.give(ce.ChildWorkflowStarted(child_id="1", run_id="r"))
    assert kinds(player.cancel("because")) == ["ChildCancelRequested"]

    assert kinds(player.give(ended)) == ["WorkflowCanceled"]


@workflow.defn
class Tidying:
    """Cancelled once, it tidies up in peace."""

    @workflow.run
    async def run(self, way: str) -> str:
        try:
            await WAYS[way]()
            await workflow.sleep(10)
        except asyncio.CancelledError:
            await by_call()
            await workflow.sleep(5)
            return "tidied"
        return "went on"


@pytest.mark.parametrize("way", _names(OF_ACTIVITIES))
def test_a_cancel_is_seen_once(play: Play, way: str) -> None:
    player = play(Tidying, way)
    player.cancel()
    if kinds(player.outputs)[-1] != "ActivityScheduled":
        player.complete("1")

    assert kinds(player.outputs)[-1] == "ActivityScheduled", "what tidies up is not cancelled"
    (slept,) = player.complete("2")
    assert type(slept).__name__ == "TimerStarted"
    (end,) = player.fire(slept.timer_id, after_s=5)  # type: ignore[attr-defined]
    assert result_of(end) == "tidied"


@workflow.defn
class Looping:
    @workflow.run
    async def run(self) -> int:
        for _ in range(3):
            await by_call()
            await by_handle()
        return 6


def test_a_run_of_short_activities_notices_its_cancel(play: Play) -> None:
    player = play(Looping)
    player.complete("1")
    player.cancel()

    assert kinds(player.complete("2")) == ["WorkflowCanceled"]


@workflow.defn
class Starting:
    @workflow.run
    async def run(self, kind: int, limit_s: float) -> str:
        async with asyncio.timeout(limit_s or None):
            try:
                await workflow.start_child_workflow(
                    "Kid", id="kid", task_queue="nobody", cancellation_type=Kind(kind)
                )
            except ChildWorkflowError as error:
                return f"not started: {type(error.cause).__name__}"
        return "went on"


@pytest.mark.parametrize("kind", list(Kind))
def test_who_waits_for_a_child_to_start_is_cancelled_at_once(play: Play, kind: Kind) -> None:
    player = play(Starting, kind, 0)

    outputs = player.cancel()

    asked = [] if kind is Kind.ABANDON else ["ChildCancelRequested"]
    assert kinds(outputs) == [*asked, "WorkflowCompleted"]
    assert result_of(outputs[-1]) == "not started: CancelledError"


@workflow.defn
class Patient:
    @workflow.run
    async def run(self, is_executed: bool) -> str:
        start = workflow.execute_child_workflow if is_executed else workflow.start_child_workflow
        try:
            async with asyncio.timeout(5):
                await start("Kid", id="kid", task_queue="nobody")
        except TimeoutError:
            return "late"
        return "in time"


@pytest.mark.parametrize("is_executed", [False, True])
def test_a_timeout_round_the_start_of_a_child_that_never_runs(
    play: Play, is_executed: bool
) -> None:
    player = play(Patient, is_executed)

    outputs = player.fire("1", after_s=5)

    assert kinds(outputs) == ["ChildCancelRequested", "WorkflowCompleted"]
    assert result_of(outputs[-1]) == "late"


@workflow.defn
class Late:
    @workflow.run
    async def run(self) -> str:
        try:
            async with asyncio.timeout(5):
                await by_call()
        except TimeoutError:
            await workflow.sleep(1)
            return "late"
        return "in time"


def test_a_result_after_a_timeout_is_late(play: Play) -> None:
    player = play(Late)
    assert kinds(player.fire("1", after_s=5)) == ["ActivityCancelRequested"]

    assert kinds(player.complete("1")) == ["TimerStarted"]
    (end,) = player.fire("2", after_s=1)
    assert result_of(end) == "late"


@workflow.defn
class Reasoning:
    @workflow.run
    async def run(self, way: str) -> None:
        if way == "handle":
            child = await workflow.start_child_workflow("Kid", id="kid")
            child.cancel("no longer needed")
        else:
            task = asyncio.create_task(by_child())
            await workflow.sleep(1)
            task.cancel("no longer needed")
        await workflow.wait_condition(lambda: False)


@pytest.mark.parametrize("way", ["handle", "task"])
def test_the_reason_of_cancelling_a_child_is_kept(play: Play, way: str) -> None:
    player = play(Reasoning, way)
    asked = player.give(ce.ChildWorkflowStarted(child_id="1", run_id="r"))
    if way == "task":
        asked = player.fire("1", after_s=1)

    (cancel,) = asked
    assert isinstance(cancel, ce.ChildCancelRequested)
    assert cancel.reason == "no longer needed"


@workflow.defn
class Sharing:
    @workflow.run
    async def run(self) -> str:
        handle = workflow.start_activity(
            "act", start_to_close_timeout=MINUTE, cancellation_type=WAITS
        )
        handle.cancel()
        got = await handle
        await workflow.sleep(1)
        return f"got {got}"


def test_cancelling_a_handle_cancels_nobody_who_waits_for_it(play: Play) -> None:
    player = play(Sharing)
    # Cancelled as it was asked for, it was never asked for.
    assert "ActivityScheduled" not in kinds(player.outputs)


def test_replay_of_a_cancel_that_was_owed_is_the_same(play: Play) -> None:
    player = Player(Stepping, "by_gather")
    player.cancel()
    player.complete("1")

    player.check()


@workflow.defn
class Renewing:
    @workflow.run
    async def run(self) -> None:
        await by_call()
        workflow.continue_as_new()


def test_a_run_that_is_cancelled_does_not_continue_as_one_that_is_not(play: Play) -> None:
    player = play(Renewing)
    player.cancel()

    assert kinds(player.complete("1")) == ["WorkflowCanceled"]
