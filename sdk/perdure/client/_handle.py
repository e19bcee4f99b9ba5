"""The handle of a workflow, and the chain of interceptors its calls go through."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, Generic, Protocol

from perdure._records.rpc_errors import RPCError, RPCStatusCode
from perdure.client._async_activity import AsyncActivitiesOutbound
from perdure.client._executions import (
    WorkflowExecutionAsyncIterator,
    WorkflowExecutionCount,
    WorkflowExecutionDescription,
)
from perdure.client._handle_messages import SendsMessages
from perdure.client._history import WorkflowHistory, WorkflowHistoryEventAsyncIterator
from perdure.client._inputs import (
    AwaitWorkflowResultInput,
    CancelWorkflowInput,
    CountWorkflowsInput,
    DescribeWorkflowInput,
    FetchWorkflowHistoryEventsInput,
    ListWorkflowsInput,
    StartWorkflowInput,
    TerminateWorkflowInput,
    WorkflowHistoryEventFilterType,
)
from perdure.client._message_inputs import (
    AwaitUpdateInput,
    QueryWorkflowInput,
    SignalWorkflowInput,
    StartWorkflowUpdateInput,
    StartWorkflowUpdateWithStartInput,
)
from perdure.client._outcomes import (
    WorkflowContinuedAsNewError,
    WorkflowFailureError,
    failure_of_status,
)
from perdure.client._requests import Ask
from perdure.client._schedule_handle import SchedulesOutbound
from perdure.client._update_handle import NO_METADATA, WorkflowUpdateHandle
from perdure.common import QueryRejectCondition
from perdure.converter import DataConverter
from perdure.types import ReturnType, SelfType
from perdure_actors.replay.failures import exception_of
from perdure_schemas.converters import PayloadConverter
from perdure_schemas.replies import RunClosed, UpdateAnswer

FOLLOW_FIRST_S: Final = 0.05
FOLLOW_MAX_S: Final = 5.0


class OutboundInterceptor(SchedulesOutbound, AsyncActivitiesOutbound):
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


class Interceptor:
    """What `Client.connect(interceptors=...)` takes."""

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        """The link to put before the next one; without it, none."""
        return next


class HandlesClient(Protocol):
    """What a handle needs of its client."""

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

    async def await_update(self, input: AwaitUpdateInput) -> UpdateAnswer:
        """Wait for the outcome of an update."""


class WorkflowHandle(SendsMessages[SelfType], Generic[SelfType, ReturnType]):
    """A workflow, by its id and perhaps a run of it, whether it exists or not."""

    def __init__(
        self,
        client: HandlesClient,
        id: str,
        *,
        run_id: str | None = None,
        result_run_id: str | None = None,
        first_execution_run_id: str | None = None,
        result_type: type | None = None,
        task_queue: str | None = None,
        closing: Ask | None = None,
    ) -> None:
        self._client: HandlesClient = client
        self._id = id
        self._run_id = run_id
        self._result_run_id = result_run_id
        self._first_execution_run_id = first_execution_run_id
        self._result_type = result_type
        self._task_queue = task_queue
        self._closing = closing

    @property
    def id(self) -> str:
        """The workflow id."""
        return self._id

    @property
    def run_id(self) -> str | None:
        """The run that calls are about; None means the newest one."""
        return self._run_id

    @property
    def result_run_id(self) -> str | None:
        """The run whose result is waited for; None means the newest one."""
        return self._result_run_id

    @property
    def first_execution_run_id(self) -> str | None:
        """The first run of the chain that cancel and terminate insist on, if any."""
        return self._first_execution_run_id

    @property
    def task_queue(self) -> str | None:
        """The task queue, where it is known."""
        return self._task_queue

    async def result(
        self,
        *,
        follow_runs: bool = True,
        rpc_metadata: Mapping[str, str | bytes] = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> ReturnType:
        """Wait for the result.

        Raises WorkflowFailureError when the workflow did not complete, and
        WorkflowContinuedAsNewError when it went on as another run that is not to be followed.
        """
        run_id, is_following, delay_s = self._result_run_id, False, FOLLOW_FIRST_S
        while True:
            try:
                closed = await self._closed(run_id, follow_runs, rpc_metadata, rpc_timeout)
            except RPCError as error:
                if not is_following or error.status != RPCStatusCode.NOT_FOUND:
                    raise
                # The run that follows is recorded, but begins only after its back-off.
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, FOLLOW_MAX_S)
                continue
            next_run_id = closed.next_run_id
            if follow_runs and next_run_id:
                run_id = next_run_id
                is_following = True
                continue
            if closed.status == "completed":
                return self._value(closed)
            if closed.status == "continued_as_new":
                raise WorkflowContinuedAsNewError(next_run_id)
            raise WorkflowFailureError(cause=self._cause(closed))

    async def _closed(
        self,
        run_id: str | None,
        follow_runs: bool,  # noqa: FBT001 - handed through
        rpc_metadata: Mapping[str, str | bytes],
        rpc_timeout: timedelta | None,
    ) -> RunClosed:
        return await self._client.outbound.await_workflow_result(
            AwaitWorkflowResultInput(
                id=self._id,
                run_id=run_id,
                follow_runs=follow_runs,
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
                task_queue=self._task_queue,
                closing=self._closing if run_id == self._result_run_id else None,
            )
        )

    def _value(self, closed: RunClosed) -> ReturnType:
        if closed.result is None:
            return None  # type: ignore[return-value]  # a workflow that returns nothing
        hints = None if self._result_type is None else [self._result_type]
        value: ReturnType = self._client.values_for(self._id).from_payloads(
            [closed.result], hints, names=[f"the result of workflow {self._id!r}"]
        )[0]
        return value

    def _cause(self, closed: RunClosed) -> BaseException:
        if closed.failure is None or not closed.failure.chain:
            return failure_of_status(closed.status)
        return exception_of(closed.failure, self._client.values_for(self._id))

    async def describe(
        self,
        *,
        rpc_metadata: Mapping[str, str | bytes] = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> WorkflowExecutionDescription:
        """Ask how the run stands."""
        return await self._client.outbound.describe_workflow(
            DescribeWorkflowInput(
                id=self._id,
                run_id=self._run_id,
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
                task_queue=self._task_queue,
            )
        )

    async def cancel(
        self,
        *,
        reason: str = "",
        rpc_metadata: Mapping[str, str | bytes] = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Ask the run to cancel itself; it may take its time, or refuse.

        One that has closed is left as it is.
        """
        await self._client.outbound.cancel_workflow(
            CancelWorkflowInput(
                id=self._id,
                run_id=self._run_id,
                first_execution_run_id=self._first_execution_run_id,
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
                reason=reason,
                task_queue=self._task_queue,
            )
        )

    async def terminate(
        self,
        *args: Any,
        reason: str | None = None,
        rpc_metadata: Mapping[str, str | bytes] = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """End the run at once, without asking its code. The values are kept as details."""
        await self._client.outbound.terminate_workflow(
            TerminateWorkflowInput(
                id=self._id,
                run_id=self._run_id,
                first_execution_run_id=self._first_execution_run_id,
                args=args,
                reason=reason,
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
                task_queue=self._task_queue,
            )
        )

    async def fetch_history(
        self,
        *,
        event_filter_type: WorkflowHistoryEventFilterType = (
            WorkflowHistoryEventFilterType.ALL_EVENT
        ),
        skip_archival: bool = False,
        rpc_metadata: Mapping[str, str | bytes] = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> WorkflowHistory:
        """Read the whole history."""
        events = self.fetch_history_events(
            event_filter_type=event_filter_type,
            skip_archival=skip_archival,
            rpc_metadata=rpc_metadata,
            rpc_timeout=rpc_timeout,
        )
        found = [event async for event in events]
        return WorkflowHistory(self._id, found, events.run_id)

    def fetch_history_events(
        self,
        *,
        page_size: int | None = None,
        next_page_token: bytes | None = None,
        wait_new_event: bool = False,
        event_filter_type: WorkflowHistoryEventFilterType = (
            WorkflowHistoryEventFilterType.ALL_EVENT
        ),
        skip_archival: bool = False,
        rpc_metadata: Mapping[str, str | bytes] = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> WorkflowHistoryEventAsyncIterator:
        """Read the events one by one; with wait_new_event, until the run has closed."""
        return self._client.outbound.fetch_workflow_history_events(
            FetchWorkflowHistoryEventsInput(
                id=self._id,
                run_id=self._run_id,
                page_size=page_size,
                next_page_token=next_page_token,
                wait_new_event=wait_new_event,
                event_filter_type=event_filter_type,
                skip_archival=skip_archival,
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
                task_queue=self._task_queue,
            )
        )


def positional(arg: Any, args: Sequence[Any], unset: object) -> Sequence[Any]:
    """The arguments of a call, of which a user gives one, or several as `args`.

    Raises ValueError when both are given.
    """
    if arg is unset:
        return args
    if args:
        raise ValueError("give one argument by position, or several as args=[...], not both")
    return [arg]
