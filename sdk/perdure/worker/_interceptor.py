"""Interceptors of a worker: of activities, and the classes that intercept workflows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, NamedTuple

from perdure.activity import Info, info_of
from perdure.api.common.v1 import Payload
from perdure.converter._payload_codecs import payload_of
from perdure.workflow._workflow_interceptor import (
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)
from perdure_actors.worker.activity_context import ActivityContext
from perdure_actors.worker.interceptors import Execute, Intercept


@dataclass
class ExecuteActivityInput:
    """The call of an activity."""

    fn: Callable[..., Any]
    args: Sequence[Any]
    executor: Executor | None
    """Where a plain function runs; None for an async one."""
    headers: Mapping[str, Payload]


class ActivityInboundInterceptor:
    """A link of the chain that calls of activities go through. Override what matters.

    It runs on the worker's event loop, for plain functions as well.
    """

    def __init__(self, next: ActivityInboundInterceptor) -> None:
        self.next = next

    def init(self, outbound: ActivityOutboundInterceptor) -> None:
        """Take the outbound chain of this attempt; give the next link another one."""
        self.next.init(outbound)

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        """Call the activity."""
        return await self.next.execute_activity(input)


class ActivityOutboundInterceptor:
    """A link of the chain that calls by activity code go through. Override what matters."""

    def __init__(self, next: ActivityOutboundInterceptor) -> None:
        self.next = next

    def info(self) -> Info:
        """What the running activity is."""
        return self.next.info()

    def heartbeat(self, *details: Any) -> None:
        """Say that the activity is alive."""
        self.next.heartbeat(*details)


class Interceptor:
    """What `Worker(interceptors=...)` takes; given to a client, its workers take it from there."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """The link to put before the next one; without it, none."""
        return next

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor] | None:
        """The class of links for workflows: each run gets one of its own."""
        return None


class _Last(ActivityInboundInterceptor):
    """The end of the inbound chain: the function itself."""

    def __init__(self, context: ActivityContext, execute: Execute) -> None:
        self._context = context
        self._execute = execute

    def init(self, outbound: ActivityOutboundInterceptor) -> None:
        """Let the code's own calls go through the outbound chain."""
        self._context.outbound = outbound

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        """Call the function where it runs."""
        return await self._execute(input.fn, input.args)


class _LastOutbound(ActivityOutboundInterceptor):
    """The end of the outbound chain: the worker itself."""

    def __init__(self, context: ActivityContext) -> None:
        self._context = context

    def info(self) -> Info:
        """What the running activity is."""
        return info_of(self._context)

    def heartbeat(self, *details: Any) -> None:
        """Say that the activity is alive."""
        self._context.heartbeat(details)


def intercepting(
    interceptors: Sequence[Interceptor], executor: Executor | None
) -> Intercept | None:
    """The chain of a worker's activities as the rooms below call it; None for an empty one."""
    plain = Interceptor.intercept_activity
    links = [one for one in interceptors if type(one).intercept_activity is not plain]
    if not links:
        return None

    async def intercept(context: ActivityContext, args: Sequence[Any], execute: Execute) -> Any:
        inbound: ActivityInboundInterceptor = _Last(context, execute)
        for interceptor in reversed(links):
            inbound = interceptor.intercept_activity(inbound)
        inbound.init(_LastOutbound(context))
        return await inbound.execute_activity(
            ExecuteActivityInput(
                fn=context.fn,
                args=args,
                executor=None if context.definition.is_async else executor,
                headers={key: payload_of(one) for key, one in context.task.header.items()},
            )
        )

    return intercept


class ForWorkflows(NamedTuple):
    """What interceptors have for workflows."""

    classes: list[type[WorkflowInboundInterceptor]]
    """Of the inbound links, outermost first."""
    externs: Mapping[str, Callable[..., Any]]


def for_workflows(interceptors: Sequence[Interceptor]) -> ForWorkflows:
    """What interceptors have for workflows; each is asked once."""
    externs: dict[str, Callable[..., Any]] = {}
    given = WorkflowInterceptorClassInput(unsafe_extern_functions=externs)
    found = [interceptor.workflow_interceptor_class(given) for interceptor in interceptors]
    return ForWorkflows([kind for kind in found if kind is not None], externs)
