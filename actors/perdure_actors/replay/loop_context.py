"""Entering a run's loop from whatever runs outside of it, and leaving it as it was found."""

from __future__ import annotations

import asyncio
import sys
from types import TracebackType

from perdure_actors.replay.loop import Loop

_NO_HOOKS = (None, None)


class Entered:
    """A block in which a run's loop is the running one."""

    __slots__ = ("_hooks", "_loop", "_outer", "_task")

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def __enter__(self) -> None:
        outer = asyncio._get_running_loop()
        if type(outer) is Loop:
            # Left by an activation that was interrupted while it tidied up.
            outer = None
        self._outer = outer
        self._task = None if outer is None else asyncio.current_task(outer)
        if outer is not None and self._task is not None:
            # A host that is itself a task steps aside: newer Pythons allow one task a thread.
            asyncio.tasks._leave_task(outer, self._task)
        self._hooks = sys.get_asyncgen_hooks()
        if self._hooks != _NO_HOOKS:
            # A host's own loop would take the run's generators for its own.
            sys.set_asyncgen_hooks(None, None)
        asyncio._set_running_loop(self._loop)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio._set_running_loop(self._outer)
        if self._hooks != _NO_HOOKS:
            sys.set_asyncgen_hooks(*self._hooks)
        if self._outer is not None and self._task is not None:
            asyncio.tasks._enter_task(self._outer, self._task)
