"""The readers' side of the embedded log: tails, and the members of consumer groups."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING

from perdure_topics.ports import Change, LogError, PositionLostError, StoredRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure_topics.embedded.groups import Group
    from perdure_topics.embedded.partition import EmbeddedPartition
    from perdure_topics.embedded.store import EmbeddedStore

_LOG = logging.getLogger(__name__)


class KnownEnd:
    """The answer to a probe that was known when it was asked."""

    def __init__(self, start: int, end: int) -> None:
        self._span = (start, end)

    def end(self) -> int | None:
        """The offset after all that was appended."""
        return self._span[1]

    def span(self) -> tuple[int, int] | None:
        """The first offset that is still there, and the end."""
        return self._span


class EmbeddedTail:
    """A reader of hand-assigned partitions of the embedded log."""

    def __init__(
        self,
        store: EmbeddedStore,
        place: Callable[[str, int], EmbeddedPartition],
        *,
        on_ready: Callable[[], None],
    ) -> None:
        self._store = store
        self._place = place
        self._on_ready = on_ready
        self._offsets: dict[tuple[str, int], int] = {}

    def assign(self, topic: str, partition: int, offset: int) -> None:
        """Read a partition from an offset on; also moves a partition already read."""
        found = self._place(topic, partition)
        if (topic, partition) not in self._offsets:
            found.add_listener(self._on_ready)
        self._offsets[topic, partition] = offset
        if offset != found.end:
            self._on_ready()

    def unassign(self, topic: str, partition: int) -> None:
        """Stop reading a partition."""
        if self._offsets.pop((topic, partition), None) is not None:
            self._place(topic, partition).remove_listener(self._on_ready)

    def take(self, topic: str, partition: int, records_max: int) -> list[StoredRecord]:
        """Take what has come in, in order.

        Raises PositionLostError when the position is not in the log any more.
        """
        offset = self._offsets.get((topic, partition))
        if offset is None:
            return []
        found = self._place(topic, partition)
        records = found.read(self._store, offset, records_max)
        if records:
            offset += len(records)
            self._offsets[topic, partition] = offset
            if offset < found.end:
                self._on_ready()
        return records

    def position(self, topic: str, partition: int) -> int:
        """Below this offset everything was taken."""
        return self._offsets.get((topic, partition), -1)

    def ready(self) -> list[tuple[str, int]]:
        """The (topic, partition)s that have something to take."""
        place = self._place
        return [key for key, offset in self._offsets.items() if offset != place(*key).end]

    def probe_end(self, topic: str, partition: int) -> KnownEnd:
        """Ask where a partition ends now; here that is known at once."""
        place = self._place(topic, partition)
        probe = KnownEnd(place.start, place.end)
        self._on_ready()
        return probe

    def close(self) -> None:
        """Stop reading."""
        for topic, partition in list(self._offsets):
            self.unassign(topic, partition)


class EmbeddedMember:
    """A member of a consumer group in this process; it reads nothing."""

    def __init__(self, group: Group, *, on_ready: Callable[[], None]) -> None:
        self.group = group
        self.on_ready = on_ready
        self._changes: deque[Change] = deque()
        self._turns = 0
        group.join(self)

    @property
    def turns(self) -> int | None:
        """How often its owner has asked for changes."""
        return self._turns

    def changes(self) -> list[Change]:
        """Take the changes that have come in. An owner that does not ask any more owns nothing."""
        self._turns += 1
        changes = self._changes
        return [changes.popleft() for _ in range(len(changes))]

    def release(self, partition: int) -> None:
        """Say that a revoked partition is let go of."""
        self.group.release(self, partition)

    def commit(self, partition: int, offset: int) -> None:
        """Commit the offset after the last record that is done with."""
        self.group.commit(self, partition, offset)

    def close(self) -> None:
        """Leave the group; its partitions go to others at once."""
        self.group.leave(self)

    def tell(self, kind: str, partition: EmbeddedPartition) -> None:
        """Note a change; the group calls this under its lock and rings the bell afterwards."""
        self._changes.append(Change(kind, partition.number))


class EmbeddedGroupReader(EmbeddedMember):
    """A member of a consumer group in this process that reads what it is given."""

    def __init__(self, group: Group, store: EmbeddedStore, *, on_ready: Callable[[], None]) -> None:
        self._store = store
        self._offsets: dict[int, int] = {}
        self._partitions: dict[int, EmbeddedPartition] = {}
        self._redelivery_ends: dict[int, int] = {}
        self._paused: set[int] = set()
        self._turn = 0
        super().__init__(group, on_ready=on_ready)

    @property
    def turns(self) -> int | None:
        """A worker says by its leases that it lives."""
        return None

    def take(self, records_max: int) -> list[StoredRecord]:
        """Take what has come in, over all its partitions, each first in turn."""
        numbers = [number for number in list(self._offsets) if number not in self._paused]
        if not numbers:
            return []
        self._turn = (self._turn + 1) % len(numbers)
        taken: list[StoredRecord] = []
        more = False
        for number in numbers[self._turn :] + numbers[: self._turn]:
            partition = self._partitions[number]
            offset = self._offsets.get(number)
            if offset is None or offset == partition.end:
                continue
            if len(taken) >= records_max:
                more = True
                break
            records = self._read(partition, offset, records_max - len(taken))
            taken += records
            more = more or self._offsets.get(number, partition.end) < partition.end
        if more:
            self.on_ready()
        return taken

    def redelivery_end(self, partition: int) -> int:
        """The partition's end as seen when it was assigned; below it a record may come again."""
        return self._redelivery_ends.get(partition, 0)

    def pause(self, partition: int) -> None:
        """Take nothing from a partition until it is resumed."""
        self._paused.add(partition)

    def resume(self, partition: int) -> None:
        """Take from a partition again."""
        self._paused.discard(partition)
        self.on_ready()

    def tell(self, kind: str, partition: EmbeddedPartition) -> None:
        """Begin or stop reading along with the change."""
        number = partition.number
        if kind == "assigned":
            self._partitions[number] = partition
            self._redelivery_ends[number] = partition.end
            self._paused.discard(number)
            partition.add_listener(self.on_ready)
            self._offsets[number] = self.group.position(partition)
        elif self._offsets.pop(number, None) is not None:
            partition.remove_listener(self.on_ready)
        super().tell(kind, partition)

    def _read(self, partition: EmbeddedPartition, offset: int, count: int) -> list[StoredRecord]:
        try:
            records = partition.read(self._store, offset, count)
        except PositionLostError as error:
            # Old tasks were deleted; the host sends again what it still wants done.
            start = partition.start if offset < partition.start else partition.end
            _LOG.warning("group %s: %s; it goes on at %d", self.group.name, error, start)
            self._move(partition.number, start)
            return []
        except LogError as error:
            _LOG.error("group %s: %s", self.group.name, error)
            return []
        self._move(partition.number, offset + len(records))
        return records

    def _move(self, number: int, offset: int) -> None:
        # A partition that was revoked meanwhile must not come back by this.
        if number in self._offsets:
            self._offsets[number] = offset
