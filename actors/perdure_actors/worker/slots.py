"""Slots: how many attempts run at once, and who says so. A fixed number of them lives here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from perdure_actors.worker.task_rate import FOREVER_MS


class Slots(Protocol):
    """Gives a permit to each attempt that may run now; called on one thread."""

    @property
    def most(self) -> int:
        """How many attempts may run at once at the very most."""

    def open(self, wake: Callable[[], None]) -> None:
        """Begin; wake when there may be a permit that was refused before, from any thread."""

    def free(self, now_ms: int) -> int:
        """How many permits there would be now."""

    def take(self, activity_type: str, now_ms: int) -> object | None:
        """A permit for an attempt that begins now, or None."""

    def release(self, permit: object) -> None:
        """The attempt has ended."""

    def next_ms(self, now_ms: int) -> int:
        """When to ask again after a refusal, if nothing wakes before."""

    def close(self) -> None:
        """Nothing is taken any more."""


class FixedSlots:
    """So many, and no more."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._used = 0

    @property
    def most(self) -> int:
        """The number."""
        return self._most

    def open(self, wake: Callable[[], None]) -> None:
        """A release is the only news, and its caller knows of it."""

    def free(self, now_ms: int) -> int:
        """What is not taken."""
        return self._most - self._used

    def take(self, activity_type: str, now_ms: int) -> object | None:
        """A permit as long as there are some."""
        if self._used >= self._most:
            return None
        self._used += 1
        return self

    def release(self, permit: object) -> None:
        """One more is free."""
        self._used -= 1

    def next_ms(self, now_ms: int) -> int:
        """Never, without a release."""
        return FOREVER_MS

    def close(self) -> None:
        """There is nothing to let go of."""
