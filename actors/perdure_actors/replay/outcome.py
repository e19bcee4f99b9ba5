"""What code waits for that may outlive its cancellation: the outcome of an activity or a child.

Cancelling is level-triggered. A cancellation that only begins to end a step, because the code
waits for that step's own end, is owed: it is delivered again, at the code's next wait, unless the
step ends cancelled and so shows it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from perdure_actors.replay.loop import Future, Loop, Owed, Task, canceller


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
        "future",
        "is_cancel_asked",
        "is_over",
        "is_wanted_by_asyncio",
        "msg",
        "owed",
        "waits",
    )

    def __init__(self, loop: Loop) -> None:
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

    def refuse(self, error: BaseException) -> None:
        """Let the code have what the step failed with."""
        settle(self.future, error)


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
