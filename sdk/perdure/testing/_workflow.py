"""WorkflowEnvironment: an engine in this process, with time skipping."""

from __future__ import annotations

import asyncio
import inspect
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Final, Self

from perdure import _assembly as assembly
from perdure._connect_config import ConnectConfig
from perdure._test_overrides import Overrides
from perdure.client import Client, ClientConfig, Plugin, ServiceClient, WorkflowHandle
from perdure.client._client_plugin import connecting
from perdure.client._connection import Connection
from perdure.client._interceptors import Interceptor
from perdure.converter import DataConverter
from perdure.testing._clock import SkippingClock, TimeKeeper
from perdure.testing._time_skipping import SkipsTime, TimeSkippingConfig
from perdure_actors.core.decision import Limits
from perdure_actors.retention.policy import FOR_EVER
from perdure_topics.clock import SystemClock
from perdure_topics.ports import Clock

_OF_CONNECTIONS: Final = frozenset(inspect.signature(Client.connect).parameters) - {"target_host"}
CENTURIES_MS: Final = 1000 * 365 * 24 * 3600 * 1000
PARTITIONS: Final = 1
"""One partition is one shard, and quickly taken over."""
_NOTHING_TO_DOWNLOAD: Final = frozenset(
    {
        "build_id",
        "dev_server_database_filename",
        "dev_server_download_version",
        "dev_server_existing_path",
        "dev_server_extra_args",
        "dev_server_log_format",
        "dev_server_log_level",
        "dev_server_download_ttl",
        "download_dest_dir",
        "ip",
        "port",
        "retry_config",
        "rpc_metadata",
        "runtime",
        "search_attributes",
        "test_server_download_version",
        "test_server_existing_path",
        "test_server_extra_args",
        "test_server_download_ttl",
        "tls",
        "ui",
        "ui_port",
        "default_workflow_query_reject_condition",
    }
)


class WorkflowEnvironment(SkipsTime):
    """An engine for a test: `async with await WorkflowEnvironment.start_time_skipping() as env:`.

    Give `env.client` to workers and call workflows with it as with any other. Nothing is
    downloaded and no other process is started; it is gone with its block.
    """

    def __init__(self, client: Client) -> None:
        """Use `from_client`, `start_local` or `start_time_skipping` instead."""
        self._client = client
        self._keeper: TimeKeeper | None = None
        self._clock: Clock = SystemClock()
        self._owns_client = False

    @classmethod
    def from_client(cls, client: Client) -> Self:
        """An environment around a client that stays its owner's."""
        return cls(client)

    @classmethod
    async def start_local(
        cls,
        *,
        namespace: str = "default",
        data_converter: DataConverter = DataConverter.default,
        interceptors: Sequence[Interceptor] = (),
        plugins: Sequence[Plugin] = (),
        identity: str | None = None,
        **without_effect: Any,
    ) -> Self:
        """An engine in this process, on the machine's own time.

        Options of a server that would be downloaded are taken without effect.
        """
        return await cls._start(
            SystemClock(),
            None,
            namespace=namespace,
            data_converter=data_converter,
            interceptors=interceptors,
            plugins=plugins,
            identity=identity,
            without_effect=without_effect,
        )

    @classmethod
    async def start_time_skipping(
        cls,
        *,
        namespace: str = "default",
        data_converter: DataConverter = DataConverter.default,
        interceptors: Sequence[Interceptor] = (),
        plugins: Sequence[Plugin] = (),
        identity: str | None = None,
        **without_effect: Any,
    ) -> Self:
        """An engine in this process whose time leaps while a result is awaited.

        It leaps to the next deadline, and never while an activity is under way: those take
        the time they take. Options of a server that would be downloaded are taken without effect.
        """
        clock = SkippingClock()
        return await cls._start(
            clock,
            clock,
            namespace=namespace,
            data_converter=data_converter,
            interceptors=interceptors,
            plugins=plugins,
            identity=identity,
            without_effect=without_effect,
        )

    @classmethod
    async def start_time_skipping_v2(
        cls,
        *,
        ts_config: TimeSkippingConfig = TimeSkippingConfig(),  # noqa: B008 - frozen
        **options: Any,
    ) -> Self:
        """The same as start_time_skipping, with a say in whether time leaps by itself.

        Its time is skipped by `fast_forward` too. There is one clock for all workflows.
        """
        environment = await cls.start_time_skipping(**options)
        environment._skipper().config = ts_config
        return environment

    @classmethod
    async def _start(
        cls,
        clock: Clock,
        skipping: SkippingClock | None,
        *,
        namespace: str,
        data_converter: DataConverter,
        interceptors: Sequence[Interceptor],
        plugins: Sequence[Plugin],
        identity: str | None,
        without_effect: Mapping[str, Any],
    ) -> Self:
        unknown = sorted(set(without_effect) - _NOTHING_TO_DOWNLOAD)
        if unknown:
            raise TypeError(f"a test environment has no option {unknown[0]!r}")
        log, close = assembly.open_temporary_log(clock)
        keeper = None if skipping is None else TimeKeeper(log, skipping)
        connection = Connection(
            log,
            namespace=namespace,
            identity=identity or f"{os.getpid()}@{socket.gethostname()}",
            close_log=close,
        )
        connection.overrides = Overrides(
            clock=clock,
            pace=keeper,
            tables=assembly.memory_tables,
            partitions=PARTITIONS,
            # Clients say when they first sent something by the machine's time. Time leaps by
            # years before a test has looked at what closed.
            limits=Limits(request_age_ms_max=CENTURIES_MS, closed_keep_ms=FOR_EVER),
            awaiting=nullcontext if keeper is None else keeper.awaiting,
            watch=None if keeper is None else keeper.watch,
            # What a test asserts in workflow code ends its run, which would wait blocked else.
            failures=(AssertionError,),
        )

        async def connect(config: ConnectConfig) -> ServiceClient:
            return ServiceClient(config, connection)

        try:
            config = ConnectConfig(log.address, identity=connection.identity)
            client = Client(
                await connecting(connect, plugins)(config),
                namespace=namespace,
                data_converter=data_converter,
                plugins=plugins,
                interceptors=interceptors,
            )
        except BaseException:
            await connection.close()
            raise
        environment = cls(client)
        environment._keeper = keeper
        environment._clock = clock
        environment._owns_client = True
        return environment

    @property
    def client(self) -> Client:
        """The client of the environment's engine."""
        return self._client

    @property
    def supports_time_skipping(self) -> bool:
        """Whether time leaps."""
        return self._keeper is not None

    async def connect_client(self, **options: Any) -> Client:
        """Another client of the environment's engine, with what is given of `client.config()`.

        Options of `Client.connect` that are about the way to a server are taken without effect,
        because there is none. Raises TypeError for what neither has.

        Example:
            other = await env.connect_client(namespace="other")
        """
        known = ClientConfig.__annotations__
        for name in options:
            if name not in known and name not in _OF_CONNECTIONS:
                raise TypeError(f"a client has no option {name!r}")
        chosen = {name: value for name, value in options.items() if name in known}
        return Client(**{**self._client.config(), **chosen})

    async def get_current_time(
        self,
        handle: WorkflowHandle[Any, Any] | None = None,
    ) -> datetime:
        """The environment's time, which is that of all its workflows."""
        return datetime.fromtimestamp(self._clock.wall_ms() / 1000, UTC)

    async def sleep(self, duration: timedelta | float) -> None:
        """Let so much of the environment's time pass."""
        seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
        if self._keeper is None:
            await asyncio.sleep(seconds)
        else:
            await self._keeper.sleep(max(int(seconds * 1000), 0))

    @contextmanager
    def auto_time_skipping_disabled(self) -> Iterator[None]:
        """Let time go by itself in the block, though results are awaited there."""
        if self._keeper is None:
            yield
            return
        with self._keeper.held():
            yield

    async def shutdown(self) -> None:
        """Let go of the engine; stop its workers before."""
        if self._owns_client:
            await self._client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.shutdown()
