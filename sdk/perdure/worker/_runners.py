"""Workflow runners under Temporal's names, without effect."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perdure.api.common.v1 import Payloads
from perdure.api.failure.v1 import Failure
from perdure.converter import FailureConverter, PayloadConverter, SerializationContext
from perdure.workflow._info import Info
from perdure.workflow._interceptor_chain import PatchActivationInput
from perdure.workflow._workflow_interceptor import WorkflowInboundInterceptor


@dataclass(frozen=True)
class WorkflowInstanceDetails:
    """What a runner of Temporal's makes an instance of. Nothing makes one here."""

    payload_converter_factory: Callable[[], PayloadConverter]
    failure_converter_class: type[FailureConverter]
    interceptor_classes: Sequence[type[WorkflowInboundInterceptor]]
    defn: Any
    info: Info
    randomness_seed: int
    extern_functions: Mapping[str, Callable[..., Any]]
    disable_eager_activity_execution: bool
    worker_level_failure_exception_types: Sequence[type[BaseException]]
    patch_activation_callback: Callable[[PatchActivationInput], bool] | None
    last_completion_result: Payloads
    last_failure: Failure | None
    default_workflow_logic_flags: frozenset[Any] = dataclasses.field(default_factory=frozenset)


class WorkflowInstance(ABC):
    """A run's code as a runner of Temporal's has it. Nothing asks one here."""

    @abstractmethod
    def activate(self, act: Any) -> Any:
        """What the code asks for at an activation."""

    @abstractmethod
    def get_serialization_context(self, command_info: Any) -> SerializationContext | None:
        """Whose values a command holds."""

    @abstractmethod
    def get_external_store_context(self, command_info: Any) -> Any:
        """For whom a large value is kept elsewhere."""

    @abstractmethod
    def get_info(self) -> Info:
        """What the run knows of itself."""

    def get_thread_id(self) -> int | None:
        """The thread that runs it, where that is known."""
        return None


class WorkflowRunner(ABC):
    """How workflow code would be run. A worker takes one, and asks nothing of it.

    A host replays code, compares it with its history and guards it in one way; that is the
    engine's, and another way to run it would be another engine.
    """

    @abstractmethod
    def prepare_workflow(self, defn: Any) -> None:
        """Look at a workflow class before it is run."""

    @abstractmethod
    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """A run's code."""

    def set_worker_level_failure_exception_types(  # noqa: B027 - as Temporal's
        self, types: Sequence[type[BaseException]]
    ) -> None:
        """Be told what else fails a run."""


class AsHostsRun(WorkflowRunner):
    """What both of Temporal's runners are here."""

    def prepare_workflow(self, defn: Any) -> None:
        """Nothing: a worker looks at its workflow classes itself."""

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """Raises RuntimeError: hosts make the code of a run themselves."""
        raise RuntimeError("hosts run workflow code themselves: give workflows to a Worker")


class UnsandboxedWorkflowRunner(AsHostsRun):
    """Without a sandbox, as all workflows run here."""
