"""Histories as JSON in Temporal's shape, with our own records beside, so that nothing is lost."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from perdure_schemas.payloads import Payload, Record

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
