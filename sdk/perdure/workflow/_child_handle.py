"""The handle of a child workflow in workflow code."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Concatenate, Generic, TypeVar, overload

from perdure._records.message_names import message_facts
from perdure.types import (
    MethodSyncOrAsyncNoParam,
    MethodSyncOrAsyncSingleParam,
    MultiParamSpec,
    ParamType,
    SelfType,
)
from perdure.workflow._workflow_inputs import SignalChildWorkflowInput
from perdure.workflow._workflow_interceptor import WorkflowOutboundInterceptor
from perdure_actors.definitions.handlers import SIGNAL
from perdure_actors.replay.child_calls import ChildHandle, Children, PendingChild
from perdure_actors.replay.loop import Loop
from perdure_actors.replay.runtime import current

ResultType = TypeVar("ResultType")
_UNSET: Any = object()


class ChildWorkflowHandle(ChildHandle[ResultType], Generic[SelfType, ResultType]):
    """A child that runs: a task that awaits its result."""

    __slots__ = ("_outbound",)

    def __init__(
        self,
        children: Children,
        pending: PendingChild,
        loop: Loop,
        outbound: Callable[[], WorkflowOutboundInterceptor],
    ) -> None:
        self._outbound = outbound
        super().__init__(children, pending, loop)

    @property
    def id(self) -> str:
        """The child's workflow id."""
        return self.pending.initiated.workflow_id

    @property
    def first_execution_run_id(self) -> str | None:
        """The run id of the child's first run."""
        return self.pending.run_id or None

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
        self, signal: str | Callable[..., Any], arg: Any = _UNSET, *, args: Sequence[Any] = ()
    ) -> None:
        """Send the child a signal, and return when it was taken.

        Raises ApplicationError, its type "not_found" or "closed", when there is nobody to take it.
        """
        if arg is not _UNSET and args:
            raise TypeError("give one argument by position, or several as args=[...], not both")
        facts = message_facts(SIGNAL, signal)
        call = SignalChildWorkflowInput(
            signal=facts.name,
            args=args if arg is _UNSET else (arg,),
            child_workflow_id=self.id,
            headers={},
        )
        call.call_site, call.parameter_names = current().call_site(), facts.parameter_names
        await self._outbound().signal_child_workflow(call)
