"""Which task queues a namespace has, as the log's topics say: looked up, or as of a moment ago."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from perdure_topics.names import task_queues_of

if TYPE_CHECKING:
    from perdure_topics.ports import Log

LATELY_S: Final = 1.0


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
