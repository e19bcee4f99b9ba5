"""Reads of an embedded log whose task queue nobody serves: answered from the log itself."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from perdure_actors.partition.log_view import READABLE, LogView, Where
from perdure_topics.names import group_name
from perdure_topics.ports import LogError

if TYPE_CHECKING:
    from perdure_schemas.payloads import Record
    from perdure_topics.ports import Clock, Log

VIEWS_MAX: Final = 64
"""Partitions held in memory at most."""


class Unserved:
    """The views of one client. They are of use on a log in this very process only."""

    def __init__(self, log: Log, namespace: str) -> None:
        self._log = log
        self._namespace = namespace
        self._views: OrderedDict[Where, LogView] = OrderedDict()
        self.is_local = log.address.startswith("file:")

    async def is_served(self, task_queue: str) -> bool:
        """Whether somebody serves a task queue, or may: only this process's own log says no."""
        if not self.is_local:
            return True
        try:
            return await asyncio.to_thread(self._is_served, task_queue)
        except LogError:
            return True

    def _is_served(self, task_queue: str) -> bool:
        return bool(self._log.group_members(group_name("hosts", self._namespace, task_queue)))

    async def answer(
        self, ask: Record, task_queue: str, partition: int, clock: Clock
    ) -> Record | None:
        """What the log says to an ask; None when somebody serves the queue, or it must wait."""
        if not self.is_local or type(ask) not in READABLE:
            return None
        try:
            return await asyncio.to_thread(
                self._answer, ask, Where(self._namespace, task_queue, partition), clock
            )
        except LogError:
            # The ordinary way says what is wrong.
            return None

    def _answer(self, ask: Record, where: Where, clock: Clock) -> Record | None:
        if self._is_served(where.task_queue):
            self._views.pop(where, None)
            return None
        view = self._views.get(where)
        if view is None:
            view = self._views[where] = LogView(self._log, where, clock)
            if len(self._views) > VIEWS_MAX:
                self._views.popitem(last=False)
        return view.answer(ask)
