"""Activities called by way of interceptors; the chain runs on the event loop.

What the chain is made of is the front door's business; here it is one function.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any

from msgspec.structs import replace

from perdure_actors.replay.exceptions import CancelledError
from perdure_actors.replay.failures import exception_of
from perdure_actors.worker.activity_context import (
    ActivityContext,
    ThreadInterrupt,
    cancellation_details,
)
from perdure_actors.worker.attempt import WORKER_SHUTDOWN, Attempt
from perdure_actors.worker.executors import (
    Outcome,
    arguments_of,
    call_interruptibly,
    raise_in_thread,
)
from perdure_actors.worker.processes import ProcessExecutor

Execute = Callable[[Callable[..., Any], Sequence[Any]], Awaitable[Any]]
"""Runs a function with arguments where the activity's code runs; what it returns."""
Intercept = Callable[[ActivityContext, Sequence[Any], Execute], Awaitable[Any]]
"""Goes through the chain of one attempt, whose end is `Execute`."""


class InterceptedCalls:
    """Calls activities by way of a chain."""

    def __init__(
        self, intercept: Intercept, *, pool: Executor, processes: ProcessExecutor | None
    ) -> None:
        self._intercept = intercept
        self._pool = pool
        self._processes = processes

    async def call(self, attempt: Attempt, context: ActivityContext) -> Any:
        """Call an attempt's function through the chain. Raises whatever comes out of it."""
        args = arguments_of(context)
        execute = partial(self._execute, attempt, context, args)
        return await self._intercept(context, args, execute)

    async def _execute(
        self,
        attempt: Attempt,
        context: ActivityContext,
        given: Sequence[Any],
        fn: Callable[..., Any],
        args: Sequence[Any],
    ) -> Any:
        if context.definition.is_async:
            return await fn(*args)
        if context.cancellation is not None:
            raise CancelledError
        if self._processes is None:
            return await self._in_thread(context, fn, args)
        if args is not given:
            payloads = context.converter.to_payloads(args)
            attempt.task = replace(attempt.task, input=payloads)
        return _value_of(await self._in_process(attempt, context, fn), context)

    async def _in_thread(
        self, context: ActivityContext, fn: Callable[..., Any], args: Sequence[Any]
    ) -> Any:
        if not context.definition.no_thread_cancel_exception:
            context.interrupt = ThreadInterrupt(raise_in_thread)
        carried = contextvars.copy_context()
        future = self._pool.submit(carried.run, call_interruptibly, fn, args, context)
        return await asyncio.wrap_future(future)

    async def _in_process(
        self, attempt: Attempt, context: ActivityContext, fn: Callable[..., Any]
    ) -> Outcome:
        assert self._processes is not None
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[Outcome] = loop.create_future()

        def deliver(_: Attempt, outcome: Outcome) -> None:
            loop.call_soon_threadsafe(_settle, ended, outcome)

        self._processes.start(attempt, context, fn=fn, deliver=deliver)
        return await ended


def _settle(ended: asyncio.Future[Outcome], outcome: Outcome) -> None:
    if not ended.done():
        ended.set_result(outcome)


def _value_of(outcome: Outcome, context: ActivityContext) -> Any:
    """What a function in a process returned. Raises what it raised."""
    converter = context.converter
    if outcome.kind == "completed":
        if outcome.result is None:
            return None
        hint = context.definition.signature.result_type
        return converter.from_payload(outcome.result, hint, what="the result")
    if outcome.kind in ("stopped", "unbegun"):
        context.cancel(cancellation_details(WORKER_SHUTDOWN))
        raise CancelledError
    if outcome.failure is not None:
        raise exception_of(outcome.failure, converter)
    raise CancelledError("Cancelled", *converter.from_payloads(outcome.details))
