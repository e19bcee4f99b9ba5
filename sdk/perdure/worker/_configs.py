"""Options of workers and replayers as dictionaries, and the plugins that change them."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypedDict, TypeVar

from perdure.client import Client, WorkflowHistory
from perdure.converter import DataConverter
from perdure.worker._ignored_options import DEFAULTS, OptionsWithoutEffect
from perdure.worker._interceptor import Interceptor
from perdure.worker._tuning import WorkerTuner
from perdure.workflow._interceptor_chain import PatchActivationInput

Run = Callable[[Any], Awaitable[None]]
"""Runs a worker."""
Replay = Callable[
    [Any, AsyncIterator[WorkflowHistory]], AbstractAsyncContextManager[AsyncIterator[Any]]
]
"""What becomes of histories, by a replayer."""


class Plugin(ABC):
    """What has a say in how workers and replayers are made and run: `Worker(plugins=[...])`.

    Several are asked in their order: the first one changes the options first, and is the outermost
    of those that run the worker. Those of the client that are plugins of workers come before those
    of the worker. `perdure.plugin.SimplePlugin` is one, and enough for most.

    Example:
        class Warm(worker.Plugin):
            def configure_worker(self, config):
                return config

            async def run_worker(self, worker, next):
                async with models_loaded():
                    await next(worker)

            def configure_replayer(self, config):
                return config

            def run_replayer(self, replayer, histories, next):
                return next(replayer, histories)
    """

    def name(self) -> str:
        """What it is called in messages: the full name of its class unless overridden."""
        return f"{type(self).__module__}.{type(self).__qualname__}"

    @abstractmethod
    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        """The options that a worker is to have, given those it would have."""

    @abstractmethod
    async def run_worker(self, worker: Any, next: Run) -> None:
        """Run the worker by awaiting `next(worker)`, which ends when the worker has stopped."""

    @abstractmethod
    def configure_replayer(self, config: ReplayerConfig) -> ReplayerConfig:
        """The options that a replayer is to have, given those it would have."""

    @abstractmethod
    def run_replayer(
        self, replayer: Any, histories: AsyncIterator[WorkflowHistory], next: Replay
    ) -> AbstractAsyncContextManager[AsyncIterator[Any]]:
        """What `next(replayer, histories)` returns, or something around it."""


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
    plugins: Sequence[Plugin]
    plugin_shutdown_timeout: timedelta | None
    no_remote_activities: bool
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
    plugins: Sequence[Plugin]
    build_id: str | None
    identity: str | None
    workflow_failure_exception_types: Sequence[type[BaseException]]
    debug_mode: bool


def given(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a constructor, of what it has as local variables when it begins."""
    named = {key: value for key, value in arguments.items() if key not in _NOT_GIVEN}
    return {**DEFAULTS, **named, **arguments.get("without_effect", {})}


Config = TypeVar("Config", WorkerConfig, ReplayerConfig)


def configured(config: Config, plugins: Sequence[Plugin], hook: str) -> Config:
    """The options after the hook of each plugin.

    Raises TypeError for what is no plugin, or returns no options.
    """
    changed = config.copy()
    for plugin in plugins:
        if not isinstance(plugin, Plugin):
            raise TypeError(
                f"plugins: {plugin!r} is no perdure.worker.Plugin; give those of clients to Client"
            )
        changed = getattr(plugin, hook)(changed)
        if not isinstance(changed, dict):
            raise TypeError(
                f"{hook} of the plugin {plugin.name()} returned {changed!r}: return the config"
                " that it was given, changed or not"
            )
    # An option that a plugin took out is as it was.
    return {**config, **changed}


def plugins_of(client: Client, plugins: Sequence[Plugin]) -> list[Plugin]:
    """Those of a client that are of workers too, then the worker's own; doubles are warned of."""
    first = [one for one in client.config()["plugins"] if isinstance(one, Plugin)]
    for one in first:
        if type(one) in {type(own) for own in plugins}:
            warnings.warn(
                f"the worker has a plugin of {type(one).__qualname__} from its client and one of"
                " its own: it runs twice. Give it to one of them",
                stacklevel=4,
            )
    return [*first, *plugins]


def running(run: Run, plugins: Sequence[Plugin]) -> Run:
    """The way to run a worker through all plugins, the first of them outermost."""

    def around(plugin: Plugin, inner: Run) -> Run:
        # By position: a plugin may call its parameter what it likes.
        return lambda worker: plugin.run_worker(worker, inner)

    for plugin in reversed(plugins):
        run = around(plugin, run)
    return run


def replaying(replay: Replay, plugins: Sequence[Plugin]) -> Replay:
    """The way to replay through all plugins, the first of them outermost."""

    def around(plugin: Plugin, inner: Replay) -> Replay:
        return lambda replayer, histories: plugin.run_replayer(replayer, histories, inner)

    for plugin in reversed(plugins):
        replay = around(plugin, replay)
    return replay


_NOT_GIVEN = frozenset({"self", "without_effect", "__class__"})
