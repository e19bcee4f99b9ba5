"""The event loop of one run: asyncio's own tasks on a clock that is the history's.

Two rules of the room: what a run sees depends on its history alone, and the loop asks nobody for
anything; a timer is asked of its owner, who makes it durable. Nothing here knows a record.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import sys
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable
from types import MethodType
from typing import Any, NamedTuple, NoReturn, Protocol, TypeVar, TypeVarTuple, Unpack, cast

from perdure_actors.replay.blocked import ForbiddenCallError, ReadOnlyContextError
from perdure_actors.replay.call_site import stop_at

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
AnyCoroutine = Coroutine[Any, Any, T] | Generator[Any, None, T]
Report = Callable[[dict[str, Any]], None]

TURNS_MAX = 1_000_000
"""Callbacks in one activation; more is a loop that never waits."""
_CANCEL = "cancel"
_ANYIO = "anyio."
_OF_ASYNCIO = ("asyncio.", _ANYIO)


class TimerOwner(Protocol):
    """Who makes the timers of a loop durable."""

    def start_timer(self, delay_ms: int, handle: TimerHandle, summary: str | None) -> str:
        """Ask for a timer; its id."""

    def cancel_timer(self, timer_id: str) -> None:
        """Ask for a timer no longer."""


class Task(asyncio.Task[T]):
    """A task whose hash is its number, so that a set of tasks has the same order in replay."""

    __slots__ = ("is_cancelled_by_asyncio", "number", "owed")

    def __init__(
        self,
        coro: AnyCoroutine[T],
        *,
        loop: Loop,
        name: str | None = None,
        context: contextvars.Context | None = None,
    ) -> None:
        # Before asyncio's constructor, which puts the task into a set.
        self.number = loop.next_number()
        self.is_cancelled_by_asyncio = False
        self.owed: tuple[Owed, ...] = ()
        """Who must see it, once this task is asked to cancel: itself, or who waits for it."""
        super().__init__(coro, loop=loop, name=name or f"Task-{self.number}", context=context)
        loop.tasks[self.number] = self
        self.add_done_callback(loop.forget)

    def __hash__(self) -> int:
        return self.number

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel the task, remembering whether asyncio or a person asked."""
        module = canceller()
        loop = cast("Loop", self.get_loop())
        if module.startswith(_ANYIO) and not self.done():
            # It walks over a set whose order no replay has.
            loop.cancels.soon(self, msg)
            return True
        return self.cancel_now(msg, by_asyncio=loop.cancels.is_by_asyncio(module))

    def cancel_now(self, msg: Any | None, *, by_asyncio: bool) -> bool:
        """Cancel the task."""
        self.is_cancelled_by_asyncio = by_asyncio
        loop = cast("Loop", self.get_loop())
        before, waiter = loop.cancels.now, self._fut_waiter  # type: ignore[attr-defined]
        if before is None or before.told is not self:
            # Asked itself, or with others by a future that gathers them.
            self.owed = Owed(self), *loop.cancels.owed_for(self)
        else:
            self.owed = before.owed
        loop.cancels.now = Cancelling(self.owed, waiter, by_asyncio)
        try:
            return super().cancel(msg)
        finally:
            loop.cancels.now = before


class Future(asyncio.Future[T]):
    """A future whose hash is its number, for the same reason."""

    __slots__ = ("number",)

    def __init__(self, *, loop: Loop) -> None:
        self.number = loop.next_number()
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.number


class Owed(NamedTuple):
    """A task that was cancelled while what it waited for went on, and ended in its own way."""

    task: Task[Any]
    via: asyncio.Future[Any] | None = None
    """What stood between, as asyncio.gather does: it may have told the task, or may yet."""

    @property
    def is_seen(self) -> bool:
        """Whether the task has seen it, or will."""
        if self.task.done() or self.via is None:
            return self.task.done()
        if not self.via.done() or self.via.cancelled():
            return True
        return isinstance(self.via.exception(), asyncio.CancelledError)


class Cancelling(NamedTuple):
    """A task's cancellation that is in progress."""

    owed: tuple[Owed, ...]
    """Who must see it."""
    told: Any
    """What is told of it next: what the task waits for."""
    by_asyncio: bool


def canceller() -> str:
    """The module that called the caller's `cancel`, or the `cancel` that called that."""
    frame = sys._getframe(2)
    while frame.f_code.co_name == _CANCEL and frame.f_back is not None:
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", ""))


class TimerHandle(asyncio.TimerHandle):
    """A callback that a durable timer calls."""

    __slots__ = ("timer_id",)

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: Loop,
        context: contextvars.Context | None,
    ) -> None:
        super().__init__(when, callback, args, loop, context)
        self.timer_id = ""

    def cancel(self) -> None:
        """Ask for the timer no longer, unless it has fired."""
        if not self._cancelled:
            loop = cast("Loop", self._loop)  # type: ignore[attr-defined]
            super().cancel()
            if self.timer_id:
                loop.owner.cancel_timer(self.timer_id)
                self.timer_id = ""


class Cancels:
    """The cancellations of a loop's tasks: the one in progress, those owed, those put off."""

    def __init__(self) -> None:
        self.now: Cancelling | None = None
        self._owed: list[Owed] = []
        self._soon: dict[int, tuple[Task[Any], Any]] = {}

    def owed_for(self, told: object) -> tuple[Owed, ...]:
        """Who must see the cancellation that is in progress, as what is told of it now ends."""
        found = self.now
        if found is None or found.told is told:
            return () if found is None else found.owed
        return tuple(
            one if one.via is not None else one._replace(via=found.told) for one in found.owed
        )

    def is_by_asyncio(self, module: str) -> bool:
        """Whether the cancellation in progress is asyncio's own: a timeout, wait_for, a task group.

        Those count on CancelledError coming back, and so does anyio; a person's cancel, as in
        Temporal, does not.
        """
        if self.now is not None:
            return self.now.by_asyncio
        # asyncio.events runs callbacks, and who gave it task.cancel is a person.
        return module.startswith(_OF_ASYNCIO) and module != "asyncio.events"

    def soon(self, task: Task[Any], msg: Any) -> None:
        """Cancel a task once what runs has ended, with others in the order of their making."""
        self._soon[task.number] = task, msg

    def owe(self, owed: Iterable[Owed]) -> None:
        """Cancel tasks again, once all of the code waits, unless they have seen that they were."""
        self._owed += owed

    def cancel_owed(self) -> bool:
        """Cancel what is owed; whether there was any."""
        owed, self._owed = self._owed, []
        told = [one.task.cancel() for one in dict.fromkeys(owed) if not one.is_seen]
        return any(told)

    def take_owed(self, task: asyncio.Task[Any] | None) -> bool:
        """Whether a task is owed a cancellation, which it sees now."""
        is_owed = any(one.task is task and not one.is_seen for one in self._owed)
        self._owed = [one for one in self._owed if one.task is not task]
        return is_owed

    def do_now(self) -> None:
        """Cancel what was put off."""
        while self._soon:
            found, self._soon = self._soon, {}
            for number in sorted(found):
                task, msg = found[number]
                task.cancel_now(msg, by_asyncio=True)

    def clear(self) -> None:
        """Owe nothing, and put nothing off."""
        self._owed.clear()
        self._soon.clear()


class _Answers(asyncio.AbstractEventLoop):
    """What asyncio asks that has one answer."""

    _is_closed = False

    def get_debug(self) -> bool:
        """Debugging asyncio would cost and tell nothing of a run."""
        return False

    def is_running(self) -> bool:
        """Whether it may be used; the host decides when it runs."""
        return not self._is_closed

    def is_closed(self) -> bool:
        """Whether the run was dropped."""
        return self._is_closed

    def get_task_factory(self) -> None:
        """Tasks are always made in the same way: replay counts them."""


class Loop(_Answers):
    """Runs what is ready, in the order in which it became ready, until nothing is."""

    def __init__(self, owner: TimerOwner, *, report: Report | None = None) -> None:
        self.owner = owner
        self.time_ms = 0
        self.is_unrestricted = 0
        """How many blocks have switched the guards off."""
        self.looking = ""
        """What runs that may only look, in words; empty while code may act."""
        self.error: BaseException | None = None
        """What a callback that is no task raised; the activation ends with it."""
        self.tasks: dict[int, asyncio.Task[Any]] = {}
        """The tasks that have not ended, by number."""
        self.cancels = Cancels()
        self._ready: deque[asyncio.Handle] = deque()
        self._idle: deque[asyncio.Handle] = deque()
        """Callbacks that asked for themselves again: called once something else has happened."""
        self._running: asyncio.Handle | None = None
        self._has_moved = True
        self._is_over = False
        self._number = 0
        self._report = report

    def run_ready(self) -> None:
        """Run callbacks until none is ready, or until one that is no task raises.

        Raises what it raised.
        """
        ready = self._ready
        turns = 0
        while not self._is_over:
            while ready and not self._is_over:
                self._has_moved = True
                self._run(ready.popleft())
                turns += 1
                if turns > TURNS_MAX:
                    raise RuntimeError(
                        f"the code took {TURNS_MAX} turns without waiting for anything durable; a"
                        " loop over asyncio.sleep(0) should wait for a condition or a timer instead"
                    )
            if not self._idle or not self._has_moved:
                return
            self._has_moved = False
            for _ in range(len(self._idle)):
                self._run(self._idle.popleft())

    def _run(self, handle: asyncio.Handle) -> None:
        if handle._cancelled:
            return
        self._running = handle
        handle._run()
        self._running = None
        self.cancels.do_now()
        if self.error is not None:
            error, self.error = self.error, None
            raise error

    def stop_running(self) -> None:
        """The run has ended: what is ready is forgotten, and what becomes so is not run."""
        self._is_over = True
        self._ready.clear()
        self._idle.clear()
        self.cancels.clear()

    def check_acting(self) -> None:
        """Raise ReadOnlyContextError while code runs that may only look."""
        if self.looking:
            raise ReadOnlyContextError(f"{self.looking} must only look: it may not start anything")

    def next_number(self) -> int:
        """Count what is created, in the order of the code."""
        if self.looking:
            self.check_acting()
        self._number = number = self._number + 1
        return number

    def forget(self, task: asyncio.Task[Any]) -> None:
        """A task has ended."""
        self.tasks.pop(cast("Task[Any]", task).number, None)

    def fire(self, handle: TimerHandle) -> None:
        """A durable timer is due: its callback becomes ready."""
        handle.timer_id = ""
        if not handle._cancelled:
            self._ready.append(handle)

    def start_timer(
        self,
        delay_s: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
        summary: str | None = None,
    ) -> TimerHandle:
        """Call a function after a durable timer of at least a millisecond."""
        if not math.isfinite(delay_s):
            raise ValueError(f"a timer of {delay_s} s cannot be kept; give a number of seconds")
        # Rounded first: the clock as a float is off by up to a quarter of a microsecond.
        delay_ms = max(1, math.ceil(round(delay_s * 1000, 2)))
        handle = TimerHandle(self.time() + delay_s, callback, args, self, context)
        handle.timer_id = self.owner.start_timer(delay_ms, handle, summary)
        return handle

    # What asyncio asks of a loop.

    def call_soon(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        """Make a callback ready."""
        if self.looking:
            self.check_acting()
        handle = asyncio.Handle(callback, args, self, context)
        running = self._running
        if running is not None and _is_same(callback, running):
            # It would go on for ever: anyio tells a task that it is cancelled until that has ended.
            self._idle.append(handle)
        else:
            self._ready.append(handle)
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call a function after a durable timer, or soon when there is nothing to wait for."""
        if delay <= 0:
            handle = TimerHandle(self.time(), callback, args, self, context)
            self._ready.append(handle)
            return handle
        return self.start_timer(delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """The same for a point in time."""
        return self.call_later(when - self.time(), callback, *args, context=context)

    def time(self) -> float:
        """The time of the event that is being taken, in seconds since 1970."""
        return self.time_ms / 1000

    def create_future(self) -> Future[Any]:
        """A future of this loop."""
        return Future(loop=self)

    def create_task(
        self,
        coro: AnyCoroutine[T],
        *,
        name: object = None,
        context: contextvars.Context | None = None,
    ) -> Task[T]:
        """A task of this loop."""
        if self.looking:
            coro.close()
        return Task(coro, loop=self, name=None if name is None else str(name), context=context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what a callback raised; tell what was lost when a task was thrown away."""
        error = context.get("exception")
        if "handle" in context and error is not None:
            self.error = error
        elif self._report is not None and not self._is_closed:
            self._report(context)

    def close(self) -> None:
        """Take no more."""
        self._is_closed = True
        self._ready.clear()
        self._idle.clear()
        self.tasks.clear()

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """There is nothing to sweep: what is ready and cancelled is passed over."""


def _is_same(callback: object, running: asyncio.Handle) -> bool:
    """Whether a callback is the method that runs. Not by ==, which may be the user's."""
    other = running._callback  # type: ignore[attr-defined]
    return (
        type(callback) is MethodType
        and type(other) is MethodType
        and callback.__self__ is other.__self__
        and callback.__func__ is other.__func__
    )


stop_at(Loop.run_ready.__code__)


_ADVICE = {
    "run_in_executor": "run it in an activity",
    "run_forever": "the host runs the loop",
    "run_until_complete": "await the coroutine, or start it with asyncio.create_task",
    "stop": "return from the workflow's run method",
    "call_soon_threadsafe": "a workflow has no threads; use activities, or signals from outside",
    "set_debug": "use Perdure's logs and history",
    "set_task_factory": "use asyncio.create_task",
    "set_exception_handler": "await the tasks you start",
    "get_exception_handler": "await the tasks you start",
    "set_default_executor": "run it in an activity",
    "shutdown_default_executor": "run it in an activity",
    "add_signal_handler": "use workflow.signal",
    "remove_signal_handler": "use workflow.signal",
}


def make_loop(owner: TimerOwner, *, report: Report | None = None) -> Loop:
    """A loop for a run."""
    return Loop(owner, report=report)  # type: ignore[abstract] # the rest is set below, by name


def _refusal(name: str) -> Callable[..., NoReturn]:
    advice = _ADVICE.get(name, "do input and output in an activity")

    def refuse(*_args: object, **_kwargs: object) -> NoReturn:
        raise ForbiddenCallError(
            f"asyncio.AbstractEventLoop.{name}",
            override_message=f"the event loop's {name}() is not for workflow code, because replay"
            f" could not repeat it: {advice}",
        )

    refuse.__name__ = refuse.__qualname__ = name
    return refuse


# Whatever else asyncio's loops can do, in this Python or a later one, is refused with advice.
for _name in dir(asyncio.AbstractEventLoop):
    if not _name.startswith("_") and getattr(Loop, _name) is getattr(
        asyncio.AbstractEventLoop, _name
    ):
        setattr(Loop, _name, _refusal(_name))
