"""Errors of a call that reached no better one: their status codes and what is said about them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from perdure.exceptions import PerdureError


class RPCStatusCode(IntEnum):
    """Why a call failed, in the numbers that gRPC made common."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class RPCError(PerdureError):
    """A call failed, and no more telling error fits."""

    def __init__(self, message: str, status: RPCStatusCode, raw_grpc_status: bytes = b"") -> None:
        super().__init__(message)
        self._message = message
        self._status = status
        self._raw_grpc_status = raw_grpc_status

    @property
    def message(self) -> str:
        """What happened, where, and what to do."""
        return self._message

    @property
    def status(self) -> RPCStatusCode:
        """Why the call failed."""
        return self._status

    @property
    def raw_grpc_status(self) -> bytes:
        """Empty: no gRPC is spoken here."""
        return self._raw_grpc_status


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
