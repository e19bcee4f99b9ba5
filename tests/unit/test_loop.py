"""The deterministic loop: ordinary asyncio on it, and what it refuses."""

from __future__ import annotations

import asyncio
import contextvars
import gc
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from perdure_actors.replay.blocked import ForbiddenCallError
from perdure_actors.replay.loop import Future, Loop, Task, TimerHandle, make_loop


class Timers:
    """Timers that fire when a test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.handles: dict[str, TimerHandle] = {}
        self.cancelled: list[str] = []

    def start_timer(self, delay_ms: int, handle: TimerHandle, summary: str | None) -> str:
        timer_id = str(len(self.asked) + 1)
        self.asked.append((timer_id, delay_ms))
        self.handles[timer_id] = handle
        return timer_id

    def cancel_timer(self, timer_id: str) -> None:
        self.cancelled.append(timer_id)


@pytest.fixture
def timers() -> Timers:
    return Timers()


@pytest.fixture
def loop(timers: Timers) -> Iterator[Loop]:
    loop = make_loop(timers)
    # pytest itself opens files while a test runs; once other tests have put the guards on,
    # they would take that for the workflow's doing.
    loop.is_unrestricted = True
    asyncio._set_running_loop(loop)
    yield loop
    asyncio._set_running_loop(None)
    loop.close()


def play(loop: Loop, coro: Coroutine[Any, Any, Any]) -> Task[Any]:
    task = loop.create_task(coro)
    loop.run_ready()
    return task


def test_callbacks_run_in_the_order_in_which_they_became_ready(loop: Loop) -> None:
    seen: list[int] = []
    for number in range(5):
        loop.call_soon(seen.append, number)
    loop.call_soon(loop.call_soon, seen.append, 5)
    loop.call_soon(seen.append, 99).cancel()

    loop.run_ready()

    assert seen == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("delay_s", "delay_ms"),
    [(0.0001, 1), (0.001, 1), (1.0, 1000), (1.0004, 1001), (5, 5000), (86400.0, 86_400_000)],
)
def test_delays_become_whole_milliseconds_and_never_less(
    loop: Loop, timers: Timers, delay_s: float, delay_ms: int
) -> None:
    loop.time_ms = 1_700_000_000_123
    loop.call_later(delay_s, print)
    loop.call_at(loop.time() + delay_s, print)

    assert [ms for _, ms in timers.asked] == [delay_ms, delay_ms]


@pytest.mark.parametrize("delay", [float("nan"), float("inf")])
def test_a_delay_that_is_no_duration_is_refused(loop: Loop, delay: float) -> None:
    with pytest.raises(ValueError, match="cannot be kept"):
        loop.call_later(delay, print)


def test_no_delay_needs_no_timer(loop: Loop, timers: Timers) -> None:
    seen: list[str] = []
    loop.call_later(0, seen.append, "now")
    loop.call_later(-1, seen.append, "then")
    loop.run_ready()

    assert seen == ["now", "then"]
    assert timers.asked == []


def test_a_timer_fires_once_and_may_be_cancelled_until_then(loop: Loop, timers: Timers) -> None:
    seen: list[str] = []
    first, second = (loop.call_later(1, seen.append, name) for name in "ab")
    loop.fire(timers.handles["1"])
    first.cancel()
    second.cancel()
    second.cancel()
    loop.fire(timers.handles["2"])
    loop.run_ready()

    assert seen == []
    assert timers.cancelled == ["2"]


def test_tasks_and_futures_hash_by_creation(loop: Loop) -> None:
    async def nothing() -> None: ...

    items: list[Future[Any] | Task[Any]] = [
        loop.create_future(),
        loop.create_task(nothing()),
        loop.create_future(),
    ]

    assert [hash(item) for item in items] == [1, 2, 3]
    assert list(set(items)) == items
    assert items[0] != items[2]
    loop.run_ready()


def test_a_callback_that_raises_ends_the_activation(loop: Loop) -> None:
    def broken() -> None:
        raise LookupError("gone")

    loop.call_soon(broken)
    with pytest.raises(LookupError):
        loop.run_ready()


def test_a_loop_that_never_waits_is_ended(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure_actors.replay.loop.TURNS_MAX", 100)

    async def spin() -> None:
        while True:  # noqa: ASYNC110 - a bug on purpose
            await asyncio.sleep(0)

    task = loop.create_task(spin())
    with pytest.raises(RuntimeError, match="100 turns"):
        loop.run_ready()
    task.cancel()
    loop.run_ready()


def test_context_variables_stay_in_their_task(loop: Loop) -> None:
    variable = contextvars.ContextVar("variable", default=0)

    async def change() -> int:
        variable.set(variable.get() + 1)
        await asyncio.sleep(0)
        return variable.get()

    async def both() -> list[int]:
        return list(await asyncio.gather(change(), change()))

    assert play(loop, both()).result() == [1, 1]
    assert variable.get() == 0


def test_a_lost_error_is_reported_and_changes_nothing(timers: Timers) -> None:
    reports: list[dict[str, Any]] = []
    loop = make_loop(timers, report=reports.append)
    asyncio._set_running_loop(loop)

    async def failing() -> None:
        raise LookupError("nobody looks")

    play(loop, failing())
    asyncio._set_running_loop(None)
    gc.collect()  # newer Pythons keep the task until then

    assert "never retrieved" in reports[0]["message"]


@pytest.mark.parametrize(
    ("call", "advice"),
    [
        (lambda: asyncio.to_thread(print), "run it in an activity"),
        (lambda: asyncio.open_connection("localhost", 1), "do input and output in an activity"),
        (lambda: asyncio.create_subprocess_exec("true"), "in an activity"),
        (lambda: asyncio.get_running_loop().getaddrinfo("localhost", 1), "in an activity"),
    ],
)
def test_what_replay_cannot_repeat_is_refused(loop: Loop, call: Any, advice: str) -> None:
    async def do() -> None:
        await call()

    with pytest.raises(ForbiddenCallError, match=advice):
        play(loop, do()).result()


def test_every_method_of_asyncios_loop_is_ours_or_refused() -> None:
    inherited = [
        name
        for name in dir(asyncio.AbstractEventLoop)
        if not name.startswith("_")
        and getattr(Loop, name) is getattr(asyncio.AbstractEventLoop, name)
    ]
    assert inherited == []
