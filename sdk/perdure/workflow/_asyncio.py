"""Time, waiting, randomness and the current run, for workflow code."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any, TypeVar
from uuid import UUID

from perdure._records.policies import time_of
from perdure.converter._data_converter import FacingConverter
from perdure.converter._payload_converters import PayloadConverter
from perdure.workflow._event_groups import EventGroup
from perdure.workflow._workflow_interceptor import EXTERNS
from perdure_actors.replay.run_outcomes import is_failure
from perdure_actors.replay.runtime import current, maybe_current
from perdure_actors.replay.seeded_random import random_of, seed_of, uuid4_of, uuid7_of

T = TypeVar("T")
AnyFuture = TypeVar("AnyFuture", bound="asyncio.Future[Any]")
_MILLISECOND_NS = 1_000_000


async def sleep(
    duration: float | timedelta,
    *,
    summary: str | None = None,
    event_groups: Sequence[EventGroup] | None = None,  # noqa: ARG001 - without effect
) -> None:
    """Sleep durably: a restart of the host does not wake it, and does not begin it again.

    event_groups have no effect.
    """
    seconds = _seconds(duration)
    if seconds <= 0:
        await asyncio.sleep(0)
        return
    loop = current().loop
    future = loop.create_future()
    timer = loop.start_timer(seconds, _wake, future, summary=summary)
    try:
        await future
    finally:
        timer.cancel()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def wait_condition(
    fn: Callable[[], bool],
    *,
    timeout: timedelta | float | None = None,
    timeout_summary: str | None = None,
    event_groups: Sequence[EventGroup] | None = None,  # noqa: ARG001 - without effect
) -> None:
    """Wait until a function of the workflow's own state returns true.

    It is called whenever the workflow has done something, so it must be quick and only look.
    Raises TimeoutError when it is not true in time; without a timeout there is no timer.
    event_groups have no effect.
    """
    await current().wait_condition(
        fn,
        timeout_s=None if timeout is None else _seconds(timeout),
        timeout_summary=timeout_summary,
    )


def _seconds(duration: float | timedelta) -> float:
    return duration.total_seconds() if isinstance(duration, timedelta) else duration


def now() -> datetime:
    """The time, in UTC: that of the event that is being taken."""
    return time_of(current().loop.time_ms)


def time() -> float:
    """The same in seconds since 1970."""
    return current().loop.time()


def time_ns() -> int:
    """The same in nanoseconds since 1970."""
    return current().loop.time_ms * _MILLISECOND_NS


def random() -> Random:
    """The run's random generator; it gives the same numbers in replay."""
    return current().random()


def new_random(name: str | None = None) -> Random:
    """A random generator of its own for a part of the code.

    The same one for the same name, so that adding one changes no other; without a name a new one,
    that begins with the run's seed.
    """
    run = current()
    if name is not None:
        return run.random(name)
    run.loop.check_acting()
    return random_of(run.seed_id)


def random_seed() -> int:
    """The seed of the run's random generator."""
    return seed_of(current().seed_id)


def register_random_seed_callback(callback: Callable[[int], None]) -> None:
    """Take a function to call with the new seed, where a reset has gone back in the run's history.

    From the event that the run was reset to on, random numbers and ids are others than before.
    """
    current().seed_callbacks.append(callback)


def extern_functions() -> Mapping[str, Callable[..., Any]]:
    """The functions that interceptors keep for workflow code, by the names that they gave them.

    They come from `WorkflowInterceptorClassInput.unsafe_extern_functions`.
    """
    found: Mapping[str, Callable[..., Any]] = current().kept.get(EXTERNS, {})
    return found


def uuid4() -> UUID:
    """A random id that is the same in replay."""
    return uuid4_of(current().random())


def uuid7() -> UUID:
    """An id that sorts by time and is the same in replay."""
    run = current()
    return uuid7_of(run.random(), run.loop.time_ms)


def in_workflow() -> bool:
    """Whether this is called by a workflow's own code."""
    return maybe_current() is not None


def instance() -> Any:
    """The current workflow's object."""
    return current().instance


def cancellation_reason() -> str | None:
    """Why the run was asked to cancel; None when it was not."""
    return current().cancel_reason


def is_failure_exception(err: BaseException) -> bool:
    """Whether an exception out of the code fails the run; any other one blocks it.

    Failures are FailureError with its kinds, a cancelled task, asyncio's TimeoutError, and what
    `failure_exception_types` of the workflow and of the worker name.

    Example:
        except Exception as error:
            if workflow.is_failure_exception(error):
                raise
    """
    return is_failure(err, current())


def payload_converter() -> PayloadConverter:
    """What turns the workflow's values into payloads and back."""
    return FacingConverter(current().converter)


async def wait(
    fs: Iterable[AnyFuture],
    *,
    timeout: float | None = None,
    return_when: str = asyncio.ALL_COMPLETED,
) -> tuple[list[AnyFuture], list[AnyFuture]]:
    """As asyncio.wait, with lists in the order given in place of sets."""
    futures = list(dict.fromkeys(fs))
    done, _ = await asyncio.wait(futures, timeout=timeout, return_when=return_when)
    return [f for f in futures if f in done], [f for f in futures if f not in done]


def as_completed(
    fs: Iterable[Awaitable[T]], *, timeout: float | None = None
) -> Iterator[Awaitable[T]]:
    """As asyncio.as_completed, starting coroutines in the order given, which that one does not."""
    futures = [asyncio.ensure_future(item) for item in fs]
    finished: asyncio.Queue[asyncio.Future[T]] = asyncio.Queue()
    for future in futures:
        future.add_done_callback(finished.put_nowait)
    loop = current().loop
    deadline = None if timeout is None else loop.time() + timeout

    async def next_one() -> T:
        async with asyncio.timeout_at(deadline):
            future = await finished.get()
        return await future

    for _ in futures:
        yield next_one()
