"""Wild code: it raises anything anywhere, kills its host, and ends as it likes.

Nothing is asked of how its runs end; the others, the hosts and the log must not feel it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

from perdure import workflow
from perdure.exceptions import ApplicationError

WILD = "wild"
HUGE = 3_000_000
"""More than a transition may hold, where a world has small parts."""


@dataclass
class Mood:
    """Where a run does what."""

    place: str
    way: str
    wait_ms: int = 500


class Unspeakable(Exception):
    """An error that cannot say what it is."""

    def __str__(self) -> str:
        raise ValueError("it has no words")

    __repr__ = __str__


class Panic(BaseException):
    """What an extension written in another language raises."""


def _deeper(number: int) -> int:
    return _deeper(number + 1) + 1


def _overflow() -> NoReturn:
    _deeper(0)
    raise AssertionError("there is no limit")


killer: list[Callable[[], None]] = [lambda: None]
"""What ends the host whose turn it is, as a signal from outside would."""


def _kill() -> NoReturn:
    killer[0]()
    raise Panic("its host is dead already")


def _raising(make: Callable[..., BaseException], *args: Any, **more: Any) -> Callable[[], NoReturn]:
    """Raise an error made anew: one that is raised again has its earlier places in its stack."""

    def act() -> NoReturn:
        raise make(*args, **more)

    return act


WAYS: dict[str, Callable[[], NoReturn]] = {
    "error": _raising(ZeroDivisionError, "a bug"),
    "failure": _raising(ApplicationError, "a failure", type="Wild", non_retryable=True),
    "exit": _raising(SystemExit, 3),
    "interrupt": _raising(KeyboardInterrupt),
    "close": _raising(GeneratorExit),
    "cancel": _raising(asyncio.CancelledError),
    "stop": _raising(StopAsyncIteration),
    "panic": _raising(Panic, "an extension panics"),
    "unspeakable": _raising(Unspeakable),
    "huge": _raising(RuntimeError, "x" * HUGE),
    "huge failure": _raising(ApplicationError, "x" * HUGE, non_retryable=True),
    "half a letter": _raising(
        ApplicationError, "\ud83d is half", type="\udc80", non_retryable=True
    ),
    "odd details": _raising(ApplicationError, "odd", object(), {1j: 2}, non_retryable=True),
    "group": _raising(BaseExceptionGroup, "many", [Panic("one"), ValueError("two")]),
    "overflow": _overflow,
}
KILL = "kill"
PLACES = (
    *("run", "timer", "activity", "task", "condition", "finally", "side effect"),
    *("signal", "update", "validator", "query"),
    *("large", "dirty"),
)
LARGE = 8_500_000
"""More than any topic takes, whatever its records are cut into."""


def act_out(way: str) -> NoReturn:
    """Raise, or worse."""
    (_kill if way == KILL else WAYS[way])()
    raise AssertionError(f"{way} does nothing")


@workflow.defn(name=WILD)
class Wild:
    """Waits for what it is told, unless its mood takes it before."""

    def __init__(self) -> None:
        self.mood = Mood("run", "error")
        self.told = 0

    @workflow.run
    async def run(self, mood: Mood) -> int:
        self.mood = mood
        if mood.place == "run":
            act_out(mood.way)
        try:
            await self._begin(mood)
            await workflow.wait_condition(self._is_enough)
        finally:
            if mood.place == "finally":
                act_out(mood.way)
        return self.told

    async def _begin(self, mood: Mood) -> None:
        if mood.place == "timer":
            await workflow.sleep(timedelta(milliseconds=mood.wait_ms))
            act_out(mood.way)
        elif mood.place == "activity":
            await workflow.execute_activity(
                "work", args=["wild", 10, 0], start_to_close_timeout=timedelta(seconds=20)
            )
            act_out(mood.way)
        elif mood.place == "large":
            await workflow.execute_activity(
                "work", args=["x" * LARGE, 10, 0], start_to_close_timeout=timedelta(seconds=20)
            )
        elif mood.place == "dirty":
            workflow.upsert_memo({"half \ud83d": "\udc80"})
            workflow.upsert_search_attributes({"half \ud83d": ["v"]})
            await workflow.execute_activity(
                "no such \udc80",
                args=["wild", 10, 0],
                activity_id="\ud83d",
                schedule_to_close_timeout=timedelta(seconds=2),
            )
        elif mood.place == "task":
            asyncio.get_running_loop().create_task(self._later())
        elif mood.place == "side effect":
            workflow.side_effect(lambda: act_out(mood.way))

    async def _later(self) -> None:
        await asyncio.sleep(self.mood.wait_ms / 1000)
        act_out(self.mood.way)

    def _is_enough(self) -> bool:
        if self.mood.place == "condition" and self.told:
            act_out(self.mood.way)
        return self.told > 3

    def _feel(self, place: str) -> None:
        if self.mood.place == place:
            act_out(self.mood.way)

    @workflow.signal
    def hurt(self, token: str) -> None:
        self.told += 1
        self._feel("signal")

    @workflow.update
    def bend(self, token: str) -> int:
        self.told += 1
        self._feel("update")
        return self.told

    @bend.validator
    def check_bend(self, token: str) -> None:
        self._feel("validator")

    @workflow.query
    def tell(self) -> Any:
        self._feel("query")
        return self.told
