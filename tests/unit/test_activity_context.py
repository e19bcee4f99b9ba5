"""What a running activity may ask and say, on the loop, in threads and in processes."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta

import pytest

from perdure import activity
from perdure._records.task_tokens import TaskToken, read_token
from perdure.exceptions import CancelledError
from perdure_actors.worker.activity_context import Flag
from perdure_schemas.commands import (
    CompleteActivity,
    ConfirmActivityCanceled,
    FailActivity,
    HandBackActivity,
    HeartbeatActivity,
)
from perdure_schemas.payloads import Priority, RetryPolicy
from tests.unit.worker_world import CONVERTER, make_task, value_of, worker_world

PROMPT = {"heartbeat_ms": 60_000}


def spin_until(is_true: object) -> None:
    """Stay in Python code, where a cancellation can be raised, but not for ever."""
    end_s = time.monotonic() + 20
    while time.monotonic() < end_s:
        if callable(is_true) and is_true():
            return
    raise AssertionError("nothing happened for 20 s")


async def test_info_says_all_of_the_call_and_its_key_is_the_same_for_all_attempts():
    seen: list[activity.Info] = []

    @activity.defn
    async def look() -> None:
        seen.append(activity.info())
        assert activity.info() is seen[-1]

    task = make_task(
        activity_type="look",
        attempt=3,
        start_to_close_ms=60_000,
        heartbeat_ms=0,
        scheduled_ms=1_700_000_000_000,
        attempt_scheduled_ms=1_700_000_001_500,
        heartbeat_details=CONVERTER.to_payloads(["half", 2]),
        retry_policy=RetryPolicy(initial_interval_ms=100, maximum_attempts=5),
        priority=Priority(priority_key=2),
    )
    async with worker_world([look]) as world:
        world.host.send(task)
        await world.host.first(CompleteActivity)

    (info,) = seen
    assert (info.activity_type, info.attempt, info.workflow_id) == ("look", 3, "order-1")
    assert (info.workflow_run_id, info.workflow_type) == ("run-1", "Order")
    assert info.heartbeat_details == ["half", 2]
    assert info.start_to_close_timeout == timedelta(minutes=1)
    assert info.heartbeat_timeout is None
    assert info.schedule_to_close_timeout is None
    assert info.current_attempt_scheduled_time - info.scheduled_time == timedelta(seconds=1.5)
    assert info.retry_policy is not None
    assert info.retry_policy.initial_interval == timedelta(milliseconds=100)
    assert info.priority.priority_key == 2
    place = TaskToken("orders", "order-1", "run-1", "1", 3, b"token-1")
    assert read_token(info.task_token) == place
    assert info.idempotency_key == "run-1/1"


def test_outside_an_activity_all_but_in_activity_say_so():
    assert not activity.in_activity()
    for ask in (activity.info, activity.heartbeat, activity.is_cancelled, activity.metric_meter):
        with pytest.raises(RuntimeError, match="Not in activity context"):
            ask()


async def test_the_logger_says_which_activity_wrote(caplog):
    caplog.set_level(logging.INFO)

    @activity.defn
    async def note() -> None:
        activity.logger.info("charging %s", "a card")

    async with worker_world([note]) as world:
        world.host.send(make_task(activity_type="note"))
        await world.host.first(CompleteActivity)

    (record,) = [r for r in caplog.records if r.name == "perdure.activity"]
    assert record.getMessage().startswith("charging a card ({'activity_id': '1'")
    assert record.__dict__["perdure_activity"]["workflow_id"] == "order-1"


async def test_a_cancel_is_raised_in_the_thread_and_confirmed():
    begun = threading.Event()

    @activity.defn
    def spin() -> None:
        begun.set()
        spin_until(lambda: False)

    async with worker_world([spin]) as world:
        world.host.send(make_task(activity_type="spin", **PROMPT))
        await asyncio.to_thread(begun.wait)
        world.host.cancel(b"token-1")

        assert (await world.host.first(ConfirmActivityCanceled)).token == b"token-1"


async def test_a_shield_holds_the_exception_back_until_it_ends():
    begun = threading.Event()
    steps: list[str] = []

    @activity.defn
    def careful() -> None:
        try:
            with activity.shield_thread_cancel_exception():
                with activity.shield_thread_cancel_exception():
                    begun.set()
                    activity.wait_for_cancelled_sync(20)
                steps.append("inner shield over")
            steps.append("never")
        except CancelledError:
            steps.append("cancelled")
            raise

    async with worker_world([careful]) as world:
        world.host.send(make_task(activity_type="careful", **PROMPT))
        await asyncio.to_thread(begun.wait)
        world.host.cancel(b"token-1")
        await world.host.first(ConfirmActivityCanceled)

    assert steps == ["inner shield over", "cancelled"]


async def test_one_that_wants_no_exception_is_only_told():
    begun = threading.Event()

    @activity.defn(no_thread_cancel_exception=True)
    def told() -> str:
        begun.set()
        spin_until(activity.is_cancelled)
        raise CancelledError("stopped", "at page 7")

    async with worker_world([told]) as world:
        world.host.send(make_task(activity_type="told", **PROMPT))
        await asyncio.to_thread(begun.wait)
        world.host.cancel(b"token-1")

        confirmed = await world.host.first(ConfirmActivityCanceled)

    assert value_of(confirmed.details[0]) == "at page 7"


async def test_a_thread_that_ran_a_cancelled_activity_runs_the_next_one_unharmed():
    begun = threading.Event()

    @activity.defn
    def work(number: int) -> int:
        if number == 1:
            begun.set()
            activity.wait_for_cancelled_sync(20)
            return 0
        return number

    async with worker_world([work], max_concurrent_activities=1) as world:
        world.host.send(make_task(1, "work", args=(1,), **PROMPT))
        await asyncio.to_thread(begun.wait)
        world.host.cancel(b"token-1")
        await world.log.until(
            lambda: (
                world.host.commands(ConfirmActivityCanceled)
                or world.host.commands(CompleteActivity)
            )
        )
        for number in range(2, 12):
            world.host.send(make_task(number, "work", args=(number,)))
        await world.log.until(lambda: len(world.host.commands(CompleteActivity)) >= 10)

        assert not world.host.commands(FailActivity)


async def test_a_heartbeat_from_a_thread_is_sent_with_its_details():
    @activity.defn
    def page() -> None:
        activity.heartbeat("page", 7)

    async with worker_world([page]) as world:
        world.host.send(make_task(activity_type="page", **PROMPT))

        beat = await world.host.first(HeartbeatActivity)

    assert [value_of(detail) for detail in beat.details] == ["page", 7]


async def test_heartbeat_details_that_cannot_be_written_raise_where_they_are_given():
    @activity.defn
    async def odd() -> None:
        activity.heartbeat(object())

    async with worker_world([odd]) as world:
        world.host.send(make_task(activity_type="odd"))

        cause = (await world.host.first(FailActivity)).failure.chain[0]

    assert cause.type == "TypeError"
    assert "heartbeat's detail 1" in cause.message


async def test_heartbeat_details_are_as_they_were_when_given():
    @activity.defn
    async def growing() -> None:
        pages: list[int] = [1]
        activity.heartbeat(pages)
        pages.append(2)

    async with worker_world([growing]) as world:
        world.host.send(make_task(activity_type="growing", **PROMPT))
        beat = await world.host.first(HeartbeatActivity)

    assert value_of(beat.details[0]) == [1]


async def test_a_stopping_worker_tells_its_activities_and_waits_for_them():
    begun = asyncio.Event()

    @activity.defn
    async def polite() -> str:
        begun.set()
        assert not activity.is_worker_shutdown()
        await activity.wait_for_worker_shutdown()
        return "saved"

    async with worker_world([polite], graceful_shutdown_timeout_s=20.0) as world:
        world.host.send(make_task(activity_type="polite"))
        await begun.wait()
        await world.stop()

        assert value_of(world.host.commands(CompleteActivity)[0].result) == "saved"
        assert not world.host.commands(HandBackActivity)


async def test_what_does_not_end_within_the_limit_is_cancelled_and_has_failed():
    begun = asyncio.Event()
    threads = threading.Event()
    why: list[activity.ActivityCancellationDetails | None] = []

    @activity.defn
    async def long_wait() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            why.append(activity.cancellation_details())

    @activity.defn
    def long_spin() -> None:
        threads.set()
        spin_until(lambda: False)

    async with worker_world([long_wait, long_spin]) as world:
        world.host.send(make_task(1, "long_wait"))
        world.host.send(make_task(2, "long_spin"))
        await begun.wait()
        await asyncio.to_thread(threads.wait)
        await world.stop()

        failed = world.host.commands(FailActivity)
        assert sorted(one.token for one in failed) == [b"token-1", b"token-2"]
        assert {one.failure.chain[0].type for one in failed} == {"WorkerShutdown"}
        assert not world.host.commands(HandBackActivity)
        assert why == [activity.ActivityCancellationDetails(worker_shutdown=True)]
        assert not world.log.readers


async def test_a_flag_wakes_threads_and_coroutines_alike():
    flag = Flag()
    waiting = threading.Event()

    def wait() -> bool:
        waiting.set()
        return flag.wait_sync(20)

    thread = asyncio.create_task(asyncio.to_thread(wait))
    coroutine = asyncio.create_task(flag.wait())
    await asyncio.to_thread(waiting.wait)
    assert not flag.wait_sync(0)
    flag.set()

    assert await thread
    await coroutine
    await flag.wait()
    assert flag.wait_sync()


@activity.defn
def in_a_process(path: str) -> list[object]:
    return [os.getpid(), activity.info().idempotency_key, path]


@activity.defn
def beat_and_fail() -> None:
    for page in range(50):
        activity.heartbeat("page", page)
    raise ValueError("torn")


@activity.defn
def spin_in_a_process() -> None:
    activity.heartbeat("begun")
    spin_until(lambda: False)


@activity.defn
def die_in_a_process() -> None:
    os._exit(3)


@pytest.fixture
def pool() -> Iterator[ProcessPoolExecutor]:
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    yield pool
    pool.shutdown()


async def test_a_process_runs_it_with_its_context(pool: ProcessPoolExecutor):
    async with worker_world([in_a_process], executor=pool) as world:
        world.host.send(make_task(activity_type="in_a_process", args=("a",), **PROMPT))

        done = await world.host.first(CompleteActivity)

    pid, key, path = value_of(done.result)
    assert (pid != os.getpid(), key, path) == (True, "run-1/1", "a")


async def test_the_last_heartbeat_of_a_process_goes_before_its_failure(pool: ProcessPoolExecutor):
    async with worker_world([beat_and_fail], executor=pool) as world:
        world.host.send(make_task(activity_type="beat_and_fail", **PROMPT))

        failed = await world.host.first(FailActivity)

        *_, beat, last = world.host.reports()
    assert last == failed
    assert isinstance(beat, HeartbeatActivity)
    assert [value_of(detail) for detail in beat.details] == ["page", 49]
    assert failed.failure.chain[0].message == "torn"


async def test_a_cancel_is_raised_in_the_process(pool: ProcessPoolExecutor):
    async with worker_world([spin_in_a_process], executor=pool) as world:
        world.host.send(make_task(activity_type="spin_in_a_process", **PROMPT))
        await world.host.first(HeartbeatActivity)
        world.host.cancel(b"token-1")

        assert (await world.host.first(ConfirmActivityCanceled)).token == b"token-1"


async def test_a_process_that_dies_fails_its_attempt_retryably(pool: ProcessPoolExecutor):
    async with worker_world([die_in_a_process], executor=pool) as world:
        world.host.send(make_task(activity_type="die_in_a_process"))

        cause = (await world.host.first(FailActivity)).failure.chain[0]

    assert cause.type == "BrokenProcessPool"
    assert not cause.non_retryable
    assert "die_in_a_process" in cause.message
