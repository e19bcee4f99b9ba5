"""Which offsets of the tasks topic are done with, and what may be committed. No log is touched."""

from __future__ import annotations

from collections import deque


class _Partition:
    """The offsets taken from one partition and not yet below its watermark, in order."""

    __slots__ = ("committed", "done", "next", "taken")

    def __init__(self) -> None:
        self.taken: deque[int] = deque()
        self.done: set[int] = set()
        self.next = -1
        self.committed = -1


class TaskOffsets:
    """The watermark of each assigned partition: below it every task has been dealt with."""

    __slots__ = ("_partitions",)

    def __init__(self) -> None:
        self._partitions: dict[int, _Partition] = {}

    def assign(self, partition: int) -> None:
        """Follow a partition from nothing."""
        self._partitions[partition] = _Partition()

    def forget(self, partition: int) -> None:
        """Stop following a partition; what is done of it later no longer matters."""
        self._partitions.pop(partition, None)

    def assigned(self, partition: int) -> bool:
        """Whether a partition is followed."""
        return partition in self._partitions

    def partitions(self) -> list[int]:
        """The partitions that are followed."""
        return list(self._partitions)

    def took(self, partition: int, offset: int) -> None:
        """A record was taken; offsets of a partition come in order."""
        self._partitions[partition].taken.append(offset)

    def done(self, partition: int, offset: int) -> None:
        """A record needs nobody any more."""
        found = self._partitions.get(partition)
        # After a reassignment the offset may belong to an earlier life of the partition.
        if found is None or not found.taken or offset < found.taken[0]:
            return
        found.done.add(offset)
        while found.taken and found.taken[0] in found.done:
            first = found.taken.popleft()
            found.done.discard(first)
            found.next = first + 1

    def outstanding(self, partition: int) -> int:
        """How many taken records hold the watermark back or lie above it."""
        found = self._partitions.get(partition)
        return len(found.taken) if found else 0

    def commits(self) -> list[tuple[int, int]]:
        """The watermarks that have moved since the last call, as (partition, next offset)."""
        moved = []
        for partition, found in self._partitions.items():
            if found.next > found.committed:
                found.committed = found.next
                moved.append((partition, found.next))
        return moved
