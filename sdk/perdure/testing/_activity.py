"""ActivityEnvironment: runs one activity with a context that the test controls."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from perdure import activity
from perdure._activity_client import CLIENT
from perdure.common import Priority
from perdure.converter import DataConverter, records_converter
from perdure_actors.definitions.registry import ACTIVITY, ActivityDefinition
from perdure_actors.replay.exceptions import CancelledError
from perdure_actors.worker.activity_context import (
    CURRENT,
    ActivityCancellationDetails,
    ActivityContext,
    Flag,
    ThreadInterrupt,
)
from perdure_actors.worker.executors import raise_in_thread
from perdure_schemas.payloads import Payload
from perdure_schemas.tasks import ActivityTask

if TYPE_CHECKING:
    from perdure.client import Client
    from perdure_schemas.converters import PayloadConverter

P = ParamSpec("P")
T = TypeVar("T")


class ActivityEnvironment:
    """Runs activities one at a time, without a worker.

    Set `info` and `on_heartbeat` before a run. A cancellation reaches the code as it would in a
    worker: as CancelledError in a coroutine, and raised in the thread of a plain function.
    """

    def __init__(self, client: Client | None = None) -> None:
        self.info = self.default_info()
        self.on_heartbeat: Callable[..., None] = lambda *_details: None
        self.payload_converter: PayloadConverter = records_converter(DataConverter.default)
        self._client = client
        self._is_cancelled = False
        self._details: ActivityCancellationDetails | None = None
        self._shutdown = Flag()
        self._context: ActivityContext | None = None
        self._task: asyncio.Task[Any] | None = None

    @staticmethod
    def default_info() -> activity.Info:
        """What an activity is told of itself unless a test says otherwise."""
        began = datetime.fromtimestamp(0, UTC)
        return activity.Info(
            activity_id="test",
            activity_type="unknown",
            attempt=1,
            current_attempt_scheduled_time=began,
            heartbeat_details=[],
            heartbeat_timeout=None,
            is_local=False,
            namespace="default",
            schedule_to_close_timeout=timedelta(seconds=1),
            scheduled_time=began,
            start_to_close_timeout=timedelta(seconds=1),
            started_time=began,
            task_queue="test",
            task_token=b"test",
            workflow_id="test",
            workflow_namespace="default",
            workflow_run_id="test-run",
            workflow_type="test",
            priority=Priority.default,
            retry_policy=None,
        )

    def cancel(self, cancellation_details: ActivityCancellationDetails | None = None) -> None:
        """Ask the running activity, and those run after it, to stop; on any thread."""
        if self._is_cancelled:
            return
        self._is_cancelled = True
        self._details = cancellation_details or ActivityCancellationDetails(cancel_requested=True)
        context, task = self._context, self._task
        if context is None:
            return
        context.cancel(self._details)
        if context.interrupt is not None:
            context.interrupt.raise_soon(CancelledError)
        if task is not None:
            task.get_loop().call_soon_threadsafe(task.cancel)

    def worker_shutdown(self) -> None:
        """Say that the worker stops."""
        self._shutdown.set()

    def run(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an activity: its result, or what is awaited for it when it is async."""
        called = fn if inspect.isroutine(fn) else type(fn).__call__
        definition = getattr(fn, ACTIVITY, None)
        is_async = inspect.iscoroutinefunction(called)
        context = self._make_context(fn, definition, is_async=is_async)
        if is_async:
            waiting: Any = self._run_async(context, fn, args, kwargs)
            return cast("T", waiting)
        return cast("T", self._run_here(context, fn, args, kwargs))

    async def _run_async(
        self, context: ActivityContext, fn: Callable[..., Any], args: Any, kwargs: Any
    ) -> Any:
        inner = self._surround(context)
        self._context = context
        self._task = task = asyncio.get_running_loop().create_task(
            fn(*args, **kwargs), context=inner
        )
        if self._is_cancelled:
            task.cancel()
        try:
            return await task
        finally:
            self._context = self._task = None

    def _run_here(
        self, context: ActivityContext, fn: Callable[..., Any], args: Any, kwargs: Any
    ) -> Any:
        definition = context.definition
        if not definition.no_thread_cancel_exception:
            context.interrupt = ThreadInterrupt(raise_in_thread)
            if self._is_cancelled:
                context.interrupt.raise_soon(CancelledError)

        def call() -> Any:
            if context.interrupt is not None:
                context.interrupt.begin()
            try:
                return fn(*args, **kwargs)
            finally:
                if context.interrupt is not None:
                    context.interrupt.end()

        self._context = context
        try:
            return self._surround(context).run(call)
        finally:
            self._context = None

    def _surround(self, context: ActivityContext) -> contextvars.Context:
        inner = contextvars.copy_context()
        inner.run(CURRENT.set, context)
        if self._client is not None:
            inner.run(CLIENT.set, self._client)
        return inner

    def _make_context(
        self, fn: Callable[..., Any], definition: ActivityDefinition | None, *, is_async: bool
    ) -> ActivityContext:
        info = self.info
        name = definition.name if definition is not None else info.activity_type
        if info.activity_type == "unknown" and name:
            info = replace(info, activity_type=name)
        task = ActivityTask(
            workflow_id=info.workflow_id or "",
            run_id=info.workflow_run_id or "",
            workflow_type=info.workflow_type or "",
            activity_id=info.activity_id,
            activity_type=info.activity_type,
            attempt=info.attempt,
            token=info.task_token,
            commands_topic="",
            partition=0,
            namespace=info.namespace,
            task_queue=info.task_queue,
            local=info.is_local,
        )
        context = ActivityContext(
            task,
            definition=definition or ActivityDefinition(name=name, fn=fn, is_async=is_async),
            fn=fn,
            started_ms=0,
            converter=self.payload_converter,
            shutdown=self._shutdown,
            beat=self._beat,
        )
        context.dressed = info
        if self._is_cancelled and self._details is not None:
            context.cancel(self._details)
        return context

    def _beat(self, details: list[Payload]) -> None:
        self.on_heartbeat(*self.payload_converter.from_payloads(details))
