"""Cancelling runs and activities, dropping code from memory, and blocking and resuming."""

from __future__ import annotations

import asyncio
import gc
import warnings
from datetime import timedelta

import pytest

from perdure import workflow
from perdure.exceptions import ActivityError, CancelledError
from perdure_actors.replay.blocked import BlockedError
from perdure_schemas.events import (
    ActivityCancelRequested,
    ActivityScheduled,
    TimerCanceled,
    TimerStarted,
    WorkflowBlocked,
    WorkflowCanceled,
    WorkflowCompleted,
    WorkflowResumed,
)
from perdure_schemas.payloads import Record
from tests.unit.player import CONVERTER, Play, Player, kinds, result_of

MINUTE = timedelta(minutes=1)


@workflow.defn
class Canceling:
    @workflow.run
    async def run(self, kind: int) -> str:
        try:
            await workflow.execute_activity(
                "act",
                start_to_close_timeout=MINUTE,
                cancellation_type=workflow.ActivityCancellationType(kind),
            )
        except ActivityError as error:
            assert isinstance(error.cause, CancelledError)  # noqa: PT017 - user code
            reason = workflow.cancellation_reason()
            await workflow.execute_activity("clean_up", reason, start_to_close_timeout=MINUTE)
            raise
        return "done"


def test_cancelling_a_run_tries_to_cancel_its_activity(play: Play) -> None:
    player = play(Canceling, workflow.ActivityCancellationType.TRY_CANCEL)

    asked, cleaning = player.cancel("because")

    assert isinstance(asked, ActivityCancelRequested)
    assert asked.call_site.endswith("in Canceling.run"), "where it was awaited"
    assert isinstance(cleaning, ActivityScheduled)
    assert CONVERTER.from_payloads(cleaning.input) == ["because"]
    assert player.complete("1") == [], "nobody waits for it any more"
    assert player.cancel() == [], "a run is cancelled once"
    (end,) = player.complete("2")
    assert isinstance(end, WorkflowCanceled)


def test_waiting_for_cancellation_waits(play: Play) -> None:
    kind = workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
    player = play(Canceling, kind)

    assert kinds(player.cancel()) == ["ActivityCancelRequested"]
    assert kinds(player.confirm_canceled("1")) == ["ActivityScheduled"]
    assert kinds(player.complete("2")) == ["WorkflowCanceled"]


def test_a_result_may_win_against_a_waiting_cancellation(play: Play) -> None:
    kind = workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
    player = play(Canceling, kind)
    player.cancel()

    (end,) = player.complete("1")

    assert result_of(end) == "done"


def test_abandoning_asks_nothing_of_the_activity(play: Play) -> None:
    player = play(Canceling, workflow.ActivityCancellationType.ABANDON)

    (cleaning,) = player.cancel()

    assert isinstance(cleaning, ActivityScheduled)


@workflow.defn
class CancelledAsleep:
    @workflow.run
    async def run(self) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(1)


def test_cancelling_a_sleeping_run_cancels_its_timer_and_lets_it_tidy_up(play: Play) -> None:
    player = play(CancelledAsleep)

    cancelled, tidying = player.cancel()
    assert isinstance(cancelled, TimerCanceled)
    assert isinstance(tidying, TimerStarted)

    assert kinds(player.fire("2", after_s=1)) == ["WorkflowCanceled"]


@workflow.defn
class HandleCanceled:
    @workflow.run
    async def run(self, when: str) -> str:
        handle = workflow.start_activity("act", start_to_close_timeout=MINUTE)
        if when == "later":
            await asyncio.sleep(1)
        assert handle.cancel()
        try:
            await handle
        except ActivityError as error:
            return type(error.cause).__name__
        return "not cancelled"


def test_a_handle_cancelled_at_once_asks_for_nothing(play: Play) -> None:
    (end,) = play(HandleCanceled, "at once").outputs

    assert result_of(end) == "CancelledError"


def test_a_handle_cancelled_later_asks_for_cancellation(play: Play) -> None:
    player = play(HandleCanceled, "later")

    asked, end = player.fire("1", after_s=1)

    assert isinstance(asked, ActivityCancelRequested)
    assert asked.call_site.endswith("in HandleCanceled.run")
    assert result_of(end) == "CancelledError"


@workflow.defn
class CancelledByTheClock:
    """A callback of the loop cancels a task, as a person may write it."""

    @workflow.run
    async def run(self) -> str:
        task = asyncio.create_task(workflow.execute_activity("act", start_to_close_timeout=MINUTE))
        asyncio.get_running_loop().call_later(5, task.cancel)
        try:
            await task
        except ActivityError as error:
            return type(error.cause).__name__
        return "not cancelled"


def test_a_callback_that_cancels_ends_with_an_activity_error(play: Play) -> None:
    player = play(CancelledByTheClock)

    asked, end = player.fire("1", after_s=5)

    assert isinstance(asked, ActivityCancelRequested)
    assert result_of(end) == "CancelledError"


@workflow.defn
class Tidying:
    effects: list[str] = []

    @workflow.run
    async def run(self) -> None:
        async def child() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(1)
                Tidying.effects.append("after a command")

        never = asyncio.sleep(5)
        child_task = asyncio.create_task(child())
        unbegun = asyncio.gather(asyncio.sleep(7))
        try:
            async with asyncio.timeout(90):
                await child_task
        finally:
            for _ in range(3):
                try:
                    await workflow.execute_activity("x", start_to_close_timeout=MINUTE)
                finally:
                    await asyncio.sleep(9)
            await never
            await unbegun


def test_dropped_code_makes_no_sound_and_no_effect() -> None:
    player = Player(Tidying)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        player.run.close()
        player.run.close()
        del player
        gc.collect()

    assert Tidying.effects == []
    assert asyncio._get_running_loop() is None


@workflow.defn
class Stubborn:
    @workflow.run
    async def run(self) -> None:
        while True:
            try:
                await asyncio.sleep(60)
            except BaseException:
                continue


def test_code_that_cannot_be_closed_does_not_hold_up_its_host() -> None:
    player = Player(Stubborn)
    player.run.close()
    del player
    gc.collect()


@workflow.defn
class Blocking:
    is_fixed = False

    @workflow.run
    async def run(self) -> list[str]:
        got = [await self.step(name) for name in ("a", "b")]
        if not Blocking.is_fixed:
            raise RuntimeError("a bug")
        return got

    async def step(self, name: str) -> str:
        return str(await workflow.execute_activity(name, start_to_close_timeout=MINUTE))


def test_a_blocked_run_goes_on_with_fixed_code_and_replays_so() -> None:
    Blocking.is_fixed = False
    player = Player(Blocking)
    player.complete("1", "A")
    with pytest.raises(BlockedError):
        player.complete("2", "B")
    # The history as a shard writes it: the event that could not be taken, then the block.
    taken = player.history[1][2][0]
    untaken: Record = type(taken)(activity_id="2", attempt=1, result=CONVERTER.to_payload("B"))
    blocked_at = player.seq
    player.history.append(
        (blocked_at, player.time_ms, [untaken, WorkflowBlocked(input_seq=blocked_at)])
    )
    late = type(taken)(activity_id="9", attempt=1)
    player.history.append((blocked_at + 2, player.time_ms, [late]))

    Blocking.is_fixed = True
    run = player.replayed()
    assert run.advance(untaken, seq=blocked_at, time_ms=player.time_ms + 5) != []
    outputs = [WorkflowCompleted()]
    player.history.append(
        (
            blocked_at + 3,
            player.time_ms + 5,
            [WorkflowResumed(input_seq=blocked_at), *outputs],
        )
    )
    player.replayed().close()
    run.close()
