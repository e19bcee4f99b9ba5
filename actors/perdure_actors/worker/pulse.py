"""What keeps a worker alive to its hosts while its event loop stands still: a thread of its own.

The desk turns on the event loop, with all else. When that has not turned for a second, because an
activity blocks it, the thread here turns the desk instead, under a lock: leases, claims,
heartbeats, answers, partitions that go, and outcomes of threads. Nothing new begins meanwhile, and
what belongs to the loop (the runner's code, a user's slots) is done when it turns again.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from perdure_actors.worker.attempt import Attempt, Phase, application_failure

if TYPE_CHECKING:
    from perdure_actors.worker.payload_stage import Starter
    from perdure_actors.worker.protocol import ActivityDesk
    from perdure_actors.worker.slots import Slots
    from perdure_schemas.payloads import Failure, Payload

STANDS_S: Final = 1.0
LOOK_S: Final = 0.25
SIGNS_S: Final = 60.0
"""For so long the code that waits for its loop is spoken for; then its heartbeat timeout holds."""

logger = logging.getLogger(__name__)


class OnLoop:
    """The runner and the slots as the desk sees them, whichever thread it turns on."""

    def __init__(self, runner: Starter, slots: Slots, *, loop: asyncio.AbstractEventLoop) -> None:
        self._runner = runner
        self._slots = slots
        self._loop = loop
        self._thread_id = threading.get_ident()
        self.desk: LockedDesk | None = None

    def _do(self, call: Callable[..., None], *args: Any) -> None:
        if threading.get_ident() == self._thread_id:
            call(*args)
            return
        # A closed loop has nothing to do any more.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call, *args)

    # The runner.

    def start(self, attempt: Attempt) -> None:
        """Run an attempt's code, as soon as the loop turns."""
        if threading.get_ident() == self._thread_id:
            self._runner.start(attempt)
        else:
            self._do(self._start_late, attempt)

    def _start_late(self, attempt: Attempt) -> None:
        assert self.desk is not None
        if attempt.phase is not Phase.RUNNING:
            # Its time was over before it began.
            self.desk.free(attempt)
            return
        try:
            self._runner.start(attempt)
        except Exception as error:
            logger.exception("%r could not be started", attempt)
            failure = application_failure(f"could not start it: {error}", "StartError")
            self.desk.failed(attempt, failure)

    def cancel(self, attempt: Attempt, reason: str) -> None:
        """Ask an attempt's code to stop, as soon as the loop turns."""
        self._do(self._runner.cancel, attempt, reason)

    # The slots.

    @property
    def most(self) -> int:
        """How many attempts may run at once at the very most."""
        return self._slots.most

    def open(self, wake: Callable[[], None]) -> None:
        """Begin."""
        self._slots.open(wake)

    def free(self, now_ms: int) -> int:
        """How many permits there would be now."""
        return self._slots.free(now_ms)

    def take(self, activity_type: str, now_ms: int) -> object | None:
        """A permit for an attempt that begins now, or None."""
        return self._slots.take(activity_type, now_ms)

    def release(self, permit: object) -> None:
        """The attempt has ended."""
        self._do(self._slots.release, permit)

    def next_ms(self, now_ms: int) -> int:
        """When to ask again after a refusal, if nothing wakes before."""
        return self._slots.next_ms(now_ms)

    def close(self) -> None:
        """Nothing is taken any more."""
        self._slots.close()


class LockedDesk:
    """The desk as a runner tells it of its attempts: one thread at a time."""

    def __init__(self, desk: ActivityDesk, lock: threading.RLock) -> None:
        self._desk = desk
        self._lock = lock

    def completed(self, attempt: Attempt, result: Payload | None) -> None:
        """The code returned."""
        with self._lock:
            self._desk.completed(attempt, result)

    def failed(self, attempt: Attempt, failure: Failure) -> None:
        """The code failed."""
        with self._lock:
            self._desk.failed(attempt, failure)

    def canceled(self, attempt: Attempt, details: Sequence[Payload] = ()) -> None:
        """The code ended because it was asked to cancel."""
        with self._lock:
            self._desk.canceled(attempt, details)

    def detached(self, attempt: Attempt) -> None:
        """The code ended without an outcome: somebody else will report one."""
        with self._lock:
            self._desk.detached(attempt)

    def stopped(self, attempt: Attempt) -> None:
        """The code ended because its worker stops."""
        with self._lock:
            self._desk.stopped(attempt)

    def hand_back(self, attempt: Attempt, reason: str) -> None:
        """Another worker should run it: it has not begun."""
        with self._lock:
            self._desk.hand_back(attempt, reason)

    def free(self, attempt: Attempt) -> None:
        """The code has ended: its slot is free."""
        with self._lock:
            self._desk.free(attempt)

    def heartbeat(self, attempt: Attempt, details: list[Payload]) -> None:
        """The code gave a sign of life."""
        with self._lock:
            self._desk.heartbeat(attempt, details)


class Pulse:
    """Turns a desk while the loop that should stands still."""

    def __init__(
        self,
        desk: ActivityDesk,
        lock: threading.RLock,
        *,
        work_off: Callable[[], None],
        waits_for_loop: Callable[[Attempt], bool],
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self._desk = desk
        self._lock = lock
        self._work_off = work_off
        self._waits_for_loop = waits_for_loop
        self._on_fatal = on_fatal
        self._turned_s = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="perdure-pulse", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def turned(self) -> None:
        """The loop has turned."""
        self._turned_s = time.monotonic()

    def close(self) -> None:
        """Leave the desk to its loop."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(LOOK_S + STANDS_S)

    def _run(self) -> None:
        while not self._stop.wait(LOOK_S):
            stands_s = time.monotonic() - self._turned_s
            # A loop that stands within a turn of its desk has the lock: nothing can be done then.
            if stands_s < STANDS_S or not self._lock.acquire(timeout=LOOK_S):
                continue
            try:
                if not self._stop.is_set():
                    self._turn(stands_s)
            except Exception as error:
                logger.exception("the activity worker stops: this is a defect of its own")
                self._on_fatal(error)
                return
            finally:
                self._lock.release()

    def _turn(self, stands_s: float) -> None:
        self._work_off()
        if stands_s < SIGNS_S:
            for attempt in self._desk.held:
                if attempt.task.heartbeat_ms and self._waits_for_loop(attempt):
                    self._desk.sign(attempt)
        self._desk.turn(begins=False)
