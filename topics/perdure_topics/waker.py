"""A bell that any thread rings and one thread waits on: the only thread signal of this room."""

from __future__ import annotations

from contextlib import suppress
from threading import Lock


class Doorbell:
    """A binary semaphore: rings that come before the wait make one wake-up, none is lost."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = Lock()
        self._lock.acquire()

    def ring(self) -> None:
        """Wake the waiter, now or at its next wait. Never blocks."""
        if self._lock.locked():
            # Two rings may pass the check together; the second finds the bell rung already.
            with suppress(RuntimeError):
                self._lock.release()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for a ring; False when the time is over first."""
        return self._lock.acquire(timeout=-1 if timeout_s is None else max(timeout_s, 0))
