"""The payloads that a user's converter makes and reads: plain classes with Temporal's fields."""

from __future__ import annotations

from dataclasses import dataclass, field


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
