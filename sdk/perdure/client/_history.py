"""Histories as users read them: events with numbers and times, and JSON in Temporal's shape."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, get_args

import msgspec

from perdure.client._pages import Pages
from perdure_schemas.avro import decode
from perdure_schemas.events import CLOSING, Event
from perdure_schemas.payloads import Payload, Record
from perdure_schemas.replies import HistoryBatch, HistoryPage

OURS: Final = "perdure"
"""The key of what Temporal's shape has no place for: the record itself."""
_NAMES: Final = {
    "WorkflowStarted": "WORKFLOW_EXECUTION_STARTED",
    "WorkflowCompleted": "WORKFLOW_EXECUTION_COMPLETED",
    "WorkflowFailed": "WORKFLOW_EXECUTION_FAILED",
    "WorkflowCanceled": "WORKFLOW_EXECUTION_CANCELED",
    "WorkflowTerminated": "WORKFLOW_EXECUTION_TERMINATED",
    "WorkflowTimedOut": "WORKFLOW_EXECUTION_TIMED_OUT",
    "WorkflowContinuedAsNew": "WORKFLOW_EXECUTION_CONTINUED_AS_NEW",
    "WorkflowCancelRequested": "WORKFLOW_EXECUTION_CANCEL_REQUESTED",
    "WorkflowSignaled": "WORKFLOW_EXECUTION_SIGNALED",
    "WorkflowUpdateAccepted": "WORKFLOW_EXECUTION_UPDATE_ACCEPTED",
    "WorkflowUpdateCompleted": "WORKFLOW_EXECUTION_UPDATE_COMPLETED",
    "ActivityScheduled": "ACTIVITY_TASK_SCHEDULED",
    "ActivityStarted": "ACTIVITY_TASK_STARTED",
    "ActivityCompleted": "ACTIVITY_TASK_COMPLETED",
    "ActivityFailed": "ACTIVITY_TASK_FAILED",
    "ActivityTimedOut": "ACTIVITY_TASK_TIMED_OUT",
    "ActivityCancelRequested": "ACTIVITY_TASK_CANCEL_REQUESTED",
    "ActivityCanceled": "ACTIVITY_TASK_CANCELED",
    "TimerStarted": "TIMER_STARTED",
    "TimerFired": "TIMER_FIRED",
    "TimerCanceled": "TIMER_CANCELED",
    "MarkerRecorded": "MARKER_RECORDED",
    "MemoUpserted": "WORKFLOW_PROPERTIES_MODIFIED",
    "SearchAttributesUpserted": "UPSERT_WORKFLOW_SEARCH_ATTRIBUTES",
    "ChildWorkflowInitiated": "START_CHILD_WORKFLOW_EXECUTION_INITIATED",
    "ChildWorkflowStarted": "CHILD_WORKFLOW_EXECUTION_STARTED",
    "ChildWorkflowCompleted": "CHILD_WORKFLOW_EXECUTION_COMPLETED",
    "ChildWorkflowFailed": "CHILD_WORKFLOW_EXECUTION_FAILED",
    "ChildWorkflowCanceled": "CHILD_WORKFLOW_EXECUTION_CANCELED",
    "ChildWorkflowTimedOut": "CHILD_WORKFLOW_EXECUTION_TIMED_OUT",
    "ChildWorkflowTerminated": "CHILD_WORKFLOW_EXECUTION_TERMINATED",
    "ChildWorkflowStartFailed": "START_CHILD_WORKFLOW_EXECUTION_FAILED",
    "ExternalSignalInitiated": "SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED",
    "ExternalSignaled": "EXTERNAL_WORKFLOW_EXECUTION_SIGNALED",
    "ExternalSignalFailed": "SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED",
    "ExternalCancelInitiated": "REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED",
    "ExternalCancelRequested": "EXTERNAL_WORKFLOW_EXECUTION_CANCEL_REQUESTED",
    "ExternalCancelFailed": "REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_FAILED",
}
# Fields that are messages with a name there, and times that have another word.
_NAMED: Final = frozenset({"workflow_type", "activity_type", "task_queue"})
_PAYLOADS: Final = frozenset({"input", "details", "result", "last_heartbeat_details"})
_TIMES: Final = {
    "schedule_to_close_ms": "scheduleToCloseTimeout",
    "schedule_to_start_ms": "scheduleToStartTimeout",
    "start_to_close_ms": "startToCloseTimeout",
    "heartbeat_ms": "heartbeatTimeout",
    "duration_ms": "startToFireTimeout",
    "execution_timeout_ms": "workflowExecutionTimeout",
    "run_timeout_ms": "workflowRunTimeout",
    "task_timeout_ms": "workflowTaskTimeout",
}


@dataclass(frozen=True, kw_only=True)
class HistoryEvent:
    """One event of a run."""

    event_id: int
    """Its number in the run, from 1."""
    event_time: datetime
    event: Record
    """The record itself: one of perdure_schemas.events."""
    offset: int = -1
    """Where its transition stands in the events partition."""
    code_version: str = ""

    @property
    def event_type(self) -> str:
        """What happened."""
        return type(self.event).__name__

    def to_json_dict(self) -> dict[str, Any]:
        """The event as JSON values in Temporal's shape; the record stands under a key of ours."""
        key, attributes = attributes_of(self.event)
        return {
            "eventId": str(self.event_id),
            "eventTime": self.event_time.isoformat().replace("+00:00", "Z"),
            "eventType": event_type(self.event),
            key: attributes,
            OURS: {
                "type": self.event_type,
                "offset": self.offset,
                "codeVersion": self.code_version,
                "record": msgspec.to_builtins(self.event),
            },
        }


@dataclass(frozen=True)
class WorkflowHistory:
    """The events of a run."""

    workflow_id: str
    events: Sequence[HistoryEvent]
    execution_run_id: str = ""

    @property
    def run_id(self) -> str:
        """The run these events are of."""
        return self.execution_run_id

    def to_json_dict(self) -> dict[str, Any]:
        """The history as JSON values in Temporal's shape; bytes are base64."""
        return {
            "events": [event.to_json_dict() for event in self.events],
            OURS: {"workflowId": self.workflow_id, "runId": self.run_id},
        }

    def to_json(self) -> str:
        """The history as JSON; from_json reads it."""
        return json.dumps(self.to_json_dict())

    @staticmethod
    def from_json(workflow_id: str, history: str | dict[str, Any]) -> WorkflowHistory:
        """The history that to_json wrote.

        Raises ValueError when it is no such JSON, and for a history that another system wrote:
        that has not recorded what ours replays.
        """
        value = json.loads(history) if isinstance(history, str) else history
        try:
            read = [_event_of(item) for item in value["events"]]
        except (KeyError, TypeError, msgspec.ValidationError) as error:
            raise ValueError(f"this is no history as JSON: {error!r}") from error
        return WorkflowHistory(workflow_id, read, str(value.get(OURS, {}).get("runId", "")))


def _event_of(item: dict[str, Any]) -> HistoryEvent:
    if OURS not in item:
        raise ValueError(
            f"event {item['eventId']} has no {OURS!r}: this history was written by another system,"
            " and only Perdure's own can be replayed here"
        )
    ours = item[OURS]
    kind = {kind.__name__: kind for kind in get_args(Event)}.get(ours["type"])
    if kind is None:
        raise TypeError(f"there is no event {ours['type']!r}")
    return HistoryEvent(
        event_id=int(item["eventId"]),
        event_time=datetime.fromisoformat(item["eventTime"]),
        event=msgspec.convert(ours["record"], kind),
        offset=ours.get("offset", -1),
        code_version=ours.get("codeVersion", ""),
    )


def events_of(batch: HistoryBatch) -> list[HistoryEvent]:
    """The events of a transition."""
    time = moment(batch.time_ms)
    return [
        HistoryEvent(
            event_id=batch.seq + index,
            event_time=time,
            event=decode(framed),
            offset=batch.offset,
            code_version=batch.code_version,
        )
        for index, framed in enumerate(batch.events)
    ]


def moment(time_ms: int) -> datetime:
    """A recorded time, in UTC."""
    return datetime.fromtimestamp(time_ms / 1000, tz=UTC)


Fetch = Callable[[int, int | None], Awaitable[HistoryPage]]
"""Gives the page of a history from a seq on, of so many bytes at most."""


class WorkflowHistoryEventAsyncIterator(Pages[HistoryEvent]):
    """The events of a run, fetched page by page; `async for` takes them one by one."""

    def __init__(
        self,
        fetch: Fetch,
        *,
        wait_new_event: bool,
        only_closing: bool,
        page_size: int | None,
        from_seq: int = 1,
    ) -> None:
        self._fetch = fetch
        self._waits = wait_new_event
        self._only_closing = only_closing
        self._page_bytes = page_size
        self._next_seq = from_seq
        self._has_ended = False
        self.run_id = ""

    @property
    def next_page_token(self) -> bytes | None:
        """Where the next page begins; None after the last one."""
        return None if self._has_ended else str(self._next_seq).encode()

    @property
    def _is_done(self) -> bool:
        return self._has_ended

    async def fetch_next_page(self, *, page_size: int | None = None) -> None:
        """Fetch the next page."""
        page = await self._fetch(self._next_seq, page_size or self._page_bytes)
        self.run_id = page.run_id
        found = [event for batch in page.batches for event in events_of(batch)]
        self._next_seq = page.next_seq
        is_open = page.status in ("running", "blocked", "")
        self._has_ended = not page.more and not (self._waits and is_open)
        if self._only_closing:
            found = [event for event in found if isinstance(event.event, CLOSING)]
        self._turn_to(found)


def event_type(record: Record) -> str:
    """The event's type as Temporal writes it; ours where it has none."""
    name = type(record).__name__
    return f"EVENT_TYPE_{_NAMES.get(name, f'PERDURE_{_snake(name)}')}"


def attributes_of(record: Record) -> tuple[str, dict[str, Any]]:
    """The key of an event's attributes, and they themselves."""
    words = event_type(record).removeprefix("EVENT_TYPE_").lower()
    return f"{_camel(words)}EventAttributes", _fields(record)


def _fields(record: Record) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in record.__struct_fields__:
        value = getattr(record, name)
        if value in (None, "", [], {}):
            continue
        if name in _TIMES:
            if value:
                found[_TIMES[name]] = f"{value / 1000:g}s"
        elif name in _NAMED:
            found[_camel(name)] = {"name": value}
        elif name in _PAYLOADS:
            payloads = value if isinstance(value, list) else [value]
            found[_camel(name)] = {"payloads": [_plain(payload) for payload in payloads]}
        else:
            found[_camel(name)] = _plain(value)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Payload):
        metadata = {"encoding": value.encoding.encode(), **value.metadata}
        return {
            "metadata": {key: _base64(text) for key, text in metadata.items()},
            "data": _base64(value.data),
        }
    if isinstance(value, bytes):
        return _base64(value)
    if isinstance(value, msgspec.Struct):
        return _fields(value)  # type: ignore[arg-type]  # every struct here is a record
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _snake(name: str) -> str:
    return "".join(f"_{sign}" if sign.isupper() else sign.upper() for sign in name).lstrip("_")
