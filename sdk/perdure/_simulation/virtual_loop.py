"""An event loop on a simulated world's time: activities sleep without anybody waiting."""

from __future__ import annotations

import asyncio
import contextvars
import os
import random
import time
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from perdure_topics.simulated.broker import SimulatedBroker

T = TypeVar("T")
STEPS_MAX = 100_000
"""So many steps in one moment of the world's time, and the code is taken to be in a circle."""


class CircleError(RuntimeError):
    """Activities step on and on, and no time passes."""


class VirtualLoop(asyncio.AbstractEventLoop):
    """The event loop of one process of the world. It runs on the world's one thread."""

    def __init__(self, broker: SimulatedBroker) -> None:
        self._broker = broker
        self._ready: deque[asyncio.Handle] = deque()
        self._is_due = False
        self.is_dead = False
        """Whether its process has died: nothing that was to be done is done any more."""
        self.graves: list[asyncio.Task[Any]] = []
        """Tasks that a dead process has left, kept so that their code does not clean up."""
        self._executor = HereExecutor(self)
        self.before: Callable[[], None] = _nothing
        self.after: Callable[[], None] = _nothing
        """Around whatever it runs: for what only code of users should find changed."""

    # -- what asyncio asks of a loop --

    def time(self) -> float:
        """Seconds of the world's time."""
        return self._broker.now_ms / 1000

    def call_soon(  # type: ignore[override]
        self,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        """Call something in this moment, behind what is to be called already."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        self._wake()
        return handle

    def call_soon_threadsafe(  # type: ignore[override]
        self,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        """The same: there is one thread."""
        return self.call_soon(callback, *args, context=context)

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call something so many seconds of the world from now."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call something at a time of the world."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)

        def due() -> None:
            if not handle.cancelled():
                self._ready.append(handle)
                self._wake()

        delay_ms = max(0, round((when - self.time()) * 1000))
        self._broker.at(delay_ms, due)
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
        **options: Any,
    ) -> asyncio.Task[T]:
        """A task of this loop."""
        options.pop("eager_start", None)
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        if self.is_dead:
            self.graves.append(task)
        return task

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Run a function here: the world has one thread."""
        done: Future[T] = self._executor.submit(func, *args)
        return asyncio.wrap_future(done, loop=self)

    def get_debug(self) -> bool:
        """Never."""
        return False

    def is_running(self) -> bool:
        """Always: it is run by the world."""
        return True

    def is_closed(self) -> bool:
        """Never: its process dies."""
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Tasks of dead processes are destroyed though they are pending; nobody needs to know."""

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """A timer that was cancelled is passed over when it is due."""

    async def shutdown_asyncgens(self) -> None:
        """There is nothing to shut down."""

    # -- running --

    def _wake(self) -> None:
        if not self._is_due and not self.is_dead:
            self._is_due = True
            self._broker.at(0, self.pump)

    def pump(self) -> None:
        """Run all that is ready in this moment."""
        self._is_due = False
        if self.is_dead:
            return
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        self.before()
        try:
            for _ in range(STEPS_MAX):
                if not self._ready or self.is_dead:
                    return
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()
        finally:
            self.after()
            asyncio._set_running_loop(before)
        raise CircleError(f"activities took {STEPS_MAX} steps, and no time passed")

    def die(self) -> None:
        """Its process is no more: what was to run never does."""
        self.graves += [task for task in asyncio.all_tasks(self) if not task.done()]
        self.is_dead = True
        self._ready.clear()


class HereExecutor(Executor):
    """Runs what would run in a thread: on the world's thread, in the moment it is asked for."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run a function now; what it returned or raised."""
        done: Future[T] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except BaseException as error:
            done.set_exception(error)
        return done


def _nothing() -> None:
    """There is nothing more to do."""


_Place = tuple[Any, str]
_PLACES: tuple[_Place, ...] = (
    (time, "sleep"),
    (time, "time"),
    (os, "urandom"),
    (random, "_urandom"),
)


class StandIns:
    """Stands in for time and randomness while activities run; `uuid4` draws from the seed, too."""

    def __init__(self, wall_ms: Callable[[], int], rng: Random) -> None:
        self._wall_ms = wall_ms
        self._rng = rng
        self._slept_s = 0.0
        self._real: list[Any] = []
        self._depth = 0
        self._mine = (self._sleep, self._time, rng.randbytes, rng.randbytes)

    def take_slept_ms(self) -> int:
        """For how long code has slept since this was asked last."""
        slept, self._slept_s = self._slept_s, 0.0
        return round(slept * 1000)

    def enter(self) -> None:
        """Stand in."""
        self._depth += 1
        if self._depth == 1:
            self._real = [getattr(owner, name) for owner, name in _PLACES]
            for (owner, name), mine in zip(_PLACES, self._mine, strict=True):
                setattr(owner, name, mine)

    def leave(self) -> None:
        """Give the machine's back."""
        self._depth -= 1
        if self._depth == 0:
            for (owner, name), real in zip(_PLACES, self._real, strict=True):
                setattr(owner, name, real)

    def _sleep(self, seconds: float) -> None:
        self._slept_s += seconds

    def _time(self) -> float:
        return self._wall_ms() / 1000
