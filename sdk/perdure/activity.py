"""The decorator of activities, and the context of a running one.

An activity is any function, async or plain; a plain one runs in a thread or a process. It may run
more than once for one call of a workflow: `info().idempotency_key` is the same each time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn, overload

from perdure._activity_client import CLIENT
from perdure._records.policies import duration_of, priority_of, retry_policy_of, time_of
from perdure._records.task_tokens import token_of
from perdure._telemetry.meters import OpenTelemetryMeter
from perdure.common import MetricMeter, Priority, RetryPolicy
from perdure.converter._data_converter import FacingConverter
from perdure.converter._payload_converters import PayloadConverter
from perdure.types import CallableType
from perdure_actors.definitions.validation import define_activity
from perdure_actors.worker.activity_context import (
    CURRENT,
    ActivityCancellationDetails,
    ActivityContext,
    AsyncCompletionError,
)

if TYPE_CHECKING:
    from perdure.client import Client


__all__ = [
    "ActivityCancellationDetails",
    "Info",
    "LoggerAdapter",
    "cancellation_details",
    "client",
    "defn",
    "heartbeat",
    "in_activity",
    "info",
    "info_of",
    "is_cancelled",
    "is_worker_shutdown",
    "logger",
    "metric_meter",
    "payload_converter",
    "raise_complete_async",
    "shield_thread_cancel_exception",
    "wait_for_cancelled",
    "wait_for_cancelled_sync",
    "wait_for_worker_shutdown",
    "wait_for_worker_shutdown_sync",
]


@overload
def defn(fn: CallableType) -> CallableType: ...


@overload
def defn(
    *, name: str | None = None, no_thread_cancel_exception: bool = False
) -> Callable[[CallableType], CallableType]: ...


@overload
def defn(
    *, no_thread_cancel_exception: bool = False, dynamic: bool = False
) -> Callable[[CallableType], CallableType]: ...


def defn(
    fn: CallableType | None = None,
    *,
    name: str | None = None,
    no_thread_cancel_exception: bool = False,
    dynamic: bool = False,
) -> CallableType | Callable[[CallableType], CallableType]:
    """Make a function, a method or a class that can be called an activity.

    Args:
        fn: The function, when used without parentheses.
        name: The activity's type; the function's own name unless given.
        no_thread_cancel_exception: Whether a thread that runs it is only told of a cancellation,
            and no CancelledError is raised in it.
        dynamic: Whether it runs every activity type that has no function of its own; it takes one
            argument, a sequence of perdure.common.RawValue.

    Raises:
        ValueError: When it cannot be an activity; the message says why, and where it stands.
    """

    def decorate(decorated: CallableType) -> CallableType:
        define_activity(
            decorated,
            name=name,
            is_dynamic=dynamic,
            no_thread_cancel_exception=no_thread_cancel_exception,
        )
        return decorated

    if fn is None:
        return decorate
    define_activity(fn)
    return fn


@dataclass(frozen=True)
class Info:
    """What a running activity is: its call, its attempt, its limits."""

    activity_id: str
    activity_type: str
    attempt: int
    """1 for the first attempt."""
    current_attempt_scheduled_time: datetime
    heartbeat_details: Sequence[Any]
    """What the last heartbeat of the attempt before left."""
    heartbeat_timeout: timedelta | None
    is_local: bool
    namespace: str
    schedule_to_close_timeout: timedelta | None
    scheduled_time: datetime
    start_to_close_timeout: timedelta | None
    started_time: datetime
    task_queue: str
    task_token: bytes
    """Of this one attempt; another attempt has another."""
    workflow_id: str | None
    workflow_namespace: str | None
    workflow_run_id: str | None
    workflow_type: str | None
    priority: Priority
    retry_policy: RetryPolicy | None
    activity_run_id: str | None = None

    @property
    def in_workflow(self) -> bool:
        """Whether a workflow asked for it."""
        return self.workflow_id is not None

    @property
    def idempotency_key(self) -> str:
        """A key that is the same over all attempts of this call, and of no other call.

        It is workflow_run_id and activity_id. Give it to what the activity acts upon, so that an
        attempt that was made twice acts once.
        """
        return f"{self.workflow_run_id}/{self.activity_id}"


def in_activity() -> bool:
    """Whether the caller is the code of a running activity."""
    return CURRENT.get(None) is not None


def info() -> Info:
    """What the running activity is."""
    context = _context()
    if context.outbound is not None:
        told: Info = context.outbound.info()
        return told
    return info_of(context)


def info_of(context: ActivityContext) -> Info:
    """What an activity is, before interceptors."""
    if context.dressed is None:
        context.dressed = _info(context)
    found: Info = context.dressed
    return found


def heartbeat(*details: Any) -> None:
    """Say that the activity is alive, and leave details for its next attempt.

    Call it as often as is handy: the worker sends what its throttle allows, and always the last.
    """
    context = _context()
    if context.outbound is not None:
        context.outbound.heartbeat(*details)
    else:
        context.heartbeat(details)


def is_cancelled() -> bool:
    """Whether the activity should stop."""
    return _context().cancelled.is_set()


def cancellation_details() -> ActivityCancellationDetails | None:
    """Why the activity should stop; None while it should not."""
    return _context().cancellation


async def wait_for_cancelled() -> None:
    """Wait until the activity should stop; being async, it is cancelled itself as well."""
    await _context().cancelled.wait()


def wait_for_cancelled_sync(timeout: timedelta | float | None = None) -> None:
    """Wait in a thread until the activity should stop, or the time is over."""
    _context().cancelled.wait_sync(_seconds(timeout))


@contextmanager
def shield_thread_cancel_exception() -> Iterator[None]:
    """Hold back the exception that a cancellation raises in a thread until the block is left."""
    context = _context()
    interrupt = context.interrupt
    if interrupt is None:
        yield
        return
    interrupt.shield()
    try:
        yield
    finally:
        held_back = interrupt.unshield()
        if held_back is not None:
            raise held_back


def is_worker_shutdown() -> bool:
    """Whether the worker has begun to stop."""
    return _context().shutdown.is_set()


async def wait_for_worker_shutdown() -> None:
    """Wait until the worker begins to stop."""
    await _context().shutdown.wait()


def wait_for_worker_shutdown_sync(timeout: timedelta | float | None = None) -> None:
    """Wait in a thread until the worker begins to stop, or the time is over."""
    _context().shutdown.wait_sync(_seconds(timeout))


def raise_complete_async() -> NoReturn:
    """Leave the attempt open for somebody else to report, by `Client.get_async_activity_handle`.

    Its timeouts go on; the worker's end does not matter to it any more.
    """
    _context()
    raise AsyncCompletionError


def client() -> Client:
    """The client of this activity's worker, to call workflows with.

    Raises RuntimeError in a process of a pool, which has none: connect one there.
    """
    _context()
    found = CLIENT.get(None)
    if found is None:
        raise RuntimeError(
            "there is no client here: activities in processes of a pool, and activities of an"
            " ActivityEnvironment made without one, connect their own"
        )
    return found


def payload_converter() -> PayloadConverter:
    """What reads and writes this worker's payloads."""
    return FacingConverter(_context().converter)


def metric_meter() -> MetricMeter:
    """A meter for metrics of the activity's own."""
    task = _context().task
    return OpenTelemetryMeter(
        {
            "namespace": task.namespace,
            "task_queue": task.task_queue,
            "activity_type": task.activity_type,
        }
    )


class LoggerAdapter(logging.LoggerAdapter[logging.Logger]):
    """A logger whose records say which activity wrote them."""

    def __init__(self, logger: logging.Logger, extra: Mapping[str, Any] | None) -> None:
        super().__init__(logger, extra or {})
        self.activity_info_on_message = True
        """Whether the message ends with what the activity is."""
        self.activity_info_on_extra = True
        """Whether the record has it as its attribute `perdure_activity`."""
        self.full_activity_info_on_extra = False
        """Whether the record has the whole Info as its attribute `activity_info`."""

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """Add what the running activity is, if one runs."""
        context = CURRENT.get(None)
        if context is None:
            return msg, kwargs
        facts = _log_facts(context)
        extra = {**(self.extra or {}), **kwargs.get("extra", {})}
        if self.activity_info_on_extra:
            extra["perdure_activity"] = facts
        if self.full_activity_info_on_extra:
            extra["activity_info"] = info()
        kwargs["extra"] = extra
        return (f"{msg} ({facts})" if self.activity_info_on_message else msg), kwargs

    @property
    def base_logger(self) -> logging.Logger:
        """The logger beneath."""
        return self.logger


logger = LoggerAdapter(logging.getLogger(__name__), None)
"""A logger whose records say which activity wrote them."""


def _context() -> ActivityContext:
    context = CURRENT.get(None)
    if context is None:
        raise RuntimeError("Not in activity context: call this from the code of an activity")
    return context


def _log_facts(context: ActivityContext) -> dict[str, Any]:
    task = context.task
    return {
        "activity_id": task.activity_id,
        "activity_type": task.activity_type,
        "attempt": task.attempt,
        "namespace": task.namespace,
        "task_queue": task.task_queue,
        "workflow_id": task.workflow_id,
        "workflow_run_id": task.run_id,
        "workflow_type": task.workflow_type,
    }


def _info(context: ActivityContext) -> Info:
    task = context.task
    return Info(
        activity_id=task.activity_id,
        activity_type=task.activity_type,
        attempt=task.attempt,
        current_attempt_scheduled_time=time_of(task.attempt_scheduled_ms),
        heartbeat_details=context.converter.from_payloads(task.heartbeat_details),
        heartbeat_timeout=duration_of(task.heartbeat_ms),
        is_local=task.local,
        namespace=task.namespace,
        schedule_to_close_timeout=duration_of(task.schedule_to_close_ms),
        scheduled_time=time_of(task.scheduled_ms),
        start_to_close_timeout=duration_of(task.start_to_close_ms),
        started_time=time_of(context.started_ms),
        task_queue=task.task_queue,
        task_token=token_of(task),
        workflow_id=task.workflow_id,
        workflow_namespace=task.namespace,
        workflow_run_id=task.run_id,
        workflow_type=task.workflow_type,
        priority=priority_of(task.priority),
        retry_policy=retry_policy_of(task.retry_policy),
    )


def _seconds(timeout: timedelta | float | None) -> float | None:
    return timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
