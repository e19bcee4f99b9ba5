"""A turn of a shard that may stop halfway: while it waits for a codec, other shards have theirs.

The turn runs on the host's own thread, as a greenlet. Whoever must wait in it gives the thread
back with a future, and goes on from the same place once that is done. Nothing else may touch the
shard in between, so its order is as if it had waited; what waits is this one partition.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any, TypeVar

from greenlet import GreenletExit, getcurrent, greenlet  # type: ignore[import-untyped]

T = TypeVar("T")
ENDINGS_MAX = 100
"""How often code that is let go of may catch that, before it is left where it stands."""


class _Strand(greenlet):  # type: ignore[misc]  # it has no types
    """What a turn runs in."""

    is_ended = False


class Turn:
    """One turn, from its beginning to its end."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self._strand = _Strand(act)
        self._strand.gr_context = copy_context()
        self.waits_for: Future[Any] | None = None
        """What it waits for; None once it is over."""

    def advance(self) -> Any:
        """Go on until it waits or is over; what it gave in the end. Raises what it raises."""
        found = self._strand.switch()
        self.waits_for = None if self._strand.dead else found
        return None if self.waits_for is not None else found

    def end(self) -> None:
        """Let go of it where it stands; nothing of it goes on."""
        self.waits_for = None
        self._strand.is_ended = True
        for _ in range(ENDINGS_MAX):
            if self._strand.dead:
                return
            with contextlib.suppress(BaseException):
                self._strand.throw(GreenletExit)


def wait_for(future: Future[T], timeout_s: float) -> T:
    """What a future gives, or raises; in a turn the thread is given back meanwhile.

    Raises TimeoutError when it is not done in time.
    """
    strand = getcurrent()
    if not isinstance(strand, _Strand):
        return future.result(timeout_s)
    if not future.done():
        if not strand.is_ended:
            assert strand.parent is not None, "a turn has a host"
            strand.parent.switch(future)
        if strand.is_ended:
            raise GreenletExit
    return future.result(0)
