"""A stream from outside of its workflow: batches on their way to it, and its items as they come."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, Self

from perdure import activity
from perdure.api.common.v1 import Payload
from perdure.client import (
    Client,
    RPCError,
    WorkflowExecutionStatus,
    WorkflowHandle,
    WorkflowUpdateFailedError,
)
from perdure.contrib.workflow_streams._stream_records import (
    DRAINING,
    OFFSET,
    POLL,
    PUBLISH,
    TRUNCATED,
    PollInput,
    PollResult,
    PublishEntry,
    PublishInput,
    WorkflowStreamItem,
    read,
    written,
)
from perdure.contrib.workflow_streams._stream_topics import TopicHandle
from perdure.converter import DataConverter
from perdure.exceptions import ApplicationError
from perdure.service import RPCStatusCode

logger = logging.getLogger("perdure.contrib.workflow_streams")

BUFFER_MAX: Final = 100_000
"""How many items may wait to be sent."""
BATCH_ITEMS_MAX: Final = 1_000
BATCH_CHARS_MAX: Final = 1_000_000
"""What one signal holds, if more than one item."""
_AGAIN_S: Final = 0.5
_OPEN: Final = (
    WorkflowExecutionStatus.RUNNING,
    WorkflowExecutionStatus.BLOCKED,
    WorkflowExecutionStatus.CONTINUED_AS_NEW,
)
_LASTING: Final = (
    RPCStatusCode.INVALID_ARGUMENT,
    RPCStatusCode.PERMISSION_DENIED,
    RPCStatusCode.UNAUTHENTICATED,
    RPCStatusCode.UNIMPLEMENTED,
)


class WorkflowStreamClient:
    """Publishes to the stream of a workflow, and reads it.

    Used as an async context manager it sends what is published every `batch_interval`, and the
    rest as the block ends. Each batch is taken once, however often it is sent.

    Args:
        handle: The workflow whose stream it is; one without a run id follows continue-as-new.
        client: Its converter converts values; the default one does when it is not given.
        batch_interval: How long items gather before they are sent.
        max_batch_size: As many items are sent at once, sooner than that.
        max_retry_duration: How long a batch is tried, until TimeoutError is raised.

    Example:
        async with WorkflowStreamClient.create(client, "order-7") as stream:
            stream.topic("progress").publish("charged")
    """

    def __init__(
        self,
        handle: WorkflowHandle[Any, Any],
        *,
        client: Client | None = None,
        batch_interval: timedelta = timedelta(seconds=2),
        max_batch_size: int | None = None,
        max_retry_duration: timedelta = timedelta(seconds=600),
    ) -> None:
        if batch_interval <= timedelta(0):
            raise ValueError(f"batch_interval is more than 0, not {batch_interval}")
        if max_batch_size is not None and max_batch_size < 1:
            raise ValueError(f"max_batch_size is 1 or more, not {max_batch_size}")
        self._handle = handle
        self._client = client
        self._interval_s = batch_interval.total_seconds()
        self._batch_max = min(max_batch_size or BATCH_ITEMS_MAX, BATCH_ITEMS_MAX)
        self._retry_s = max_retry_duration.total_seconds()
        self._publisher_id = uuid.uuid4().hex
        self._sequence = 0
        self._buffer: list[PublishEntry] = []
        self._sending = asyncio.Lock()
        self._due = asyncio.Event()
        self._flusher: asyncio.Task[None] | None = None

    @classmethod
    def create(
        cls,
        client: Client,
        workflow_id: str,
        *,
        batch_interval: timedelta = timedelta(seconds=2),
        max_batch_size: int | None = None,
        max_retry_duration: timedelta = timedelta(seconds=600),
    ) -> WorkflowStreamClient:
        """The stream of a workflow by its id, whichever run has it now."""
        return cls(
            client.get_workflow_handle(workflow_id),
            client=client,
            batch_interval=batch_interval,
            max_batch_size=max_batch_size,
            max_retry_duration=max_retry_duration,
        )

    @classmethod
    def from_within_activity(
        cls,
        *,
        batch_interval: timedelta = timedelta(seconds=2),
        max_batch_size: int | None = None,
        max_retry_duration: timedelta = timedelta(seconds=600),
    ) -> WorkflowStreamClient:
        """The stream of the workflow whose activity this is. Raises RuntimeError elsewhere."""
        return cls.create(
            activity.client(),
            activity.info().workflow_id or "",
            batch_interval=batch_interval,
            max_batch_size=max_batch_size,
            max_retry_duration=max_retry_duration,
        )

    async def __aenter__(self) -> Self:
        self._flusher = asyncio.create_task(self._flush_on_time())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        flusher, self._flusher = self._flusher, None
        if flusher is not None:
            flusher.cancel()
            with suppress(asyncio.CancelledError):
                await flusher
        await self.flush()

    def topic(self, name: str, *, type: type[Any] | None = None) -> TopicHandle[Any]:
        """A topic of the stream, by any name; `type` is what its items are read as."""
        return TopicHandle(self, name, type or object)

    def publish_to_topic(self, topic: str, value: Any, *, force_flush: bool = False) -> None:
        """Queue an item of a topic.

        Raises TypeError or ValueError for what cannot be converted, and BufferError when too many
        wait to be sent.
        """
        if len(self._buffer) >= BUFFER_MAX:
            raise BufferError(f"{BUFFER_MAX} items wait to be sent: await flush() now and then")
        if not isinstance(value, Payload):
            value = self._converter().to_payloads([value])[0]
        self._buffer.append(PublishEntry(topic, written(value)))
        if force_flush or len(self._buffer) >= self._batch_max:
            self._due.set()

    async def flush(self) -> None:
        """Send all that is queued. Raises TimeoutError when that does not succeed in time."""
        async with self._sending:
            while self._buffer:
                count = self._batch_size()
                batch = PublishInput(self._buffer[:count], self._publisher_id, self._sequence + 1)
                # The number is used up even if it fails: part of it may have been taken.
                self._sequence += 1
                del self._buffer[:count]
                await self._send(batch)

    async def subscribe(
        self,
        topics: str | list[str] | None = None,
        from_offset: int = 0,
        *,
        result_type: type | None = None,
        poll_cooldown: timedelta = timedelta(milliseconds=100),
    ) -> AsyncIterator[WorkflowStreamItem[Any]]:
        """Items from an offset on, until the workflow is over.

        Args:
            topics: Only those of a topic or of some; all when not given.
            from_offset: Where to begin; 0 is the first that is still there.
            result_type: What the items are read as.
            poll_cooldown: How long to rest between two questions.

        Raises RPCError for what asking again does not mend. Where items were cut off before they
        were read, it goes on with the first that is there, and says so in the log.
        """
        wanted = [topics] if isinstance(topics, str) else list(topics or [])
        hints = None if result_type is None else [result_type]
        offset = from_offset
        while True:
            result = await self._poll(PollInput(wanted, offset))
            if result is None:
                return
            for item in result.items:
                value = self._converter().from_payloads([read(item.data)], hints)[0]
                yield WorkflowStreamItem(item.topic, value, item.offset)
            offset = result.next_offset
            if not result.more_ready:
                await asyncio.sleep(poll_cooldown.total_seconds())

    async def get_offset(self) -> int:
        """The offset after the last item."""
        offset: int = await self._handle.query(OFFSET, result_type=int)
        return offset

    def _converter(self) -> Any:
        if self._client is None:
            return DataConverter.default.payload_converter
        return self._client.data_converter.payload_converter

    def _batch_size(self) -> int:
        """How many of the queued items go together."""
        size = 0
        for count, entry in enumerate(self._buffer[: self._batch_max]):
            size += len(entry.topic) + len(entry.data)
            if count and size > BATCH_CHARS_MAX:
                return count
        return min(len(self._buffer), self._batch_max)

    async def _flush_on_time(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval_s):
                    await self._due.wait()
            self._due.clear()
            # Shielded: a batch that is under way when the block ends is sent to its end.
            await asyncio.shield(self._flush_quietly())

    async def _flush_quietly(self) -> None:
        try:
            await self.flush()
        except (TimeoutError, RPCError) as error:
            logger.warning("a batch of stream items was given up: %s", error)

    async def _send(self, batch: PublishInput) -> None:
        until = time.monotonic() + self._retry_s
        while True:
            try:
                return await self._handle.signal(PUBLISH, batch)
            except RPCError as error:
                if error.status in _LASTING or error.status == RPCStatusCode.NOT_FOUND:
                    raise
                if time.monotonic() > until:
                    raise TimeoutError(
                        f"{len(batch.items)} items for the stream of workflow"
                        f" {self._handle.id!r} could not be sent in {self._retry_s:g} s: {error}"
                    ) from error
            await asyncio.sleep(_AGAIN_S)

    async def _poll(self, asked: PollInput) -> PollResult | None:
        """Items, once there are some; None when the workflow is over."""
        while True:
            try:
                result: PollResult = await self._handle.execute_update(
                    POLL, asked, result_type=PollResult
                )
                return result
            except WorkflowUpdateFailedError as error:
                kind = error.cause.type if isinstance(error.cause, ApplicationError) else ""
                if kind == TRUNCATED:
                    logger.warning("%s; reading goes on there", error.cause)
                    asked = PollInput(asked.topics, 0)
                    continue
                if kind != DRAINING and not await self._is_open():
                    return None
                if kind not in (DRAINING, "AcceptedUpdateCompletedWorkflow"):
                    raise
            except RPCError as error:
                if error.status in _LASTING:
                    raise
                if not await self._is_open():
                    return None
            await asyncio.sleep(_AGAIN_S)

    async def _is_open(self) -> bool:
        try:
            return (await self._handle.describe()).status in _OPEN
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                return False
            if error.status in _LASTING:
                raise
            return True
