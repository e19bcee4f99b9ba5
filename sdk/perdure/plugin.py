"""SimplePlugin: a plugin of clients, workers and replayers, made of what it adds to them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, TypeAlias, TypeVar

from perdure import client, worker
from perdure.client import ClientConfig, ConnectConfig, ServiceClient, WorkflowHistory
from perdure.converter import DataConverter
from perdure.worker import ReplayerConfig, WorkerConfig, WorkflowReplayResult, WorkflowRunner

__all__ = ["PluginParameter", "SimplePlugin"]

T = TypeVar("T")
PluginParameter: TypeAlias = T | Callable[[T | None], T] | None
"""A value, or what makes one of the value that there is; None leaves it alone."""


class SimplePlugin(client.Plugin, worker.Plugin):
    """A plugin that needs no class of its own: it is told what to add.

    Give it to `Client.connect(plugins=[...])`, and it reaches the workers of that client too.

    Args:
        name: What it is called in messages.
        data_converter: The converter of clients and replayers, or what makes one of theirs.
        interceptors: Added to those that are there: those of clients to clients, those of workers
            to workers and replayers. One that is both comes to a worker by its client alone.
        activities: Added to a worker's, or what makes its activities of those it has.
        nexus_service_handlers: The same for Nexus, which is not here: a worker refuses any.
        workflows: The same for workflow classes, of workers and replayers.
        workflow_runner: A runner, or what makes one of the one that is there. Without effect.
        workflow_failure_exception_types: Added to those of workers and replayers, or as above.
        run_context: Makes what is entered around the run of a worker or a replayer.

    Example:
        plugin = SimplePlugin("shop.audit", activities=[write_audit], interceptors=[Audit()])
        client = await Client.connect("localhost:9092", plugins=[plugin])
    """

    def __init__(
        self,
        name: str,
        *,
        data_converter: PluginParameter[DataConverter] = None,
        interceptors: Sequence[client.Interceptor | worker.Interceptor] | None = None,
        activities: PluginParameter[Sequence[Callable[..., Any]]] = None,
        nexus_service_handlers: PluginParameter[Sequence[Any]] = None,
        workflows: PluginParameter[Sequence[type]] = None,
        workflow_runner: PluginParameter[WorkflowRunner] = None,
        workflow_failure_exception_types: PluginParameter[Sequence[type[BaseException]]] = None,
        run_context: Callable[[], AbstractAsyncContextManager[None]] | None = None,
    ) -> None:
        self._name = name
        self.data_converter = data_converter
        self.interceptors = interceptors
        self.activities = activities
        self.nexus_service_handlers = nexus_service_handlers
        self.workflows = workflows
        self.workflow_runner = workflow_runner
        self.workflow_failure_exception_types = workflow_failure_exception_types
        self.run_context = run_context

    def name(self) -> str:
        """What it was named."""
        return self._name

    def configure_client(self, config: ClientConfig) -> ClientConfig:
        """Set the converter, add the interceptors of clients."""
        self._set(config, "data_converter")
        if self.interceptors is not None:
            own = [one for one in self.interceptors if isinstance(one, client.Interceptor)]
            config["interceptors"] = [*config.get("interceptors", ()), *own]
        return config

    async def connect_service_client(
        self, config: ConnectConfig, next: Callable[[ConnectConfig], Awaitable[ServiceClient]]
    ) -> ServiceClient:
        """Connect as without it."""
        return await next(config)

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        """Add activities, workflows, failures and those interceptors that the client has not."""
        for name in ("activities", "nexus_service_handlers", "workflows"):
            self._add(config, name)
        self._set(config, "workflow_runner")
        self._add(config, "workflow_failure_exception_types")
        if self.interceptors is not None:
            of_client = config["client"].config(active_config=True)["interceptors"]
            self._add_interceptors(config, without=of_client)
        return config

    def configure_replayer(self, config: ReplayerConfig) -> ReplayerConfig:
        """The same for a replayer, which has no client to have them from."""
        self._set(config, "data_converter")
        self._add(config, "workflows")
        self._set(config, "workflow_runner")
        self._add(config, "workflow_failure_exception_types")
        if self.interceptors is not None:
            self._add_interceptors(config)
        return config

    async def run_worker(
        self, worker: worker.Worker, next: Callable[[worker.Worker], Awaitable[None]]
    ) -> None:
        """Run the worker inside of the context, if there is one."""
        async with self._context():
            await next(worker)

    @asynccontextmanager
    async def run_replayer(
        self,
        replayer: worker.Replayer,
        histories: AsyncIterator[WorkflowHistory],
        next: Callable[
            [worker.Replayer, AsyncIterator[WorkflowHistory]],
            AbstractAsyncContextManager[AsyncIterator[WorkflowReplayResult]],
        ],
    ) -> AsyncIterator[AsyncIterator[WorkflowReplayResult]]:
        """Replay inside of the context, if there is one."""
        async with self._context(), next(replayer, histories) as results:
            yield results

    def _context(self) -> AbstractAsyncContextManager[None]:
        return nullcontext() if self.run_context is None else self.run_context()

    def _set(self, config: Any, name: str) -> None:
        value = getattr(self, name)
        if callable(value):
            value = value(config.get(name))
        if value is not None:
            config[name] = value

    def _add(self, config: Any, name: str) -> None:
        value, there = getattr(self, name), config.get(name)
        if callable(value):
            config[name] = value(there)
        elif value is not None:
            config[name] = [*(there or ()), *value]

    def _add_interceptors(self, config: Any, *, without: Sequence[Any] = ()) -> None:
        assert self.interceptors is not None
        own = [
            one
            for one in self.interceptors
            if isinstance(one, worker.Interceptor) and one not in without
        ]
        config["interceptors"] = [*(config.get("interceptors") or ()), *own]
