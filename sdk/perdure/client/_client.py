"""The client itself: connected to a log, it starts workflows, and asks and tells running ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Self

from perdure._connect_config import (
    ConnectConfig,
    DnsLoadBalancingConfig,
    GrpcCompression,
    HttpConnectProxyConfig,
    KeepAliveConfig,
    PayloadLimitsConfig,
    RetryConfig,
    TLSConfig,
)
from perdure.client._activity_access import ReachesActivities
from perdure.client._async_activity import AsyncActivitiesClient
from perdure.client._config import ClientConfig
from perdure.client._connection import Connection
from perdure.client._contexts import ConvertsValues
from perdure.client._handle import HandlesClient, Interceptor, OutboundInterceptor
from perdure.client._handle_getters import GetsHandles
from perdure.client._lists import ListsWorkflows
from perdure.client._message_inputs import AwaitUpdateInput
from perdure.client._outbound import LogOutbound
from perdure.client._schedule_calls import MakesSchedules
from perdure.client._schedule_handle import SchedulesClient
from perdure.client._service_client import KafkaConfig, OnService, ServiceClient
from perdure.client._start_workflow import StartsWorkflows
from perdure.client._update_with_start import UpdatesWithStart
from perdure.common import HeaderCodecBehavior, QueryRejectCondition
from perdure.converter import DataConverter, edge_of, records_converter
from perdure.runtime import Runtime
from perdure_actors.definitions.payload_codecs import Edge
from perdure_schemas.replies import UpdateAnswer
from perdure_topics.ports import Log


class Client(
    OnService,
    ConvertsValues,
    GetsHandles,
    ListsWorkflows,
    MakesSchedules,
    StartsWorkflows,
    UpdatesWithStart,
    ReachesActivities,
):
    """Speaks to the workflows of a namespace. Make one with `await Client.connect(...)`."""

    def __init__(
        self,
        service_client: ServiceClient | Connection,
        *,
        namespace: str = "default",
        data_converter: DataConverter = DataConverter.default,
        interceptors: Sequence[Interceptor] = (),
        default_workflow_query_reject_condition: QueryRejectCondition | None = None,
        header_codec_behavior: HeaderCodecBehavior = HeaderCodecBehavior.NO_CODEC,
    ) -> None:
        """A client of a namespace on a log that is connected to."""
        if isinstance(service_client, Connection):
            # Tests and the gateway have one; its namespace is said with it.
            config = ConnectConfig(service_client.log.address)
            namespace = service_client.namespace
            service_client = ServiceClient(config, service_client)
        self._service_client = service_client
        self._query_reject_condition = default_workflow_query_reject_condition
        connection = service_client.connection_in(namespace)
        edge = edge_of(data_converter, headers=header_codec_behavior == HeaderCodecBehavior.CODEC)
        connection = self._connection = connection.through(edge)
        self._header_codec_behavior = header_codec_behavior
        self._data_converter = data_converter
        self._values = records_converter(data_converter)
        self._interceptors = tuple(interceptors)
        self._log_outbound = LogOutbound(self, connection)
        outbound: OutboundInterceptor = self._log_outbound
        for interceptor in reversed(self._interceptors):
            outbound = interceptor.intercept_client(outbound)
        self._outbound = outbound

    def _for_schedules(self) -> SchedulesClient:
        return self

    def _for_async_activities(self) -> AsyncActivitiesClient:
        return self

    @classmethod
    async def connect(
        cls,
        target_host: str,
        *,
        namespace: str = "default",
        data_converter: DataConverter = DataConverter.default,
        interceptors: Sequence[Interceptor] = (),
        default_workflow_query_reject_condition: QueryRejectCondition | None = None,
        tls: bool | TLSConfig | None = None,
        kafka_config: KafkaConfig | None = None,
        api_key: str | None = None,
        retry_config: RetryConfig | None = None,
        keep_alive_config: KeepAliveConfig | None = KeepAliveConfig.default,
        rpc_metadata: Mapping[str, str | bytes] | None = None,
        identity: str | None = None,
        lazy: bool = False,
        runtime: Runtime | None = None,
        http_connect_proxy_config: HttpConnectProxyConfig | None = None,
        dns_load_balancing_config: DnsLoadBalancingConfig | None = None,
        grpc_compression: GrpcCompression = GrpcCompression.GZIP,
        payload_limits: PayloadLimitsConfig = PayloadLimitsConfig(),  # noqa: B008 - frozen
        connect_timeout: timedelta | None = None,
        header_codec_behavior: HeaderCodecBehavior = HeaderCodecBehavior.NO_CODEC,
    ) -> Self:
        """Connect to a log: "localhost:9092", "http://127.0.0.1:8080" or "file:./data".

        With lazy, the log is not looked for before the first call. How a Kafka broker is reached
        says kafka_config: a file, or librdkafka's settings of TLS and SASL; without it the file
        that PERDURE_KAFKA_CONFIG names and the variables PERDURE_KAFKA_... hold. tls adds to that.
        Above the sizes of payload_limits it warns in the log. Queries are refused in the states of
        default_workflow_query_reject_condition. Without effect are what is about gRPC
        (retry_config, keep_alive_config, rpc_metadata, dns_load_balancing_config,
        grpc_compression), and a runtime: it set the process up when it was made.
        The key is the token of a gateway that asks who one is; without one, PERDURE_API_KEY.

        Raises RPCError when it cannot be reached, ValueError when the target is none of these or
        a setting cannot be used.

        Example:
            client = await Client.connect("kafka:9093", kafka_config="/etc/perdure/kafka.toml")
        """
        # fmt: off
        config = ConnectConfig(
            target_host, api_key, tls, retry_config, keep_alive_config, rpc_metadata or {},
            identity or "", lazy, runtime, http_connect_proxy_config, dns_load_balancing_config,
            grpc_compression, payload_limits, connect_timeout,
        )
        # fmt: on
        return cls(
            await ServiceClient.connect(config, namespace=namespace, kafka_config=kafka_config),
            namespace=namespace,
            data_converter=data_converter,
            interceptors=interceptors,
            default_workflow_query_reject_condition=default_workflow_query_reject_condition,
            header_codec_behavior=header_codec_behavior,
        )

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
    def worker_edge(self) -> Edge | None:
        """What the payloads of this client's workers go through."""
        behavior = self._header_codec_behavior
        return edge_of(self._data_converter, headers=behavior != HeaderCodecBehavior.NO_CODEC)

    @property
    def log(self) -> Log:
        """The log that this client speaks to."""
        return self._connection.log

    @property
    def connection(self) -> Connection:
        """The client's side of the log."""
        return self._connection

    @property
    def outbound(self) -> OutboundInterceptor:
        """The first link of the chain that calls go through."""
        return self._outbound

    async def await_update(self, input: AwaitUpdateInput) -> UpdateAnswer:
        """Wait for the outcome of an update."""
        return await self._log_outbound.await_update(input)

    def _self(self) -> HandlesClient:
        return self

    def _chain(self) -> OutboundInterceptor:
        return self._outbound

    def config(self) -> ClientConfig:
        """What this client was made with; `Client(**config)` makes another on its connection.

        Example:
            other = Client(**{**client.config(), "interceptors": [MyInterceptor()]})
        """
        return ClientConfig(
            service_client=self._service_client,
            namespace=self.namespace,
            data_converter=self._data_converter,
            interceptors=self._interceptors,
            default_workflow_query_reject_condition=self._query_reject_condition,
            header_codec_behavior=self._header_codec_behavior,
        )
