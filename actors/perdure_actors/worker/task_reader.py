"""How a worker takes tasks from its group's partitions and lets go of them. It decides nothing."""

from __future__ import annotations

from typing import NamedTuple

from perdure_actors.worker.task_offsets import TaskOffsets
from perdure_topics.ports import GroupReader, StoredRecord

LEAVE_MS = 1_000


class Departures(NamedTuple):
    """Partitions that go: with notice, so that their tasks can be settled, or without."""

    revoked: list[int]
    lost: list[int]


class TaskIntake:
    """The partitions that this worker was assigned, with their watermarks."""

    def __init__(self, reader: GroupReader) -> None:
        self._reader = reader
        self._offsets = TaskOffsets()
        self._redelivery_ends: dict[int, int] = {}
        self._leave_by_ms: dict[int, int] = {}
        self._early: list[StoredRecord] = []
        self._paused = False

    def departures(self, now_ms: int) -> Departures:
        """Take the changes of assignment; what was assigned is followed from now on."""
        revoked: list[int] = []
        lost: list[int] = []
        for change in self._reader.changes():
            partition = change.partition
            if change.kind == "assigned":
                self._offsets.assign(partition)
                self._redelivery_ends[partition] = self._reader.redelivery_end(partition)
                self._leave_by_ms.pop(partition, None)
                if self._paused:
                    self._reader.pause(partition)
                continue
            self._early = [record for record in self._early if record.partition != partition]
            if change.kind == "revoked":
                revoked.append(partition)
                self._leave_by_ms[partition] = now_ms + LEAVE_MS
            else:
                lost.append(partition)
                self._leave_by_ms.pop(partition, None)
                self._offsets.forget(partition)
        return Departures(revoked, lost)

    def take(self, records_max: int) -> list[StoredRecord]:
        """Take records of partitions that are ours; each holds its watermark back until done."""
        taken = []
        early = []
        known = len(self._early)
        for number, record in enumerate([*self._early, *self._reader.take(records_max)]):
            if not self._offsets.assigned(record.partition):
                # Either its partition has just gone, or its assignment came in after the changes
                # were taken: then it is of the next turn. Dropped, its successors would commit it.
                if number >= known:
                    early.append(record)
            elif not self._leaves(record.partition):
                # What was still buffered of a partition that goes belongs to its next owner.
                self._offsets.took(record.partition, record.offset)
                taken.append(record)
        self._early = early
        return taken

    def may_be_redelivery(self, record: StoredRecord) -> bool:
        """Whether another worker may have had a record before."""
        return record.offset < self._redelivery_ends[record.partition]

    def done(self, partition: int, offset: int) -> None:
        """A record is not needed any more to bring its attempt back."""
        self._offsets.done(partition, offset)

    def settle(self, now_ms: int) -> None:
        """Let go of partitions whose tasks are all settled, or whose time is up."""
        for partition, leave_by_ms in list(self._leave_by_ms.items()):
            if now_ms >= leave_by_ms or not self._offsets.outstanding(partition):
                self.commit()
                del self._leave_by_ms[partition]
                self._offsets.forget(partition)
                self._reader.release(partition)

    @property
    def next_leave_ms(self) -> int | None:
        """When the first leaving partition's time is up."""
        return min(self._leave_by_ms.values(), default=None)

    @property
    def outstanding(self) -> int:
        """How many records hold a watermark back or lie above it."""
        return sum(self._offsets.outstanding(p) for p in self._offsets.partitions())

    def commit(self) -> None:
        """Commit the watermarks that have moved."""
        for partition, offset in self._offsets.commits():
            self._reader.commit(partition, offset)

    def pause(self) -> None:
        """Let the partitions rest: there is no room for what they hold."""
        if not self._paused:
            self._paused = True
            for partition in self._offsets.partitions():
                self._reader.pause(partition)

    def resume(self) -> None:
        """Read the partitions again."""
        if self._paused:
            self._paused = False
            for partition in self._offsets.partitions():
                if not self._leaves(partition):
                    self._reader.resume(partition)

    def close(self) -> None:
        """Commit and leave the group; may wait for the log."""
        self.commit()
        self._reader.close()

    def _leaves(self, partition: int) -> bool:
        return partition in self._leave_by_ms
