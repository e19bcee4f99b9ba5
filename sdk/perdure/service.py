"""Connections and errors of calls, under Temporal's names. Names only."""

from __future__ import annotations

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
from perdure._records.rpc_errors import RPCError, RPCStatusCode
from perdure.client._service_client import ServiceClient

LOG_PROTOS = False
"""Whether gRPC's messages would be logged: without effect, because there are none."""

__all__ = [
    "LOG_PROTOS",
    "ConnectConfig",
    "DnsLoadBalancingConfig",
    "GrpcCompression",
    "HttpConnectProxyConfig",
    "KeepAliveConfig",
    "PayloadLimitsConfig",
    "RPCError",
    "RPCStatusCode",
    "RetryConfig",
    "ServiceClient",
    "TLSConfig",
]
