"""What the engine needs from a log, a table and a clock; adapters fill these in.

Every object here is pulled, never pushed: an adapter gathers what came in on threads of its own
and rings the owner's bell; the owner then takes it on its own thread. So the very same owner runs
on Kafka, on the embedded log and, step by step, in the simulated world.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Headers = tuple[tuple[str, bytes], ...]


class LogError(Exception):
    """The log cannot do what was asked; the message says where, and what to do."""


class LogFullError(LogError):
    """Nothing was queued: the writer's queue is full, or the record too large for its topic."""


class RecordTooLargeError(LogFullError):
    """The record is too large for its topic, now and whenever it is tried again."""


class LogDeniedError(LogError):
    """The log does not serve whoever asks: no token, a bad one, or too small a role."""


class LogForbiddenError(LogError):
    """A right is missing on the broker: asked about another topic it may well answer."""


class LogUnavailableError(LogError):
    """The log cannot be reached: its address, and for how long it was tried."""


class LogDamagedError(LogError):
    """What the log keeps on disk is damaged: trying again does not help."""


class LogEndLostError(LogDamagedError):
    """The log has lost records that it had acknowledged, and there is no other copy of them."""


class PositionLostError(LogError):
    """A reader's position is no longer in the log: retention, truncation or another topic."""


class TopicMismatchError(LogError):
    """A topic exists with settings this engine must refuse; the message names the setting."""


class HeadLostError(LogError):
    """A log begins behind records that are needed; the message says which, and what to do."""


class StoredRecord(NamedTuple):
    """A record as the log holds it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int
    leader_epoch: int = -1


_RECORD_BYTES: Final = 64
"""What a record costs beyond its key and value, roughly."""


def size_of(record: StoredRecord) -> int:
    """What a record takes, roughly, when it is held in memory or on its way."""
    return _RECORD_BYTES + len(record.value or b"") + len(record.key or b"")


DENIED: Final = "denied: "
"""An error of a report that begins so is for ever: whoever appended may not."""
TOO_LARGE: Final = "too large: "
"""An error of a report that begins so is for ever: the topic takes no record of this size."""


class Report(NamedTuple):
    """What became of one append. Without an error but without an offset its fate is unknown."""

    tag: object
    offset: int | None
    timestamp_ms: int
    error: str | None


class Appender(Protocol):
    """One incarnation of a writer. Records to a partition land in the order of the calls.

    Reports come in the order of the calls within a partition. After the first report with an
    error, or without an offset, the owner must close it and open another.
    """

    def append(
        self,
        topic: str,
        partition: int,
        value: bytes,
        *,
        key: bytes | None = None,
        headers: Headers = (),
        tag: object = None,
    ) -> None:
        """Queue a record. Raises LogFullError when nothing was queued."""

    def reports(self) -> list[Report]:
        """Take the reports that have come in."""

    def close(self, *, flush_s: float = 0.0) -> None:
        """End this incarnation: wait so long for what is queued, then purge the rest."""


class EndProbe(Protocol):
    """A question to the log for the ends of a partition, asked at a known moment.

    It has three answers: offsets, which are never negative; None while it is under way; and
    LogError, raised when the log could not say. Then nothing is known: whoever asked asks again,
    and does nothing in between that an answer could forbid.
    """

    def end(self) -> int | None:
        """The offset after all that was appended, once answered; None until then.

        What a transaction that is still open hides counts, too: a reader's position passes it
        when that has ended. Raises LogError when the log could not answer.
        """

    def span(self) -> tuple[int, int] | None:
        """The first offset that is still there and the end, once answered; None until then.

        Raises LogError when the log could not answer.
        """


class Tail(Protocol):
    """A reader of partitions that somebody assigned by hand, from offsets of their choice."""

    def assign(self, topic: str, partition: int, offset: int) -> None:
        """Read a partition from an offset on; also moves a partition already read."""

    def unassign(self, topic: str, partition: int) -> None:
        """Stop reading a partition and forget what was fetched of it."""

    def take(self, topic: str, partition: int, records_max: int) -> list[StoredRecord]:
        """Take what has come in, in order.

        Raises PositionLostError when the position is not in the log any more.
        """

    def position(self, topic: str, partition: int) -> int:
        """Below this offset everything was taken, or is nothing that is ever given out.

        Such are the marks that transactions leave, and what was rolled back. -1: not assigned.
        """

    def ready(self) -> list[tuple[str, int]]:
        """The (topic, partition)s that got news since this was last asked."""

    def probe_end(self, topic: str, partition: int) -> EndProbe:
        """Ask the log where a partition ends now, without waiting for the answer."""

    def close(self) -> None:
        """Stop reading."""


class Change(NamedTuple):
    """What a group says of a partition: assigned, revoked (with notice) or lost (without)."""

    kind: str
    partition: int


class Member(Protocol):
    """Membership of a consumer group; it suggests who owns what and reads nothing.

    It depends on its owner's turns: where other processes could go on, a member whose changes
    nobody takes any more leaves the group within half a minute.
    """

    def changes(self) -> list[Change]:
        """Take the changes that have come in, at every turn: this is what keeps a member one."""

    def release(self, partition: int) -> None:
        """Say that a revoked partition is let go of; the group waits a second at most for it."""

    def commit(self, partition: int, offset: int) -> None:
        """Commit a position, for lag tools only."""

    def close(self) -> None:
        """Leave the group."""


class GroupReader(Protocol):
    """A consumer group member that reads the partitions it is given: how workers take tasks."""

    def changes(self) -> list[Change]:
        """Take the changes of assignment that have come in."""

    def take(self, records_max: int) -> list[StoredRecord]:
        """Take what has come in, over all its partitions."""

    def redelivery_end(self, partition: int) -> int:
        """The partition's end as seen when it was assigned; below it a record may come again."""

    def commit(self, partition: int, offset: int) -> None:
        """Commit the offset after the last record that is done with."""

    def pause(self, partition: int) -> None:
        """Take nothing from a partition until it is resumed."""

    def resume(self, partition: int) -> None:
        """Take from a partition again."""

    def release(self, partition: int) -> None:
        """Say that a revoked partition is let go of."""

    def close(self) -> None:
        """Commit and leave the group."""


class TopicInfo(NamedTuple):
    """What the log says of a topic."""

    name: str
    topic_id: str
    partitions: int
    replication: int
    settings: dict[str, str]


class TopicSpec(NamedTuple):
    """A topic to be made."""

    name: str
    partitions: int
    replication: int
    settings: dict[str, str]


class Log(Protocol):
    """A partitioned, append-only log. `on_ready` is rung from any thread when there is news."""

    @property
    def address(self) -> str:
        """Where this log is, for messages to people."""

    @property
    def cluster_id(self) -> str:
        """Which log this is; tables of another are wiped."""

    @property
    def has_one_copy(self) -> bool:
        """Whether this is on one disk: a table ahead of it is the only witness of what is lost."""

    def topic(self, name: str) -> TopicInfo | None:
        """What the log says of a topic, None when there is none.

        Raises LogUnavailableError when the log cannot be reached.
        """

    def topic_names(self) -> list[str]:
        """The names of all topics."""

    def create_topics(self, specs: Sequence[TopicSpec]) -> None:
        """Make topics that do not exist. Raises LogError when one cannot be made."""

    def offsets(self, topic: str, partition: int) -> tuple[int, int]:
        """The first offset of a partition that is still there, and the one after its last.

        Raises LogUnavailableError when the log cannot be reached.
        """

    def group_members(self, group: str) -> int:
        """How many members a consumer group has now.

        Raises LogUnavailableError when the log cannot be reached.
        """

    def broker_count(self) -> int:
        """How many brokers hold this log."""

    def appender(self, *, on_ready: Callable[[], None], timeout_ms: int = 30_000) -> Appender:
        """Open a writer incarnation. A timeout of 0 tries for ever."""

    def tail(self, *, on_ready: Callable[[], None], committed: bool) -> Tail:
        """Open a reader of hand-assigned partitions; committed hides foreign open transactions."""

    def member(self, group: str, topic: str, *, on_ready: Callable[[], None]) -> Member:
        """Join a consumer group for its assignments only."""

    def group_reader(self, group: str, topic: str, *, on_ready: Callable[[], None]) -> GroupReader:
        """Join a consumer group and read what it assigns, from the earliest when it is new."""

    def delete_before(self, topic: str, partition: int, offset: int) -> None:
        """Delete the records below an offset. Raises LogError when that is refused."""

    def close(self) -> None:
        """Let go of the log; what was opened from it must be closed before."""


class TableSnapshot(Protocol):
    """A table as it was at one moment, whatever is written to it since."""

    def scan(self, start: bytes, end: bytes, *, limit: int) -> list[tuple[bytes, bytes]]:
        """Some keys from start up to but not including end, in order, with their values.

        Raises TableError when the table is not open any more.
        """

    def close(self) -> None:
        """Let go of it."""


class Table(Protocol):
    """A sorted store of one partition's state: a cache of the log, written in batches."""

    def get(self, key: bytes) -> bytes | None:
        """The value of a key."""

    def scan(
        self, start: bytes, end: bytes, *, reverse: bool = False, limit: int | None = None
    ) -> Iterable[tuple[bytes, bytes]]:
        """The keys from start up to but not including end, in order, with their values."""

    def write(self, puts: Iterable[tuple[bytes, bytes]], deletes: Iterable[bytes]) -> None:
        """Write all or nothing. Raises TableFullError when the disk is full."""

    def size_bytes(self) -> int:
        """How much room the table takes on disk."""

    def snapshot(self) -> TableSnapshot:
        """The table as it is now; to be closed when it is not needed any more."""

    def checkpoint(self, directory: str) -> None:
        """Write a consistent copy into a directory that does not exist yet."""

    def close(self) -> None:
        """Close the table; another may open it from now on."""


class TableError(Exception):
    """A table that cannot be opened or written."""


class TableBusyError(TableError):
    """Another holds the table open: it is tried again, never wiped."""


class TableDamagedError(TableError):
    """What the table's files hold is not what was written: it is made anew from the log."""


class TableFullError(TableError):
    """The state disk is full; the table takes nothing until there is space and it is reopened."""


class TableStore(Protocol):
    """Where the tables of this process live."""

    def open(self, name: str) -> Table:
        """Open or make a table. Raises TableError when it is damaged or another holds it."""

    def wipe(self, name: str) -> None:
        """Delete a table that is closed."""

    def install(self, name: str, directory: str) -> None:
        """Replace a closed table by a checkpoint. Raises TableError when it is no valid one."""

    def close(self) -> None:
        """Let others have the place; the tables must be closed before."""


class Clock(Protocol):
    """Time, as a port, so that simulations turn it by hand."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970."""

    def monotonic_ms(self) -> int:
        """Milliseconds that never go back."""
