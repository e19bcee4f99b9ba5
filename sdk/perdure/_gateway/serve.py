"""Assembles and serves a gateway: backend, application and socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING

from perdure import _assembly as assembly
from perdure._gateway.backend import ConnectionBackend
from perdure_views.gateway.settings import Settings

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from perdure.client import Client


def application(client: Client, settings: Settings) -> ASGIApp:
    """The gateway of a client's namespace as an ASGI application. Raises SettingsError."""
    # Late: a worker without pages does not load a web framework.
    from perdure._gateway.client_socket import Clients
    from perdure_views.gateway.app import Gateway

    settings.check()
    gateway = Gateway(ConnectionBackend(client), settings)
    return gateway.application([Clients(gateway, client, settings).route()])


@asynccontextmanager
async def serving(client: Client, settings: Settings) -> AsyncIterator[str]:
    """Serve pages and API of a client's namespace; the address they are at.

    Raises SettingsError when the settings are unsafe or the port is taken.
    """
    from perdure_views.gateway.server import GatewayServer, listen

    app = application(client, settings)
    with closing(listen(settings)) as listener:
        server = GatewayServer(app)
        await server.open(listener)
        port = listener.getsockname()[1]
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        try:
            yield f"http://{host}:{port}"
        finally:
            await server.close()


@asynccontextmanager
async def serving_engine(client: Client, settings: Settings) -> AsyncIterator[str]:
    """Serve the embedded log of this process, and its pages and API, on one loopback port.

    Raises LogError when the port is taken.
    """
    from perdure_views.gateway.server import GatewayServer

    server = GatewayServer(application(client, settings))
    await server.open(None)
    try:
        engine = await asyncio.to_thread(
            assembly.serve, client.log, port=settings.port, on_page=server.hand_over
        )
        try:
            yield engine.address
        finally:
            await asyncio.to_thread(engine.close)
    finally:
        await server.close()
