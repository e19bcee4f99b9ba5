"""The interceptor chains of a run, built from its worker's interceptors."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from perdure.api.common.v1 import Payload
from perdure.converter._payload_codecs import payload_of
from perdure.workflow._info import Info, info_of
from perdure.workflow._workflow_interceptor import (
    CHAIN,
    EXTERNS,
    PATCHES,
    ExecuteWorkflowInput,
    HandleQueryInput,
    HandleSignalInput,
    HandleUpdateInput,
    WorkflowInboundInterceptor,
    WorkflowOutboundInterceptor,
)
from perdure.workflow._workflow_outbound import Innermost
from perdure_actors.definitions.registry import WorkflowDefinition
from perdure_actors.replay.code import DYNAMIC, Handler, Header, Inbound
from perdure_actors.replay.coroutine import Coroutine as Run
from perdure_actors.replay.exceptions import ApplicationError


@dataclass(frozen=True)
class PatchActivationInput:
    """What a worker's patch_activation_callback is given."""

    workflow_info: Info
    patch_id: str


InboundClass = type[WorkflowInboundInterceptor]


class _First(WorkflowInboundInterceptor):
    """The last link of the inbound chain: the definition itself."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.outbound: WorkflowOutboundInterceptor = Innermost(run)

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        """Keep the outbound chain as the interceptors have made it."""
        self.outbound = outbound

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        """Call the run method."""
        return await input.run_fn(self._run.instance, *input.args)

    async def handle_signal(self, input: HandleSignalInput) -> None:
        """Call the signal's handler."""
        result = self._handler("signals", input.signal).call(self._run.instance, input.args)
        if inspect.isawaitable(result):
            await result

    async def handle_query(self, input: HandleQueryInput) -> Any:
        """Call the query's handler; it waits for nothing, because it only looks."""
        result = self._handler("queries", input.query).call(self._run.instance, input.args)
        return await result if inspect.iscoroutine(result) else result

    def handle_update_validator(self, input: HandleUpdateInput) -> None:
        """Call the update's validator, if it has one."""
        handler = self._handler("updates", input.update)
        if handler.has_validator:
            handler.validate(self._run.instance, input.args)

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:
        """Call the update's handler."""
        result = self._handler("updates", input.update).call(self._run.instance, input.args)
        return await result if inspect.isawaitable(result) else result

    def _handler(self, kind: str, name: str) -> Handler:
        """The handler of a name, which an interceptor may have changed."""
        handlers: Mapping[str, Handler] = getattr(self._run.messages, kind)
        found = handlers.get(name) or handlers.get(DYNAMIC)
        if found is None:
            raise ApplicationError(
                f"{self._run.workflow_type} has no handler among its {kind} for {name!r}, which an"
                " interceptor asked for",
                type="UnknownHandler",
                non_retryable=True,
            )
        return found


class RunChain:
    """Both chains of a run."""

    def __init__(self, run: Run, classes: Sequence[InboundClass]) -> None:
        self._run = run
        first = _First(run)
        inbound: WorkflowInboundInterceptor = first
        for kind in reversed(classes):
            inbound = kind(inbound)
        self.inbound = inbound
        inbound.init(Innermost(run))
        self.outbound = first.outbound

    async def execute_workflow(self, args: Sequence[Any]) -> Any:
        """Call the run method by way of the inbound chain."""
        definition, started = self._run.definition, self._run.started
        assert isinstance(definition, WorkflowDefinition), "hosts run what users define"
        assert started is not None, "user code runs only after WorkflowStarted"
        return await self.inbound.execute_workflow(
            ExecuteWorkflowInput(
                type=definition.cls,
                run_fn=definition.run,
                args=args,
                headers=_headers(started.header),
            )
        )

    async def handle_signal(self, name: str, args: Sequence[Any], header: Header) -> None:
        """Handle a signal by way of the inbound chain."""
        await self.inbound.handle_signal(HandleSignalInput(name, args, _headers(header)))

    async def handle_query(self, id: str, name: str, args: Sequence[Any], header: Header) -> Any:
        """Answer a query by way of the inbound chain."""
        return await self.inbound.handle_query(HandleQueryInput(id, name, args, _headers(header)))

    def validate_update(self, id: str, name: str, args: Sequence[Any], header: Header) -> None:
        """Let an update be refused by way of the inbound chain."""
        self.inbound.handle_update_validator(HandleUpdateInput(id, name, args, _headers(header)))

    async def handle_update(self, id: str, name: str, args: Sequence[Any], header: Header) -> Any:
        """Handle an update by way of the inbound chain."""
        return await self.inbound.handle_update_handler(
            HandleUpdateInput(id, name, args, _headers(header))
        )


def _headers(header: Header) -> Mapping[str, Payload]:
    return {key: payload_of(value) for key, value in header.items()}


def chains_of(
    classes: Sequence[InboundClass],
    *,
    externs: Mapping[str, Callable[..., Any]] | None = None,
    allows_patch: Callable[[PatchActivationInput], bool] | None = None,
) -> Callable[[Run], Inbound | None] | None:
    """What makes a run's chains, and gives its code what else its worker has for it.

    None where there is nothing of that.
    """
    if not classes and not externs and allows_patch is None:
        return None

    def make(run: Run) -> Inbound | None:
        if externs:
            run.kept[EXTERNS] = externs
        if allows_patch is not None:
            run.kept[PATCHES] = partial(_allows, allows_patch)
        if not classes:
            return None
        chain = RunChain(run, classes)
        run.kept[CHAIN] = chain
        return chain

    return make


def _allows(decides: Callable[[PatchActivationInput], bool], run: Run, patch_id: str) -> bool:
    """What the user's function says of a patch; it may look, and ask for nothing."""
    return bool(decides(PatchActivationInput(info_of(run), patch_id)))


def outbound_of(run: Run) -> WorkflowOutboundInterceptor:
    """The outbound chain of a run."""
    chain = run.kept.get(CHAIN)
    return Innermost(run) if chain is None else chain.outbound


def is_intercepted(run: Run) -> bool:
    """Whether a run has interceptors."""
    return CHAIN in run.kept
