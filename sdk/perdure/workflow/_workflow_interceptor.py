"""Interceptors of workflow code: inbound and outbound links."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from perdure.api.common.v1 import Payload
from perdure.workflow._info import Info
from perdure.workflow._workflow_inputs import (
    ContinueAsNewInput,
    SignalChildWorkflowInput,
    SignalExternalWorkflowInput,
    StartActivityInput,
    StartChildWorkflowInput,
    StartLocalActivityInput,
)
from perdure_actors.replay.activity_calls import ActivityHandle

CHAIN: Final = "chain"
"""Under which a run keeps its chains, where it has interceptors."""
EXTERNS: Final = "extern_functions"
"""Under which it keeps the functions of interceptors, where there are some."""
PATCHES: Final = "patch_activation"
"""Under which it keeps what decides of new patches, where a worker has it."""


@dataclass
class ExecuteWorkflowInput:
    """The call of a run method."""

    type: type
    run_fn: Callable[..., Awaitable[Any]]
    args: Sequence[Any]
    headers: Mapping[str, Payload]


@dataclass
class HandleSignalInput:
    """A signal that has come."""

    signal: str
    args: Sequence[Any]
    headers: Mapping[str, Payload]


@dataclass
class HandleQueryInput:
    """A query that has come."""

    id: str
    query: str
    args: Sequence[Any]
    headers: Mapping[str, Payload]


@dataclass
class HandleUpdateInput:
    """An update that has come."""

    id: str
    update: str
    args: Sequence[Any]
    headers: Mapping[str, Payload]


class WorkflowInboundInterceptor:
    """A link of the chain that calls of workflow code go through. Override what matters.

    It runs inside the workflow: what it does is replayed, and the same rules are on it.
    """

    def __init__(self, next: WorkflowInboundInterceptor) -> None:
        self.next = next

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        """Take the outbound chain once, before anything else; give the next link another one."""
        self.next.init(outbound)

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        """Call the run method."""
        return await self.next.execute_workflow(input)

    async def handle_signal(self, input: HandleSignalInput) -> None:
        """Handle a signal."""
        await self.next.handle_signal(input)

    async def handle_query(self, input: HandleQueryInput) -> Any:
        """Answer a query."""
        return await self.next.handle_query(input)

    def handle_update_validator(self, input: HandleUpdateInput) -> None:
        """Refuse an update by raising."""
        self.next.handle_update_validator(input)

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:
        """Handle an update that was not refused."""
        return await self.next.handle_update_handler(input)


class WorkflowOutboundInterceptor:
    """A link of the chain that calls by workflow code go through. Override what matters."""

    def __init__(self, next: WorkflowOutboundInterceptor) -> None:
        self.next = next

    def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:
        """End the run by starting the next one."""
        self.next.continue_as_new(input)

    def info(self) -> Info:
        """What the run knows of itself."""
        return self.next.info()

    async def signal_child_workflow(self, input: SignalChildWorkflowInput) -> None:
        """Signal a child."""
        await self.next.signal_child_workflow(input)

    async def signal_external_workflow(self, input: SignalExternalWorkflowInput) -> None:
        """Signal another workflow."""
        await self.next.signal_external_workflow(input)

    def start_activity(self, input: StartActivityInput) -> ActivityHandle[Any]:
        """Start an activity."""
        return self.next.start_activity(input)

    async def start_child_workflow(self, input: StartChildWorkflowInput) -> Any:
        """Start a child; its handle."""
        return await self.next.start_child_workflow(input)

    def start_local_activity(self, input: StartLocalActivityInput) -> ActivityHandle[Any]:
        """Start a local activity."""
        return self.next.start_local_activity(input)


@dataclass(frozen=True)
class WorkflowInterceptorClassInput:
    """What `workflow_interceptor_class` is given."""

    unsafe_extern_functions: MutableMapping[str, Callable[..., Any]]
    """Functions that workflow code gets by their names from `workflow.extern_functions`. Unsafe,
    because what they give is not recorded: replay calls them again."""
