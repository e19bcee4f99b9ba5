"""A run's code: its activities, how it ends, and how it blocks."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from perdure import workflow
from perdure.common import Priority, RawValue, RetryPolicy
from perdure.exceptions import ActivityError, ApplicationError
from perdure_actors.definitions.validation import define_activity
from perdure_actors.replay.blocked import BlockedError
from perdure_schemas.events import (
    ActivityScheduled,
    WorkflowContinuedAsNew,
    WorkflowFailed,
)
from tests.unit.player import CONVERTER, START_MS, Play, Player, kinds, result_of

MINUTE = timedelta(minutes=1)


@dataclass
class Order:
    order_id: str
    amount: float = 1.0


async def charge(order: Order) -> str:
    return order.order_id


def notify(order_id: str, text: str) -> None: ...


define_activity(charge)
define_activity(notify)


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
        (
            "count",
            r"TypeError: activity 'notify' .* takes 2 arguments .*, but was given 1",
        ),
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


@workflow.defn(dynamic=True)
class Dynamic:
    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> list[str]:
        values = workflow.payload_converter().from_payloads([arg.payload for arg in args])
        return [workflow.info().workflow_type, *values]


def test_a_dynamic_workflow_is_given_its_type_and_raw_values(play: Play) -> None:
    player = play(Dynamic, "a", "b")

    assert result_of(player.outputs[0]) == ["", "a", "b"], "the player starts it without a name"
