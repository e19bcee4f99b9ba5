"""How much of a host's time code that never yields may take from others.

Each such run holds the host's one thread until it is interrupted. A deploy of a loop that never
awaits can be in many runs at once; what they take together is bounded, per workflow type, by what
was seen of it. Nothing here is recorded: another process begins afresh, maybe with other code.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

SHARE: Final = 0.1
"""The part of a host's time that they may take."""
BURST_S: Final = 20.0
"""With so much to make up for, code of a type that has looped no longer gets all its time."""
DEBT_S_MAX: Final = 60.0
"""With so much to make up for, it does not run at all."""
TIGHT_S: Final = 0.25
"""What it gets in between: plenty for code that waits by await."""
IN_A_ROW: Final = 2
"""A type that looped so often without doing anything else in between is not tried beyond it."""
FORGOTTEN_S: Final = 600.0
TYPES_MAX: Final = 1_000


class _Looped:
    """What was seen of a type of workflow that did not yield."""

    __slots__ = ("at_s", "in_a_row")

    def __init__(self) -> None:
        self.in_a_row = 0
        self.at_s = 0.0


class LoopBudget:
    """Who may run for how long. Only the host's thread uses it."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self.now_s = now_s
        self._types: dict[str, _Looped] = {}
        self._made_up_s = 0.0
        """When all that was taken will have been made up for."""

    def limit_s(self, workflow_type: str, full_s: float) -> float | None:
        """How long code of a type may go without yielding; None when it may not run now."""
        if not self._types:
            return full_s
        seen = self._types.get(workflow_type)
        if seen is None:
            return full_s
        now_s = self.now_s()
        if now_s - seen.at_s > FORGOTTEN_S:
            del self._types[workflow_type]
            return full_s
        debt_s = self._made_up_s - now_s
        if debt_s <= BURST_S:
            return full_s
        if seen.in_a_row >= IN_A_ROW or debt_s > DEBT_S_MAX:
            return None
        return min(TIGHT_S, full_s)

    def looped(self, workflow_type: str, took_s: float) -> None:
        """Code of a type did not yield, and was interrupted after so long."""
        now_s = self.now_s()
        if len(self._types) >= TYPES_MAX:
            self._types.clear()
        seen = self._types.setdefault(workflow_type, _Looped())
        seen.in_a_row += 1
        seen.at_s = now_s
        self._made_up_s = max(self._made_up_s, now_s) + took_s / SHARE

    def yielded(self, workflow_type: str) -> None:
        """Code of a type did what it should."""
        seen = self._types.get(workflow_type)
        if seen is not None:
            seen.in_a_row = 0
