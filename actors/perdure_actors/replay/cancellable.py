"""Steps that code waits for and may cancel: activities and children, and their handles.

What a person cancels ends, as in Temporal, with the step's own error, caused by CancelledError;
what asyncio cancels, for a timeout or a task group, ends with asyncio.CancelledError, which they
count on.

Cancelling is level-triggered. A cancellation that only begins to end a step, because the code
waits for that step's own end, is owed: it is delivered again, at the code's next wait, unless the
step ends cancelled and so shows it.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, cast

from perdure_actors.replay.contexts import Converters
from perdure_actors.replay.loop import Future, Loop, Owed, Task, canceller
from perdure_schemas.converters import PayloadConverter
from perdure_schemas.events import WorkflowStarted
from perdure_schemas.payloads import FailureCause, Payload, Record

T = TypeVar("T")
ABANDON = "abandon"
TRY_CANCEL = "try_cancel"
WAIT_CANCELLATION_COMPLETED = "wait_cancellation_completed"


class Asker(Protocol):
    """Where what the code asks for goes."""

    loop: Loop
    converters: Converters
    started: WorkflowStarted | None

    def ask(self, output: Record) -> None:
        """Add an output event to those of this activation."""

    def take_back(self, output: Record) -> bool:
        """Remove an output that this very activation asked for; whether it did."""

    def call_site(self) -> str:
        """Where user code stands."""


class Cancellation(NamedTuple):
    """A cancellation as it reaches what a task waits for."""

    by_asyncio: bool
    """Whether asyncio asked, which counts on CancelledError: a timeout, a task group."""
    owed: tuple[Owed, ...] = ()
    """The tasks that were asked, and that what they wait for is to tell."""
    msg: Any = None

    @property
    def reason(self) -> str:
        """What a person said of why."""
        return "" if self.by_asyncio or self.msg is None else str(self.msg)


class OutcomeFuture(Future[Any]):
    """What the outcome of a step will be; a step that is ending already takes cancellations in."""

    __slots__ = ("_absorbs",)

    def __init__(self, *, loop: Loop, absorbs: Callable[[Cancellation], bool]) -> None:
        self._absorbs = absorbs
        super().__init__(loop=loop)

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel the wait, unless it goes on until the step has ended."""
        if not self.done():
            loop = cast("Loop", self.get_loop())
            if self._absorbs(cancellation_by(loop, canceller(), self, msg)):
                return True
        return super().cancel(msg)


class Step:
    """A step that the code asked for and that has no outcome yet."""

    __slots__ = (
        "asked",
        "cancellation_type",
        "future",
        "is_cancel_asked",
        "is_over",
        "is_wanted_by_asyncio",
        "msg",
        "owed",
        "result_type",
        "waits",
    )

    def __init__(self, asked: Record, cancellation_type: str, result_type: Any, loop: Loop) -> None:
        self.asked = asked
        """The event that the code asked for it with."""
        self.cancellation_type = cancellation_type
        self.result_type = result_type
        self.is_cancel_asked = False
        self.is_wanted_by_asyncio = False
        self.is_over = False
        self.msg: Any = None
        """What asyncio's cancellation said: anyio knows its own by that."""
        self.waits = False
        """Whether it was cancelled and is waited for until it has ended."""
        self.owed: tuple[Owed, ...] = ()
        """Tasks that were cancelled as they waited for it, and have not seen it."""
        self.future = OutcomeFuture(loop=loop, absorbs=self.absorb)

    def absorb(self, found: Cancellation) -> bool:
        """Take in a cancellation of who waits, if there is nothing more to do for it."""
        if self.is_over or not self.waits:
            return False
        self.want(found)
        return True

    def want(self, found: Cancellation) -> None:
        """Go on until the step has ended, and remember who is to be told then."""
        self.waits = True
        if found.by_asyncio:
            self.is_wanted_by_asyncio = True
            self.msg = found.msg
        else:
            self.owed += found.owed

    def renew(self, loop: Loop) -> None:
        """Go on waiting: asyncio cancelled the future with the task that awaits it."""
        self.future = OutcomeFuture(loop=loop, absorbs=self.absorb)

    def end(self, loop: Loop) -> None:
        """The step ended in its own way: who was cancelled meanwhile is told at the next wait."""
        self.is_over = True
        if self.is_wanted_by_asyncio:
            # A timeout or a task group counts on it, whatever the step came to.
            self.future.cancel(self.msg)
        else:
            loop.cancels.owe(self.owed)

    def give(self, value: Any) -> None:
        """Let the code have what the step returned."""
        if not self.future.done():
            self.future.set_result(value)

    def give_payload(self, payload: Payload | None, converter: PayloadConverter, what: str) -> None:
        """Let the code have what the step returned, as a value of the type that it asked for."""
        if payload is None or self.future.done():
            self.give(None)
            return
        try:
            value = converter.from_payload(payload, self.result_type, what=what)
        except Exception as error:
            self.refuse(error)
        else:
            self.give(value)

    def refuse(self, error: BaseException) -> None:
        """Let the code have what the step failed with."""
        settle(self.future, error)


S = TypeVar("S", bound=Step)


class Steps(ABC, Generic[S]):
    """The steps of one kind of one run: how they are awaited, and how they are cancelled."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    async def outcome(self, step: S) -> Any:
        """The result of a step; being cancelled cancels it."""
        while True:
            try:
                return await step.future
            except asyncio.CancelledError as error:
                if step.is_over:
                    raise
                step.renew(self._asker.loop)
                self.cancel(step, cancellation_of(self._asker.loop, error))

    def cancel(self, step: S, found: Cancellation) -> None:
        """Cancel a step as its cancellation type says."""
        if step.is_over:
            return
        kind = step.cancellation_type
        if kind != ABANDON and not step.is_cancel_asked:
            step.is_cancel_asked = True
            if self._asker.take_back(step.asked):
                kind = TRY_CANCEL
            else:
                self._asker.ask(self._cancel_request(step, found.reason))
        if self._is_awaited(step, kind, found):
            step.want(found)
            return
        step.msg = found.msg
        self._end_canceled(step, by_asyncio=found.by_asyncio)

    @abstractmethod
    def _cancel_request(self, step: S, reason: str) -> Record:
        """The event that asks for the cancellation of a step."""

    @abstractmethod
    def _is_awaited(self, step: S, kind: str, found: Cancellation) -> bool:
        """Whether who cancels a step waits on until that has ended."""

    @abstractmethod
    def _end_canceled(
        self, step: S, *, by_asyncio: bool, cause: FailureCause | None = None
    ) -> None:
        """End a step as cancelled."""


class StepHandle(Task[T], Generic[T, S]):
    """The task that stands for a step that was asked for."""

    __slots__ = ("_steps", "pending")

    def __init__(self, steps: Steps[S], pending: S, loop: Loop) -> None:
        self._steps = steps
        self.pending = pending
        super().__init__(steps.outcome(pending), loop=loop)

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel the step, in the way that its cancellation type says."""
        if self.done() or self.pending.is_over:
            return False
        # Not by asyncio's way: a task that has not begun would end without asking for anything.
        loop = cast("Loop", self.get_loop())
        found = cancellation_by(loop, canceller(), self, msg)
        self._steps.cancel(self.pending, found)
        return True


def cancellation_by(loop: Loop, module: str, told: object, msg: Any) -> Cancellation:
    """A cancellation that a module brings to what a task waits for."""
    return Cancellation(loop.cancels.is_by_asyncio(module), loop.cancels.owed_for(told), msg)


def cancellation_of(loop: Loop, error: asyncio.CancelledError) -> Cancellation:
    """How the running task was cancelled."""
    task = asyncio.current_task(loop)
    if not isinstance(task, Task):
        return Cancellation(by_asyncio=False)
    msg = error.args[0] if error.args else None
    return Cancellation(task.is_cancelled_by_asyncio, task.owed, msg)


def settle(future: Future[Any], error: BaseException) -> None:
    """Let a future fail that nobody need await."""
    if future.done():
        return
    future.set_exception(error)
    # Nobody need await what was cancelled or dropped; the task that does tells its own.
    future._log_traceback = False
