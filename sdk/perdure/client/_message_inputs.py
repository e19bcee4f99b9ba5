"""What signals, queries and updates consist of, as an interceptor sees them. Data only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum
from typing import Any

from perdure.api.common.v1 import Payload
from perdure.common import (
    Priority,
    QueryRejectCondition,
    RetryPolicy,
    SearchAttributes,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from perdure_actors.definitions.signatures import Signature
from perdure_schemas.replies import Accepted


class WorkflowUpdateStage(IntEnum):
    """How far an update is."""

    ADMITTED = 1
    ACCEPTED = 2
    COMPLETED = 3


@dataclass
class SignalWorkflowInput:
    """A signal."""

    id: str
    run_id: str | None
    signal: str
    args: Sequence[Any]
    headers: Mapping[str, Payload]
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    parameter_names: Sequence[str] = field(default_factory=tuple)
    task_queue: str | None = None
    buffer_for: timedelta | None = None


@dataclass
class QueryWorkflowInput:
    """A query."""

    id: str
    run_id: str | None
    query: str
    args: Sequence[Any]
    reject_condition: QueryRejectCondition | None
    headers: Mapping[str, Payload]
    ret_type: type | None
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    parameter_names: Sequence[str] = field(default_factory=tuple)
    task_queue: str | None = None


@dataclass
class StartWorkflowUpdateInput:
    """An update."""

    id: str
    run_id: str | None
    first_execution_run_id: str | None
    update_id: str | None
    update: str
    args: Sequence[Any]
    wait_for_stage: WorkflowUpdateStage
    headers: Mapping[str, Payload]
    ret_type: type | None
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    parameter_names: Sequence[str] = field(default_factory=tuple)
    task_queue: str | None = None


@dataclass
class AwaitUpdateInput:
    """A question for the outcome of an update, which may come late."""

    id: str
    run_id: str | None
    update_id: str
    rpc_timeout: timedelta | None
    task_queue: str | None = None


@dataclass
class UpdateWithStartUpdateWorkflowInput:
    """The update of an update-with-start."""

    update_id: str | None
    update: str
    args: Sequence[Any]
    wait_for_stage: WorkflowUpdateStage
    headers: Mapping[str, Payload]
    ret_type: type | None
    parameter_names: Sequence[str] = field(default_factory=tuple)


@dataclass
class UpdateWithStartStartWorkflowInput:
    """The start of an update-with-start."""

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
    priority: Priority
    signature: Signature | None = None
    time_skipping_config: Any = None
    """Without effect: an environment's time is skipped for all its workflows."""


@dataclass
class StartWorkflowUpdateWithStartInput:
    """An update, and the start of its workflow where that does not run yet."""

    start_workflow_input: UpdateWithStartStartWorkflowInput
    update_workflow_input: UpdateWithStartUpdateWorkflowInput
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    _on_start: Callable[[Accepted], None]
    _on_start_error: Callable[[BaseException], None]
