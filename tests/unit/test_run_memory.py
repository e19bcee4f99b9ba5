"""Runs in memory: all partitions of a process share the room, and idle runs leave first."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from perdure_actors.core.rules import apply
from perdure_actors.core.state import RecordId
from perdure_actors.partition.run_cache import (
    RUN_BYTES,
    CachedRun,
    Ops,
    RunCache,
    RunMemory,
    bytes_for_runs,
)
from perdure_schemas.events import (
    ActivityScheduled,
    TimerStarted,
    WorkflowCompleted,
    WorkflowStarted,
)
from perdure_schemas.payloads import Payload, Record
from perdure_topics.tables.memory_tables import MemoryTableStore

NOW_MS = 1_000_000
ACTIVITY = ActivityScheduled(
    activity_id="1", activity_type="charge", start_to_close_ms=10_000, task_queue="q"
)


class Shelf:
    """A partition's runs and its table."""

    def __init__(self, name: str, memory: RunMemory) -> None:
        self.table = MemoryTableStore().open(name)
        self.residents = RunCache(self.table, memory)
        self._pseqs: Iterator[int] = iter(range(1, 10_000))

    def open(self, run_id: str, *events: Record) -> CachedRun:
        """Start a run whose code asks for what these events say, and save it."""
        started = WorkflowStarted(workflow_type="Order")
        resident = self.residents.open(f"w-{run_id}", run_id, started, NOW_MS)
        self.add(resident, started, *events)
        return resident

    def add(self, resident: CachedRun, *events: Record) -> None:
        pseq = next(self._pseqs)
        for place, event in enumerate(events):
            apply(resident.run, event, RecordId(1, b"n", pseq, place), NOW_MS)
        ops: Ops = {}
        self.residents.save(resident, ops, NOW_MS)
        puts = [(key, value) for key, value in ops.items() if value is not None]
        self.table.write(puts, [key for key, value in ops.items() if value is None])
        self.residents.end_turn()

    def __contains__(self, run_id: str) -> bool:
        return self.residents.peek(run_id) is not None


def test_partitions_share_the_room_and_the_least_recently_used_leaves() -> None:
    memory = RunMemory(runs_max=3)
    one, two = Shelf("one", memory), Shelf("two", memory)
    one.open("a", ACTIVITY)
    one.open("b", ACTIVITY)
    two.open("c", ACTIVITY)
    assert one.residents.find("a") is not None

    two.open("d", ACTIVITY)

    assert "a" in one
    assert "b" not in one
    assert "c" in two
    assert "d" in two
    assert len(memory) == 3


def test_idle_and_closed_runs_leave_before_busy_ones() -> None:
    memory = RunMemory(runs_max=4)
    shelf = Shelf("one", memory)
    shelf.open("busy", ACTIVITY)
    sleeper = TimerStarted(timer_id="1", duration_ms=86_400_000)
    shelf.open("asleep", sleeper)
    shelf.open("soon", TimerStarted(timer_id="1", duration_ms=5_000))
    shelf.open("closed", WorkflowCompleted(result=Payload()))

    shelf.open("x", ACTIVITY)
    assert "asleep" not in shelf
    shelf.open("y", ACTIVITY)
    assert "closed" not in shelf
    shelf.open("z", ACTIVITY)

    assert "busy" not in shelf
    assert "soon" in shelf


def test_only_so_many_idle_runs_stay() -> None:
    memory = RunMemory(runs_max=100, idle_max=2)
    shelf = Shelf("one", memory)

    for number in range(5):
        shelf.open(str(number), TimerStarted(timer_id="1", duration_ms=86_400_000))

    assert [number for number in range(5) if str(number) in shelf] == [3, 4]


def test_a_pinned_run_stays() -> None:
    memory = RunMemory(runs_max=1)
    shelf = Shelf("one", memory)
    first = shelf.open("a", ACTIVITY)
    first.pinned = 1

    shelf.open("b", ACTIVITY)

    assert [name for name in "ab" if name in shelf] == ["a"]
    first.pinned = 0
    shelf.open("c", ACTIVITY)
    assert [name for name in "abc" if name in shelf] == ["c"]


def test_no_run_of_a_partition_leaves_in_the_middle_of_its_turn() -> None:
    memory = RunMemory(runs_max=1)
    one, two = Shelf("one", memory), Shelf("two", memory)
    one.open("a", ACTIVITY)

    one.residents.begin_turn()
    two.open("b", ACTIVITY)
    assert "a" in one
    assert "b" not in two

    one.residents.end_turn()
    two.open("c", ACTIVITY)
    assert "a" not in one
    assert "c" in two


def test_runs_are_held_by_their_size() -> None:
    memory = RunMemory(bytes_max=3 * RUN_BYTES + 1_000)
    shelf = Shelf("one", memory)
    for name in "abc":
        shelf.open(name, ACTIVITY)
    assert memory.bytes == 3 * RUN_BYTES

    large = shelf.open("d", ACTIVITY)
    large.run.state.history_bytes = 2 * RUN_BYTES
    shelf.add(large)

    assert [name for name in "abcd" if name in shelf] == ["d"]
    assert memory.bytes == 3 * RUN_BYTES


def test_a_run_larger_than_all_the_room_works_and_does_not_stay() -> None:
    memory = RunMemory(bytes_max=1)
    shelf = Shelf("one", memory)

    shelf.open("a", ACTIVITY)

    assert "a" not in shelf
    shelf.residents.begin_turn()
    found = shelf.residents.find("a")
    assert found is not None
    assert shelf.residents.find("a") is found


def test_a_partition_that_is_let_go_leaves_its_room() -> None:
    memory = RunMemory()
    one, two = Shelf("one", memory), Shelf("two", memory)
    one.open("a", ACTIVITY)
    two.open("b", ACTIVITY)

    one.residents.clear()

    assert len(memory) == 1
    assert memory.bytes == RUN_BYTES


def test_a_containers_limit_is_kept(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = tmp_path_factory.mktemp("cgroup") / "memory.max"
    limit.write_text("400000000\n")
    monkeypatch.setattr("perdure_actors.partition.run_cache._CGROUP_LIMIT", limit)

    assert bytes_for_runs() == 100_000_000
