"""The activity worker on an event loop: cancels, slots, leases, traces, the watchdog."""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from perdure import activity
from perdure_schemas.commands import (
    ClaimActivity,
    CompleteActivity,
    ConfirmActivityCanceled,
    DetachActivity,
    FailActivity,
    HandBackActivity,
    WorkerLease,
)
from perdure_schemas.replies import CanceledAttempt, WorkerOrders
from tests.unit.worker_world import COMMANDS, make_task, value_of, worker_world


@activity.defn
async def double(number: int) -> int:
    return number * 2


async def test_a_pushed_cancel_reaches_an_async_activity_and_is_confirmed_with_its_details():
    begun = asyncio.Event()

    @activity.defn
    async def wait_for_ever() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            details = activity.cancellation_details()
            assert details is not None
            assert details.cancel_requested
            assert activity.is_cancelled()
            raise

    async with worker_world([wait_for_ever]) as world:
        world.host.send(make_task(activity_type="wait_for_ever", heartbeat_ms=60_000))
        await begun.wait()
        world.host.cancel(b"token-1")

        assert (await world.host.first(ConfirmActivityCanceled)).token == b"token-1"


async def test_an_async_activity_may_finish_in_spite_of_a_cancel():
    begun = asyncio.Event()

    @activity.defn
    async def stubborn() -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "cleaned up"
        return "never"

    async with worker_world([stubborn]) as world:
        world.host.send(make_task(activity_type="stubborn", heartbeat_ms=60_000))
        await begun.wait()
        world.host.cancel(b"token-1")

        assert value_of((await world.host.first(CompleteActivity)).result) == "cleaned up"
        assert not world.host.commands(ConfirmActivityCanceled)


async def test_a_cancel_that_came_with_the_grant_cancels_at_the_first_await():
    @activity.defn
    async def slow() -> str:
        steps.append("began")
        await asyncio.Event().wait()
        return "never"

    steps: list[str] = []
    async with worker_world([slow], redelivery_end=1) as world:
        world.host.send(make_task(activity_type="slow"))
        claim = await world.host.first(ClaimActivity)
        assert claim.reply is not None
        orders = WorkerOrders(
            token=claim.token,
            granted=True,
            canceled=[CanceledAttempt(token=claim.token, reason="cancel_requested")],
        )
        world.host.answer(claim.reply.partition, claim.reply.correlation_id, orders)

        assert (await world.host.first(ConfirmActivityCanceled)).token == b"token-1"
        assert steps == ["began"]


async def test_an_unasked_cancelled_error_is_a_failure():
    @activity.defn
    async def moody() -> None:
        raise asyncio.CancelledError

    async with worker_world([moody]) as world:
        world.host.send(make_task(activity_type="moody"))

        cause = (await world.host.first(FailActivity)).failure.chain[0]

        assert "nobody had asked it to cancel" in cause.message


async def test_an_unwanted_promoted_attempt_is_cancelled_as_not_found_and_not_reported():
    seen: list[activity.ActivityCancellationDetails | None] = []
    over = asyncio.Event()

    @activity.defn
    async def watcher() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append(activity.cancellation_details())
            over.set()

    async with worker_world([watcher]) as world:
        world.host.send(make_task(activity_type="watcher", heartbeat_ms=60_000))
        claim = await world.host.first(ClaimActivity)
        assert not claim.wants_grant
        world.host.grant(claim, granted=False, reason="claimed_by_another")

        await over.wait()

        assert seen == [activity.ActivityCancellationDetails(not_found=True)]
    # It would count as a failure of the attempt that another worker makes.
    assert [type(report) for report in world.host.reports()] == [ClaimActivity]


async def test_max_concurrent_activities_is_kept_and_the_next_starts_when_one_ends():
    running, most = 0, 0
    gates = {n: asyncio.Event() for n in range(6)}
    begun = [asyncio.Event() for _ in range(6)]

    @activity.defn
    async def gated(number: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        begun[number].set()
        await gates[number].wait()
        running -= 1

    async with worker_world([gated], max_concurrent_activities=2) as world:
        for number in range(6):
            world.host.send(make_task(number, "gated", args=(number,)))
        for number in range(6):
            await begun[number].wait()
            gates[number].set()

        await world.log.until(lambda: len(world.host.commands(CompleteActivity)) == 6)

        assert most == 2


async def test_leases_go_to_every_partition_at_once_and_say_farewell():
    async with worker_world([double]) as world:
        await world.log.until(lambda: len(world.host.commands(WorkerLease)) >= 3)
        first = world.host.commands(WorkerLease)[:3]
        assert {len(records) for records in world.log.topics[COMMANDS]} == {1}
        assert first[0].activity_types == ["double"]
        assert first[0].slots == 100
        await world.stop()

        assert [lease.stopping for lease in world.host.commands(WorkerLease)] == [False, True] * 3


async def test_the_trace_of_a_task_is_the_current_one_and_goes_back_with_the_result():
    from opentelemetry import trace

    parent = (("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),)

    @activity.defn
    async def traced() -> str:
        return f"{trace.get_current_span().get_span_context().trace_id:032x}"

    async with worker_world([traced]) as world:
        world.host.send(make_task(activity_type="traced"), headers=parent)

        done = await world.host.first(CompleteActivity)

        assert value_of(done.result) == "0af7651916cd43dd8448eb211c80319c"
        assert world.log.topics[COMMANDS][1][-1].headers == parent


async def test_an_activity_that_blocks_the_loop_is_warned_of_by_name():
    warned = threading.Event()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())
            warned.set()

    messages: list[str] = []

    @activity.defn
    async def greedy() -> bool:
        return warned.wait(20)

    listener = Listener(logging.WARNING)
    watchdog = logging.getLogger("perdure_actors.worker.activity_watchdog")
    watchdog.addHandler(listener)
    try:
        async with worker_world([greedy]) as world:
            world.host.send(make_task(activity_type="greedy"))

            assert value_of((await world.host.first(CompleteActivity)).result) is True
    finally:
        watchdog.removeHandler(listener)
    assert "activity greedy" in messages[0]
    assert "has blocked its event loop" in messages[0]


async def test_a_pool_that_takes_nothing_stops_the_worker_and_the_attempt_goes_back():
    @activity.defn
    def plain() -> None:
        pass

    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    async with worker_world([plain], executor=pool) as world:
        world.host.send(make_task(activity_type="plain"))

        with pytest.raises(RuntimeError, match="executor takes no work"):
            await world.run

        assert world.host.commands(HandBackActivity)[0].token == b"token-1"


async def test_an_attempt_that_is_left_open_says_so_and_frees_its_slot():
    @activity.defn
    async def later() -> None:
        activity.raise_complete_async()

    async with worker_world([later]) as world:
        world.host.send(make_task(activity_type="later"))

        detached = await world.host.first(DetachActivity)

        assert (detached.activity_id, detached.attempt) == ("1", 1)
        assert detached.worker_id


async def test_orders_for_others_on_the_shared_partition_are_passed_over():
    async with worker_world([double]) as world:
        world.host.answer(0, "somebody-else", WorkerOrders(granted=False))
        world.host.answer(1, "somebody-else", WorkerOrders(granted=False))
        world.host.send(make_task(activity_type="double", args=(4,)))

        assert value_of((await world.host.first(CompleteActivity)).result) == 8
