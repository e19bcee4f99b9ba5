"""What a client was made with: its connection, converters, plugins and interceptors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from perdure._connect_config import ConnectConfig
from perdure.client._client_plugin import ClientConfig, Plugin, configured
from perdure.client._connection import Connection
from perdure.client._interceptors import Interceptor, OutboundInterceptor
from perdure.client._outbound import LogOutbound
from perdure.client._service_client import ServiceClient
from perdure.common import HeaderCodecBehavior, QueryRejectCondition
from perdure.converter import DataConverter, codecs_of, records_converter
from perdure_actors.definitions.payload_codecs import PayloadCodecs
from perdure_actors.replay.contexts import for_workflow
from perdure_schemas.converters import PayloadConverter
from perdure_topics.ports import Log


class ConfiguredClient:
    """A client without its calls."""

    def __init__(
        self,
        service_client: ServiceClient | Connection,
        *,
        namespace: str = "default",
        data_converter: DataConverter = DataConverter.default,
        plugins: Sequence[Plugin] = (),
        interceptors: Sequence[Interceptor] = (),
        default_workflow_query_reject_condition: QueryRejectCondition | None = None,
        header_codec_behavior: HeaderCodecBehavior = HeaderCodecBehavior.NO_CODEC,
    ) -> None:
        """A client on a connection; one of a Connection is in the namespace of that.

        Raises TypeError for a plugin that is none.
        """
        if isinstance(service_client, Connection):
            address, namespace = service_client.log.address, service_client.namespace
            service_client = ServiceClient(ConnectConfig(address), service_client)
        self._given = ClientConfig(
            service_client=service_client,
            namespace=namespace,
            data_converter=data_converter,
            plugins=tuple(plugins),
            interceptors=tuple(interceptors),
            default_workflow_query_reject_condition=default_workflow_query_reject_condition,
            header_codec_behavior=header_codec_behavior,
        )
        self._set_up(configured(self._given, plugins))

    def _set_up(self, config: ClientConfig) -> None:
        """Be what the arguments say, which plugins may have changed or left out."""
        config = cast("ClientConfig", {**self._given, **config})
        self._config, data_converter = config, config["data_converter"]
        self._service_client = config["service_client"]
        self._query_reject_condition = config["default_workflow_query_reject_condition"]
        self._header_codec_behavior = config["header_codec_behavior"]
        connection = self._service_client.connection_in(config["namespace"])
        in_headers = self._header_codec_behavior == HeaderCodecBehavior.CODEC
        connection = connection.through(codecs_of(data_converter, headers=in_headers))
        self._connection = connection
        self._data_converter = data_converter
        self._values = records_converter(data_converter)
        self._interceptors = tuple(config["interceptors"])
        outbound: OutboundInterceptor = LogOutbound(self, connection)
        for interceptor in reversed(self._interceptors):
            outbound = interceptor.intercept_client(outbound)
        self._outbound = outbound

    async def close(self) -> None:
        """Let go of the log. A client that is not closed is so when it is forgotten."""
        await self._connection.close()

    @property
    def namespace(self) -> str:
        """The namespace of all calls."""
        return self._connection.namespace

    @property
    def identity(self) -> str:
        """Who the calls say they come from."""
        return self._connection.identity

    @property
    def data_converter(self) -> DataConverter:
        """What reads and writes the values of users."""
        return self._data_converter

    @property
    def query_reject_condition(self) -> QueryRejectCondition | None:
        """In which states queries are refused unless they say otherwise."""
        return self._query_reject_condition

    @property
    def interceptors(self) -> Sequence[Interceptor]:
        """What the client was given to go through; a worker takes those that fit it from here."""
        return self._interceptors

    @property
    def worker_codecs(self) -> PayloadCodecs | None:
        """What the payloads of this client's workers go through."""
        behavior = self._header_codec_behavior
        return codecs_of(self._data_converter, headers=behavior != HeaderCodecBehavior.NO_CODEC)

    @property
    def log(self) -> Log:
        """The log that this client speaks to."""
        return self._connection.log

    @property
    def connection(self) -> Connection:
        """The client's connection to the log."""
        return self._connection

    @property
    def outbound(self) -> OutboundInterceptor:
        """The first link of the chain that calls go through."""
        return self._outbound

    @property
    def values(self) -> PayloadConverter:
        """The data converter in no context."""
        return self._values

    def values_for(self, workflow_id: str) -> PayloadConverter:
        """The same for what a workflow is told, or tells."""
        return for_workflow(self._values, self._connection.namespace, workflow_id)

    @property
    def service_client(self) -> ServiceClient:
        """The connection, for other clients on it."""
        return self._service_client

    @property
    def api_key(self) -> str | None:
        """The token for a gateway that asks; another one counts from the next connection on."""
        return self._service_client.config.api_key

    @api_key.setter
    def api_key(self, value: str | None) -> None:
        self._service_client.update_api_key(value)

    @property
    def rpc_metadata(self) -> Mapping[str, str | bytes]:
        """What was given; without effect, because no gRPC call carries it."""
        return self._service_client.config.rpc_metadata

    @rpc_metadata.setter
    def rpc_metadata(self, value: Mapping[str, str | bytes]) -> None:
        self._service_client.update_rpc_metadata(value)

    def config(self, *, active_config: bool = False) -> ClientConfig:
        """What this client was made with; `Client(**config)` makes another on its connection.

        That is before its plugins changed it, as they will for the other one too; with
        active_config it is what they made of it.

        Example:
            other = Client(**{**client.config(), "interceptors": [MyInterceptor()]})
        """
        config = (self._config if active_config else self._given).copy()
        config["namespace"] = self.namespace
        config["interceptors"] = list(config["interceptors"])
        return config
