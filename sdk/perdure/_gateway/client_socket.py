"""The WebSocket of the gateway that `Client.connect("http://...")` uses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

from starlette.responses import PlainTextResponse
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from perdure.client import Client
from perdure_topics.ports import LogError
from perdure_topics.wire import frames
from perdure_topics.wire.relay import Relay, RelayClosedError
from perdure_views.gateway.admission import admit, own_reply
from perdure_views.gateway.app import Gateway
from perdure_views.gateway.problems import ProblemError
from perdure_views.gateway.settings import Settings
from perdure_views.gateway.shares import OpenAsks, Shares

_LOG: Final = logging.getLogger("perdure.gateway")
CLIENTS_MAX: Final = 256
CLIENTS_EACH: Final = CLIENTS_MAX // 4
"""So many of them are one person's, where people are told apart."""
HELD_EVERY_S: Final = 10.0
"""So often it is asked whether somebody is still let in."""
POLICY: Final = 1008


class _Channel:
    """A Starlette websocket as the relay knows one."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket

    async def receive(self) -> bytes:
        """The next message."""
        try:
            message = await self._socket.receive()
        except RuntimeError as error:
            raise RelayClosedError(str(error)) from error
        data = message.get("bytes")
        if message["type"] != "websocket.receive" or data is None:
            raise RelayClosedError("it closed the connection")
        return bytes(data)

    async def send(self, message: bytes) -> None:
        """Send a message."""
        try:
            await self._socket.send_bytes(message)
        except (WebSocketDisconnect, RuntimeError, OSError) as error:
            raise RelayClosedError("it closed the connection") from error


class Clients:
    """All clients that are connected through one gateway."""

    def __init__(self, gateway: Gateway, client: Client, settings: Settings) -> None:
        self._gateway = gateway
        self._client = client
        self._settings = settings
        self._names = not settings.register.is_open
        self._shares = Shares("connections of clients")
        self._asks = OpenAsks()

    def route(self) -> WebSocketRoute:
        """Where clients connect."""
        return WebSocketRoute(frames.PATH, self._serve)

    async def _serve(self, socket: WebSocket) -> None:
        try:
            principal = await self._gateway.principal_of(socket)
            each = CLIENTS_EACH if self._names else CLIENTS_MAX
            self._shares.take(principal.name, most=CLIENTS_MAX, each=each)
        except ProblemError as problem:
            refusal = PlainTextResponse(f"{problem.message}\n", problem.status)
            await socket.send_denial_response(refusal)
            return
        try:
            await socket.accept()
            mark = self._settings.register.reply_mark_of(principal)
            keys = self._client.connection.engine_keys
            relay = Relay(
                self._client.log,
                self._client.namespace,
                partial(
                    admit,
                    principal,
                    names=self._names,
                    mark=mark,
                    keys=keys,
                    asks=self._asks,
                    reads=self._settings.audits_reads,
                ),
                partial(own_reply, mark, asks=self._asks, name=principal.name),
            )
            holds = partial(self._settings.register.holds, principal)
            await _run_while(holds, relay.run(_Channel(socket)))
        except (RelayClosedError, LogError) as error:
            _LOG.debug("a client's connection ended: %s", error)
            await _close(socket, str(error))
        except Exception:
            _LOG.exception("a client's connection failed by an error of the gateway")
            await _close(socket, "an error of the gateway; its log says which")
        finally:
            self._shares.give_back(principal.name)


async def _run_while(holds: Callable[[], bool], running: Coroutine[Any, Any, None]) -> None:
    """Serve somebody as long as they are who they were. Raises RelayClosedError."""
    serving = asyncio.create_task(running)
    try:
        while not serving.done():
            await asyncio.wait({serving}, timeout=HELD_EVERY_S)
            if not serving.done() and not holds():
                raise RelayClosedError("signed out, or the token is over")
        await serving
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def _close(socket: WebSocket, reason: str) -> None:
    try:
        # The protocol has room for so many bytes of it.
        await socket.close(POLICY, reason.encode()[:120].decode(errors="ignore"))
    except (RuntimeError, OSError, WebSocketDisconnect) as error:
        _LOG.debug("the connection was closed already: %s", error)
