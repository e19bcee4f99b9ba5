"""Spans of messages between runs and from clients: signals, updates, children, calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from perdure_schemas.child_events import (
    ChildCancelRequested,
    ChildWorkflowFailed,
    ChildWorkflowInitiated,
    ChildWorkflowStarted,
    ExternalCancelInitiated,
    ExternalSignalInitiated,
    ExternalStartInitiated,
)
from perdure_schemas.message_events import (
    WorkflowSignaled,
    WorkflowUpdateAccepted,
    WorkflowUpdateCompleted,
)
from perdure_schemas.payloads import Payload
from perdure_schemas.tracing import carried, span_id_of
from perdure_views.tracing.spans import (
    MESSAGE_CHARS_MAX,
    At,
    Attributes,
    Link,
    OpenCall,
    message_of,
)

NAME_CHARS_MAX = 200


def signaled(at: At, event: WorkflowSignaled) -> None:
    """A signal arrived: an instant, linked to who sent it."""
    facts: Attributes = {"perdure.kind": "signal", "perdure.signal.name": _short(event.signal_name)}
    if event.identity:
        facts["perdure.caller"] = event.identity
    facts["perdure.seq"] = at.seq
    place = carried(event.header)
    links = () if place is None else (Link(place.trace_id, place.span_id),)
    name = f"signal {_short(event.signal_name)}"
    at.span(name, span_id_of(at.run.run_id, at.seq), at.time_ms, facts, links=links)


def update_accepted(at: At, event: WorkflowUpdateAccepted) -> None:
    """The validator let an update through."""
    facts: Attributes = {
        "perdure.kind": "update",
        "perdure.update.id": event.update_id,
        "perdure.update.name": _short(event.update_name),
    }
    _begin(at, f"update/{event.update_id}", f"update {_short(event.update_name)}", facts)
    at.run.calls[f"update/{event.update_id}"].link = _link(event.header)


def update_completed(at: At, event: WorkflowUpdateCompleted) -> None:
    """The handler of an update returned or failed."""
    failed = event.failure is not None
    error = message_of(event.failure) if failed else None
    call_ended(at, f"update/{event.update_id}", "failed" if failed else "completed", error=error)


def child_initiated(at: At, event: ChildWorkflowInitiated) -> None:
    """The code asked for a child; it is shown at once, because it may take long."""
    facts: Attributes = {
        "perdure.kind": "child",
        "perdure.child.workflow.id": event.workflow_id,
        "perdure.child.workflow.type": _short(event.workflow_type),
    }
    _begin(at, f"child/{event.child_id}", f"child {_short(event.workflow_type)}", facts)
    name = f"child {_short(event.workflow_type)} started"
    at.mark(name, span_id_of(at.run.run_id, at.seq), facts)


def child_started(at: At, event: ChildWorkflowStarted) -> None:
    """A child runs."""
    call = at.run.calls.get(f"child/{event.child_id}")
    if call is not None:
        call.facts["perdure.child.run.id"] = event.run_id


def child_cancel_requested(at: At, event: ChildCancelRequested) -> None:
    """The code asked a child to cancel: a fact of the child's span."""
    call = at.run.calls.get(f"child/{event.child_id}")
    if call is not None:
        call.facts["perdure.child.cancel_requested_ms"] = at.time_ms


def child_ended(outcome: str) -> Callable[[At, Any], None]:
    """A child has its outcome, or could not be started."""

    def end(at: At, event: Any) -> None:
        error = None
        if isinstance(event, ChildWorkflowFailed):
            error = message_of(event.failure)
        elif outcome in ("timed_out", "terminated", "not_started"):
            error = f"{outcome} {getattr(event, 'message', '')}".strip()
        call_ended(at, f"child/{event.child_id}", outcome, error=error)

    return end


def called(
    at: At, event: ExternalSignalInitiated | ExternalCancelInitiated | ExternalStartInitiated
) -> None:
    """The code sent something to another workflow."""
    facts: Attributes = {"perdure.kind": "call"}
    facts["perdure.target.workflow.id"] = event.target.workflow_id
    is_start = isinstance(event, ExternalStartInitiated)
    name = "start of a workflow" if is_start else "cancel of a workflow"
    if isinstance(event, ExternalSignalInitiated):
        facts["perdure.signal.name"] = _short(event.signal_name)
        name = f"signal {_short(event.signal_name)} sent"
    _begin(at, f"call/{event.call_id}", name, facts)


def call_answered(at: At, event: Any) -> None:
    """The other workflow took it, or did not."""
    code = getattr(event, "code", "")
    error = f"{code}: {event.message}" if code else None
    call_ended(at, f"call/{event.call_id}", "refused" if code else "taken", error=error)


def call_ended(at: At, key: str, outcome: str, *, error: str | None = None) -> None:
    """Give out the span of what began as a key."""
    call = at.run.calls.pop(key, None)
    if call is None:
        return
    links = () if call.link is None else (Link(int.from_bytes(call.link[0], "big"), call.link[1]),)
    facts = {**call.facts, "perdure.outcome": outcome, "perdure.seq": call.seq}
    span_id = span_id_of(at.run.run_id, call.seq)
    why = error[:MESSAGE_CHARS_MAX] if error is not None else None
    at.span(call.name, span_id, call.start_ms, facts, error=why, links=links)


def _begin(at: At, key: str, name: str, facts: Attributes) -> None:
    at.run.calls[key] = OpenCall(at.seq, at.time_ms, name, facts)


def _link(header: Mapping[str, Payload]) -> tuple[bytes, int] | None:
    place = carried(header)
    return None if place is None else (place.trace_id.to_bytes(16, "big"), place.span_id)


def _short(name: str) -> str:
    return name[:NAME_CHARS_MAX]
