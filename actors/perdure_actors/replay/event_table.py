"""Which part of a run takes which event: a table, so the coroutine learns no feature's name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from perdure_actors.replay.activity_calls import Activities
from perdure_actors.replay.child_calls import Children
from perdure_actors.replay.external_calls import Calls
from perdure_actors.replay.message_handlers import Messages
from perdure_schemas.child_events import (
    ChildWorkflowCanceled,
    ChildWorkflowCompleted,
    ChildWorkflowFailed,
    ChildWorkflowStarted,
    ChildWorkflowStartFailed,
    ChildWorkflowTerminated,
    ChildWorkflowTimedOut,
    ExternalCancelFailed,
    ExternalCancelRequested,
    ExternalSignaled,
    ExternalSignalFailed,
    ExternalStarted,
    ExternalStartFailed,
)
from perdure_schemas.events import (
    ActivityCanceled,
    ActivityCompleted,
    ActivityFailed,
    ActivityTimedOut,
)
from perdure_schemas.message_events import WorkflowSignaled
from perdure_schemas.payloads import Record


class Parts(Protocol):
    """The parts of a run that take events."""

    activities: Activities
    children: Children
    calls: Calls
    messages: Messages


TAKES: dict[type[Record], Callable[[Parts, Any], None]] = {
    ActivityCompleted: lambda run, event: run.activities.take_completed(event),
    ActivityFailed: lambda run, event: run.activities.take_failed(event),
    ActivityTimedOut: lambda run, event: run.activities.take_timed_out(event),
    ActivityCanceled: lambda run, event: run.activities.take_canceled(event),
    ChildWorkflowStarted: lambda run, event: run.children.take_started(event),
    ChildWorkflowStartFailed: lambda run, event: run.children.take_start_failed(event),
    ChildWorkflowCompleted: lambda run, event: run.children.take_completed(event),
    ChildWorkflowFailed: lambda run, event: run.children.take_failed(event),
    ChildWorkflowCanceled: lambda run, event: run.children.take_canceled(event),
    ChildWorkflowTimedOut: lambda run, event: run.children.take_timed_out(event),
    ChildWorkflowTerminated: lambda run, event: run.children.take_terminated(event),
    ExternalCancelRequested: lambda run, event: run.calls.take_done(event),
    ExternalCancelFailed: lambda run, event: run.calls.take_failed(event),
    ExternalSignaled: lambda run, event: run.calls.take_done(event),
    ExternalSignalFailed: lambda run, event: run.calls.take_failed(event),
    ExternalStarted: lambda run, event: run.calls.take_done(event),
    ExternalStartFailed: lambda run, event: run.calls.take_failed(event),
    WorkflowSignaled: lambda run, event: run.messages.take_signal(event),
}
