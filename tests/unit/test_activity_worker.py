"""The activity worker on an event loop: functions of every kind, their results and failures."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Sequence

import pytest

from perdure import activity
from perdure.common import RawValue
from perdure.exceptions import ApplicationError
from perdure_actors.worker.activity_worker import FAREWELL_S, FLUSH_S
from perdure_schemas.commands import (
    CompleteActivity,
    FailActivity,
)
from tests.unit.worker_world import COMMANDS, TASKS, make_task, value_of, worker_world


@activity.defn
async def double(number: int) -> int:
    return number * 2


async def test_an_async_activity_is_run_and_its_result_reported_with_its_token():
    async with worker_world([double]) as world:
        world.host.send(make_task(activity_type="double", args=(21,)))

        done = await world.host.first(CompleteActivity)

        assert value_of(done.result) == 42
        assert (done.token, done.run_id, done.activity_id, done.attempt) == (
            b"token-1",
            "run-1",
            "1",
            1,
        )
        assert done.worker_id == world.worker.worker_id
        assert done.identity == "worker@test"
        record = world.log.topics[COMMANDS][1][-1]
        assert record.key == b"order-1"


async def test_a_plain_activity_runs_in_a_thread_with_the_context_variables_of_run():
    flavour = contextvars.ContextVar("flavour", default="none")

    @activity.defn
    def where_am_i() -> list[str]:
        return [threading.current_thread().name, flavour.get()]

    flavour.set("vanilla")
    async with worker_world([where_am_i]) as world:
        world.host.send(make_task(activity_type="where_am_i"))

        name, seen = value_of((await world.host.first(CompleteActivity)).result)

        assert name.startswith("perdure-activity")
        assert seen == "vanilla"


async def test_methods_and_callable_objects_keep_their_object():
    class Payments:
        def __init__(self) -> None:
            self.charged: list[str] = []

        @activity.defn
        async def charge(self, order: str) -> int:
            self.charged.append(order)
            return len(self.charged)

    @activity.defn(name="ship-it")
    class Ship:
        async def __call__(self, order: str) -> str:
            return f"shipped {order}"

    payments = Payments()
    async with worker_world([payments.charge, Ship()]) as world:
        world.host.send(make_task(1, "charge", args=("a",)))
        world.host.send(make_task(2, "ship-it", args=("b",)))

        await world.log.until(lambda: len(world.host.commands(CompleteActivity)) == 2)

        results = {
            done.workflow_id: value_of(done.result)
            for done in world.host.commands(CompleteActivity)
        }
        assert results == {"order-1": 1, "order-2": "shipped b"}
        assert payments.charged == ["a"]


async def test_a_dynamic_activity_takes_what_no_other_takes_with_its_arguments_raw():
    @activity.defn(dynamic=True)
    async def anything(args: Sequence[RawValue]) -> list[object]:
        read = activity.payload_converter().from_payload
        return [activity.info().activity_type, *(read(arg.payload) for arg in args)]

    async with worker_world([double, anything]) as world:
        world.host.send(make_task(activity_type="unheard_of", args=("x", 3)))

        done = await world.host.first(CompleteActivity)

        assert value_of(done.result) == ["unheard_of", "x", 3]


async def test_an_unknown_activity_type_fails_retryably_and_names_what_there_is():
    async with worker_world([double]) as world:
        world.host.send(make_task(activity_type="triple"))

        (cause,) = (await world.host.first(FailActivity)).failure.chain

        assert cause.type == "NotFoundError"
        assert not cause.non_retryable
        assert "triple" in cause.message
        assert "'orders'" in cause.message
        assert "double" in cause.message


async def test_an_application_error_is_reported_as_it_was_raised():
    @activity.defn
    async def refuse() -> None:
        raise ApplicationError("no stock", "shelf 3", type="OutOfStock", non_retryable=True)

    async with worker_world([refuse]) as world:
        world.host.send(make_task(activity_type="refuse"))

        cause = (await world.host.first(FailActivity)).failure.chain[0]

        assert (cause.message, cause.type, cause.non_retryable) == ("no stock", "OutOfStock", True)
        assert value_of(cause.details[0]) == "shelf 3"
        assert "in refuse" in cause.stack_trace


async def test_arguments_that_do_not_fit_fail_and_say_which():
    async with worker_world([double]) as world:
        world.host.send(make_task(1, "double", args=("many",)))
        world.host.send(make_task(2, "double", args=(1, 2)))

        await world.log.until(lambda: len(world.host.commands(FailActivity)) == 2)

        causes = {f.workflow_id: f.failure.chain[0] for f in world.host.commands(FailActivity)}
        assert causes["order-1"].type == "ActivityInputError"
        assert "number" in causes["order-1"].message
        assert "takes 1 argument" in causes["order-2"].message


async def test_a_result_that_cannot_be_written_fails_for_good_and_says_so():
    @activity.defn
    async def odd() -> object:
        return object()

    async with worker_world([odd]) as world:
        world.host.send(make_task(activity_type="odd"))

        cause = (await world.host.first(FailActivity)).failure.chain[0]

        assert cause.non_retryable
        assert "activity odd" in cause.message
        assert "cannot be written" in cause.message


@pytest.mark.parametrize("size", [1024 * 1024, 3 * 1024 * 1024])
async def test_a_result_over_the_record_limit_fails_for_good_and_says_so(size: int):
    @activity.defn
    async def huge() -> str:
        return "x" * size

    async with worker_world([huge]) as world:
        world.host.send(make_task(activity_type="huge"))

        cause = (await world.host.first(FailActivity)).failure.chain[0]

        assert (cause.type, cause.non_retryable) == ("PayloadTooLargeError", True)
        assert str(1024 * 1024) in cause.message


async def test_a_failure_over_the_record_limit_keeps_its_type_and_its_text():
    @activity.defn
    async def wordy() -> None:
        raise ApplicationError("too much", "x" * 2_000_000, type="Wordy")

    async with worker_world([wordy]) as world:
        world.host.send(make_task(activity_type="wordy"))

        cause = (await world.host.first(FailActivity)).failure.chain[0]

        assert cause.type == "Wordy"
        assert cause.message.startswith("too much (its details, 2000002 bytes, were too large")
        assert not cause.non_retryable


async def test_an_undecodable_task_is_skipped_counted_and_committed(caplog):
    async with worker_world([double]) as world:
        world.log.put(TASKS, 0, b"garbage")
        world.host.send(make_task(activity_type="double", args=(1,)))

        await world.host.first(CompleteActivity)
        reader = world.log.readers[0]
        await world.stop()

        assert world.worker.counts["undecodable"] == 1
        assert reader.committed[0] == 2
        assert "partition 0, offset 0" in caplog.text


async def test_a_worker_whose_log_is_gone_waits_for_its_outcomes_and_not_for_its_farewell(caplog):
    async with worker_world([double]) as world:
        world.log.holds_reports = True
        began = time.monotonic()

        await world.stop()

        assert time.monotonic() - began < FLUSH_S / 2
        assert "not acknowledged" not in caplog.text


async def test_a_stopping_worker_waits_until_the_log_has_its_outcomes():
    async with worker_world([double]) as world:
        world.log.holds_reports = True
        world.host.send(make_task(activity_type="double", args=(21,)))
        await world.host.first(CompleteActivity)
        world.worker.stop()
        await asyncio.wait([world.run], timeout=2 * FAREWELL_S)
        assert not world.run.done()

        world.log.holds_reports = False
        world.log.ring_all()

        await asyncio.wait_for(world.run, FLUSH_S / 2)
