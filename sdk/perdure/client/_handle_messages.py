"""What a handle sends to its workflow: signals, queries and updates, in their typed forms."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Concatenate, Final, Generic, Protocol, Unpack, overload

from perdure._records.message_names import message_facts
from perdure.client._message_inputs import (
    QueryWorkflowInput,
    SignalWorkflowInput,
    StartWorkflowUpdateInput,
    WorkflowUpdateStage,
)
from perdure.client._start_options import QueryOptions, SignalOptions, UpdateOptions
from perdure.client._update_handle import NO_METADATA, UpdatesClient, WorkflowUpdateHandle
from perdure.common import QueryRejectCondition
from perdure.types import (
    LocalReturnType,
    MethodSyncNoParam,
    MethodSyncOrAsyncNoParam,
    MethodSyncOrAsyncSingleParam,
    MethodSyncSingleParam,
    MultiParamSpec,
    ParamType,
    SelfType,
)
from perdure.workflow._message_decorators import UpdateMethodMultiParam
from perdure_actors.definitions.handlers import QUERY, SIGNAL, UPDATE

_UNSET: Final = object()


class MessageOutbound(Protocol):
    """The links of a client's chain that messages go through."""

    async def signal_workflow(self, input: SignalWorkflowInput) -> None:
        """Send a signal."""

    async def query_workflow(self, input: QueryWorkflowInput) -> Any:
        """Ask a query."""

    async def start_workflow_update(
        self, input: StartWorkflowUpdateInput
    ) -> WorkflowUpdateHandle[Any]:
        """Send an update."""


class MessagesClient(UpdatesClient, Protocol):
    """What a handle needs of its client for messages."""

    @property
    def query_reject_condition(self) -> QueryRejectCondition | None:
        """In which states queries are refused unless they say otherwise."""

    @property
    def outbound(self) -> MessageOutbound:
        """The first link of the client's chain."""


class SendsMessages(Generic[SelfType]):
    """The part of a workflow's handle that sends messages."""

    _client: MessagesClient
    _id: str
    _run_id: str | None
    _first_execution_run_id: str | None
    _task_queue: str | None

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
        arg: Any = _UNSET,
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
                args=given(arg, args),
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
        arg: Any = _UNSET,
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
                args=given(arg, args),
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
        arg: Any = _UNSET,
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
            update, given(arg, args), id, result_type, stage, rpc_metadata, rpc_timeout
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
        arg: Any = _UNSET,
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
            update, given(arg, args), id, result_type, wait_for_stage, rpc_metadata, rpc_timeout
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


def given(arg: Any, args: Sequence[Any]) -> Sequence[Any]:
    """The arguments of a message, of which a user gives one, or several as `args`."""
    if arg is _UNSET:
        return args
    if args:
        raise ValueError("give one argument by position, or several as args=[...], not both")
    return [arg]
