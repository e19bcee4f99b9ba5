"""A history as a timeline: events in order, with attempts and errors."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from rich.table import Table

from perdure.cli.output import console, payload_value, short, span, text
from perdure.cli.timeline_calls import Calls
from perdure.client._history import HistoryEvent, WorkflowHistory
from perdure_schemas import events, fact_events, message_events, operator_events
from perdure_schemas.payloads import Failure, Payload, Record

# A timeline shows what was passed; `--output json` has all of it.
VALUE_CHARS_MAX: Final = 48
_MARKS: Final = {
    events.WorkflowStarted: "[blue]>[/]",
    events.WorkflowCompleted: "[green]=[/]",
    events.WorkflowFailed: "[red]x[/]",
    events.WorkflowCanceled: "[yellow]x[/]",
    events.WorkflowTerminated: "[magenta]x[/]",
    events.WorkflowTimedOut: "[red]x[/]",
    events.WorkflowBlocked: "[bold red]![/]",
    events.WorkflowResumed: "[green]>[/]",
    events.WorkflowCancelRequested: "[yellow]?[/]",
    events.ActivityCompleted: "[green]=[/]",
    events.ActivityFailed: "[red]x[/]",
    events.ActivityTimedOut: "[red]x[/]",
    events.ActivityRetryScheduled: "[yellow]~[/]",
}


def print_timeline(history: WorkflowHistory) -> None:
    """Print a history, a line an event, with the time since its start."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column, right in (("#", True), ("AT", True), ("", False), ("EVENT", False), ("", False)):
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    timeline = Timeline()
    for item in history.events:
        table.add_row(*timeline.row(item))
    console().print(table)


class Timeline:
    """Makes rows of events, given in their order."""

    def __init__(self) -> None:
        self._began: datetime | None = None
        self._names: dict[str, str] = {}
        self._calls = Calls(_values, _failure)

    def row(self, item: HistoryEvent) -> tuple[str, str, str, str, str]:
        """Number, time since the start, sign, what happened, and its details."""
        if self._began is None:
            self._began = item.event_time
        event = item.event
        if isinstance(event, events.ActivityScheduled):
            self._names[event.activity_id] = event.activity_type
        since = span((item.event_time - self._began).total_seconds())
        title, details = self._calls.row(event) or _describe(event, self._names)
        return str(item.event_id), since, _MARKS.get(type(event), " "), text(title), details


def _describe(event: Record, names: dict[str, str]) -> tuple[str, str]:
    if isinstance(
        event,
        events.ActivityScheduled
        | events.ActivityStarted
        | events.ActivityHeartbeat
        | events.ActivityCompleted
        | events.ActivityFailed
        | events.ActivityTimedOut
        | events.ActivityRetryScheduled
        | events.ActivityAttemptScheduled
        | events.ActivityCancelRequested
        | events.ActivityCanceled,
    ):
        name = names.get(event.activity_id, f"activity {event.activity_id}")
        return _activity(event, name)
    return _workflow(event)


def _activity(event: Record, name: str) -> tuple[str, str]:
    attempt = f"attempt {getattr(event, 'attempt', 1)}"
    match event:
        case events.ActivityScheduled():
            return f"{name} scheduled", _values(event.input)
        case events.ActivityStarted():
            return f"{name} runs", text(f"{attempt} on {event.identity or event.worker_id}")
        case events.ActivityHeartbeat():
            return f"{name} heartbeat", f"{attempt} {_values(event.details)}"
        case events.ActivityCompleted():
            return f"{name} completed", f"{attempt} -> {_values([event.result])}"
        case events.ActivityRetryScheduled():
            return f"{name} failed, will be retried", f"{attempt}: {_failure(event.failure)}"
        case events.ActivityFailed():
            why = f" ({event.retry_state})" if event.retry_state else ""
            return f"{name} failed{why}", f"{attempt}: {_failure(event.failure)}"
        case events.ActivityTimedOut():
            return f"{name} timed out ({event.timeout_type})", attempt
        case events.ActivityAttemptScheduled():
            return f"{name} scheduled again", f"{attempt} ({event.reason})"
        case events.ActivityCancelRequested():
            return f"{name} asked to cancel", ""
        case _:
            return f"{name} cancelled", attempt


def _workflow(event: Record) -> tuple[str, str]:
    match event:
        case events.WorkflowStarted():
            return f"{event.workflow_type} started", _values(event.input)
        case events.WorkflowCompleted():
            return "completed", _values([event.result])
        case events.WorkflowFailed():
            return "failed", _failure(event.failure)
        case events.WorkflowTerminated():
            return "terminated", text(event.reason)
        case events.WorkflowTimedOut():
            return f"timed out ({event.timeout_type})", ""
        case events.WorkflowCancelRequested():
            return "asked to cancel", text(event.reason)
        case events.WorkflowContinuedAsNew():
            return "continued as new", text(event.new_run_id)
        case message_events.WorkflowSignaled():
            return f"signal {event.signal_name}", _values(event.input)
        case message_events.WorkflowUpdateAccepted():
            return f"update {event.update_name} accepted", _values(event.input)
        case message_events.WorkflowUpdateCompleted() if event.failure is not None:
            return f"update {event.update_name or event.update_id} failed", _failure(event.failure)
        case message_events.WorkflowUpdateCompleted():
            name = event.update_name or event.update_id
            return f"update {name} completed", _values([event.result])
        case events.WorkflowBlocked():
            return f"blocked ({event.cause})", text(event.message)
        case events.TimerStarted():
            return f"timer {event.timer_id} started", span(event.duration_ms / 1000)
        case events.TimerFired():
            return f"timer {event.timer_id} fired" if event.timer_id else "start delay over", ""
        case events.TimerCanceled():
            return f"timer {event.timer_id} cancelled", ""
        case _:
            return _noted(event)


def _noted(event: Record) -> tuple[str, str]:
    match event:
        case fact_events.MarkerRecorded():
            kind = event.kind.replace("_", " ")
            return f"{kind} noted", text(event.name)
        case fact_events.MemoUpserted():
            return "memo changed", text(", ".join(event.memo))
        case fact_events.SearchAttributesUpserted():
            changed = event.search_attributes
            values = [f"{k}={short(payload_value(v))}" for k, v in changed.items()]
            return "search attributes changed", text(", ".join(values))
        case fact_events.RecordEmitted():
            return f"record emitted to {event.topic}", text(
                (event.key or b"").decode("utf-8", "replace")
            )
        case operator_events.ActivityPaused():
            by = f" by {event.identity}" if event.identity else ""
            return f"activity {event.activity_id} paused{by}", text(event.reason)
        case operator_events.ActivityUnpaused() | operator_events.ActivityReset():
            what = "reset" if isinstance(event, operator_events.ActivityReset) else "unpaused"
            return f"activity {event.activity_id} {what}", text(event.identity)
        case operator_events.ActivityOptionsUpdated():
            return f"activity {event.activity_id} has other options", text(event.identity)
        case operator_events.ActivityDetached():
            return f"activity {event.activity_id} waits for a report from elsewhere", ""
        case _:
            return type(event).__name__, ""


def _values(payloads: Sequence[Payload | None]) -> str:
    return text(
        ", ".join(short(payload_value(payload), chars_max=VALUE_CHARS_MAX) for payload in payloads)
    )


def _failure(failure: Failure) -> str:
    """A failure's chain on one line, the outermost first."""
    links = [
        f"{link.type}: {link.message}" if link.type else link.message for link in failure.chain
    ]
    return f"[red]{text(' <- '.join(links))}[/]"
