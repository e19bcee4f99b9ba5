"""Dropping a run's code without noise: every coroutine it left is closed, begun or not."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import suppress
from types import CoroutineType
from typing import Any

from perdure_actors.replay.loop import Loop

TRIES_MAX = 100
"""How often a coroutine that awaits in its finally blocks is closed again."""
_LINKS_MAX = 1000

# Code that awaits again however often it is closed is kept, because letting it go would make the
# interpreter complain; it is a bug of the user's that costs this much memory.
_unclosable: list[Any] = []


def close_coroutines(loop: Loop) -> None:
    """Close the coroutines of a loop's tasks, the oldest first; what they raise is nobody's."""
    outer = asyncio._get_running_loop()
    asyncio._set_running_loop(loop)
    loop.looking = ""
    try:
        closed: set[int] = set()
        for _ in range(TRIES_MAX):
            # What is dropped may start tasks as it tidies up.
            left = [number for number in loop.tasks if number not in closed]
            if not left:
                break
            for number in left:
                closed.add(number)
                with suppress(BaseException):
                    _close_task(loop.tasks[number])
    finally:
        asyncio._set_running_loop(outer)


def _close_task(task: asyncio.Task[Any]) -> None:
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    coro = task.get_coro()
    if inspect.iscoroutine(coro):
        unbegun = list(_unbegun_within(coro))
        _close(coro)
        for inner in unbegun:
            inner.close()
    if task.done() and not task.cancelled():
        task.exception()


def _close(coro: Coroutine[Any, Any, Any]) -> None:
    for _ in range(TRIES_MAX):
        links = list(_links(coro))
        if not links:
            return
        # The innermost first: closing an outer one would let go of an inner one that goes on.
        with suppress(BaseException):
            links[-1].close()
    _unclosable.append(list(_links(coro)))


def _links(coro: Any) -> Iterator[CoroutineType[Any, Any, Any]]:
    """A coroutine and those that it awaits, but for closed ones."""
    for _ in range(_LINKS_MAX):
        if not inspect.iscoroutine(coro) or coro.cr_frame is None:
            return
        yield coro
        coro = coro.cr_await


def _unbegun_within(coro: Any) -> Iterator[Coroutine[Any, Any, Any]]:
    """Coroutines that were made and never awaited, held by a waiting one's variables."""
    for link in _links(coro):
        frame = link.cr_frame
        if frame is not None:
            for value in list(frame.f_locals.values()):
                # A proxy of the user's may raise when it is asked what it is.
                with suppress(Exception):
                    yield from _unbegun(value)


def _unbegun(value: Any) -> Iterable[Coroutine[Any, Any, Any]]:
    items = value if isinstance(value, list | tuple | set) else (value,)
    return [
        item
        for item in items
        if inspect.iscoroutine(item) and inspect.getcoroutinestate(item) == inspect.CORO_CREATED
    ]
