"""What a run's code is made of, as replay sees it: its definition and which run it is."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, NamedTuple, Protocol

from perdure_schemas.converters import PayloadConverter
from perdure_schemas.events import WorkflowStarted


class RunFacts(NamedTuple):
    """Which run it is."""

    namespace: str
    task_queue: str
    workflow_id: str
    run_id: str


class WorkflowCode(Protocol):
    """What is asked of a workflow's definition."""

    @property
    def name(self) -> str:
        """Its type."""

    @property
    def is_guarded(self) -> bool:
        """Whether calls that replay cannot repeat are refused."""

    @property
    def failure_exception_types(self) -> tuple[type[BaseException], ...]:
        """What fails the run, beside failures."""

    def instantiate(self, args: Sequence[Any]) -> Any:
        """An instance of the workflow class."""

    def call_run(self, instance: Any, args: Sequence[Any]) -> Awaitable[Any]:
        """The coroutine of its run method."""

    def read_input(self, started: WorkflowStarted, converter: PayloadConverter) -> Sequence[Any]:
        """The arguments of a start."""


class Inbound(Protocol):
    """What calls of a run's code go through; one for each run."""

    async def execute_workflow(self, args: Sequence[Any]) -> Any:
        """Call the run method."""
