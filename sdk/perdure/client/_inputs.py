"""What a call of the client consists of, as an interceptor sees it. Data only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum
from typing import Any

from perdure.api.common.v1 import Payload
from perdure.client._requests import Ask
from perdure.common import (
    Priority,
    RetryPolicy,
    SearchAttributes,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from perdure_actors.definitions.signatures import Signature


class WorkflowHistoryEventFilterType(IntEnum):
    """Which events of a history are wanted."""

    ALL_EVENT = 1
    CLOSE_EVENT = 2


@dataclass
class StartWorkflowInput:
    """A start of a workflow."""

    workflow: str
    args: Sequence[Any]
    id: str
    task_queue: str
    execution_timeout: timedelta | None
    run_timeout: timedelta | None
    task_timeout: timedelta | None
    id_reuse_policy: WorkflowIDReusePolicy
    id_conflict_policy: WorkflowIDConflictPolicy
    retry_policy: RetryPolicy | None
    cron_schedule: str
    memo: Mapping[str, Any] | None
    search_attributes: TypedSearchAttributes | SearchAttributes | None
    start_delay: timedelta | None
    headers: Mapping[str, Payload]
    static_summary: str | None
    static_details: str | None
    ret_type: type | None
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    priority: Priority
    start_signal: str | None = None
    start_signal_args: Sequence[Any] = field(default_factory=tuple)
    signature: Signature | None = None
    """What the workflow takes, where that is known: other arguments are refused."""
    request_eager_start: bool = False
    """Without effect: a start is taken by the host of its partition in any case."""
    time_skipping_config: Any = None
    """Without effect: an environment's time is skipped for all its workflows."""
    waits: bool = False
    """Whether the caller waits for the result at once: one ask then serves both."""


@dataclass
class CancelWorkflowInput:
    """A request to cancel."""

    id: str
    run_id: str | None
    first_execution_run_id: str | None
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    reason: str = ""
    task_queue: str | None = None


@dataclass
class TerminateWorkflowInput:
    """A termination."""

    id: str
    run_id: str | None
    first_execution_run_id: str | None
    args: Sequence[Any]
    reason: str | None
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    task_queue: str | None = None


@dataclass
class DescribeWorkflowInput:
    """A question how a run stands."""

    id: str
    run_id: str | None
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    task_queue: str | None = None


@dataclass
class AwaitWorkflowResultInput:
    """A question for the result of a run, which may come late."""

    id: str
    run_id: str | None
    follow_runs: bool
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    task_queue: str | None = None
    closing: Ask | None = None
    """The ask that the start left open, where the caller of execute_workflow waits."""


@dataclass
class FetchWorkflowHistoryEventsInput:
    """A question for the events of a run."""

    id: str
    run_id: str | None
    page_size: int | None
    next_page_token: bytes | None
    wait_new_event: bool
    event_filter_type: WorkflowHistoryEventFilterType
    skip_archival: bool
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    task_queue: str | None = None


@dataclass
class ListWorkflowsInput:
    """A question for the runs of a namespace."""

    query: str | None
    page_size: int
    next_page_token: bytes | None
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    limit: int | None
    task_queue: str | None = None


@dataclass
class CountWorkflowsInput:
    """A question how many runs there are."""

    query: str | None
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    task_queue: str | None = None
