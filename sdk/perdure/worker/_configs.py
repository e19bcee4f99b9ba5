"""Options of workers and replayers as dictionaries. Data only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from datetime import timedelta
from pathlib import Path
from typing import Any, TypedDict

from perdure.client import Client
from perdure.converter import DataConverter
from perdure.worker._ignored_options import OptionsWithoutEffect
from perdure.worker._interceptor import Interceptor
from perdure.worker._tuning import WorkerTuner
from perdure.workflow._interceptor_chain import PatchActivationInput


class WorkerConfig(OptionsWithoutEffect, total=False):
    """The arguments of a worker."""

    client: Client
    task_queue: str
    activities: Sequence[Callable[..., Any]]
    workflows: Sequence[type]
    activity_executor: Executor | None
    build_id: str | None
    identity: str | None
    max_cached_workflows: int
    max_history_events: int
    max_history_bytes: int
    max_concurrent_activities: int | None
    max_concurrent_local_activities: int | None
    tuner: WorkerTuner | None
    max_activities_per_second: float | None
    max_task_queue_activities_per_second: float | None
    max_heartbeat_throttle_interval: timedelta
    default_heartbeat_throttle_interval: timedelta
    graceful_shutdown_timeout: timedelta
    workflow_failure_exception_types: Sequence[type[BaseException]]
    interceptors: Sequence[Interceptor]
    on_fatal_error: Callable[[BaseException], Awaitable[None]] | None
    patch_activation_callback: Callable[[PatchActivationInput], bool] | None
    debug_mode: bool
    disable_eager_activity_execution: bool
    state_directory: str | Path | None


class ReplayerConfig(TypedDict, total=False):
    """The arguments of a replayer."""

    workflows: Sequence[type]
    namespace: str
    data_converter: DataConverter
    interceptors: Sequence[Interceptor]
    build_id: str | None
    identity: str | None
    workflow_failure_exception_types: Sequence[type[BaseException]]
    debug_mode: bool


def given(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a constructor, of what it has as local variables when it begins."""
    named = {key: value for key, value in arguments.items() if key not in _NOT_GIVEN}
    return {**named, **arguments.get("without_effect", {})}


_NOT_GIVEN = frozenset({"self", "without_effect", "__class__"})
