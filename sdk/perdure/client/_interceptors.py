"""The interceptor chain of a client: each call goes through it as one input."""

from __future__ import annotations

from typing import Any, Protocol

from perdure.client._executions import (
    WorkflowExecutionAsyncIterator,
    WorkflowExecutionCount,
    WorkflowExecutionDescription,
)
from perdure.client._history import WorkflowHistoryEventAsyncIterator
from perdure.client._inputs import (
    AwaitWorkflowResultInput,
    AwaitWorkflowUpdateInput,
    BackfillScheduleInput,
    CancelWorkflowInput,
    CompleteAsyncActivityInput,
    CountWorkflowsInput,
    CreateScheduleInput,
    DeleteScheduleInput,
    DeleteWorkflowInput,
    DescribeScheduleInput,
    DescribeWorkflowInput,
    FailAsyncActivityInput,
    FetchWorkflowHistoryEventsInput,
    HeartbeatAsyncActivityInput,
    ListSchedulesInput,
    ListWorkflowsInput,
    PauseScheduleInput,
    QueryWorkflowInput,
    ReportCancellationAsyncActivityInput,
    ResetWorkflowInput,
    SignalWorkflowInput,
    StartWorkflowInput,
    StartWorkflowUpdateInput,
    StartWorkflowUpdateWithStartInput,
    TerminateWorkflowInput,
    TriggerScheduleInput,
    UnpauseScheduleInput,
    UpdateScheduleInput,
)
from perdure.client._schedule_descriptions import ScheduleAsyncIterator, ScheduleDescription
from perdure.client._schedule_handle import ScheduleHandle
from perdure.client._update_handle import WorkflowUpdateHandle
from perdure.client._workflow_handle import WorkflowHandle
from perdure.common import QueryRejectCondition
from perdure.converter import DataConverter
from perdure_schemas.converters import PayloadConverter
from perdure_schemas.replies import RunClosed, UpdateAnswer


class OutboundInterceptor:
    """A link of the chain that the client's calls go through. Override what matters."""

    next: OutboundInterceptor

    def __init__(self, next: OutboundInterceptor) -> None:
        self.next = next

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        """Start a workflow."""
        return await self.next.start_workflow(input)

    async def cancel_workflow(self, input: CancelWorkflowInput) -> None:
        """Ask a run to cancel itself."""
        await self.next.cancel_workflow(input)

    async def terminate_workflow(self, input: TerminateWorkflowInput) -> None:
        """End a run."""
        await self.next.terminate_workflow(input)

    async def delete_workflow(self, input: DeleteWorkflowInput) -> None:
        """Forget a closed run."""
        await self.next.delete_workflow(input)

    async def reset_workflow(self, input: ResetWorkflowInput) -> WorkflowHandle[Any, Any]:
        """End a run and begin a new one from an event of its history."""
        return await self.next.reset_workflow(input)

    async def describe_workflow(self, input: DescribeWorkflowInput) -> WorkflowExecutionDescription:
        """Ask how a run stands."""
        return await self.next.describe_workflow(input)

    async def await_workflow_result(self, input: AwaitWorkflowResultInput) -> RunClosed:
        """Wait for the end of a run."""
        return await self.next.await_workflow_result(input)

    async def signal_workflow(self, input: SignalWorkflowInput) -> None:
        """Send a signal."""
        await self.next.signal_workflow(input)

    async def query_workflow(self, input: QueryWorkflowInput) -> Any:
        """Ask a query."""
        return await self.next.query_workflow(input)

    async def start_workflow_update(
        self, input: StartWorkflowUpdateInput
    ) -> WorkflowUpdateHandle[Any]:
        """Send an update."""
        return await self.next.start_workflow_update(input)

    async def await_workflow_update(self, input: AwaitWorkflowUpdateInput) -> UpdateAnswer:
        """Wait for the outcome of an update."""
        return await self.next.await_workflow_update(input)

    async def start_update_with_start_workflow(
        self, input: StartWorkflowUpdateWithStartInput
    ) -> WorkflowUpdateHandle[Any]:
        """Send an update, and start its workflow where that does not run yet."""
        return await self.next.start_update_with_start_workflow(input)

    def fetch_workflow_history_events(
        self, input: FetchWorkflowHistoryEventsInput
    ) -> WorkflowHistoryEventAsyncIterator:
        """Read the events of a run."""
        return self.next.fetch_workflow_history_events(input)

    def list_workflows(self, input: ListWorkflowsInput) -> WorkflowExecutionAsyncIterator:
        """List runs."""
        return self.next.list_workflows(input)

    async def count_workflows(self, input: CountWorkflowsInput) -> WorkflowExecutionCount:
        """Count runs."""
        return await self.next.count_workflows(input)

    async def create_schedule(self, input: CreateScheduleInput) -> ScheduleHandle:
        """Make a schedule."""
        return await self.next.create_schedule(input)

    def list_schedules(self, input: ListSchedulesInput) -> ScheduleAsyncIterator:
        """List schedules."""
        return self.next.list_schedules(input)

    async def backfill_schedule(self, input: BackfillScheduleInput) -> None:
        """Take the actions of spans of time."""
        await self.next.backfill_schedule(input)

    async def delete_schedule(self, input: DeleteScheduleInput) -> None:
        """End a schedule."""
        await self.next.delete_schedule(input)

    async def describe_schedule(self, input: DescribeScheduleInput) -> ScheduleDescription:
        """Ask how a schedule stands."""
        return await self.next.describe_schedule(input)

    async def pause_schedule(self, input: PauseScheduleInput) -> None:
        """Pause a schedule."""
        await self.next.pause_schedule(input)

    async def trigger_schedule(self, input: TriggerScheduleInput) -> None:
        """Take an action now."""
        await self.next.trigger_schedule(input)

    async def unpause_schedule(self, input: UnpauseScheduleInput) -> None:
        """Let a schedule go on."""
        await self.next.unpause_schedule(input)

    async def update_schedule(self, input: UpdateScheduleInput) -> None:
        """Change a schedule."""
        await self.next.update_schedule(input)

    async def heartbeat_async_activity(self, input: HeartbeatAsyncActivityInput) -> None:
        """Say that an activity is alive."""
        await self.next.heartbeat_async_activity(input)

    async def complete_async_activity(self, input: CompleteAsyncActivityInput) -> None:
        """Complete an activity."""
        await self.next.complete_async_activity(input)

    async def fail_async_activity(self, input: FailAsyncActivityInput) -> None:
        """Fail an attempt of an activity."""
        await self.next.fail_async_activity(input)

    async def report_cancellation_async_activity(
        self, input: ReportCancellationAsyncActivityInput
    ) -> None:
        """Say that an activity has stopped."""
        await self.next.report_cancellation_async_activity(input)


class Interceptor:
    """What `Client.connect(interceptors=...)` takes."""

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        """The link to put before the next one; without it, none."""
        return next


class HandleClient(Protocol):
    """What the handles, and the end of the chain, need of their client."""

    @property
    def values(self) -> PayloadConverter:
        """What reads and writes values, in no context."""

    @property
    def query_reject_condition(self) -> QueryRejectCondition | None:
        """In which states queries are refused unless they say otherwise."""

    def values_for(self, workflow_id: str) -> PayloadConverter:
        """What reads and writes the values of a workflow."""

    @property
    def data_converter(self) -> DataConverter:
        """What the user gave for that."""

    @property
    def outbound(self) -> OutboundInterceptor:
        """The first link of the client's chain."""
