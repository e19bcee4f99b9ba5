"""Fatal errors of a worker: how they reach the code that runs it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

from perdure_actors.host.thread import HostThread
from perdure_actors.worker.activity_worker import ActivityWorker

logger = logging.getLogger(__name__)
SIGNALS_EVERY_S = 0.5


def error_of(
    host: HostThread | None, activities: ActivityWorker | None, runs: Sequence[asyncio.Task[Any]]
) -> Exception | None:
    """Why a part of a worker has ended, or ends, by itself; None while nothing is wrong."""
    error = host.error if host is not None else None
    if error is None and activities is not None:
        error = activities.error
    for run in runs:
        if error is None and run.done() and not run.cancelled():
            error = run.exception()
    if error is None or isinstance(error, Exception):
        return error
    # One that ends programs would end this one from within a task.
    ended = RuntimeError(f"the worker was ended by {type(error).__name__}: {error}")
    ended.__cause__ = error
    return ended


async def first_of(parts: Sequence[asyncio.Task[Any]]) -> None:
    """Wait until one of a worker's parts has ended.

    A signal that comes just before Python waits is only seen at its next turn. With threads
    beside it that is no rare moment, and a loop with nothing to do may have no next turn.
    """
    done: set[asyncio.Task[Any]] = set()
    while not done:
        first = asyncio.FIRST_COMPLETED
        done, _ = await asyncio.wait(parts, timeout=SIGNALS_EVERY_S, return_when=first)


async def take_back(block: asyncio.Task[Any] | None, came_out: BaseException | None) -> bool:
    """Take back the cancellation that a worker asked for of its block, which has ended.

    Whether the block has ended for nothing but that: then the worker's error goes out of it.
    """
    if block is None or not block.cancelling():
        return came_out is None
    if block.uncancel():
        # Somebody else cancelled it as well, and waits for that.
        return False
    if isinstance(came_out, asyncio.CancelledError):
        return True
    # The block ended before it heard of it; before Python 3.13 it would now be heard of here.
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(0)
    return came_out is None


async def wait_for_event(event: asyncio.Event) -> None:
    """Wait for an event, as a coroutine that a task can be made of."""
    await event.wait()


async def end_plugins(run: asyncio.Task[Any], limit: timedelta | None) -> None:
    """Let plugins finish what they do after their worker has stopped; after the limit, cancel."""
    done, _ = await asyncio.wait(
        [run], timeout=None if limit is None else max(limit.total_seconds(), 0)
    )
    if not done:
        logger.warning("the worker's plugins took longer than %s to end, and are cancelled", limit)
        run.cancel()
        await asyncio.wait([run])
        if run.cancelled():
            raise TimeoutError(f"the worker's plugins took longer than {limit} to end")


async def finish(work: asyncio.Task[Any]) -> None:
    """Wait for the end of work that must not be cut short, however often the waiter is cancelled.

    Raises CancelledError at its end, if that was asked for meanwhile.
    """
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not work.cancelled() and (failed := work.exception()) is not None:
            logger.error("the worker stopped by itself", exc_info=failed)
        raise cancelled
