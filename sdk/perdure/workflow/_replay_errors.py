"""Errors of replay in tests. Errors only."""

from __future__ import annotations

from perdure_actors.replay.exceptions import PerdureError


class ReplayError(PerdureError):
    """The code cannot be replayed over a history: in a host, its run would be blocked."""

    def __init__(self, message: str, *, kind: str, recorded: str = "", produced: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        """error, nondeterminism, deadlock, codec or unregistered."""
        self.recorded = recorded
        """What the history holds where the code first differs."""
        self.produced = produced
        """What the code asks for there."""


class NondeterminismError(ReplayError):
    """The code asks for something else than the history holds."""
