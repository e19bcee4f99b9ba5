"""The handle of a workflow: its result, messages to it, its history and its end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Final,
    Generic,
    Protocol,
    Unpack,
    overload,
)

from perdure._records.message_names import message_facts
from perdure._records.rpc_errors import RPCError, RPCStatusCode
from perdure.client._exceptions import (
    WorkflowContinuedAsNewError,
    WorkflowFailureError,
    failure_of_status,
)
from perdure.client._executions import WorkflowExecutionDescription
from perdure.client._history import WorkflowHistory, WorkflowHistoryEventAsyncIterator
from perdure.client._inputs import (
    NO_METADATA,
    UNSET,
    AwaitWorkflowResultInput,
    CancelWorkflowInput,
    DescribeWorkflowInput,
    FetchWorkflowHistoryEventsInput,
    QueryOptions,
    QueryWorkflowInput,
    SignalOptions,
    SignalWorkflowInput,
    StartWorkflowUpdateInput,
    TerminateWorkflowInput,
    UpdateOptions,
    WorkflowHistoryEventFilterType,
    WorkflowUpdateStage,
    call_arguments,
)
from perdure.client._operated_workflow import OperatedWorkflow, OperatorCalls
from perdure.client._rpc import PendingRequest
from perdure.client._update_handle import UpdateCalls, UpdateClient, WorkflowUpdateHandle
from perdure.common import QueryRejectCondition
from perdure.types import (
    LocalReturnType,
    MethodSyncNoParam,
    MethodSyncOrAsyncNoParam,
    MethodSyncOrAsyncSingleParam,
    MethodSyncSingleParam,
    MultiParamSpec,
    ParamType,
    ReturnType,
    SelfType,
)
from perdure_actors.definitions.handlers import QUERY, SIGNAL, UPDATE
from perdure_actors.replay.failures import exception_of
from perdure_schemas.replies import RunClosed

if TYPE_CHECKING:
    # A client runs no workflow code: it loads nothing of that.
    from perdure.workflow._message_decorators import UpdateMethodMultiParam

FOLLOW_FIRST_S: Final = 0.05
FOLLOW_MAX_S: Final = 5.0


class WorkflowCalls(UpdateCalls, OperatorCalls, Protocol):
    """The calls of a client's interceptor chain that the handle of a workflow makes."""

    async def await_workflow_result(self, input: AwaitWorkflowResultInput) -> RunClosed: ...
    async def cancel_workflow(self, input: CancelWorkflowInput) -> None: ...
    async def describe_workflow(
        self, input: DescribeWorkflowInput
    ) -> WorkflowExecutionDescription: ...
    def fetch_workflow_history_events(
        self, input: FetchWorkflowHistoryEventsInput
    ) -> WorkflowHistoryEventAsyncIterator: ...
    async def query_workflow(self, input: QueryWorkflowInput) -> Any: ...
    async def signal_workflow(self, input: SignalWorkflowInput) -> None: ...
    async def start_workflow_update(
        self, input: StartWorkflowUpdateInput
    ) -> WorkflowUpdateHandle[Any]: ...
    async def terminate_workflow(self, input: TerminateWorkflowInput) -> None: ...


class WorkflowClient(UpdateClient, Protocol):
    """What the handle of a workflow needs of its client."""

    @property
    def query_reject_condition(self) -> QueryRejectCondition | None:
        """In which states queries are refused unless they say otherwise."""

    @property
    def outbound(self) -> WorkflowCalls:
        """The first link of the client's interceptor chain."""


class WorkflowHandle(OperatedWorkflow, Generic[SelfType, ReturnType]):
    """A workflow, by its id and perhaps a run of it, whether it exists or not."""

    def __init__(
        self,
        client: WorkflowClient,
        id: str,
        *,
        run_id: str | None = None,
        result_run_id: str | None = None,
        first_execution_run_id: str | None = None,
        result_type: type | None = None,
        task_queue: str | None = None,
        closing: PendingRequest | None = None,
    ) -> None:
        self._client = client
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

    def _operators(self) -> OperatorCalls:
        return self._client.outbound

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

    @overload
    async def signal(
        self, signal: MethodSyncOrAsyncNoParam[SelfType, None], **options: Unpack[SignalOptions]
    ) -> None: ...

    @overload
    async def signal(
        self,
        signal: MethodSyncOrAsyncSingleParam[SelfType, ParamType, None],
        arg: ParamType,
        **options: Unpack[SignalOptions],
    ) -> None: ...

    @overload
    async def signal(
        self,
        signal: Callable[Concatenate[SelfType, MultiParamSpec], Awaitable[None] | None],
        *,
        args: Sequence[Any],
        **options: Unpack[SignalOptions],
    ) -> None: ...

    @overload
    async def signal(
        self,
        signal: str,
        arg: Any = ...,
        *,
        args: Sequence[Any] = ...,
        **options: Unpack[SignalOptions],
    ) -> None: ...

    async def signal(
        self,
        signal: str | Callable[..., Any],
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        buffer_for: timedelta | None = None,
        rpc_metadata: Mapping[str, str | bytes] = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Send a signal, and return once a run has taken it.

        With `buffer_for` it may wait so long for the workflow to be started, and then reaches that
        run before its code begins: `await handle.signal("paid", buffer_for=timedelta(hours=1))`.

        Raises RPCError: NOT_FOUND when there is no open run to take it, and RESOURCE_EXHAUSTED
        when too many signals wait already.
        """
        facts = message_facts(SIGNAL, signal)
        await self._client.outbound.signal_workflow(
            SignalWorkflowInput(
                id=self._id,
                run_id=self._run_id,
                signal=facts.name,
                args=call_arguments(arg, args),
                headers={},
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
                parameter_names=facts.parameter_names,
                task_queue=self._task_queue,
                buffer_for=buffer_for,
            )
        )

    @overload
    async def query(
        self, query: MethodSyncNoParam[SelfType, LocalReturnType], **options: Unpack[QueryOptions]
    ) -> LocalReturnType: ...

    @overload
    async def query(
        self,
        query: MethodSyncSingleParam[SelfType, ParamType, LocalReturnType],
        arg: ParamType,
        **options: Unpack[QueryOptions],
    ) -> LocalReturnType: ...

    @overload
    async def query(
        self,
        query: Callable[Concatenate[SelfType, MultiParamSpec], LocalReturnType],
        *,
        args: Sequence[Any],
        **options: Unpack[QueryOptions],
    ) -> LocalReturnType: ...

    @overload
    async def query(
        self,
        query: str,
        arg: Any = ...,
        *,
        args: Sequence[Any] = ...,
        result_type: type | None = ...,
        **options: Unpack[QueryOptions],
    ) -> Any: ...

    async def query(
        self,
        query: str | Callable[..., Any],
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        result_type: type | None = None,
        reject_condition: QueryRejectCondition | None = None,
        rpc_metadata: Mapping[str, str | bytes] = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> Any:
        """Ask the workflow's code for a value; it sees every signal that was taken before.

        Without reject_condition, the client's default_workflow_query_reject_condition counts.

        Raises WorkflowQueryRejectedError and WorkflowQueryFailedError.
        """
        facts = message_facts(QUERY, query)
        return await self._client.outbound.query_workflow(
            QueryWorkflowInput(
                id=self._id,
                run_id=self._run_id,
                query=facts.name,
                args=call_arguments(arg, args),
                reject_condition=reject_condition or self._client.query_reject_condition,
                headers={},
                ret_type=result_type or facts.result_type,
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
                parameter_names=facts.parameter_names,
                task_queue=self._task_queue,
            )
        )

    @overload
    async def execute_update(
        self,
        update: UpdateMethodMultiParam[[SelfType], LocalReturnType],
        **options: Unpack[UpdateOptions],
    ) -> LocalReturnType: ...

    @overload
    async def execute_update(
        self,
        update: UpdateMethodMultiParam[[SelfType, ParamType], LocalReturnType],
        arg: ParamType,
        **options: Unpack[UpdateOptions],
    ) -> LocalReturnType: ...

    @overload
    async def execute_update(
        self,
        update: UpdateMethodMultiParam[MultiParamSpec, LocalReturnType],
        *,
        args: MultiParamSpec.args,  # type: ignore[valid-type]
        **options: Unpack[UpdateOptions],
    ) -> LocalReturnType: ...

    @overload
    async def execute_update(
        self,
        update: str,
        arg: Any = ...,
        *,
        args: Sequence[Any] = ...,
        result_type: type | None = ...,
        **options: Unpack[UpdateOptions],
    ) -> Any: ...

    async def execute_update(
        self,
        update: str | Callable[..., Any],
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        id: str | None = None,
        result_type: type | None = None,
        rpc_metadata: Mapping[str, str | bytes] = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> Any:
        """Send an update, and wait for what it returns.

        Raises WorkflowUpdateFailedError when it is refused or fails.
        """
        stage = WorkflowUpdateStage.COMPLETED
        made = self._update(
            update, call_arguments(arg, args), id, result_type, stage, rpc_metadata, rpc_timeout
        )
        handle = await self._client.outbound.start_workflow_update(made)
        return await handle.result(rpc_metadata=rpc_metadata, rpc_timeout=rpc_timeout)

    @overload
    async def start_update(
        self,
        update: UpdateMethodMultiParam[[SelfType], LocalReturnType],
        *,
        wait_for_stage: WorkflowUpdateStage,
        **options: Unpack[UpdateOptions],
    ) -> WorkflowUpdateHandle[LocalReturnType]: ...

    @overload
    async def start_update(
        self,
        update: UpdateMethodMultiParam[[SelfType, ParamType], LocalReturnType],
        arg: ParamType,
        *,
        wait_for_stage: WorkflowUpdateStage,
        **options: Unpack[UpdateOptions],
    ) -> WorkflowUpdateHandle[LocalReturnType]: ...

    @overload
    async def start_update(
        self,
        update: UpdateMethodMultiParam[MultiParamSpec, LocalReturnType],
        *,
        wait_for_stage: WorkflowUpdateStage,
        args: MultiParamSpec.args,  # type: ignore[valid-type]
        **options: Unpack[UpdateOptions],
    ) -> WorkflowUpdateHandle[LocalReturnType]: ...

    @overload
    async def start_update(
        self,
        update: str,
        arg: Any = ...,
        *,
        wait_for_stage: WorkflowUpdateStage,
        args: Sequence[Any] = ...,
        result_type: type | None = ...,
        **options: Unpack[UpdateOptions],
    ) -> WorkflowUpdateHandle[Any]: ...

    async def start_update(
        self,
        update: str | Callable[..., Any],
        arg: Any = UNSET,
        *,
        wait_for_stage: WorkflowUpdateStage,
        args: Sequence[Any] = (),
        id: str | None = None,
        result_type: type | None = None,
        rpc_metadata: Mapping[str, str | bytes] = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> WorkflowUpdateHandle[Any]:
        """Send an update, and return its handle once it is so far.

        Raises WorkflowUpdateFailedError when its validator refuses it.
        """
        made = self._update(
            update,
            call_arguments(arg, args),
            id,
            result_type,
            wait_for_stage,
            rpc_metadata,
            rpc_timeout,
        )
        return await self._client.outbound.start_workflow_update(made)

    def _update(
        self,
        update: str | Callable[..., Any],
        values: Sequence[Any],
        update_id: str | None,
        result_type: type | None,
        stage: WorkflowUpdateStage,
        rpc_metadata: Mapping[str, str | bytes],
        rpc_timeout: timedelta | None,
    ) -> StartWorkflowUpdateInput:
        check_stage(stage)
        facts = message_facts(UPDATE, update)
        return StartWorkflowUpdateInput(
            id=self._id,
            run_id=self._run_id,
            first_execution_run_id=self._first_execution_run_id,
            update_id=update_id,
            update=facts.name,
            args=values,
            wait_for_stage=stage,
            headers={},
            ret_type=result_type or facts.result_type,
            rpc_metadata=rpc_metadata,
            rpc_timeout=rpc_timeout,
            parameter_names=facts.parameter_names,
            task_queue=self._task_queue,
        )

    def get_update_handle(
        self, id: str, *, workflow_run_id: str | None = None, result_type: type | None = None
    ) -> WorkflowUpdateHandle[Any]:
        """The handle of an update that was sent before."""
        return WorkflowUpdateHandle(
            self._client,
            id,
            self._id,
            workflow_run_id=workflow_run_id or self._run_id,
            result_type=result_type,
            task_queue=self._task_queue,
        )

    def get_update_handle_for(
        self,
        update: UpdateMethodMultiParam[Any, LocalReturnType],
        id: str,
        *,
        workflow_run_id: str | None = None,
    ) -> WorkflowUpdateHandle[LocalReturnType]:
        """The typed handle of an update that was sent before."""
        result_type = message_facts(UPDATE, update).result_type
        return self.get_update_handle(id, workflow_run_id=workflow_run_id, result_type=result_type)


def check_stage(stage: WorkflowUpdateStage) -> None:
    """Raise ValueError for a stage that cannot be waited for."""
    if stage is WorkflowUpdateStage.ADMITTED:
        raise ValueError(
            "an update cannot wait to be admitted only: give WorkflowUpdateStage.ACCEPTED or"
            " COMPLETED"
        )
