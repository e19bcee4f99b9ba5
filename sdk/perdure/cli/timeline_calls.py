"""Children and external calls in a timeline, by the ids that users gave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from perdure.cli.output import text
from perdure_schemas import child_events as ce
from perdure_schemas.payloads import Failure, Payload, Record

Values = Callable[[list[Payload | None]], str]
Failed = Callable[[Failure], str]


class Calls:
    """What the children and the calls of one run are called."""

    def __init__(self, values: Values, failed: Failed) -> None:
        self._values = values
        self._failed = failed
        self._names: dict[str, str] = {}

    def row(self, event: Record) -> tuple[str, str] | None:
        """What happened, and its details; None for what is of another kind."""
        if isinstance(event, ce.ChildWorkflowInitiated):
            name = self._names[f"child {event.child_id}"] = f"child {event.workflow_id}"
            return (
                f"{name} asked for",
                f"{text(event.workflow_type)} {self._values([*event.input])}",
            )
        if isinstance(event, ce.CallInitiated):
            return self._call(event)
        if isinstance(event, ce.CallAnswered):
            name = self._names.get(f"call {event.call_id}", f"call {event.call_id}")
            code = getattr(event, "code", "")
            if code:
                return f"{name} refused", text(f"{code}: {getattr(event, 'message', '')}")
            return f"{name} taken", text(f"by run {getattr(event, 'run_id', '')}")
        child_id = getattr(event, "child_id", None)
        if child_id is None:
            return None
        name = self._names.get(f"child {child_id}", f"child {child_id}")
        return self._child(event, name)

    def _call(self, event: Any) -> tuple[str, str]:
        other = event.target.workflow_id
        if isinstance(event, ce.ExternalSignalInitiated):
            name, details = f"signal {event.signal_name} to {other}", self._values([*event.input])
        elif isinstance(event, ce.ExternalStartInitiated):
            given = self._values([*event.input])
            name, details = f"start of {other}", f"{text(event.workflow_type)} {given}"
        else:
            name, details = f"cancel of {other}", text(event.reason)
        self._names[f"call {event.call_id}"] = name
        return f"{name} sent", details

    def _child(self, event: Record, name: str) -> tuple[str, str] | None:
        match event:
            case ce.ChildWorkflowStarted():
                return f"{name} runs", text(f"run {event.run_id}")
            case ce.ChildWorkflowStartFailed():
                return f"{name} not started", text(f"{event.code}: {event.message}")
            case ce.ChildWorkflowCompleted():
                return f"{name} completed", self._values([event.result])
            case ce.ChildWorkflowFailed():
                return f"{name} failed", self._failed(event.failure)
            case ce.ChildWorkflowCanceled():
                return f"{name} cancelled", ""
            case ce.ChildWorkflowTimedOut():
                return f"{name} timed out", ""
            case ce.ChildWorkflowTerminated():
                return f"{name} terminated", text(event.reason)
            case ce.ChildCancelRequested():
                return f"{name} asked to {'end' if event.terminate else 'cancel'}", ""
            case _:
                return None
