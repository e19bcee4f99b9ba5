"""Temporal's options of workers without effect here, told apart from typos."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypedDict

from perdure.worker._runners import UnsandboxedWorkflowRunner
from perdure.worker._shared_state import SharedStateManager
from perdure.worker.workflow_sandbox import SandboxedWorkflowRunner


@dataclass(frozen=True)
class PollerBehaviorSimpleMaximum:
    """How many pollers there would be. Without effect: a worker reads its partitions."""

    maximum: int = 5


@dataclass(frozen=True)
class PollerBehaviorAutoscaling:
    """Between how many pollers there would be. Without effect: a worker reads its partitions."""

    minimum: int = 1
    maximum: int = 100
    initial: int = 5


PollerBehavior = PollerBehaviorSimpleMaximum | PollerBehaviorAutoscaling


class OptionsWithoutEffect(TypedDict, total=False):
    """What a worker of a task queue in the log has no use for.

    There are no pollers, no sticky queues and no sandbox to set up, and the host of a partition
    runs its workflow code on one thread.
    """

    workflow_task_executor: ThreadPoolExecutor | None
    workflow_runner: Any
    unsandboxed_workflow_runner: Any
    max_concurrent_workflow_tasks: int | None
    max_concurrent_workflow_task_polls: int | None
    nonsticky_to_sticky_poll_ratio: float
    max_concurrent_activity_task_polls: int | None
    workflow_task_poller_behavior: PollerBehavior
    activity_task_poller_behavior: PollerBehavior
    sticky_queue_schedule_to_start_timeout: timedelta
    shared_state_manager: SharedStateManager | None
    max_eager_activity_reservations_per_workflow_task: int
    nexus_task_poller_behavior: PollerBehavior
    disable_safe_workflow_eviction: bool
    disable_payload_error_limit: bool
    max_workflow_task_external_storage_concurrency: int | None


NOT_HERE: Mapping[str, str] = {
    "nexus_service_handlers": "there is no Nexus here",
    "nexus_task_executor": "there is no Nexus here",
    "max_concurrent_nexus_tasks": "there is no Nexus here",
    "deployment_config": "there are no worker deployments here: start workers of the new code, and"
    " use workflow.patched where old runs must go on",
    "use_worker_versioning": "there are no build ids that route work here",
}


DEFAULTS: Mapping[str, Any] = {
    "workflow_runner": SandboxedWorkflowRunner(),
    "unsandboxed_workflow_runner": UnsandboxedWorkflowRunner(),
}
"""What plugins find in a config, and may replace, though it is without effect here."""


def check_options(options: Mapping[str, Any], *, of: Callable[..., Any]) -> None:
    """Refuse options that no worker has. Raises TypeError with the reason.

    What is not here may be given as not wanted: None, False, or nothing in it.
    """
    for name, value in options.items():
        if name in NOT_HERE:
            if value is None or value is False or (isinstance(value, Sequence) and not value):
                continue
            raise TypeError(f"{name}: {NOT_HERE[name]}")
        if name not in OptionsWithoutEffect.__annotations__:
            raise TypeError(f"{of.__qualname__} has no option {name!r}")
