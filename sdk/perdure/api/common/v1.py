"""Payloads and what else code names by this path: plain classes with the fields of protobuf's."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta


@dataclass
class Payload:
    """A user value as bytes; its metadata names the encoding."""

    metadata: dict[str, bytes] = field(default_factory=dict)
    data: bytes = b""

    def CopyFrom(self, other: Payload) -> None:  # noqa: N802 - protobuf's name
        """Become a copy of another payload."""
        self.metadata = dict(other.metadata)
        self.data = other.data


@dataclass
class Payloads:
    """Several payloads in order."""

    payloads: list[Payload] = field(default_factory=list)


@dataclass
class GrpcStatus:
    """Why a call failed, as gRPC's services say it."""

    code: int = 0
    message: str = ""
    details: list[bytes] = field(default_factory=list)


@dataclass
class Duration:
    """A length of time, as protobuf's messages have it."""

    seconds: int = 0
    nanos: int = 0

    def FromTimedelta(self, given: timedelta) -> None:  # noqa: N802 - protobuf's name
        """Become a length of time."""
        microseconds = given // timedelta(microseconds=1)
        self.seconds, rest = divmod(microseconds, 1_000_000)
        self.nanos = rest * 1000

    def ToTimedelta(self) -> timedelta:  # noqa: N802 - protobuf's name
        """The length of time; less than a microsecond is left off."""
        return timedelta(seconds=self.seconds, microseconds=self.nanos // 1000)


@dataclass
class RetryPolicy:
    """How an activity or a workflow is retried, as protobuf's message has it."""

    initial_interval: Duration = field(default_factory=Duration)
    backoff_coefficient: float = 0.0
    maximum_interval: Duration = field(default_factory=Duration)
    maximum_attempts: int = 0
    non_retryable_error_types: list[str] = field(default_factory=list)


@dataclass
class SearchAttributes:
    """Search attributes by their names, as protobuf's message has them."""

    indexed_fields: dict[str, Payload] = field(default_factory=dict)
