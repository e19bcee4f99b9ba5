"""The inputs of a client's calls, as interceptors see them, and their optional arguments."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum
from typing import Any, Final, Protocol, TypedDict, cast

from perdure._records.workflow_names import workflow_facts
from perdure._schedules.schedule import (
    Schedule,
    ScheduleBackfill,
    ScheduleOverlapPolicy,
    ScheduleUpdate,
)
from perdure.api.common.v1 import Payload
from perdure.client._rpc import PendingRequest
from perdure.client._schedule_descriptions import ScheduleUpdateInput
from perdure.common import (
    Priority,
    QueryRejectCondition,
    RetryPolicy,
    SearchAttributes,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from perdure.converter import DataConverter
from perdure_actors.definitions.signatures import Signature
from perdure_schemas.answers.reset_points import ResetPoint
from perdure_schemas.replies import Accepted

NO_METADATA: Final[Mapping[str, str | bytes]] = {}
UNSET: Final[Any] = object()
"""The argument of a call that was given none."""


class WorkflowHistoryEventFilterType(IntEnum):
    """Which events of a history are wanted."""

    ALL_EVENT = 1
    CLOSE_EVENT = 2


class WorkflowUpdateStage(IntEnum):
    """How far an update is."""

    ADMITTED = 1
    ACCEPTED = 2
    COMPLETED = 3


@dataclass(frozen=True)
class AsyncActivityIDReference:
    """An activity by its ids; which attempt of it does not matter."""

    workflow_id: str | None
    run_id: str | None
    activity_id: str
    task_queue: str | None = None
    """Where its workflow is; without it every queue is asked."""


class WorkflowAddress(Protocol):
    """What a call says of the workflow it is about."""

    id: str
    run_id: str | None
    rpc_timeout: timedelta | None
    task_queue: str | None


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
    """Whether the caller waits for the result at once: one request then serves both."""


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
class DeleteWorkflowInput:
    """A wish to forget a closed run."""

    id: str
    run_id: str | None
    reason: str
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    task_queue: str | None = None


@dataclass
class ResetWorkflowInput:
    """A reset of a run to an event of its history."""

    id: str
    run_id: str | None
    to: ResetPoint
    reason: str
    exclude: Sequence[str]
    again: bool
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    task_queue: str | None = None
    request_id: str = ""
    """By which it is taken once; one of its own for each call when empty."""


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
    closing: PendingRequest | None = None
    """The request that the start left open, where the caller of execute_workflow waits."""


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
class AwaitWorkflowUpdateInput:
    """A question for the outcome of an update, which may come late."""

    id: str
    run_id: str | None
    update_id: str
    rpc_metadata: Mapping[str, str | bytes]
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


Updater = Callable[[ScheduleUpdateInput], ScheduleUpdate | Awaitable[ScheduleUpdate | None] | None]


@dataclass
class CreateScheduleInput:
    """The making of a schedule."""

    id: str
    schedule: Schedule
    trigger_immediately: bool
    backfill: Sequence[ScheduleBackfill]
    memo: Mapping[str, Any] | None
    search_attributes: TypedSearchAttributes | SearchAttributes | None
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None


@dataclass
class ListSchedulesInput:
    """A question for the schedules of a namespace."""

    page_size: int
    next_page_token: bytes | None
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    query: str | None = None


@dataclass
class BackfillScheduleInput:
    """Spans of time whose actions are to be taken now."""

    id: str
    backfills: Sequence[ScheduleBackfill]
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None


@dataclass
class DeleteScheduleInput:
    """The end of a schedule."""

    id: str
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None


@dataclass
class DescribeScheduleInput:
    """A question how a schedule stands."""

    id: str
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None


@dataclass
class PauseScheduleInput:
    """A pause of a schedule."""

    id: str
    note: str | None
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None


@dataclass
class TriggerScheduleInput:
    """An action that is to be taken now."""

    id: str
    overlap: ScheduleOverlapPolicy | None
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None


@dataclass
class UnpauseScheduleInput:
    """The end of a pause."""

    id: str
    note: str | None
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None


@dataclass
class UpdateScheduleInput:
    """A change of a schedule by a function."""

    id: str
    updater: Updater
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None


@dataclass
class HeartbeatAsyncActivityInput:
    """A sign of life, as a client's interceptors see it."""

    id_or_token: AsyncActivityIDReference | bytes
    details: Sequence[Any]
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    data_converter_override: DataConverter | None = None


@dataclass
class CompleteAsyncActivityInput:
    """A completion, as a client's interceptors see it."""

    id_or_token: AsyncActivityIDReference | bytes
    result: Any | None
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    data_converter_override: DataConverter | None = None


@dataclass
class FailAsyncActivityInput:
    """A failure, as a client's interceptors see it."""

    id_or_token: AsyncActivityIDReference | bytes
    error: Exception
    last_heartbeat_details: Sequence[Any]
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    data_converter_override: DataConverter | None = None


@dataclass
class ReportCancellationAsyncActivityInput:
    """The word that an activity has stopped, as a client's interceptors see it."""

    id_or_token: AsyncActivityIDReference | bytes
    details: Sequence[Any]
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    data_converter_override: DataConverter | None = None


class StartOptions(TypedDict, total=False):
    """What a start may say beside the workflow, its arguments, its id and its task queue."""

    execution_timeout: timedelta | None
    run_timeout: timedelta | None
    task_timeout: timedelta | None
    id_reuse_policy: WorkflowIDReusePolicy
    id_conflict_policy: WorkflowIDConflictPolicy
    retry_policy: RetryPolicy | None
    cron_schedule: str
    memo: Mapping[str, Any] | None
    search_attributes: TypedSearchAttributes | SearchAttributes | None
    static_summary: str | None
    static_details: str | None
    start_delay: timedelta | None
    start_signal: str | None
    start_signal_args: Sequence[Any]
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    request_eager_start: bool
    priority: Priority


class SignalOptions(TypedDict, total=False):
    """What a signal may say beside its arguments."""

    buffer_for: timedelta | None
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None


class QueryOptions(TypedDict, total=False):
    """What a query may say beside its arguments."""

    reject_condition: QueryRejectCondition | None
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None


class UpdateOptions(TypedDict, total=False):
    """What an update may say beside its arguments."""

    id: str | None
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None


class WithStartOptions(TypedDict, total=False):
    """What the start of an update-with-start may say beside what it must."""

    execution_timeout: timedelta | None
    run_timeout: timedelta | None
    task_timeout: timedelta | None
    id_reuse_policy: WorkflowIDReusePolicy
    retry_policy: RetryPolicy | None
    cron_schedule: str
    memo: Mapping[str, Any] | None
    search_attributes: TypedSearchAttributes | SearchAttributes | None
    static_summary: str | None
    static_details: str | None
    start_delay: timedelta | None
    priority: Priority
    stack_level: int
    """Without effect."""


_START_DEFAULTS: Final[StartOptions] = {
    "execution_timeout": None,
    "run_timeout": None,
    "task_timeout": None,
    "id_reuse_policy": WorkflowIDReusePolicy.ALLOW_DUPLICATE,
    "id_conflict_policy": WorkflowIDConflictPolicy.UNSPECIFIED,
    "retry_policy": None,
    "cron_schedule": "",
    "memo": None,
    "search_attributes": None,
    "static_summary": None,
    "static_details": None,
    "start_delay": None,
    "start_signal": None,
    "start_signal_args": (),
    "rpc_metadata": NO_METADATA,
    "rpc_timeout": None,
    "request_eager_start": False,
    "priority": Priority.default,
}


def call_arguments(arg: Any, args: Sequence[Any]) -> Sequence[Any]:
    """The arguments of a call, of which a user gives one, or several as `args`.

    Raises ValueError when both are given.
    """
    if arg is UNSET:
        return args
    if args:
        raise ValueError("give one argument by position, or several as args=[...], not both")
    return [arg]


def start_input(
    workflow: str | Callable[..., Awaitable[Any]],
    arg: Any,
    args: Sequence[Any],
    id: str,
    task_queue: str,
    result_type: type | None,
    options: StartOptions,
) -> StartWorkflowInput:
    """The input of a start, with what its caller leaves out as it is by default.

    Raises TypeError for an option that there is not.
    """
    for name in options:
        if name not in _START_DEFAULTS:
            raise TypeError(f"a start has no option {name!r}")
    facts = workflow_facts(workflow)
    return StartWorkflowInput(
        workflow=facts.name,
        args=call_arguments(arg, args),
        id=id,
        task_queue=task_queue,
        headers={},
        ret_type=result_type or facts.result_type,
        signature=facts.signature,
        **cast("dict[str, Any]", {**_START_DEFAULTS, **options}),
    )
