"""The mailbox of a partition's owner: there its process's worker leaves word of eager tasks."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure_schemas.command_headers import AttemptReport

LETTERS_MAX = 2_000
BYTES_MAX = 8 * 1024 * 1024
"""What a mailbox holds; more goes by the log."""
OUTCOME_BYTES_MAX = 256 * 1024
"""A larger outcome goes by the log."""


class Letter(NamedTuple):
    """What a worker says of a task that was handed over: its outcome, or that it declines."""

    token: bytes
    outcome: AttemptReport | None
    size: int = 0


class TaskMailbox:
    """Filled on the worker's threads, emptied on the host's, closed with its owner."""

    def __init__(self, on_ready: Callable[[], None]) -> None:
        self.ring = on_ready
        self._lock = threading.Lock()
        self._letters: deque[Letter] = deque()
        self._bytes = 0
        self.is_closed = False

    def __len__(self) -> int:
        return len(self._letters)

    def deliver(self, token: bytes, outcome: AttemptReport, size: int) -> bool:
        """Leave an outcome; False, and nothing is left, when it must go by the log."""
        if size > OUTCOME_BYTES_MAX:
            return False
        with self._lock:
            full = len(self._letters) >= LETTERS_MAX or self._bytes + size > BYTES_MAX
            if full or self.is_closed:
                return False
            self._bytes += size
            self._letters.append(Letter(token, outcome, size))
        return True

    def decline(self, token: bytes) -> bool:
        """Say that an attempt has not begun and will not; False when nobody is left to hear it."""
        with self._lock:
            if self.is_closed:
                return False
            self._letters.append(Letter(token, None))
        return True

    def first(self) -> Letter | None:
        """What was left first; it stays until `done`."""
        return self._letters[0] if self._letters else None

    def done(self) -> None:
        """The first letter is taken."""
        with self._lock:
            self._bytes -= self._letters.popleft().size

    def close(self) -> list[Letter]:
        """Take nothing more; what was left and not taken."""
        with self._lock:
            self.is_closed = True
            left = list(self._letters)
            self._letters.clear()
        return left
