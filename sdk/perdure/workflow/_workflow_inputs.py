"""The inputs of calls by workflow code, as outbound interceptors see them. Data only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from perdure.api.common.v1 import Payload
from perdure.common import (
    Priority,
    RetryPolicy,
    SearchAttributes,
    TypedSearchAttributes,
    WorkflowIDReusePolicy,
)
from perdure.workflow._enums import (
    ActivityCancellationType,
    ChildWorkflowCancellationType,
    ParentClosePolicy,
)
from perdure_actors.definitions.registry import ActivityDefinition
from perdure_actors.definitions.signatures import Signature

# Task queues have no builds and events no groups here; the fields are there for code that names
# them, and are passed on as they were given.


@dataclass
class ContinueAsNewInput:
    """The end of a run by starting the next one."""

    workflow: str | None
    args: Sequence[Any]
    task_queue: str | None
    run_timeout: timedelta | None
    task_timeout: timedelta | None
    backoff_start_interval: timedelta | None
    retry_policy: RetryPolicy | None
    memo: Mapping[str, Any] | None
    search_attributes: SearchAttributes | TypedSearchAttributes | None
    headers: Mapping[str, Payload]
    versioning_intent: Any | None
    initial_versioning_behavior: Any | None
    event_groups: Sequence[Any] | None = None
    arg_types: list[type] | None = None
    call_site: str = field(default="", init=False, repr=False, compare=False)
    """Where the workflow's code made the call."""
    signature: Signature | None = field(default=None, init=False, repr=False, compare=False)
    """What the workflow takes, where that is known: other arguments are refused."""


@dataclass
class StartActivityInput:
    """A start of an activity."""

    activity: str
    args: Sequence[Any]
    activity_id: str | None
    task_queue: str | None
    schedule_to_close_timeout: timedelta | None
    schedule_to_start_timeout: timedelta | None
    start_to_close_timeout: timedelta | None
    heartbeat_timeout: timedelta | None
    retry_policy: RetryPolicy | None
    cancellation_type: ActivityCancellationType
    headers: Mapping[str, Payload]
    disable_eager_execution: bool
    versioning_intent: Any | None
    summary: str | None
    priority: Priority
    arg_types: list[type] | None
    ret_type: type | None
    event_groups: Sequence[Any] | None = field(default=None, kw_only=True)
    call_site: str = field(default="", init=False, repr=False, compare=False)
    """Where the workflow's code made the call."""
    definition: ActivityDefinition | None = field(
        default=None, init=False, repr=False, compare=False
    )
    """What was called, where that was no name."""
    on_exhausted: str = field(default="fail", init=False, repr=False)
    """What follows the last attempt."""


@dataclass
class StartLocalActivityInput:
    """A start of a local activity."""

    activity: str
    args: Sequence[Any]
    activity_id: str | None
    schedule_to_close_timeout: timedelta | None
    schedule_to_start_timeout: timedelta | None
    start_to_close_timeout: timedelta | None
    retry_policy: RetryPolicy | None
    local_retry_threshold: timedelta | None
    cancellation_type: ActivityCancellationType
    headers: Mapping[str, Payload]
    summary: str | None
    event_groups: Sequence[Any] | None = None
    arg_types: list[type] | None = None
    ret_type: type | None = None
    call_site: str = field(default="", init=False, repr=False, compare=False)
    """Where the workflow's code made the call."""
    definition: ActivityDefinition | None = field(
        default=None, init=False, repr=False, compare=False
    )
    """What was called, where that was no name."""


@dataclass
class StartChildWorkflowInput:
    """A start of a child."""

    workflow: str
    args: Sequence[Any]
    id: str
    task_queue: str | None
    cancellation_type: ChildWorkflowCancellationType
    parent_close_policy: ParentClosePolicy
    execution_timeout: timedelta | None
    run_timeout: timedelta | None
    task_timeout: timedelta | None
    id_reuse_policy: WorkflowIDReusePolicy
    retry_policy: RetryPolicy | None
    cron_schedule: str
    memo: Mapping[str, Any] | None
    search_attributes: SearchAttributes | TypedSearchAttributes | None
    headers: Mapping[str, Payload]
    versioning_intent: Any | None
    static_summary: str | None
    static_details: str | None
    priority: Priority
    arg_types: list[type] | None
    ret_type: type | None
    versioning_override: Any | None = field(default=None, kw_only=True)
    event_groups: Sequence[Any] | None = field(default=None, kw_only=True)
    call_site: str = field(default="", init=False, repr=False, compare=False)
    """Where the workflow's code made the call."""
    signature: Signature | None = field(default=None, init=False, repr=False, compare=False)
    """What the workflow takes, where that is known: other arguments are refused."""
    is_executed: bool = field(default=False, init=False, repr=False, compare=False)
    """Whether the call waits for the child's end, and not for its start alone."""


@dataclass
class SignalChildWorkflowInput:
    """A signal to a child."""

    signal: str
    args: Sequence[Any]
    child_workflow_id: str
    headers: Mapping[str, Payload]
    event_groups: Sequence[Any] | None = None
    call_site: str = field(default="", init=False, repr=False, compare=False)
    """Where the workflow's code made the call."""
    parameter_names: Sequence[str] = field(default=(), init=False, repr=False, compare=False)
    """The names of the parameters where known; they make errors readable."""


@dataclass
class SignalExternalWorkflowInput:
    """A signal to another workflow."""

    signal: str
    args: Sequence[Any]
    namespace: str
    workflow_id: str
    workflow_run_id: str | None
    headers: Mapping[str, Payload]
    event_groups: Sequence[Any] | None = None
    call_site: str = field(default="", init=False, repr=False, compare=False)
    """Where the workflow's code made the call."""
    parameter_names: Sequence[str] = field(default=(), init=False, repr=False, compare=False)
    """The names of the parameters where known; they make errors readable."""
    task_queue: str = field(default="", init=False, repr=False, compare=False)
    """The other workflow's task queue; empty for the run's own."""
