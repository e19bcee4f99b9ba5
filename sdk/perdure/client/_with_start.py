"""The start that an update brings with it: one request, decided in one place."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Concatenate, Generic, Unpack, overload

from perdure._records.message_names import message_facts
from perdure._records.workflow_names import workflow_facts
from perdure.client._inputs import (
    NO_METADATA,
    UNSET,
    StartWorkflowUpdateWithStartInput,
    UpdateOptions,
    UpdateWithStartStartWorkflowInput,
    UpdateWithStartUpdateWorkflowInput,
    WithStartOptions,
    WorkflowUpdateStage,
    call_arguments,
)
from perdure.client._interceptors import HandleClient
from perdure.client._workflow_handle import WorkflowHandle, check_stage
from perdure.common import (
    Priority,
    RetryPolicy,
    SearchAttributes,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from perdure.types import (
    MethodAsyncNoParam,
    MethodAsyncSingleParam,
    MultiParamSpec,
    ParamType,
    ReturnType,
    SelfType,
)
from perdure_actors.definitions.handlers import UPDATE
from perdure_schemas.replies import Accepted


class WithStartWorkflowOperation(Generic[SelfType, ReturnType]):
    """A start that an update brings with it; to be used once."""

    @overload
    def __init__(
        self,
        workflow: MethodAsyncNoParam[SelfType, ReturnType],
        *,
        id: str,
        task_queue: str,
        id_conflict_policy: WorkflowIDConflictPolicy,
        **options: Unpack[WithStartOptions],
    ) -> None: ...

    @overload
    def __init__(
        self,
        workflow: MethodAsyncSingleParam[SelfType, ParamType, ReturnType],
        arg: ParamType,
        *,
        id: str,
        task_queue: str,
        id_conflict_policy: WorkflowIDConflictPolicy,
        **options: Unpack[WithStartOptions],
    ) -> None: ...

    @overload
    def __init__(
        self,
        workflow: Callable[Concatenate[SelfType, MultiParamSpec], Awaitable[ReturnType]],
        *,
        args: Sequence[Any],
        id: str,
        task_queue: str,
        id_conflict_policy: WorkflowIDConflictPolicy,
        **options: Unpack[WithStartOptions],
    ) -> None: ...

    @overload
    def __init__(
        self,
        workflow: str,
        arg: Any = ...,
        *,
        args: Sequence[Any] = ...,
        id: str,
        task_queue: str,
        id_conflict_policy: WorkflowIDConflictPolicy,
        result_type: type | None = ...,
        **options: Unpack[WithStartOptions],
    ) -> None: ...

    def __init__(
        self,
        workflow: str | Callable[..., Awaitable[Any]],
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        id: str,
        task_queue: str,
        id_conflict_policy: WorkflowIDConflictPolicy,
        result_type: type | None = None,
        execution_timeout: timedelta | None = None,
        run_timeout: timedelta | None = None,
        task_timeout: timedelta | None = None,
        id_reuse_policy: WorkflowIDReusePolicy = WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        retry_policy: RetryPolicy | None = None,
        cron_schedule: str = "",
        memo: Mapping[str, Any] | None = None,
        search_attributes: TypedSearchAttributes | SearchAttributes | None = None,
        static_summary: str | None = None,
        static_details: str | None = None,
        start_delay: timedelta | None = None,
        priority: Priority = Priority.default,
        stack_level: int = 2,
    ) -> None:
        """Say what to start. Raises ValueError without a policy for a workflow that runs.

        stack_level has no effect: what is wrong is an error, and no warning.
        """
        if id_conflict_policy is WorkflowIDConflictPolicy.UNSPECIFIED:
            raise ValueError(
                "say what happens when the workflow runs already: id_conflict_policy is"
                " USE_EXISTING, TERMINATE_EXISTING or FAIL"
            )
        facts = workflow_facts(workflow)
        self.start_input = UpdateWithStartStartWorkflowInput(
            workflow=facts.name,
            args=call_arguments(arg, args),
            id=id,
            task_queue=task_queue,
            execution_timeout=execution_timeout,
            run_timeout=run_timeout,
            task_timeout=task_timeout,
            id_reuse_policy=id_reuse_policy,
            id_conflict_policy=id_conflict_policy,
            retry_policy=retry_policy,
            cron_schedule=cron_schedule,
            memo=memo,
            search_attributes=search_attributes,
            start_delay=start_delay,
            headers={},
            static_summary=static_summary,
            static_details=static_details,
            ret_type=result_type or facts.result_type,
            priority=priority,
            signature=facts.signature,
        )
        self.is_used = False
        self._settled = asyncio.Event()
        self._handle: WorkflowHandle[SelfType, ReturnType] | None = None
        self._error: BaseException | None = None

    async def workflow_handle(self) -> WorkflowHandle[SelfType, ReturnType]:
        """The handle of the workflow, once it is known to run. Raises what its start raised."""
        await self._settled.wait()
        if self._error is not None:
            raise self._error
        assert self._handle is not None, "a start has a handle or an error"
        return self._handle

    def started(self, client: HandleClient, accepted: Accepted) -> None:
        """The workflow runs."""
        start = self.start_input
        self._handle = WorkflowHandle(
            client,
            start.id,
            result_run_id=accepted.run_id,
            first_execution_run_id=accepted.first_run_id or accepted.run_id,
            result_type=start.ret_type,
            task_queue=start.task_queue,
        )
        self._settled.set()

    def failed(self, error: BaseException) -> None:
        """It cannot be started."""
        if not self._settled.is_set():
            self._error = error
            self._settled.set()


def update_with_start_input(
    client: HandleClient,
    operation: WithStartWorkflowOperation[Any, Any],
    update: str | Callable[..., Any],
    args: Sequence[Any],
    stage: WorkflowUpdateStage,
    result_type: type | None,
    options: UpdateOptions,
) -> StartWorkflowUpdateWithStartInput:
    """The input of an update-with-start. Raises RuntimeError for an operation that was used."""
    check_stage(stage)
    if unknown := options.keys() - UpdateOptions.__annotations__:
        raise TypeError(f"an update has no option {min(unknown)!r}")
    if operation.is_used:
        raise RuntimeError("a WithStartWorkflowOperation is used once: make another")
    operation.is_used = True
    facts = message_facts(UPDATE, update)
    return StartWorkflowUpdateWithStartInput(
        start_workflow_input=operation.start_input,
        update_workflow_input=UpdateWithStartUpdateWorkflowInput(
            update_id=options.get("id"),
            update=facts.name,
            args=args,
            wait_for_stage=stage,
            headers={},
            ret_type=result_type or facts.result_type,
            parameter_names=facts.parameter_names,
        ),
        rpc_metadata=options.get("rpc_metadata", NO_METADATA),
        rpc_timeout=options.get("rpc_timeout"),
        _on_start=lambda accepted: operation.started(client, accepted),
        _on_start_error=operation.failed,
    )
