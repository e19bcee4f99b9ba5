"""Handles of external workflows: signal and cancel."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Concatenate, Generic, overload

from perdure._records.message_names import message_facts
from perdure._records.workflow_names import workflow_facts
from perdure.types import (
    MethodAsyncNoParam,
    MethodAsyncSingleParam,
    MethodSyncOrAsyncNoParam,
    MethodSyncOrAsyncSingleParam,
    MultiParamSpec,
    ParamType,
    SelfType,
)
from perdure.workflow._activity_calls import UNSET, values_of
from perdure.workflow._interceptor_chain import outbound_of
from perdure.workflow._workflow_inputs import SignalExternalWorkflowInput
from perdure_actors.definitions.handlers import SIGNAL
from perdure_actors.replay.runtime import current
from perdure_schemas.child_events import ExternalCancelInitiated
from perdure_schemas.payloads import RunRef


class ExternalWorkflowHandle(Generic[SelfType]):
    """A workflow that this one did not start, or of which it has but the id."""

    def __init__(self, workflow_id: str, run_id: str | None, task_queue: str | None) -> None:
        self._id = workflow_id
        self._run_id = run_id
        self._task_queue = task_queue

    @property
    def id(self) -> str:
        """Its workflow id."""
        return self._id

    @property
    def run_id(self) -> str | None:
        """The run that is meant; None for the newest."""
        return self._run_id

    @overload
    async def signal(self, signal: MethodSyncOrAsyncNoParam[SelfType, None]) -> None: ...

    @overload
    async def signal(
        self, signal: MethodSyncOrAsyncSingleParam[SelfType, ParamType, None], arg: ParamType
    ) -> None: ...

    @overload
    async def signal(
        self,
        signal: Callable[Concatenate[SelfType, MultiParamSpec], Awaitable[None] | None],
        *,
        args: Sequence[Any],
    ) -> None: ...

    @overload
    async def signal(self, signal: str, arg: Any = ..., *, args: Sequence[Any] = ...) -> None: ...

    async def signal(
        self, signal: str | Callable[..., Any], arg: Any = UNSET, *, args: Sequence[Any] = ()
    ) -> None:
        """Send a signal, and return when it was taken.

        Raises ApplicationError, its type "not_found" or "closed", when there is nobody to take it.
        """
        run = current()
        facts = message_facts(SIGNAL, signal)
        call = SignalExternalWorkflowInput(
            signal=facts.name,
            args=values_of(arg, args),
            namespace=run.facts.namespace,
            workflow_id=self._id,
            workflow_run_id=self._run_id,
            headers={},
        )
        call.call_site, call.parameter_names = run.call_site(), facts.parameter_names
        call.task_queue = self._task_queue or ""
        await outbound_of(run).signal_external_workflow(call)

    async def cancel(self, *, reason: str = "") -> None:
        """Ask it to cancel itself, and return when it was asked.

        Raises ApplicationError, its type "not_found" or "closed", when there is nobody to ask.
        """
        run = current()
        target = RunRef(
            workflow_id=self._id, run_id=self._run_id or "", task_queue=self._task_queue or ""
        )
        await run.calls.send(
            ExternalCancelInitiated(
                call_id=run.calls.next_id(),
                target=target,
                reason=reason,
                call_site=run.call_site(),
            )
        )


def get_external_workflow_handle(
    workflow_id: str, *, run_id: str | None = None, task_queue: str | None = None
) -> ExternalWorkflowHandle[Any]:
    """A handle of another workflow; on the run's own task queue unless another is named."""
    current()
    return ExternalWorkflowHandle(workflow_id, run_id, task_queue)


def get_external_workflow_handle_for(
    workflow: MethodAsyncNoParam[SelfType, Any] | MethodAsyncSingleParam[SelfType, Any, Any],
    workflow_id: str,
    *,
    run_id: str | None = None,
    task_queue: str | None = None,
) -> ExternalWorkflowHandle[SelfType]:
    """The same, typed by the other workflow's run method. Raises TypeError for what is none."""
    workflow_facts(workflow)
    current()
    return ExternalWorkflowHandle(workflow_id, run_id, task_queue)
