"""RPCError and its status codes."""

from __future__ import annotations

from enum import IntEnum

from perdure.api.common.v1 import GrpcStatus
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

    __module__ = "perdure.service"

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

    @property
    def grpc_status(self) -> GrpcStatus:
        """The same as a record: code and message, and no details."""
        return GrpcStatus(code=int(self._status), message=self._message)
