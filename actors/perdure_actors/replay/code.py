"""What a run's code is made of, as replay sees it: its definition and which run it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from perdure_schemas.converters import PayloadConverter
from perdure_schemas.events import WorkflowStarted
from perdure_schemas.payloads import Payload

DYNAMIC = ""
"""The name of the handler that takes every name without one of its own."""


Header = Mapping[str, Payload]


class RunFacts(NamedTuple):
    """Which run it is."""

    namespace: str
    task_queue: str
    workflow_id: str
    run_id: str


class Handler(Protocol):
    """What is asked of the definition of a signal, a query or an update."""

    @property
    def name(self) -> str:
        """Its name; empty for a dynamic one."""

    @property
    def where(self) -> str:
        """Its file and line."""

    @property
    def description(self) -> str:
        """What it is for, in the user's words."""

    @property
    def warns_unfinished(self) -> bool:
        """Whether somebody should be told when its run ends before it does."""

    @property
    def has_validator(self) -> bool:
        """Whether it may refuse an update."""

    def bound(self, instance: Any) -> Callable[..., Any]:
        """The function as it is called."""

    def read(
        self, name: str, payloads: Sequence[Payload], converter: PayloadConverter
    ) -> Sequence[Any]:
        """The arguments of a message; TypeError or ValueError name the handler and its line."""

    def call(self, instance: Any, args: Sequence[Any]) -> Any:
        """Call it; an awaitable when it is async."""

    def validate(self, instance: Any, args: Sequence[Any]) -> None:
        """Let the validator look at an update; what it raises refuses it."""


class WorkflowCode(Protocol):
    """What is asked of a workflow's definition."""

    @property
    def name(self) -> str:
        """Its type."""

    @property
    def where(self) -> str:
        """Its file and line."""

    @property
    def is_guarded(self) -> bool:
        """Whether calls that replay cannot repeat are refused."""

    @property
    def failure_exception_types(self) -> tuple[type[BaseException], ...]:
        """What fails the run, beside failures."""

    @property
    def signals(self) -> Mapping[str, Handler]:
        """Its handlers of signals, by name."""

    @property
    def queries(self) -> Mapping[str, Handler]:
        """Its handlers of queries, by name."""

    @property
    def updates(self) -> Mapping[str, Handler]:
        """Its handlers of updates, by name."""

    def instantiate(self, args: Sequence[Any]) -> Any:
        """An instance of the workflow class."""

    def more_failures(self, instance: Any) -> tuple[type[BaseException], ...]:
        """What else fails this run, as its dynamic configuration says."""

    def call_run(self, instance: Any, args: Sequence[Any]) -> Awaitable[Any]:
        """The coroutine of its run method."""

    def read_input(self, started: WorkflowStarted, converter: PayloadConverter) -> Sequence[Any]:
        """The arguments of a start."""


class Inbound(Protocol):
    """What calls of a run's code go through; one for each run."""

    async def execute_workflow(self, args: Sequence[Any]) -> Any:
        """Call the run method."""

    async def handle_signal(self, name: str, args: Sequence[Any], header: Header) -> None:
        """Call the handler of a signal."""

    async def handle_query(self, id: str, name: str, args: Sequence[Any], header: Header) -> Any:
        """Call the handler of a query."""

    def validate_update(self, id: str, name: str, args: Sequence[Any], header: Header) -> None:
        """Call the validator of an update, if it has one."""

    async def handle_update(self, id: str, name: str, args: Sequence[Any], header: Header) -> Any:
        """Call the handler of an update."""
