"""Task queues of a namespace: names, the one of a workflow, reads of unserved ones."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from perdure._records.rpc_errors import RPCError, RPCStatusCode
from perdure_topics.names import group_name, task_queues_of
from perdure_topics.ports import LogError

if TYPE_CHECKING:
    from perdure_actors.partition.log_view import LogView, Where
    from perdure_schemas.payloads import Record
    from perdure_topics.ports import Clock, Log

LATELY_S: Final = 1.0
OTHER_QUEUES_S: Final = 2.0
CLOSED: Final = frozenset({"completed", "failed", "canceled", "terminated", "timed_out"})
VIEWS_MAX: Final = 64
"""Partitions of unserved task queues held in memory at most."""


class QueueNames:
    """The task queues of one namespace."""

    def __init__(self, log: Log, namespace: str) -> None:
        self._log = log
        self._namespace = namespace
        self._found: list[str] = []
        self._found_s = float("-inf")

    async def now(self) -> list[str]:
        """Those that have topics. Raises LogError."""
        asked_s = time.monotonic()
        names = await asyncio.to_thread(self._log.topic_names)
        self._found, self._found_s = task_queues_of(names, self._namespace), asked_s
        return self._found

    async def lately(self, used: Iterable[str]) -> list[str]:
        """Those of at most a second ago, with those that were used since. Raises LogError."""
        if time.monotonic() - self._found_s > LATELY_S:
            await self.now()
        return sorted({*self._found, *used})


async def first_found(asking: dict[str, asyncio.Task[Any]]) -> dict[str, str | RPCError]:
    """Each queue's word; once one knows the id, the others get a little longer only."""
    waiting = set(asking.values())
    loop = asyncio.get_running_loop()
    ends: float | None = None
    while waiting and (ends is None or loop.time() < ends):
        rest = None if ends is None else ends - loop.time()
        done, waiting = await asyncio.wait(
            waiting, timeout=rest, return_when=asyncio.FIRST_COMPLETED
        )
        if ends is None and any(isinstance(task.result(), str) and task.result() for task in done):
            ends = loop.time() + OTHER_QUEUES_S
    return {queue: task.result() for queue, task in asking.items() if task.done()}


def only_one(workflow_id: str, found: dict[str, str | RPCError]) -> str:
    """The queue whose run is open, or the only one that knows it. Raises RPCError."""
    known = {queue: word for queue, word in found.items() if isinstance(word, str) and word}
    alive = [queue for queue, word in known.items() if word not in CLOSED] or list(known)
    if len(alive) == 1:
        return alive[0]
    if alive:
        raise RPCError(
            f"workflow {workflow_id!r} is on the task queues {', '.join(map(repr, alive))}:"
            " say which, with task_queue=",
            RPCStatusCode.FAILED_PRECONDITION,
        )
    for word in found.values():
        if isinstance(word, RPCError):
            raise word
    raise RPCError(
        f"no task queue of the namespace knows a workflow {workflow_id!r}"
        f" (asked: {', '.join(found)})",
        RPCStatusCode.NOT_FOUND,
    )


class OfflineReads:
    """Reads of an embedded log whose task queue nobody serves, answered from the log itself."""

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
        if not self.is_local:
            return None
        # Only a log in this very process is read by its client; others load none of it.
        from perdure_actors.partition.log_view import READABLE, Where

        if type(ask) not in READABLE:
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
        from perdure_actors.partition.log_view import LogView

        view = self._views.get(where)
        if view is None:
            view = self._views[where] = LogView(self._log, where, clock)
            if len(self._views) > VIEWS_MAX:
                self._views.popitem(last=False)
        return view.answer(ask)
