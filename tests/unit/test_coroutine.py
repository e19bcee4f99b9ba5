"""A run's code: activities, timers, conditions, cancellation, how it ends and how it blocks."""

from __future__ import annotations

import asyncio
import gc
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from perdure import workflow
from perdure.common import Priority, RetryPolicy
from perdure.exceptions import ActivityError, ApplicationError, CancelledError
from perdure_actors.defining import define_activity
from perdure_actors.replay.blocked import BlockedError
from perdure_schemas.events import (
    ActivityCancelRequested,
    ActivityScheduled,
    TimerCanceled,
    TimerStarted,
    WorkflowBlocked,
    WorkflowCanceled,
    WorkflowCompleted,
    WorkflowContinuedAsNew,
    WorkflowFailed,
    WorkflowResumed,
)
from perdure_schemas.payloads import Record
from tests.unit.player import CONVERTER, START_MS, Player, kinds, result_of

MINUTE = timedelta(minutes=1)
Play = Callable[..., Player]


@dataclass
class Order:
    order_id: str
    amount: float = 1.0


async def charge(order: Order) -> str:
    return order.order_id


def notify(order_id: str, text: str) -> None: ...


define_activity(charge)
define_activity(notify)


@pytest.fixture
def play() -> Iterator[Play]:
    """Plays workflows; at the end every history must replay."""
    players: list[Player] = []

    def begin(kind: type, *args: Any, **started: Any) -> Player:
        players.append(Player(kind, *args, **started))
        return players[-1]

    yield begin
    for player in players:
        player.check()


@workflow.defn
class OneActivity:
    @workflow.run
    async def run(self, order: Order) -> str:
        return await workflow.execute_activity(
            charge,
            order,
            start_to_close_timeout=MINUTE,
            retry_policy=RetryPolicy(maximum_attempts=5),
            priority=Priority(priority_key=1),
            summary="the money",
        )


def test_an_activity_is_asked_for_and_its_result_returned(play: Play) -> None:
    player = play(OneActivity, Order("o1"))

    (scheduled,) = player.outputs
    assert isinstance(scheduled, ActivityScheduled)
    assert scheduled.activity_id == "1"
    assert scheduled.activity_type == "charge"
    assert scheduled.start_to_close_ms == 60_000
    assert scheduled.retry_policy is not None
    assert scheduled.retry_policy.maximum_attempts == 5
    assert scheduled.priority is not None
    assert scheduled.priority.priority_key == 1
    assert CONVERTER.from_payloads(scheduled.input, [Order]) == [Order("o1")]
    assert scheduled.call_site.startswith("tests/unit/test_coroutine.py:")
    assert scheduled.call_site.endswith(" in OneActivity.run")

    assert kinds(player.complete("1", "paid")) == ["WorkflowCompleted"]
    assert result_of(player.outputs[0]) == "paid"
    assert player.give(player.history[0][2][0]) == [], "a finished run takes no more"
    player.history.pop()


def test_a_failed_activity_fails_the_run_with_its_failure(play: Play) -> None:
    player = play(OneActivity, Order("o1"))

    (failed,) = player.fail("1", "no such card")

    assert isinstance(failed, WorkflowFailed)
    assert [link.kind for link in failed.failure.chain] == ["activity", "application"]
    assert failed.failure.chain[0].retry_state == "maximum_attempts_reached"
    assert failed.failure.chain[1].message == "no such card"


def test_a_timed_out_activity_says_so(play: Play) -> None:
    player = play(OneActivity, Order("o1"))

    (failed,) = player.time_out("1")

    assert isinstance(failed, WorkflowFailed)
    assert [link.kind for link in failed.failure.chain] == ["activity", "timeout"]


@workflow.defn
class Saga:
    @workflow.run
    async def run(self, order: Order) -> str:
        handle = workflow.start_activity("reserve", order, schedule_to_close_timeout=MINUTE)
        try:
            await handle
        except ActivityError as error:
            cause = error.cause
            assert isinstance(cause, ApplicationError)
            await workflow.execute_activity(
                notify, args=[order.order_id, cause.message], start_to_close_timeout=MINUTE
            )
            raise ApplicationError("refunded", type="Refunded", non_retryable=True) from error
        return "reserved"


def test_a_saga_compensates_and_fails(play: Play) -> None:
    player = play(Saga, Order("o1"))

    (asked,) = player.fail("1", "out of stock")
    assert isinstance(asked, ActivityScheduled)
    assert CONVERTER.from_payloads(asked.input) == ["o1", "out of stock"]

    (failed,) = player.complete("2")
    assert isinstance(failed, WorkflowFailed)
    assert failed.failure.chain[0].message == "refunded"
    assert failed.failure.chain[0].type == "Refunded"


@workflow.defn
class Gathering:
    @workflow.run
    async def run(self, count: int) -> list[int]:
        return await asyncio.gather(
            *(
                workflow.execute_activity("step", n, result_type=int, start_to_close_timeout=MINUTE)
                for n in range(count)
            )
        )


def test_gather_asks_for_all_at_once_and_keeps_their_order(play: Play) -> None:
    player = play(Gathering, 3)
    assert kinds(player.outputs) == ["ActivityScheduled"] * 3
    assert all(
        "in Gathering.run" in output.call_site
        for output in player.outputs
        if isinstance(output, ActivityScheduled)
    )

    for number in ("3", "1", "2"):
        player.complete(number, int(number) * 10)

    assert result_of(player.outputs[0]) == [10, 20, 30]


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
class Delayed:
    @workflow.run
    async def run(self) -> str:
        return "ran"


def test_a_delayed_start_runs_when_its_timer_fires(play: Play) -> None:
    player = play(Delayed, first_activation_delay_ms=1000)
    assert player.outputs == []

    assert kinds(player.fire("", after_s=1)) == ["WorkflowCompleted"]


def test_cancelling_a_delayed_start_runs_none_of_its_code(play: Play) -> None:
    player = play(Delayed, first_activation_delay_ms=1000)

    assert kinds(player.cancel()) == ["WorkflowCanceled"]


@workflow.defn(failure_exception_types=[LookupError])
class Raising:
    @workflow.run
    async def run(self, what: str) -> None:
        if what == "listed":
            raise KeyError("gone")
        if what == "exit":
            sys.exit(3)
        raise ValueError("a bug")


def test_listed_exceptions_fail_the_run(play: Play) -> None:
    (failed,) = play(Raising, "listed").outputs

    assert isinstance(failed, WorkflowFailed)
    assert failed.failure.chain[0].type == "KeyError"


@pytest.mark.parametrize(
    ("what", "says"), [("bug", "ValueError: a bug"), ("exit", "SystemExit: 3")]
)
def test_any_other_exception_blocks_the_run(what: str, says: str) -> None:
    with pytest.raises(BlockedError, match=says) as blocked:
        Player(Raising, what)

    assert blocked.value.cause == "error"
    assert "tests/unit/test_coroutine.py" in blocked.value.stack_trace
    assert "in Raising.run" in blocked.value.stack_trace
    assert "perdure_actors" not in blocked.value.stack_trace
    assert asyncio._get_running_loop() is None


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ((), r"OneActivity.run .*takes 1 argument \(order\), but was given 0"),
        ((1, 2), "but was given 2"),
        ((["no", "order"],), r"argument 1 \(order\)"),
    ],
)
def test_input_that_does_not_fit_blocks_the_run_and_names_the_parameter(
    args: tuple[Any, ...], says: str
) -> None:
    with pytest.raises(BlockedError, match=says):
        Player(OneActivity, *args)


@workflow.defn
class CallingWrongly:
    @workflow.run
    async def run(self, what: str) -> None:
        call: Any = workflow.execute_activity
        if what == "timeout":
            await call(charge, Order("1"))
        elif what == "argument":
            await call(charge, object(), start_to_close_timeout=MINUTE)
        elif what == "count":
            await call(notify, "a", start_to_close_timeout=MINUTE)
        elif what == "plain":
            await call(len, "a", start_to_close_timeout=MINUTE)
        elif what == "id":
            for _ in range(2):
                workflow.start_activity("a", activity_id="x", start_to_close_timeout=MINUTE)


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("timeout", "ValueError: activity 'charge' needs start_to_close_timeout"),
        ("argument", r"TypeError: activity 'charge': argument 1 \(order\) of type object"),
        ("count", r"TypeError: activity 'notify' .* takes \(order_id, text\), but was given 1"),
        ("plain", "len .*is no activity: put @activity.defn above it"),
        ("id", "activity_id 'x' was used before"),
    ],
)
def test_a_wrong_call_raises_at_the_call(what: str, says: str) -> None:
    with pytest.raises(BlockedError, match=says):
        Player(CallingWrongly, what)


@workflow.defn
class Continuing:
    @workflow.run
    async def run(self, left: int) -> int:
        await asyncio.sleep(1)
        if left:
            workflow.continue_as_new(left - 1)
        return left


def test_continue_as_new_ends_the_run(play: Play) -> None:
    player = play(Continuing, 2, run_timeout_ms=5000)

    (end,) = player.fire("1", after_s=1)

    assert isinstance(end, WorkflowContinuedAsNew)
    assert end.workflow_type == "Continuing"
    assert CONVERTER.from_payloads(end.input) == [1]
    assert end.run_timeout_ms == 5000


@workflow.defn
class Chance:
    @workflow.run
    async def run(self) -> list[str]:
        return [
            str(workflow.random().random()),
            str(workflow.new_random("x").random()),
            str(workflow.uuid4()),
            str(workflow.uuid7()),
            workflow.now().isoformat(),
            workflow.info().workflow_id,
            str(workflow.in_workflow()),
        ]


def test_chance_and_time_are_the_same_in_every_replay(play: Play) -> None:
    first, second = (result_of(play(Chance).outputs[0]) for _ in range(2))

    assert first == second
    assert first[4] == "2023-11-14T22:13:20+00:00"
    assert first[5] == "order-1"
    assert len(set(first)) == len(first)
    assert int(first[3].replace("-", "")[:12], 16) == START_MS
    with pytest.raises(workflow.NotInWorkflowError):
        workflow.now()


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
