"""The HTTP server of a gateway: uvicorn on a socket of its own, or on accepted connections."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator
from typing import Final, cast

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from perdure_views.gateway.settings import Settings, SettingsError

_LOG = logging.getLogger("perdure.gateway")
CONNECTIONS_MAX: Final = 1024
HEADER_BYTES_MAX: Final = 64 * 1024
SHUTDOWN_S: Final = 2
HEAD_S: Final = 20.0
"""A request's line and headers must have come within so long of its connection."""


class _Connection(H11Protocol):
    """A connection whose requests have to come: who sends half a head keeps no place for ever."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what has come; while a request is served, its body's time counts."""
        super().data_received(data)
        if self._is_serving:
            self._stop_waiting()
        elif self._late is None and not self.transport.is_closing():
            self._wait()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Leave the connection to the socket, which has times of its own."""
        self._stop_waiting()
        self._is_socket = True
        super().handle_websocket_upgrade(event)

    _is_socket = False

    def _wait(self) -> None:
        if not self._is_socket:
            self._late = self.loop.call_later(HEAD_S, self._give_up)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        self._late = None
        if not self._is_serving:
            self.transport.close()

    @property
    def _is_serving(self) -> bool:
        """Whether a request has come whole and is not answered yet."""
        # None before the first one, whatever its type says.
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is not None and not cycle.response_complete


class _Uvicorn(uvicorn.Server):
    """A server inside a command that has its own signal handlers."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say when it serves."""
        await super().startup(sockets)
        self.is_up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the command."""
        yield


class GatewayServer:
    """Serves an application until it is closed. Open it with `GatewayServer.open`."""

    def __init__(self, app: ASGIApp) -> None:
        config = uvicorn.Config(
            app,
            http=_Connection,
            ws="websockets-sansio",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=CONNECTIONS_MAX,
            h11_max_incomplete_event_size=HEADER_BYTES_MAX,
            timeout_graceful_shutdown=SHUTDOWN_S,
        )
        config.load()
        self._config = config
        self._server = _Uvicorn(config)
        self._task: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()

    async def open(self, listener: socket.socket | None) -> None:
        """Begin to serve; without a listener, only what is handed over."""
        sockets = [] if listener is None else [listener]
        self._task = asyncio.create_task(self._server.serve(sockets=sockets))
        await self._server.is_up.wait()

    def hand_over(self, connection: socket.socket) -> None:
        """Take a connection that another listener accepted. From any thread."""
        try:
            self._loop.call_soon_threadsafe(self._take, connection)
        except RuntimeError:
            connection.close()

    def _take(self, connection: socket.socket) -> None:
        taking = self._loop.create_task(self._adopt(connection))
        self._server.server_state.tasks.add(taking)
        taking.add_done_callback(self._server.server_state.tasks.discard)

    async def _adopt(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        try:
            await self._loop.connect_accepted_socket(
                # As uvicorn makes it for a connection of its own.
                lambda: self._config.http_protocol_class(  # type: ignore[call-arg]
                    config=self._config,
                    server_state=self._server.server_state,
                    app_state={},
                    _loop=self._loop,
                ),
                connection,
            )
        except OSError as error:
            _LOG.debug("a connection was gone before it was served: %s", error)
            connection.close()

    async def close(self) -> None:
        """Stop, giving what is under way a moment."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task


def listen(settings: Settings) -> socket.socket:
    """The socket of a gateway's address. Raises SettingsError when it cannot be had."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=256)
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {settings.host} port {settings.port}: {error}. Choose another --port"
        ) from error
