"""What a running activity may ask and say: its task, its signs of life, whether it should stop.

The front door's `perdure.activity` dresses this for users; nothing here knows a worker's inside.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from perdure_actors.definitions.registry import ActivityDefinition
from perdure_actors.replay.contexts import context_of_task
from perdure_schemas.converters import PayloadConverter
from perdure_schemas.payloads import Payload
from perdure_schemas.tasks import ActivityTask
from perdure_topics.ports import Headers


class AsyncCompletionError(BaseException):
    """An activity says that somebody else will complete it. No error handler should catch it."""


@dataclass(frozen=True)
class ActivityCancellationDetails:
    """Why an activity should stop."""

    not_found: bool = False
    """No host wants the attempt any more."""
    cancel_requested: bool = False
    """Its workflow asked it to cancel."""
    paused: bool = False
    reset: bool = False
    timed_out: bool = False
    """It has outlived one of its timeouts."""
    worker_shutdown: bool = False
    """Its worker stops."""


_DETAILS = {
    name: ActivityCancellationDetails(**{name: True})
    for name in ("cancel_requested", "paused", "reset", "timed_out", "worker_shutdown")
}
_NOT_FOUND = ActivityCancellationDetails(not_found=True)


def cancellation_details(reason: str) -> ActivityCancellationDetails:
    """The details of a host's reason; one this release does not know means unwanted."""
    return _DETAILS.get(reason, _NOT_FOUND)


class Flag:
    """Something that happens once; threads and coroutines wait for it alike.

    What waiting needs is made by the first waiter, because most activities never wait.
    """

    __slots__ = ("_is_set", "_thread_event", "_waiters")
    _lock = threading.Lock()

    def __init__(self) -> None:
        self._is_set = False
        self._thread_event: threading.Event | None = None
        self._waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] | None = None

    def is_set(self) -> bool:
        """Whether it has happened."""
        return self._is_set

    def set(self) -> None:
        """It happens now. May be called from any thread."""
        with Flag._lock:
            self._is_set = True
            waiters, self._waiters = self._waiters, None
            thread_event = self._thread_event
        if thread_event is not None:
            thread_event.set()
        for loop, event in waiters or ():
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    async def wait(self) -> None:
        """Wait for it in a coroutine, on any event loop."""
        with Flag._lock:
            if self._is_set:
                return
            event = asyncio.Event()
            if self._waiters is None:
                self._waiters = []
            self._waiters.append((asyncio.get_running_loop(), event))
        await event.wait()

    def wait_sync(self, timeout_s: float | None = None) -> bool:
        """Wait for it in a thread; False when the time is over first."""
        with Flag._lock:
            if self._is_set:
                return True
            if self._thread_event is None:
                self._thread_event = threading.Event()
            event = self._thread_event
        return event.wait(timeout_s)


class ActivityContext:
    """What one attempt's code sees of its worker."""

    __slots__ = (
        "_beat",
        "_may_begin",
        "cancellation",
        "cancelled",
        "converter",
        "definition",
        "dressed",
        "fn",
        "interrupt",
        "outbound",
        "shutdown",
        "started_ms",
        "task",
        "trace_headers",
    )

    def __init__(
        self,
        task: ActivityTask,
        *,
        definition: ActivityDefinition,
        fn: Callable[..., Any],
        started_ms: int,
        converter: PayloadConverter,
        shutdown: Flag,
        beat: Callable[[list[Payload]], None],
        trace_headers: Headers = (),
    ) -> None:
        self.task = task
        self.started_ms = started_ms
        self.definition = definition
        self.fn = fn
        """What to call: a bound method where the definition's function is a method."""
        if converter.is_contextual:
            converter = converter.with_context(context_of_task(task))
        self.converter = converter
        self.shutdown = shutdown
        self.trace_headers = trace_headers
        """The W3C trace context that came with the task, as headers."""
        self.cancelled = Flag()
        self.cancellation: ActivityCancellationDetails | None = None
        self.interrupt: ThreadInterrupt | None = None
        """How a cancellation reaches the code of a thread."""
        self.dressed: Any = None
        """What the front door made of this context, so that it makes it once."""
        self.outbound: Any = None
        """The chain that the code's own calls go through, where there are interceptors."""
        self._beat = beat
        self._may_begin = threading.Lock()

    def begin(self) -> bool:
        """Claim the one beginning of the code; False when it has been given up, and must not run.

        The lock is never let go: who has it first, to run the code or not to, has it for good.
        """
        return self._may_begin.acquire(blocking=False)

    def give_up(self) -> bool:
        """See to it that the code does not begin; False when it has begun."""
        return self._may_begin.acquire(blocking=False)

    def heartbeat(self, details: Sequence[Any]) -> None:
        """Give a sign of life. Raises TypeError or ValueError for details that cannot be written.

        The details are written now, because the code may change them afterwards.
        """
        names = [f"the heartbeat's detail {number}" for number in range(1, len(details) + 1)]
        self._beat(self.converter.to_payloads(details, names=names) if details else [])

    def cancel(self, details: ActivityCancellationDetails) -> bool:
        """Say that the code should stop; False when it has been told already."""
        if self.cancellation is not None:
            return False
        self.cancellation = details
        self.cancelled.set()
        return True


class ThreadInterrupt:
    """Raises an exception in a thread that runs an activity, except while it is shielded."""

    def __init__(self, raise_in_thread: Callable[[int, type[BaseException] | None], None]) -> None:
        self._raise_in_thread = raise_in_thread
        self._lock = threading.Lock()
        self._thread_id: int | None = None
        self._pending: type[BaseException] | None = None
        self._shields = 0

    def begin(self) -> None:
        """The calling thread begins to run the activity."""
        with self._lock:
            self._thread_id = threading.get_ident()
            self._deliver()

    def end(self) -> None:
        """The activity has ended: nothing may be raised in its thread any more."""
        with self._lock:
            if self._thread_id is not None:
                self._raise_in_thread(self._thread_id, None)
            self._thread_id = None
            self._pending = None

    def raise_soon(self, kind: type[BaseException]) -> None:
        """Raise an exception in the activity's thread, as soon as it may be."""
        with self._lock:
            self._pending = kind
            self._deliver()

    def shield(self) -> None:
        """Hold exceptions back until `unshield`; shields nest."""
        with self._lock:
            self._shields += 1

    def unshield(self) -> type[BaseException] | None:
        """End a shield; the exception that was held back, for the caller to raise."""
        with self._lock:
            self._shields -= 1
            if self._shields:
                return None
            pending, self._pending = self._pending, None
            return pending

    def _deliver(self) -> None:
        if self._pending is not None and self._thread_id is not None and not self._shields:
            kind, self._pending = self._pending, None
            self._raise_in_thread(self._thread_id, kind)


CURRENT: ContextVar[ActivityContext] = ContextVar("perdure_activity")
"""The activity that the calling coroutine or thread runs."""
