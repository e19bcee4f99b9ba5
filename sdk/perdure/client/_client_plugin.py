"""Plugins of clients, and the arguments of a client that they may change."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypedDict

from perdure._connect_config import ConnectConfig
from perdure.client._interceptors import Interceptor
from perdure.client._service_client import ServiceClient
from perdure.common import HeaderCodecBehavior, QueryRejectCondition
from perdure.converter import DataConverter

Connect = Callable[[ConnectConfig], Awaitable[ServiceClient]]


class Plugin(ABC):
    """What has a say in how clients are connected and made: `Client.connect(..., plugins=[...])`.

    One that is a `perdure.worker.Plugin` as well is a plugin of the client's workers too; give it
    to the client alone then. `perdure.plugin.SimplePlugin` is both, and enough for most.

    Example:
        class Traced(client.Plugin):
            def configure_client(self, config: ClientConfig) -> ClientConfig:
                config["interceptors"] = [*config["interceptors"], TracingInterceptor()]
                return config

            async def connect_service_client(self, config, next):
                return await next(config)
    """

    def name(self) -> str:
        """What it is called in messages: the full name of its class unless overridden."""
        return f"{type(self).__module__}.{type(self).__qualname__}"

    @abstractmethod
    def configure_client(self, config: ClientConfig) -> ClientConfig:
        """The arguments that a client is to be made with, given those it would be made with.

        The first of several plugins is asked first; each gets what the one before it returned.
        """

    @abstractmethod
    async def connect_service_client(self, config: ConnectConfig, next: Connect) -> ServiceClient:
        """Connect, by calling next with the config or another one. The first plugin is outermost.

        Only `Client.connect` and the starts of test environments come here.
        """


class ClientConfig(TypedDict, total=False):
    """The arguments of a client."""

    service_client: ServiceClient
    namespace: str
    data_converter: DataConverter
    plugins: Sequence[Plugin]
    interceptors: Sequence[Interceptor]
    default_workflow_query_reject_condition: QueryRejectCondition | None
    header_codec_behavior: HeaderCodecBehavior


def configured(config: ClientConfig, plugins: Iterable[Plugin]) -> ClientConfig:
    """The arguments after all plugins. Raises TypeError for what is no plugin, or returns none."""
    changed = config.copy()
    for plugin in plugins:
        if not isinstance(plugin, Plugin):
            raise TypeError(
                f"plugins: {plugin!r} is no perdure.client.Plugin; give those of workers to Worker"
            )
        changed = plugin.configure_client(changed)
        if not isinstance(changed, dict):
            raise TypeError(
                f"configure_client of the plugin {plugin.name()} returned {changed!r}: return the"
                " config that it was given, changed or not"
            )
    return changed


def connecting(connect: Connect, plugins: Sequence[Plugin]) -> Connect:
    """The way to connect through all plugins, the first of them outermost."""

    def around(plugin: Plugin, inner: Connect) -> Connect:
        # By position: a plugin may call its parameter what it likes.
        return lambda config: plugin.connect_service_client(config, inner)

    for plugin in reversed(plugins):
        if isinstance(plugin, Plugin):
            connect = around(plugin, connect)
    return connect
