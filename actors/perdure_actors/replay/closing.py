"""Dropping a run's code without noise: every coroutine it left is closed, begun or not."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine, Iterable, Iterator
from typing import Any

TRIES_MAX = 100
"""How often a coroutine that awaits in its finally blocks is closed again."""
_LINKS_MAX = 1000

# Code that awaits again however often it is closed is kept, because letting it go would make the
# interpreter complain; it is a bug of the user's that costs this much memory.
_unclosable: list[Any] = []


def close_coroutines(tasks: list[asyncio.Task[Any]]) -> None:
    """Close the coroutines of tasks, the oldest first; what they raise is nobody's."""
    for task in tasks:
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
        try:
            coro.close()
        except RuntimeError:
            # It awaited while it was closed ("coroutine ignored GeneratorExit").
            if inspect.getcoroutinestate(coro) == inspect.CORO_CLOSED:
                return
        except BaseException:  # noqa: S112 - nobody waits for this code any more
            continue
        else:
            return
    _unclosable.append(coro)


def _unbegun_within(coro: Any) -> Iterator[Coroutine[Any, Any, Any]]:
    """Coroutines that were made and never awaited, held by a waiting one's variables."""
    for _ in range(_LINKS_MAX):
        frame = getattr(coro, "cr_frame", None)
        if frame is None:
            return
        for value in list(frame.f_locals.values()):
            yield from _unbegun(value)
        coro = coro.cr_await


def _unbegun(value: Any) -> Iterable[Coroutine[Any, Any, Any]]:
    items = value if isinstance(value, list | tuple | set) else (value,)
    return [
        item
        for item in items
        if inspect.iscoroutine(item) and inspect.getcoroutinestate(item) == inspect.CORO_CREATED
    ]
