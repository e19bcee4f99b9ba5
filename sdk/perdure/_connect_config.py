"""Connection options under Temporal's names; each says whether it has an effect."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    from perdure.runtime import Runtime

ADDRESSES: Final = "PERDURE_ADDRESSES"
TEMPORAL_PORT: Final = ":7233"


@dataclass(frozen=True)
class TLSConfig:
    """How TLS to a Kafka broker is spoken: certificates and key as PEM bytes.

    domain and verification_server_name are accepted and without effect: a broker is verified by
    the address that it is reached at.

    Example:
        tls = TLSConfig(server_root_ca_cert=Path("ca.pem").read_bytes())
    """

    server_root_ca_cert: bytes | None = None
    domain: str | None = None
    client_cert: bytes | None = None
    client_private_key: bytes | None = None
    verification_server_name: str | None = None


@dataclass(frozen=True)
class RetryConfig:
    """How often a call is tried again: without effect, it is until its own deadline."""

    initial_interval_millis: int = 100
    randomization_factor: float = 0.2
    multiplier: float = 1.5
    max_interval_millis: int = 5000
    max_elapsed_time_millis: int | None = 10000
    max_retries: int = 10


@dataclass(frozen=True)
class KeepAliveConfig:
    """How often a connection is tried: without effect.

    librdkafka keeps its own; an engine's connection has a beat a second.
    """

    interval_millis: int = 30000
    timeout_millis: int = 15000
    default: ClassVar[KeepAliveConfig]


KeepAliveConfig.default = KeepAliveConfig()


@dataclass(frozen=True)
class HttpConnectProxyConfig:
    """A proxy for gRPC: refused, because neither Kafka nor an engine is reached through one."""

    target_host: str
    basic_auth: tuple[str, str] | None = None


@dataclass(frozen=True)
class DnsLoadBalancingConfig:
    """How often names are resolved again: without effect, Kafka's clients know all brokers."""

    resolution_interval_millis: int = 30000
    default: ClassVar[DnsLoadBalancingConfig]


DnsLoadBalancingConfig.default = DnsLoadBalancingConfig()


class GrpcCompression:
    """How gRPC is compressed: without effect. `kafka_config` sets `compression.type` for Kafka."""

    NONE: ClassVar[GrpcCompression]
    GZIP: ClassVar[GrpcCompression]


@dataclass(frozen=True)
class _NoCompression(GrpcCompression):
    pass


@dataclass(frozen=True)
class _GzipGrpcCompression(GrpcCompression):
    pass


GrpcCompression.NONE = _NoCompression()
GrpcCompression.GZIP = _GzipGrpcCompression()


@dataclass(frozen=True)
class PayloadLimitsConfig:
    """From which size on, in bytes, a client logs a warning about what it sends; 0 for never.

    It is a warning only. What cannot be sent at all is refused by the sizes of the topics.
    """

    payloads_warn_size: int = 512 * 1024
    memo_warn_size: int = 2 * 1024


@dataclass
class ConnectConfig:
    """What `ServiceClient.connect` and `Client.connect` are told."""

    target_host: str
    api_key: str | None = None
    tls: bool | TLSConfig | None = None
    retry_config: RetryConfig | None = None
    keep_alive_config: KeepAliveConfig | None = KeepAliveConfig.default
    rpc_metadata: Mapping[str, str | bytes] = field(default_factory=dict)
    identity: str = ""
    lazy: bool = False
    runtime: Runtime | None = None
    http_connect_proxy_config: HttpConnectProxyConfig | None = None
    dns_load_balancing_config: DnsLoadBalancingConfig | None = None
    grpc_compression: GrpcCompression = GrpcCompression.GZIP
    payload_limits: PayloadLimitsConfig = field(default_factory=PayloadLimitsConfig)
    connect_timeout: timedelta | None = None
    """For how long the log may be looked for; the adapter's own time unless given."""


def meant_address(target: str) -> str:
    """The address that a target stands for: itself unless PERDURE_ADDRESSES says otherwise.

    The variable has `name=address` pairs with commas between them; `*` is any other target that is
    at Temporal's own port.

    Raises ValueError for a text that is none of this, and, where Perdure has Temporal's name, for
    an address of Temporal's that stands for nothing.
    """
    named = _pairs(os.environ.get(ADDRESSES, ""))
    if target in named:
        return named[target]
    if not target.endswith(TEMPORAL_PORT):
        return target
    if "*" in named:
        return named["*"]
    if "perdure._alias.finder" in sys.modules:
        raise ValueError(
            f"{target} is where a server of Temporal's listens, and Perdure runs on a log: say what"
            f" it stands for, as in {ADDRESSES}={target}=localhost:9092 (a Kafka broker),"
            f" ={target}=http://127.0.0.1:8080 (an engine) or ={target}=file:./data (a directory)"
        )
    return target


def _pairs(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in filter(None, map(str.strip, text.split(","))):
        name, is_pair, address = pair.partition("=")
        if not is_pair or not name or not address:
            raise ValueError(f"{ADDRESSES} has {pair!r}: write name=address, with commas between")
        found[name.strip()] = address.strip()
    return found
