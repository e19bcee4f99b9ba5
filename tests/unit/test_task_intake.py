"""How tasks are taken while partitions come and go: none may be dropped that a commit passes."""

from __future__ import annotations

from perdure_actors.worker.task_reader import TaskIntake
from perdure_topics.ports import Change, StoredRecord


class Reader:
    """A group reader whose changes and records come in when the test says."""

    def __init__(self) -> None:
        self.told: list[Change] = []
        self.records: list[StoredRecord] = []
        self.commits: list[tuple[int, int]] = []
        self.after_changes: list[Change] = []

    def changes(self) -> list[Change]:
        taken, self.told = self.told, self.after_changes
        self.after_changes = []
        return taken

    def take(self, records_max: int) -> list[StoredRecord]:
        taken, self.records = self.records[:records_max], self.records[records_max:]
        return taken

    def redelivery_end(self, partition: int) -> int:
        return 0

    def commit(self, partition: int, offset: int) -> None:
        self.commits.append((partition, offset))

    def pause(self, partition: int) -> None: ...

    def resume(self, partition: int) -> None: ...

    def release(self, partition: int) -> None: ...

    def close(self) -> None: ...


def task(partition: int, offset: int) -> StoredRecord:
    return StoredRecord("tasks", partition, offset, None, b"", (), 0)


def test_tasks_that_overtake_the_news_of_their_partition_are_kept_for_the_next_turn() -> None:
    reader = Reader()
    intake = TaskIntake(reader)
    # The assignment and its first records come in between two calls of one turn.
    reader.after_changes = [Change("assigned", 3)]
    intake.departures(0)
    reader.records = [task(3, 0), task(3, 1)]

    in_the_same_turn = intake.take(10)
    intake.departures(1)
    reader.records = [task(3, 2)]
    in_the_next = intake.take(10)

    assert in_the_same_turn == []
    assert [record.offset for record in in_the_next] == [0, 1, 2]


def test_a_commit_does_not_pass_what_came_early() -> None:
    reader = Reader()
    intake = TaskIntake(reader)
    reader.after_changes = [Change("assigned", 3)]
    intake.departures(0)
    reader.records = [task(3, 0)]
    intake.take(10)
    intake.departures(1)
    reader.records = [task(3, 1)]
    intake.take(10)

    intake.done(3, 1)
    intake.commit()
    assert reader.commits == []
    intake.done(3, 0)
    intake.commit()
    assert reader.commits == [(3, 2)]


def test_what_is_left_of_a_partition_that_has_gone_is_dropped() -> None:
    reader = Reader()
    intake = TaskIntake(reader)
    reader.told = [Change("assigned", 3)]
    intake.departures(0)
    reader.told = [Change("lost", 3)]
    intake.departures(1)
    reader.records = [task(3, 7)]

    first = intake.take(10)
    intake.departures(2)
    second = intake.take(10)

    assert (first, second) == ([], [])


def test_a_partition_that_is_lost_takes_its_early_tasks_with_it() -> None:
    reader = Reader()
    intake = TaskIntake(reader)
    reader.records = [task(3, 0)]
    intake.take(10)
    reader.told = [Change("assigned", 3), Change("lost", 3), Change("assigned", 3)]
    intake.departures(1)
    reader.records = [task(3, 0)]

    assert [record.offset for record in intake.take(10)] == [0]
