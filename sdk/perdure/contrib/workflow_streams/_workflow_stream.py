"""The stream of a workflow: its items, who publishes them, and who waits for more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, NoReturn

from perdure import workflow
from perdure.api.common.v1 import Payload
from perdure.contrib.workflow_streams._stream_records import (
    DRAINING,
    OFFSET,
    POLL,
    PUBLISH,
    TRUNCATED,
    PollInput,
    PollResult,
    PublisherState,
    PublishInput,
    WireItem,
    WorkflowStreamState,
    written,
)
from perdure.contrib.workflow_streams._stream_topics import WorkflowTopicHandle
from perdure.exceptions import ApplicationError

POLL_BYTES_MAX: Final = 1_000_000
"""What one answer to a reader holds, if more than one item."""
PUBLISHER_TTL: Final = timedelta(minutes=15)


class WorkflowStream:
    """A stream that this workflow serves. Make it in `@workflow.init`, before anyone may ask.

    Args:
        prior_state: What the run before left, from `get_state`; None begins anew.

    Raises RuntimeError outside of workflow code.

    Example:
        @workflow.init
        def __init__(self, order: Order) -> None:
            self.stream = WorkflowStream()

        @workflow.run
        async def run(self, order: Order) -> None:
            self.stream.topic("progress").publish("charged")
    """

    def __init__(self, prior_state: WorkflowStreamState | None = None) -> None:
        state = prior_state or WorkflowStreamState()
        self._log = list(state.log)
        self._base = state.base_offset
        self._publishers = dict(state.publishers)
        self._is_draining = False
        workflow.set_signal_handler(PUBLISH, self._take)
        workflow.set_update_handler(POLL, self._poll, validator=self._check_poll)
        workflow.set_query_handler(OFFSET, self._offset)

    def topic(self, name: str, *, type: type[Any] | None = None) -> WorkflowTopicHandle[Any]:
        """A topic of this stream, by any name; `type` is what its items are."""
        return WorkflowTopicHandle(self, name, type or object)

    def publish_to_topic(self, topic: str, value: Any) -> None:
        """Append an item. Raises TypeError or ValueError for what cannot be converted."""
        if not isinstance(value, Payload):
            value = workflow.payload_converter().to_payloads([value])[0]
        self._append(topic, written(value))

    def get_state(self, *, publisher_ttl: timedelta = PUBLISHER_TTL) -> WorkflowStreamState:
        """All that the stream holds, for the run that follows.

        Args:
            publisher_ttl: Publishers that were silent for as long are forgotten: what they send
                again after that is taken twice.
        """
        since = workflow.now() - publisher_ttl
        known = {name: one for name, one in self._publishers.items() if one.last_seen >= since}
        return WorkflowStreamState(list(self._log), self._base, known)

    def detach_pollers(self) -> None:
        """Send waiting readers away, and refuse others: they come again to the run that follows."""
        self._is_draining = True

    async def continue_as_new(
        self,
        build_args: Callable[[WorkflowStreamState], Sequence[Any]],
        *,
        publisher_ttl: timedelta = PUBLISHER_TTL,
    ) -> NoReturn:
        """Go on as a new run with the stream's state, once no handler is at work.

        Args:
            build_args: Makes the new run's arguments from the state.
            publisher_ttl: As in `get_state`.
        """
        self.detach_pollers()
        await workflow.wait_condition(workflow.all_handlers_finished)
        workflow.continue_as_new(args=build_args(self.get_state(publisher_ttl=publisher_ttl)))

    def truncate(self, up_to_offset: int) -> None:
        """Forget the items before an offset.

        Raises ValueError for an offset behind the end of the stream.
        """
        if up_to_offset > self._end:
            raise ValueError(
                f"the stream ends at offset {self._end}: nothing up to {up_to_offset} can be cut"
            )
        if up_to_offset > self._base:
            del self._log[: up_to_offset - self._base]
            self._base = up_to_offset

    @property
    def _end(self) -> int:
        return self._base + len(self._log)

    def _append(self, topic: str, data: str) -> None:
        self._log.append(WireItem(topic, data, self._end))

    def _take(self, batch: PublishInput) -> None:
        if batch.publisher_id:
            known = self._publishers.get(batch.publisher_id)
            if known is not None and batch.sequence <= known.sequence:
                return
            self._publishers[batch.publisher_id] = PublisherState(batch.sequence, workflow.now())
        for entry in batch.items:
            self._append(entry.topic, entry.data)

    def _check_poll(self, _: PollInput) -> None:
        if self._is_draining:
            raise ApplicationError(
                "the stream goes on in the next run of its workflow: ask again", type=DRAINING
            )

    async def _poll(self, asked: PollInput) -> PollResult:
        found = self._found(asked)
        if not found.items:
            await workflow.wait_condition(lambda: self._is_draining or self._wakes(asked))
            found = self._found(asked)
        if not found.items:
            self._check_poll(asked)
        return found

    def _wakes(self, asked: PollInput) -> bool:
        start, topics = asked.from_offset or self._base, asked.topics
        if start < self._base:
            return True
        new = self._log[start - self._base :]
        return any(not topics or item.topic in topics for item in new)

    def _found(self, asked: PollInput) -> PollResult:
        """What is there from an offset on, as much as one answer holds."""
        start, topics = asked.from_offset or self._base, asked.topics
        if start < self._base:
            raise ApplicationError(
                f"the items from offset {start} on were cut off: the first is {self._base}",
                type=TRUNCATED,
                non_retryable=True,
            )
        items: list[WireItem] = []
        size = 0
        for item in self._log[start - self._base :]:
            if topics and item.topic not in topics:
                continue
            size += len(item.topic) + len(item.data)
            if items and size > POLL_BYTES_MAX:
                return PollResult(items, item.offset, more_ready=True)
            items.append(replace(item))
        return PollResult(items, max(start, self._end))

    def _offset(self) -> int:
        return self._end
