"""Topics of a stream, as workflow code and as clients have them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Generic, Protocol

from perdure.contrib.workflow_streams._stream_records import T, WorkflowStreamItem


class _Appends(Protocol):
    def publish_to_topic(self, topic: str, value: Any) -> None: ...


class _Streams(Protocol):
    def publish_to_topic(self, topic: str, value: Any, *, force_flush: bool = False) -> None: ...

    def subscribe(
        self,
        topics: str | list[str] | None = None,
        from_offset: int = 0,
        *,
        result_type: Any = None,
        poll_cooldown: timedelta = ...,
    ) -> AsyncIterator[WorkflowStreamItem[Any]]: ...


class _Topic(Generic[T]):
    """What a topic is called, and what its items are."""

    def __init__(self, name: str, type: type[T]) -> None:
        self._name, self._type = name, type

    @property
    def name(self) -> str:
        """The topic's name."""
        return self._name

    @property
    def type(self) -> type[T]:
        """What its items are."""
        return self._type


class WorkflowTopicHandle(_Topic[T]):
    """A topic in workflow code: `stream.topic("progress", type=Step).publish(step)`."""

    def __init__(self, stream: _Appends, name: str, type: type[T]) -> None:
        super().__init__(name, type)
        self._stream = stream

    def publish(self, value: Any) -> None:
        """Append an item: a value, or a `Payload` as it is.

        Raises TypeError or ValueError for a value that cannot be converted.
        """
        self._stream.publish_to_topic(self._name, value)


class TopicHandle(_Topic[T]):
    """A topic at a client."""

    def __init__(self, client: _Streams, name: str, type: type[T]) -> None:
        super().__init__(name, type)
        self._client = client

    def publish(self, value: Any, *, force_flush: bool = False) -> None:
        """Queue an item: a value, or a `Payload` as it is; `force_flush` sends the batch now."""
        self._client.publish_to_topic(self._name, value, force_flush=force_flush)

    async def subscribe(
        self, from_offset: int = 0, *, poll_cooldown: timedelta = timedelta(milliseconds=100)
    ) -> AsyncIterator[WorkflowStreamItem[T]]:
        """The topic's items from an offset of the stream on, until its workflow is over."""
        hint = None if self._type is object else self._type
        async for item in self._client.subscribe(
            [self._name], from_offset, result_type=hint, poll_cooldown=poll_cooldown
        ):
            yield item
