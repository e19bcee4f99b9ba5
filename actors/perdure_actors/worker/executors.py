"""How the code of an attempt is run: on the event loop or in a thread. It sends nothing itself."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import logging
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from types import CodeType
from typing import Any, Protocol

import msgspec
from opentelemetry import context as otel_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from perdure_actors.replay.exceptions import CancelledError
from perdure_actors.replay.raised import failure_of_any, said_by
from perdure_actors.worker.activity_context import (
    CURRENT,
    ActivityContext,
    AsyncCompletionError,
    ThreadInterrupt,
)
from perdure_actors.worker.attempt import Attempt, application_failure
from perdure_schemas.payloads import Failure, Payload
from perdure_topics.ports import Headers

logger = logging.getLogger(__name__)
_PROPAGATOR = TraceContextTextMapPropagator()


class Outcomes(Protocol):
    """Whom an executor tells what became of an attempt, on the event loop's thread."""

    def completed(self, attempt: Attempt, result: Payload | None) -> None:
        """The code returned."""

    def failed(self, attempt: Attempt, failure: Failure) -> None:
        """The code failed."""

    def canceled(self, attempt: Attempt, details: Sequence[Payload] = ()) -> None:
        """The code ended because it was asked to cancel."""

    def stopped(self, attempt: Attempt) -> None:
        """The code ended because its worker stops."""

    def unbegun(self, attempt: Attempt) -> None:
        """The code has not begun, and will not."""

    def detached(self, attempt: Attempt) -> None:
        """The code ended without an outcome: somebody else will report one."""


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What became of an attempt, worked out where its code ran; told on the loop's thread."""

    kind: str
    result: Payload | None = None
    failure: Failure | None = None
    details: list[Payload] = []

    def tell(self, outcomes: Outcomes, attempt: Attempt) -> None:
        """Tell it."""
        if self.kind == "completed":
            outcomes.completed(attempt, self.result)
        elif self.kind == "stopped":
            outcomes.stopped(attempt)
        elif self.kind == "unbegun":
            outcomes.unbegun(attempt)
        elif self.kind == "detached":
            outcomes.detached(attempt)
        elif self.failure is not None:
            outcomes.failed(attempt, self.failure)
        else:
            outcomes.canceled(attempt, self.details)


def call(context: ActivityContext) -> Any:
    """Read the arguments and call the function.

    Raises ActivityInputError when the arguments cannot be read, and whatever the function raises.
    """
    return context.fn(*arguments_of(context))


def arguments_of(context: ActivityContext) -> list[Any]:
    """The arguments of a call. Raises ActivityInputError when they cannot be read."""
    definition = context.definition
    signature = definition.signature
    payloads = context.task.input
    try:
        if definition.is_dynamic:
            return [_unread(payloads, signature.item_type, context)]
        return signature.read(payloads, context.converter, what=f"activity {definition.name}")
    except (TypeError, ValueError) as error:
        raise ActivityInputError(str(error)) from error


def _unread(payloads: list[Payload], item_type: Any, context: ActivityContext) -> list[Any]:
    """The arguments of a dynamic activity: raw, unless it says what they are."""
    if getattr(item_type, "__perdure_raw__", False):
        return [item_type(payload) for payload in payloads]
    return context.converter.from_payloads(payloads, [item_type] * len(payloads))


class ActivityInputError(Exception):
    """An activity's arguments cannot be read as its parameters."""


def outcome_of_result(result: Any, context: ActivityContext) -> Outcome:
    """The outcome of code that returned; a failure when its result cannot be written."""
    if result is None:
        return Outcome("completed")
    try:
        payload = context.converter.to_payload(result, what="the result")
    except Exception as error:
        where = f"activity {context.task.activity_type} ({context.definition.where})"
        message = f"{where}: {said_by(error)}"
        failure = application_failure(message, type(error).__name__, non_retryable=True)
        return Outcome("failed", failure=failure)
    return Outcome("completed", payload)


def outcome_of_error(error: BaseException, context: ActivityContext) -> Outcome:
    """The outcome of code that let an exception out."""
    why = context.cancellation
    if isinstance(error, asyncio.CancelledError | CancelledError) and why is not None:
        if why.worker_shutdown:
            return Outcome("stopped")
        return Outcome("canceled", details=_details(error, context))
    if isinstance(error, AsyncCompletionError) and not context.task.local:
        return Outcome("detached")
    return Outcome("failed", failure=_failure(error, context))


def _failure(error: BaseException, context: ActivityContext) -> Failure:
    name = context.task.activity_type
    if isinstance(error, asyncio.CancelledError | CancelledError):
        return application_failure(
            f"activity {name} raised {type(error).__name__}, and nobody had asked it to cancel",
            "CancelledError",
        )
    if isinstance(error, AsyncCompletionError):
        return application_failure(
            f"local activity {name} called raise_complete_async: only an activity that a worker"
            " runs can be completed from elsewhere",
            "AsyncCompletionError",
            non_retryable=True,
        )
    return failure_of_any(error, context.converter)


def _details(error: BaseException, context: ActivityContext) -> list[Payload]:
    if not isinstance(error, CancelledError) or not error.details:
        return []
    try:
        return context.converter.to_payloads(error.details)
    except Exception as problem:
        logger.warning(
            "dropped the details of a cancelled %s: %s",
            context.task.activity_type,
            said_by(problem),
        )
        return []


def adopt_trace(headers: Headers) -> None:
    """Make the trace that came with a task the current one of the calling context."""
    if headers:
        carrier = {name: value.decode("ascii", "replace") for name, value in headers}
        otel_context.attach(_PROPAGATOR.extract(carrier))


class AsyncExecutor:
    """Runs async activities on the event loop, one task each."""

    def __init__(
        self,
        outcomes: Outcomes,
        *,
        loop: asyncio.AbstractEventLoop,
        inherited: contextvars.Context,
        through: Callable[[Attempt, ActivityContext], Awaitable[Any]] | None = None,
    ) -> None:
        self._outcomes = outcomes
        self._through = through
        self._loop = loop
        self._inherited = inherited
        self._tasks: dict[Attempt, asyncio.Task[None]] = {}
        self._begun: set[Attempt] = set()

    def start(self, attempt: Attempt, context: ActivityContext) -> None:
        """Run it in a task of its own."""
        self._tasks[attempt] = self._loop.create_task(
            self._run(attempt, context), context=self._inherited.copy()
        )

    def has_the_loop(self, attempt: Attempt) -> bool:
        """Whether it is an attempt's own code that the loop runs now. Asked from any thread."""
        task = self._tasks.get(attempt)
        return task is not None and asyncio.current_task(self._loop) is task

    @staticmethod
    def running_code() -> CodeType:
        """The function in whose frames an attempt's code runs, for who looks at stacks."""
        return AsyncExecutor._run.__code__

    def cancel(self, attempt: Attempt) -> None:
        """Cancel its task; one that has not had its first step cancels itself then."""
        if attempt in self._begun:
            self._tasks[attempt].cancel()

    async def _run(self, attempt: Attempt, context: ActivityContext) -> None:
        if not context.begin():
            self._tasks.pop(attempt, None)
            return
        self._begun.add(attempt)
        CURRENT.set(context)
        try:
            if attempt.headers:
                adopt_trace(attempt.headers)
            if context.cancellation is not None:
                self._tasks[attempt].cancel()
            through = self._through
            waiting = call(context) if through is None else through(attempt, context)
            outcome = outcome_of_result(await waiting, context)
        except KeyboardInterrupt as error:
            # A person may have pressed Ctrl-C as it ran. sys.exit() in it is a failed attempt.
            outcome_of_error(error, context).tell(self._outcomes, attempt)
            raise
        except BaseException as error:
            outcome = outcome_of_error(error, context)
        finally:
            self._begun.discard(attempt)
            self._tasks.pop(attempt, None)
        outcome.tell(self._outcomes, attempt)


def raise_in_thread(thread_id: int, kind: type[BaseException] | None) -> None:
    """Raise an exception in another thread at its next step; None takes it back."""
    raised = None if kind is None else ctypes.py_object(kind)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), raised)


class ThreadExecutor:
    """Runs sync activities in threads; a cancellation is raised in the thread."""

    def __init__(
        self,
        executor: Executor,
        *,
        deliver: Callable[[Attempt, Outcome], None],
        inherited: contextvars.Context,
    ) -> None:
        self._executor = executor
        self._deliver = deliver
        self._inherited = inherited

    def start(self, attempt: Attempt, context: ActivityContext) -> None:
        """Run it in a thread. Raises RuntimeError when the executor takes nothing any more."""
        if not context.definition.no_thread_cancel_exception:
            context.interrupt = ThreadInterrupt(raise_in_thread)
        self._executor.submit(self._inherited.copy().run, self._run, attempt, context)

    def cancel(self, context: ActivityContext) -> None:
        """Raise the cancellation in its thread, unless it asked not to be interrupted."""
        if context.interrupt is not None:
            context.interrupt.raise_soon(CancelledError)

    def _run(self, attempt: Attempt, context: ActivityContext) -> None:
        if not context.begin():
            return
        CURRENT.set(context)
        if attempt.headers:
            adopt_trace(attempt.headers)
        try:
            outcome = run_interruptibly(context)
        except BaseException as error:
            # The interrupt landed between the activity's end and ours.
            outcome = outcome_of_error(error, context)
        self._deliver(attempt, outcome)


def run_interruptibly(context: ActivityContext) -> Outcome:
    """Call a sync activity so that its cancellation may be raised in this thread."""
    interrupt = context.interrupt
    try:
        try:
            if interrupt is not None:
                interrupt.begin()
            outcome = outcome_of_result(call(context), context)
        except BaseException as error:
            outcome = outcome_of_error(error, context)
    finally:
        if interrupt is not None:
            _end(interrupt)
    return outcome


def call_interruptibly(
    fn: Callable[..., Any], args: Sequence[Any], context: ActivityContext
) -> Any:
    """The same for a function whose outcome the caller sees to."""
    interrupt = context.interrupt
    try:
        if interrupt is not None:
            interrupt.begin()
        return fn(*args)
    finally:
        if interrupt is not None:
            _end(interrupt)


def _end(interrupt: ThreadInterrupt) -> None:
    for _ in range(2):
        try:
            interrupt.end()
        except CancelledError:
            # It was on its way; after the second call nothing is.
            continue
        return
