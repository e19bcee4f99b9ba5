"""The chains of one run: built from the worker's interceptors when its code is about to begin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from perdure.converter.codecs import payload_of
from perdure.workflow.innermost import Innermost
from perdure.workflow.interception import (
    ExecuteWorkflowInput,
    WorkflowInboundInterceptor,
    WorkflowOutboundInterceptor,
)
from perdure_actors.definitions import WorkflowDefinition
from perdure_actors.replay.code import Inbound
from perdure_actors.replay.coroutine import Coroutine as Run

CHAIN: Final = "chain"

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
                headers={key: payload_of(value) for key, value in started.header.items()},
            )
        )


def chains_of(classes: Sequence[InboundClass]) -> Callable[[Run], Inbound] | None:
    """What makes a run's chains; None where there are no interceptors."""
    if not classes:
        return None

    def make(run: Run) -> Inbound:
        chain = RunChain(run, classes)
        run.kept[CHAIN] = chain
        return chain

    return make


def outbound_of(run: Run) -> WorkflowOutboundInterceptor:
    """The outbound chain of a run."""
    chain = run.kept.get(CHAIN)
    return Innermost(run) if chain is None else chain.outbound


def is_intercepted(run: Run) -> bool:
    """Whether a run has interceptors."""
    return CHAIN in run.kept
