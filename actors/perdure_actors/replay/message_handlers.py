"""Signals, updates and queries as a run's code sees them: handlers by name, and those at work.

A handler runs as a task of its own, in the order of the history. A query and a validator only
look: whatever they ask for is refused, and nothing of them is recorded.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Coroutine
from typing import Any, NamedTuple, Protocol

from perdure_actors.replay.blocked import BlockedError, DeadlockError
from perdure_actors.replay.builtin_queries import BUILTIN_QUERIES
from perdure_actors.replay.code import DYNAMIC, Handler, Header, Inbound, WorkflowCode
from perdure_actors.replay.exceptions import ApplicationError
from perdure_actors.replay.failures import failure_of
from perdure_actors.replay.loop import Loop
from perdure_actors.replay.raised import failure_of_any
from perdure_actors.replay.run_outcomes import is_failure
from perdure_schemas.converters import PayloadConverter
from perdure_schemas.message_events import (
    WorkflowSignaled,
    WorkflowUpdateAccepted,
    WorkflowUpdateCompleted,
)
from perdure_schemas.payloads import Failure, Payload, Record, SignalInput


class UnfinishedSignalHandlersWarning(RuntimeWarning):
    """A run ended while a handler of a signal was at work."""

    __module__ = "perdure.workflow"


class UnfinishedUpdateHandlersWarning(RuntimeWarning):
    """A run ended while a handler of an update was at work."""

    __module__ = "perdure.workflow"


class UpdateInfo(NamedTuple):
    """Which update a handler or a validator is at work on."""

    id: str
    name: str


class Unfinished(NamedTuple):
    """A handler that was at work when its run ended."""

    kind: str
    name: str
    id: str
    """The update's id; empty for a signal."""


NO_HEADER: Header = {}

current_update: contextvars.ContextVar[UpdateInfo | None] = contextvars.ContextVar(
    "perdure_update", default=None
)


class Running(Protocol):
    """What handlers need of the run that they belong to."""

    loop: Loop
    converter: PayloadConverter
    failure_exception_types: tuple[type[BaseException], ...]
    instance: Any
    cancel_reason: str | None
    inbound: Inbound | None

    @property
    def workflow_type(self) -> str:
        """The name of the workflow's type."""

    def ask(self, output: Record) -> None:
        """Add an output event to those of this activation."""

    def call_site(self) -> str:
        """Where user code stands."""

    def spawn(self, coro: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run a handler as a task whose failure is the run's."""


class Messages:
    """The handlers of one run, and the messages that no handler has taken yet."""

    def __init__(self, run: Running, code: WorkflowCode) -> None:
        self.signals: dict[str, Handler] = dict(code.signals)
        self.queries: dict[str, Handler] = dict(code.queries)
        self.updates: dict[str, Handler] = dict(code.updates)
        self.unfinished: list[Unfinished] = []
        """The handlers at work when the run ended, of those that somebody should hear of."""
        self._run = run
        self._has_begun = False
        self._early: list[WorkflowSignaled] = []
        self._unhandled: list[WorkflowSignaled] = []
        self._at_work: dict[int, tuple[Handler, Unfinished]] = {}
        self._count = 0

    @property
    def are_finished(self) -> bool:
        """Whether no handler is at work."""
        return not self._at_work

    # What happens.

    def take_signal(self, event: WorkflowSignaled) -> None:
        """A signal arrived; before the code begins it waits for that."""
        if not self._has_begun:
            self._early.append(event)
            return
        handler = self.signals.get(event.signal_name) or self.signals.get(DYNAMIC)
        if handler is None:
            self._unhandled.append(event)
        else:
            self._run.spawn(self._signal(handler, event), f"signal: {event.signal_name}")

    def take_start(self, signals: list[SignalInput]) -> None:
        """Signals that came with the start: the first thing that the code is told."""
        for signal in signals:
            event = WorkflowSignaled(
                signal_name=signal.signal_name,
                input=signal.input,
                header=signal.header,
                identity=signal.identity,
                request_id=signal.request_id,
            )
            self.take_signal(event)

    def begin(self) -> bool:
        """The code's instance is there; whether signals wait that go before its run method."""
        self._has_begun = True
        early, self._early = self._early, []
        for event in early:
            self.take_signal(event)
        return bool(early)

    def take_update(self, event: WorkflowUpdateAccepted) -> None:
        """An update was accepted. Raises BlockedError when changed code has no handler for it."""
        handler = self.updates.get(event.update_name) or self.updates.get(DYNAMIC)
        if handler is None:
            raise BlockedError(
                "error",
                f"update {event.update_name!r} was accepted, but {self._run.workflow_type} has no"
                f" handler for it now; {self._known('update', self.updates)}",
            )
        self._run.spawn(self._update(handler, event), f"update: {event.update_name}")

    def end(self) -> None:
        """The run has ended: handlers at work are abandoned."""
        self.unfinished = [
            told for handler, told in self._at_work.values() if handler.warns_unfinished
        ]

    # What the workflow API asks.

    def set_signal(self, name: str, handler: Handler | None) -> None:
        """Set or remove a handler; signals that waited for it are taken now, in their order."""
        self._run.loop.check_acting()
        _set(self.signals, name, handler)
        if handler is None:
            return
        waiting, self._unhandled = self._unhandled, []
        for event in waiting:
            self.take_signal(event)

    def set_query(self, name: str, handler: Handler | None) -> None:
        """Set or remove a handler."""
        self._run.loop.check_acting()
        _set(self.queries, name, handler)

    def set_update(self, name: str, handler: Handler | None) -> None:
        """Set or remove a handler."""
        self._run.loop.check_acting()
        _set(self.updates, name, handler)

    # What only looks.

    def problem_of(self, event: Record) -> Failure | None:
        """Why the code refuses a message that has not happened yet; None when it does not."""
        if isinstance(event, WorkflowSignaled):
            return self._problem_of_signal(event)
        assert isinstance(event, WorkflowUpdateAccepted), "only messages are shown to the code"
        handler = self.updates.get(event.update_name) or self.updates.get(DYNAMIC)
        if handler is None:
            unknown = ApplicationError(
                f"update {event.update_name!r} has no handler in {self._run.workflow_type};"
                f" {self._known('update', self.updates)}",
                type="UnknownUpdate",
                non_retryable=True,
            )
            return failure_of_any(unknown, self._run.converter)
        token = current_update.set(UpdateInfo(event.update_id, event.update_name))
        try:
            args = handler.read(event.update_name, event.input, self._run.converter)
            inbound = self._run.inbound
            if inbound is not None:
                inbound.validate_update(event.update_id, event.update_name, args, event.header)
            elif handler.has_validator:
                handler.validate(self._run.instance, args)
        except DeadlockError:
            raise
        except BaseException as error:
            return failure_of_any(error, self._run.converter)
        finally:
            current_update.reset(token)
        return None

    def _problem_of_signal(self, event: WorkflowSignaled) -> Failure | None:
        handler = self.signals.get(event.signal_name) or self.signals.get(DYNAMIC)
        if handler is not None:
            try:
                handler.read(event.signal_name, event.input, self._run.converter)
            except DeadlockError:
                raise
            except BaseException as error:
                return failure_of_any(error, self._run.converter)
        return None

    def answer(
        self, name: str, payloads: list[Payload], *, header: Header = NO_HEADER, id: str = ""
    ) -> Payload | Failure:
        """What a query returns, or why it does not."""
        run = self._run
        try:
            builtin = BUILTIN_QUERIES.get(name)
            if builtin is not None:
                return run.converter.to_payload(builtin(run, self))
            handler = self.queries.get(name) or self.queries.get(DYNAMIC)
            if handler is None:
                raise ApplicationError(
                    f"query {name!r} has no handler in {run.workflow_type};"
                    f" {self._known('query', self.queries)}",
                    type="UnknownQuery",
                    non_retryable=True,
                )
            args = handler.read(name, payloads, run.converter)
            if run.inbound is None:
                result = handler.call(run.instance, args)
            else:
                result = _at_once(run.inbound.handle_query(id, name, args, header), name)
            if inspect.iscoroutine(result):
                result = _at_once(result, name)
            if inspect.isawaitable(result):
                raise TypeError(f"query {name!r} returned an awaitable; a query only looks")
            return self._written(result, f"the result of query {name!r} ({handler.where})")
        except DeadlockError:
            raise
        except BaseException as error:
            return failure_of_any(error, run.converter)

    def _known(self, kind: str, handlers: dict[str, Handler]) -> str:
        names = ", ".join(sorted(name for name in handlers if name)) or "none"
        return f"known {'queries' if kind == 'query' else f'{kind}s'}: {names}"

    # Handlers at work.

    def _start_work(self, handler: Handler, kind: str, name: str, update_id: str = "") -> int:
        self._count += 1
        self._at_work[self._count] = (handler, Unfinished(kind, name, update_id))
        return self._count

    async def _signal(self, handler: Handler, event: WorkflowSignaled) -> None:
        run = self._run
        number = self._start_work(handler, "signal", event.signal_name)
        try:
            args = handler.read(event.signal_name, event.input, run.converter)
            if run.inbound is None:
                await _maybe(handler.call(run.instance, args))
            else:
                await run.inbound.handle_signal(event.signal_name, args, event.header)
        finally:
            self._at_work.pop(number, None)

    async def _update(self, handler: Handler, event: WorkflowUpdateAccepted) -> None:
        run = self._run
        current_update.set(UpdateInfo(event.update_id, event.update_name))
        number = self._start_work(handler, "update", event.update_name, event.update_id)
        name, update_id = event.update_name, event.update_id
        try:
            args = handler.read(name, event.input, run.converter)
            if run.inbound is None:
                result = await _maybe(handler.call(run.instance, args))
            else:
                result = await run.inbound.handle_update(update_id, name, args, event.header)
        except (Exception, asyncio.CancelledError) as error:
            if not is_failure(error, run):
                raise
            outcome: Payload | Failure = failure_of(error, run.converter)
        else:
            outcome = self._written(result, f"the result of update {name!r} ({handler.where})")
        finally:
            self._at_work.pop(number, None)
        run.ask(
            WorkflowUpdateCompleted(
                update_id=update_id,
                update_name=name,
                result=outcome if isinstance(outcome, Payload) else None,
                failure=outcome if isinstance(outcome, Failure) else None,
            )
        )

    def _written(self, result: Any, what: str) -> Payload | Failure:
        """A handler's result, or why it cannot be written: that concerns its asker alone."""
        converter = self._run.converter
        try:
            return converter.to_payload(result, what=what)
        except DeadlockError:
            raise
        except BaseException as error:
            return failure_of_any(error, converter)


def _at_once(call: Coroutine[Any, Any, Any], name: str) -> Any:
    """What a coroutine returns that waits for nothing."""
    try:
        call.send(None)
    except StopIteration as done:
        return done.value
    call.close()
    raise TypeError(
        f"query {name!r}: its handler, or an interceptor, waited for something; a query only looks"
    )


async def _maybe(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result


def _set(handlers: dict[str, Handler], name: str, handler: Handler | None) -> None:
    if handler is None:
        handlers.pop(name, None)
    else:
        handlers[name] = handler
