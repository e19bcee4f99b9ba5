"""The worker: hosts workflows and runs activities of a task queue in this process."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self, Unpack, cast

from perdure import _assembly as assembly
from perdure._activity_client import CLIENT
from perdure._telemetry import environment
from perdure._telemetry.process_metrics import process_metrics
from perdure.client import Client
from perdure.worker._batch_step import act_on_page
from perdure.worker._build import code_of, of_workers, settings_of, suppliers_of
from perdure.worker._configs import (
    Plugin,
    WorkerConfig,
    configured,
    given,
    plugins_of,
    running,
)
from perdure.worker._fatal import (
    end_plugins,
    error_of,
    finish,
    first_of,
    take_back,
    wait_for_event,
)
from perdure.worker._ignored_options import OptionsWithoutEffect, check_options
from perdure.worker._interceptor import Interceptor, intercepting
from perdure.worker._limits import history_limits
from perdure.worker._slot_suppliers import ReserveContext
from perdure.worker._tuning import WorkerTuner
from perdure.workflow._interceptor_chain import PatchActivationInput
from perdure_actors.definitions.registry import ActivityRegistry
from perdure_actors.host.thread import HostThread
from perdure_actors.partition.services import Viewer
from perdure_actors.worker.activity_worker import ActivityWorker
from perdure_actors.worker.eager_intake import EagerIntake
from perdure_actors.worker.local_worker import LocalWorker
from perdure_actors.worker.slots import Slots
from perdure_topics.names import quote
from perdure_topics.ports import LogUnavailableError
from perdure_topics.task_queue_topics import ensure_topics
from perdure_views.tracing.span_queue import SpanQueue

__all__ = ["Worker"]

AWAY_RETRY_S: Final = 0.5
AWAY_COMPLAINT_S: Final = 5.0

logger = logging.getLogger(__name__)


class Worker:
    """Works on one task queue until it is shut down.

    With workflows it is a host: it owns partitions of the queue and runs their workflow code.
    With activities it takes their tasks. Start any number of workers, in any number of processes.

    Args:
        client: What speaks to the log.
        task_queue: The queue to work on.
        activities: Activities to run: functions, methods of objects, objects that are called.
        workflows: Workflow classes to host; all workers of a queue host the same ones.
        activity_executor: Where plain activities run: a thread or a process pool. Threads of
            the worker's own when not given.
        build_id: The version of the workflow code; a hash of its modules when not given.
        identity: Who this worker says it is; the client's when not given.
        disable_eager_activity_execution: Whether the tasks of its own workflows go by the log even
            where it has a free slot for them.
        max_cached_workflows: How many workflows stay in memory between their events; fewer where
            a quarter of the memory is taken.
        max_history_events: How many events the history of a run may have; a longer one is ended.
        max_history_bytes: How many bytes it may have.
        max_concurrent_activities: How many activities run at once; 100 when not given.
        max_concurrent_local_activities: The same for local activities; 100 when not given.
        tuner: Says how many run at once instead of these numbers: by what is in use on the
            machine, or by code of yours.
        max_activities_per_second: How many activities this worker begins in a second.
        max_task_queue_activities_per_second: The same for all workers of the queue, each of
            which keeps to its share.
        max_heartbeat_throttle_interval: The longest time between two heartbeats sent.
        default_heartbeat_throttle_interval: The same without a heartbeat timeout.
        graceful_shutdown_timeout: How long activities, local ones too, may finish before they
            are cancelled: then their attempt has failed, and is tried again by its retry policy.
        workflow_failure_exception_types: Exceptions that fail a workflow; any other one
            blocks it until its code is mended.
        plugins: What may change these options, and run around the worker, after those of the
            client that are worker plugins as well.
        plugin_shutdown_timeout: How long the end of `async with` waits for what plugins do after
            the worker has stopped; without one, as long as that takes.
        no_remote_activities: Whether only its own workflows' local activities run here.
        interceptors: What calls of workflows and activities go through, after those of the
            client that are worker interceptors as well.
        on_fatal_error: Called with the error that stops the worker, before run raises it.
        patch_activation_callback: Called in workflow code for each patch that a run comes to for
            the first time; False leaves the run on the old code for good. All workers of a
            queue have the same one, as they have the same code.
        debug_mode: Whether code may stand still, as in a debugger, without being blocked.
        state_directory: Where the hosts' tables are kept, a cache of the log.

    Raises:
        ValueError: When it has nothing to do, a name is taken twice, a number is too small, or
            it has workflows and its client speaks to an engine, which hosts them itself.
    """

    _stopping: asyncio.Event | None = None
    _stopped: asyncio.Event | None = None
    _task: asyncio.Task[None] | None = None
    _block: asyncio.Task[Any] | None = None
    """The task that is inside `async with`, to be cancelled when the worker ends by itself."""
    _fallen: BaseException | None = None

    def __init__(
        self,
        client: Client,
        *,
        task_queue: str,
        activities: Sequence[Callable[..., Any]] = (),
        workflows: Sequence[type] = (),
        activity_executor: Executor | None = None,
        build_id: str | None = None,
        identity: str | None = None,
        max_cached_workflows: int = 20_000,
        max_history_events: int = 200_000,
        max_history_bytes: int = 200 * 1024 * 1024,
        max_concurrent_activities: int | None = None,
        max_concurrent_local_activities: int | None = None,
        tuner: WorkerTuner | None = None,
        max_activities_per_second: float | None = None,
        max_task_queue_activities_per_second: float | None = None,
        max_heartbeat_throttle_interval: timedelta = timedelta(seconds=60),
        default_heartbeat_throttle_interval: timedelta = timedelta(seconds=30),
        graceful_shutdown_timeout: timedelta = timedelta(),
        workflow_failure_exception_types: Sequence[type[BaseException]] = (),
        plugins: Sequence[Plugin] = (),
        plugin_shutdown_timeout: timedelta | None = timedelta(seconds=60),
        no_remote_activities: bool = False,
        interceptors: Sequence[Interceptor] = (),
        on_fatal_error: Callable[[BaseException], Awaitable[None]] | None = None,
        patch_activation_callback: Callable[[PatchActivationInput], bool] | None = None,
        debug_mode: bool = False,
        disable_eager_activity_execution: bool = False,
        state_directory: str | Path | None = None,
        **without_effect: Unpack[OptionsWithoutEffect],
    ) -> None:
        self._given = cast("WorkerConfig", given(locals()))
        self._plugins = plugins_of(client, plugins)
        self._set_up(configured(self._given, self._plugins, "configure_worker"))

    def _set_up(self, config: WorkerConfig) -> None:
        """Be what the options say, which plugins may have changed."""
        self._config = config
        check_options(
            {name: value for name, value in config.items() if name not in self._options()},
            of=type(self),
        )
        client, workflows, activities = config["client"], config["workflows"], config["activities"]
        if not activities and not workflows:
            raise ValueError("the worker has nothing to do: give it activities, workflows or both")
        quote(config["task_queue"], "task queue")
        self._client, self._task_queue = client, config["task_queue"]
        self._identity = config["identity"] or client.identity
        self._limits = history_limits(config, client.connection.overrides.limits)
        self._on_fatal_error = config["on_fatal_error"]
        self._executor = config["activity_executor"]
        self._registry = ActivityRegistry(
            activities, builtin=[act_on_page], check_hint=client.values.check_hint
        )
        self._interceptors = [*of_workers(client.interceptors), *config["interceptors"]]
        self._suppliers = suppliers_of(
            config["tuner"],
            self._executor,
            activities=config["max_concurrent_activities"],
            local_activities=config["max_concurrent_local_activities"],
            workflow_tasks=config.get("max_concurrent_workflow_tasks"),
        )
        slots = self._suppliers.activities_max
        self._settings = settings_of(config, self._identity, slots=slots)
        failures = client.connection.overrides.failures
        self._code = code_of(
            client,
            workflows,
            failures=[*config["workflow_failure_exception_types"], *failures],
            build_id=config["build_id"],
            interceptors=self._interceptors,
            is_watched=not config["debug_mode"],
            allows_patch=config["patch_activation_callback"],
        )
        self._takes_tasks = bool(self._registry.by_name) and not config["no_remote_activities"]
        self._has_topics = asyncio.Event()

    @classmethod
    def _options(cls) -> Collection[str]:
        """The options that are arguments of the constructor by name."""
        return inspect.signature(cls.__init__).parameters

    def config(self, *, active_config: bool = False) -> WorkerConfig:
        """What this worker was made with; `Worker(**config)` makes another of its kind.

        That is before its plugins changed it; with active_config it is what they made of it.
        """
        return (self._config if active_config else self._given).copy()

    @property
    def client(self) -> Client:
        """What speaks to the log."""
        return self._client

    @property
    def task_queue(self) -> str:
        """The queue that is worked on."""
        return self._task_queue

    @property
    def is_running(self) -> bool:
        """Whether it has been started and has not stopped."""
        return self._stopped is not None and not self._stopped.is_set()

    @property
    def is_shutdown(self) -> bool:
        """Whether it has stopped."""
        return self._stopped is not None and self._stopped.is_set()

    async def run(self) -> None:
        """Work until shut down or cancelled.

        Raises RuntimeError when it was started before, LogError when the log is not fit, and
        whatever else made it stop by itself.
        """
        if self._stopping is not None:
            raise RuntimeError("this worker was started before: make another one")
        self._stopping, self._stopped = asyncio.Event(), asyncio.Event()
        try:
            await running(Worker._run, self._plugins)(self)
        except Exception as error:
            await self._fall(error)
            raise
        finally:
            self._stopped.set()

    async def _run(self) -> None:
        """Work, inside of all plugins."""
        if self._stopping is None or self._stopped is None or self._stopped.is_set():
            raise RuntimeError("a plugin ran a worker twice, or one that was not started")
        try:
            if await self._find_topics(self._stopping):
                await self._work(self._stopping)
        finally:
            # What plugins do from here on is no work of this worker.
            self._stopped.set()

    async def _fall(self, error: BaseException) -> None:
        """Say, once and before anything is waited for, that the worker ends by itself."""
        if self._fallen is not None:
            return
        self._fallen = error
        if self._block is not None:
            self._block.cancel(f"the worker of task queue {self._task_queue!r} ends: {error}")
        if self._on_fatal_error is not None:
            await self._on_fatal_error(error)

    async def shutdown(self) -> None:
        """Take nothing more, let activities finish within the limit, and wait for the end."""
        if self._stopping is None or self._stopped is None:
            raise RuntimeError("this worker was never started")
        self._stopping.set()
        await self._stopped.wait()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.run())
        # On an embedded log the worker makes the topics that the block is about to use.
        has_topics = asyncio.create_task(self._has_topics.wait())
        try:
            await asyncio.wait([self._task, has_topics], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._task.cancel()
            raise
        finally:
            has_topics.cancel()
        if self._task.done():
            self._task.result()
            if not self._has_topics.is_set():
                names = ", ".join(plugin.name() for plugin in self._plugins)
                raise RuntimeError(
                    f"the worker of task queue {self._task_queue!r} did not run: one of its plugins"
                    f" ({names}) returned from run_worker without awaiting next(worker)"
                )
        self._block = asyncio.current_task()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._task is not None
        block, self._block = self._block, None
        if self._stopping is not None:
            self._stopping.set()
        raises = exc_value is None
        if self._fallen is not None:
            raises = await take_back(block, exc_value)
        try:
            if self._plugins and self._stopped is not None:
                # The worker's own end is never cut short; what plugins do after it may be.
                await finish(asyncio.create_task(wait_for_event(self._stopped)))
                await end_plugins(self._task, self._config["plugin_shutdown_timeout"])
            await finish(self._task)
            self._task.result()
        except Exception:
            # The block's own error says more than that the worker fell with it.
            if raises:
                raise
            logger.exception("the worker stopped by itself")

    async def _find_topics(self, stopping: asyncio.Event) -> bool:
        """Whether the topics are there and fit; False when told to stop before that was known."""
        log, complained_s = self._client.log, 0.0
        around = self._client.connection.overrides
        loop = asyncio.get_running_loop()
        while not stopping.is_set():
            try:
                await asyncio.to_thread(
                    partial(ensure_topics, partitions=around.partitions),
                    log,
                    self._client.namespace,
                    self._task_queue,
                )
            except LogUnavailableError as error:
                if not complained_s or loop.time() - complained_s >= AWAY_COMPLAINT_S:
                    complained_s = loop.time()
                    logger.warning("the worker waits for the log: %s. It keeps trying", error)
                with suppress(TimeoutError):
                    async with asyncio.timeout(AWAY_RETRY_S):
                        await stopping.wait()
            else:
                self._has_topics.set()
                return True
        return False

    async def _work(self, stopping: asyncio.Event) -> None:
        """Run host and activity worker until one of them ends or both are told to."""
        spans = self._host_spans()
        # What runs activities takes this over, for activity.client.
        CLIENT.set(self._client)
        eager = self._make_eager_intake()
        host = self._make_host(spans, eager)
        activities = self._make_activity_worker(eager)
        facts = {"namespace": self._client.namespace, "task_queue": self._task_queue}
        forget = process_metrics().add(facts, host, activities, spans)
        parts: list[asyncio.Task[Any]] = []
        ends: list[asyncio.Task[Any]] = [asyncio.create_task(stopping.wait())]
        if host is not None:
            host.start()
            parts.append(asyncio.create_task(asyncio.to_thread(host.join)))
        if activities is not None:
            parts.append(asyncio.create_task(activities.run()))
            # Its run ends later than it is known why: what is under way may finish first.
            ends.append(asyncio.create_task(activities.wait_failed()))
        try:
            await first_of([*ends, *parts])
            if (error := error_of(host, activities, parts)) is not None:
                await self._fall(error)
        finally:
            for end in ends:
                end.cancel()
            grace_s = self._config["graceful_shutdown_timeout"].total_seconds()
            await finish(asyncio.create_task(_let_go(host, activities, parts, grace_s)))
            forget()
            if spans is not None:
                await asyncio.to_thread(spans.close)
        for part in parts:
            part.result()
        if (error := error_of(host, activities, parts)) is not None:
            raise error

    def _host_spans(self) -> SpanQueue | None:
        if self._code is None:
            return None
        return environment.host_spans(self._client.namespace, self._task_queue)

    def _make_eager_intake(self) -> EagerIntake | None:
        """What hands tasks over within this process, where it has both sides."""
        if self._code is None or not self._takes_tasks:
            return None
        if self._config["disable_eager_activity_execution"]:
            return None
        return EagerIntake(self._registry.by_name)

    def _make_host(self, viewer: Viewer | None, eager: EagerIntake | None) -> HostThread | None:
        if self._code is None:
            return None
        log, around = self._client.log, self._client.connection.overrides
        make_tables, copies = around.tables, ""
        if make_tables is None:
            directory = self._config["state_directory"]
            make_tables = partial(assembly.open_tables, log, directory)
            copies = str(assembly.checkpoint_directory(log, directory))
        return HostThread(
            log,
            make_tables(),
            self._code,
            namespace=self._client.namespace,
            task_queue=self._task_queue,
            owner=self._identity,
            runs_max=self._config["max_cached_workflows"],
            checkpoints=copies,
            limits=self._limits,
            engine_keys=self._client.connection.engine_keys,
            clock=around.clock,
            pace=around.pace,
            viewer=viewer,
            local=self._make_local_worker(),
            eager=eager,
            registry=assembly.registry_of(log),
        )

    def _slots(self, kind: Literal["activity", "local-activity"]) -> Slots:
        version = self._config.get("build_id") or ""
        return self._suppliers.slots(
            ReserveContext(kind, self._task_queue, self._identity, version)
        )

    def _make_local_worker(self) -> LocalWorker | None:
        if not self._registry.by_name:
            return None
        return LocalWorker(
            self._registry,
            task_queue=self._task_queue,
            identity=self._identity,
            converter=self._client.values,
            slots=self._slots("local-activity"),
            executor=self._executor,
            codecs=self._client.worker_codecs,
            intercept=intercepting(self._interceptors, self._executor),
        )

    def _make_activity_worker(self, eager: EagerIntake | None) -> ActivityWorker | None:
        if not self._takes_tasks:
            return None
        return ActivityWorker(
            self._client.log,
            self._settings,
            activities=self._registry,
            converter=self._client.values,
            executor=self._executor,
            codecs=self._client.worker_codecs,
            intercept=intercepting(self._interceptors, self._executor),
            clock=self._client.connection.overrides.clock,
            slots=self._slots("activity"),
            eager=eager,
        )


async def _let_go(
    host: HostThread | None,
    activities: ActivityWorker | None,
    parts: Sequence[asyncio.Task[Any]],
    grace_s: float,
) -> None:
    if activities is not None:
        # Its activities' results should find their host still here.
        activities.stop()
    if host is not None:
        await asyncio.to_thread(host.finish_local, grace_s)
    if activities is not None:
        await asyncio.wait(parts[-1:])
    if host is not None:
        await asyncio.to_thread(host.stop)
    await asyncio.wait(parts)
