"""The connection that clients of one or several namespaces share, and how it is made."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import socket
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final, Self

from perdure import _assembly as assembly
from perdure._connect_config import ConnectConfig, TLSConfig, meant_address
from perdure._records.rpc_errors import RPCError, RPCStatusCode
from perdure.client._connection import Connection, seconds, unavailable
from perdure_topics.engine_keys import NO_KEYS, EngineKeys
from perdure_topics.ports import Log, LogError

logger = logging.getLogger(__name__)
ENGINE_KEYS: Final = "PERDURE_ENGINE_KEYS"
API_KEY: Final = "PERDURE_API_KEY"
KafkaConfig = str | os.PathLike[str] | Mapping[str, str]


class ServiceClient:
    """A connection to a log. Make one with `await ServiceClient.connect(...)`, clients of it.

    Example:
        service = await ServiceClient.connect(ConnectConfig("localhost:9092"))
        billing, mail = (Client(service, namespace=name) for name in ("billing", "mail"))
    """

    def __init__(self, config: ConnectConfig, connection: Connection) -> None:
        self.config = config
        self._connection = connection
        self._others: dict[str, Connection] = {}

    @classmethod
    async def connect(
        cls,
        config: ConnectConfig,
        *,
        namespace: str = "default",
        kafka_config: KafkaConfig | None = None,
        engine_keys: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Connect to the log at `config.target_host`; see `Client.connect`.

        The namespace is the one that is looked for at once, unless it is lazy. The file of
        engine_keys, or that which PERDURE_ENGINE_KEYS names, is for hosts, and for clients that
        complete activities by ids.

        Raises RPCError when it cannot be reached, ValueError when the target is no target or a
        setting cannot be used.
        """
        keys = _engine_keys(engine_keys)
        config = dataclasses.replace(config, target_host=meant_address(config.target_host))
        log, close_log = await _opened(config, kafka_config)
        identity = config.identity or f"{os.getpid()}@{socket.gethostname()}"
        connection = Connection(log, namespace=namespace, identity=identity, close_log=close_log)
        connection.limits = config.payload_limits
        connection.engine_keys = keys
        if not config.lazy:
            try:
                await connection.prepare()
            except BaseException:
                await connection.close()
                raise
        return cls(config, connection)

    def connection_in(self, namespace: str) -> Connection:
        """The connection of a namespace; all of them share the log."""
        if namespace == self._connection.namespace:
            return self._connection
        if namespace not in self._others:
            self._others[namespace] = self._connection.in_namespace(namespace)
        return self._others[namespace]

    async def check_health(
        self,
        *,
        service: str = "",
        retry: bool = False,
        metadata: Mapping[str, str | bytes] | None = None,
        timeout: timedelta | None = None,
    ) -> bool:
        """Whether the log answers. Raises RPCError when it does not, or not in time."""
        try:
            async with asyncio.timeout(seconds(timeout)):
                await asyncio.to_thread(self._connection.log.topic_names)
        except LogError as error:
            raise unavailable("asking for the log's health", error) from error
        except TimeoutError:
            message = f"the log at {self._connection.log.address} did not answer in time"
            raise RPCError(message, RPCStatusCode.DEADLINE_EXCEEDED) from None
        return True

    def update_api_key(self, api_key: str | None) -> None:
        """Use another token where a gateway asks for one, from its next connection on."""
        self.config.api_key = api_key
        use = getattr(self._connection.log, "use_api_key", None)
        if use is not None:
            use(api_key or "")

    def update_rpc_metadata(self, metadata: Mapping[str, str | bytes]) -> None:
        """Keep the metadata; without effect, because no gRPC call carries it."""
        self.config.rpc_metadata = metadata

    @property
    def worker_service_client(self) -> ServiceClient:
        """What workers connect through: the same."""
        return self


def _engine_keys(path: str | os.PathLike[str] | None) -> EngineKeys:
    """The engine's keys from a file. Raises ValueError for one that cannot be used."""
    named = path or os.environ.get(ENGINE_KEYS)
    if not named:
        return NO_KEYS
    try:
        return EngineKeys.of_file(Path(named))
    except OSError as error:
        raise ValueError(f"the engine's keys ({ENGINE_KEYS}) cannot be read: {error}") from error


async def _opened(
    config: ConnectConfig, kafka_config: KafkaConfig | None
) -> tuple[Log, Callable[[], None]]:
    if config.http_connect_proxy_config is not None:
        raise ValueError(
            "http_connect_proxy_config: neither Kafka nor an engine is reached through a proxy"
        )
    limit = config.connect_timeout
    try:
        async with asyncio.timeout(None if limit is None else limit.total_seconds()):
            return await asyncio.to_thread(
                assembly.open_log,
                config.target_host,
                settings=_kafka_settings(kafka_config, config.tls),
                api_key=config.api_key or os.environ.get(API_KEY, ""),
            )
    except LogError as error:
        raise unavailable("connecting", error) from error
    except TimeoutError:
        message = f"connecting to {config.target_host} took longer than {limit}"
        raise RPCError(message, RPCStatusCode.UNAVAILABLE) from None


def _kafka_settings(
    kafka_config: str | os.PathLike[str] | Mapping[str, str] | None,
    tls: bool | TLSConfig | None,  # noqa: FBT001 - Temporal's keyword
) -> dict[str, str] | None:
    """Librdkafka's settings of the way; None leaves them to file and environment.

    Raises ValueError for a file or a setting that cannot be used.
    """
    if kafka_config is None and not tls:
        return None
    from perdure_topics.kafka.access import access_settings, checked_settings

    if isinstance(kafka_config, Mapping):
        settings = checked_settings(kafka_config, "kafka_config")
    else:
        settings = access_settings(kafka_config)
    if tls:
        settings |= _tls_settings(settings, tls if isinstance(tls, TLSConfig) else TLSConfig())
    return settings


def _tls_settings(settings: Mapping[str, str], tls: TLSConfig) -> dict[str, str]:
    """What TLS adds: the protocol, keeping SASL where it is spoken, and the certificates."""
    is_sasl = settings.get("security.protocol", "").upper().startswith("SASL")
    pems = {
        "ssl.ca.pem": tls.server_root_ca_cert,
        "ssl.certificate.pem": tls.client_cert,
        "ssl.key.pem": tls.client_private_key,
    }
    found = {name: pem.decode() for name, pem in pems.items() if pem is not None}
    return {"security.protocol": "SASL_SSL" if is_sasl else "SSL", **found}
