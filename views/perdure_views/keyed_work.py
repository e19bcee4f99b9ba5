"""Concurrent handling of records, in order for each key.

It knows no consumer: who adds a record says what is to happen once it is done with.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from perdure_topics.ports import StoredRecord

logger = logging.getLogger("perdure.triggers")
PENDING_MAX: Final = 10_000
"""So many records are taken before the first of them is done with."""
PENDING_BYTES_MAX: Final = 64 * 1024 * 1024
RETRY_S: Final = 0.5
RETRY_MAX_S: Final = 30.0


class BadRecordError(Exception):
    """A record that nothing can be done with; the message says why."""


class NotNowError(Exception):
    """What a record asks for cannot be done now: it is tried again."""


class KeyedWork:
    """Acts on records: those of one key one after the other, those of others beside them."""

    def __init__(
        self,
        act: Callable[[StoredRecord], Awaitable[None]],
        bury: Callable[[StoredRecord, str], Awaitable[None]],
        *,
        retry_s: float = RETRY_S,
    ) -> None:
        self._act = act
        self._bury = bury
        self._retry_s = retry_s
        self._queues: dict[Any, deque[tuple[StoredRecord, Callable[[], None]]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self.pending = 0
        self._bytes = 0

    async def add(self, record: StoredRecord, done: Callable[[], None]) -> None:
        """Act on a record in its turn; waits while there are too many that are not done with."""
        while self.pending >= PENDING_MAX or self._bytes >= PENDING_BYTES_MAX:
            self._changed.clear()
            await self._changed.wait()
        self.pending += 1
        self._bytes += len(record.value or b"")
        key = record.key if record.key is not None else (record.partition, record.offset)
        queue = self._queues.get(key)
        if queue is not None:
            queue.append((record, done))
            return
        self._queues[key] = deque([(record, done)])
        task = asyncio.get_running_loop().create_task(self._in_order(key))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Leave what is not done with: it is read again."""
        for task in self._tasks:
            task.cancel()

    async def _in_order(self, key: Any) -> None:
        queue = self._queues[key]
        while queue:
            record, done = queue[0]
            await self._until_done(record)
            queue.popleft()
            self.pending -= 1
            self._bytes -= len(record.value or b"")
            self._changed.set()
            done()
        del self._queues[key]

    async def _until_done(self, record: StoredRecord) -> None:
        reason, wait_s = "", self._retry_s
        while True:
            try:
                if reason:
                    return await self._bury(record, reason)
                return await self._act(record)
            except BadRecordError as error:
                reason = str(error)
                continue
            except NotNowError as error:
                logger.warning("%s: %s; trying again", place_of(record), error)
            except Exception as error:
                if not reason:
                    # Whatever a record of others holds, it must not stop those behind it.
                    reason = f"{type(error).__name__}: {error}"
                    continue
                # A dead-letter topic that is away, mostly: the record is not done with yet.
                logger.warning("%s cannot be buried: %s; trying again", place_of(record), error)
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, RETRY_MAX_S)


def place_of(record: StoredRecord) -> str:
    """Where a record is, for people."""
    return f"{record.topic}-{record.partition}-{record.offset}"
