"""The port by which records reach topics of users: together with how far their source was read."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from perdure_topics.ports import LogError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NOTE_BYTES_MAX = 500_000
"""So long may a mark's note be: it is a record."""
OFFSET_NOTE_BYTES_MAX = 4_000
"""Of a mark that a group's offset holds as well: brokers keep 4,096 bytes with it."""


class Emission(NamedTuple):
    """A record for a topic of a user's."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes]
    partition: int
    """-1: by the key."""


class Mark(NamedTuple):
    """How far a partition has been read, and what its reader needs to go on from there."""

    topic: str
    partition: int
    next_offset: int
    note: str
    behind: Mapping[str, str] = {}
    """The targets that are behind and why, for people to read."""


class PublishError(LogError):
    """Nothing was published, or it is not known: begin again from the marks."""


class RefusedError(PublishError):
    """Nothing was published, because of one of the records."""

    def __init__(self, message: str, *, index: int, is_final: bool) -> None:
        super().__init__(message)
        self.index = index
        """Which of the records."""
        self.is_final = is_final
        """Whether it is the record that cannot be taken, and others of its topic can."""


class FencedError(LogError):
    """Another publisher of this name has begun: this one is over."""


class Publisher(Protocol):
    """Publishes records and marks as one step, for readers of committed records."""

    def begin(self, places: Sequence[tuple[str, int]]) -> list[Mark]:
        """Make sure of all that was published before; the marks that there are of partitions.

        Of one partition there may be several, by other releases: the furthest that can be read is
        the one that holds.

        Raises FencedError, LogUnavailableError, or LogError for what is not allowed.
        """

    def publish(self, emissions: Sequence[Emission], marks: Sequence[Mark]) -> None:
        """Publish all of it or nothing. Raises PublishError, FencedError or LogError."""

    def close(self) -> None:
        """Let go; what was not published is not."""
