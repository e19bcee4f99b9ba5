"""Any number of due deadlines is gone through once, whether they fire or must wait."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from perdure_actors import table_layout
from perdure_actors.core.decision import Later
from perdure_actors.partition.timer_service import FIRED_A_TURN, PAGE, TimerQueue, TimerService
from perdure_actors.partition.watermark import HELD_BACK_MAX, Watermark
from perdure_topics.clock import ManualClock
from perdure_topics.ports import Table
from perdure_topics.tables.memory_tables import MemoryTableStore

NOW_MS = 10_000
MANY = 3 * PAGE + 17


def table_of(count: int, due_ms: int = 1_000) -> Table:
    table = MemoryTableStore().open("t")
    found = [
        (table_layout.alarm_key(due_ms, "activity", "run", f"{n:06}"), b"") for n in range(count)
    ]
    table.write(found, ())
    return table


def taken(
    alarms: TimerQueue, now_ms: int = NOW_MS, most: int = 10 * MANY
) -> list[table_layout.Alarm]:
    found: list[table_layout.Alarm] = []
    while len(found) < most and (alarm := alarms.take(now_ms)) is not None:
        found.append(alarm)
    return found


def test_rows_that_stay_are_taken_once_though_all_are_due_at_one_moment() -> None:
    alarms = TimerQueue(table_of(MANY), held_max=100)
    alarms.load()

    found = taken(alarms)

    assert len(found) == len(set(found)) == MANY
    assert alarms.next_ms() is None

    alarms.load()
    assert len(taken(alarms)) == MANY, "a load begins again"


def test_what_is_set_meanwhile_comes_in_its_place() -> None:
    table = table_of(MANY)
    alarms = TimerQueue(table, held_max=50)
    alarms.load()
    set_now = [
        table_layout.Alarm(due_ms, "timer", "run", f"{due_ms}") for due_ms in range(500, 2_500)
    ]
    for alarm in set_now:
        table.write([(table_layout.alarm_key(*alarm), b"")], ())
        alarms.add(alarm)

    found = taken(alarms)

    assert [alarm for alarm in found if alarm.kind == "timer"] == set_now
    assert len(found) == MANY + len(set_now)
    assert [alarm.due_ms for alarm in found] == sorted(alarm.due_ms for alarm in found)


def test_one_that_is_due_later_than_its_row_says_is_not_lost() -> None:
    alarms = TimerQueue(table_of(MANY), held_max=50)
    alarms.load()
    for alarm in taken(alarms):
        alarms.again(alarm._replace(due_ms=NOW_MS + 5))

    assert alarms.next_ms() == NOW_MS + 5
    assert taken(alarms) == []
    assert len(taken(alarms, NOW_MS + 5)) == MANY


@pytest.mark.parametrize(
    "alarm",
    [
        table_layout.Alarm(5, "buffered", "w\0rk", "17"),
        table_layout.Alarm(5, "buffered", "\0", "1"),
        table_layout.Alarm(5, "actor", "\0\0", ""),
        table_layout.Alarm(5, "activity", "run-1", "a\0b"),
        table_layout.Alarm(5, "timer", "run-1", ""),
    ],
)
def test_an_alarm_of_any_id_is_read_as_it_was_written(alarm: table_layout.Alarm) -> None:
    """Ids are texts of users, and may have the byte between the parts of a key."""
    assert table_layout.alarm_of(table_layout.alarm_key(*alarm)) == alarm


class _Fence:
    @staticmethod
    def is_set_aside(*_what: object) -> str:
        return ""

    refusal = is_set_aside

    @staticmethod
    def attempt(_kind: str, _key: object) -> Any:
        return nullcontext(SimpleNamespace(error=None))


class _Probe:
    def __init__(self) -> None:
        self.answer: int | None = None

    def end(self) -> int | None:
        return self.answer


@pytest.fixture
def shard(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A shard of which every deadline could be refuted by an input that nobody has read."""
    probe = _Probe()
    inputs = SimpleNamespace(probe_end=lambda *_: probe, position=lambda *_: 4)
    services = SimpleNamespace(namespace="n", task_queue="q", inputs=inputs, clock=ManualClock())
    run = SimpleNamespace(state=SimpleNamespace(is_open=True))
    world = SimpleNamespace(time_ms=NOW_MS, now_ms=lambda: NOW_MS, run=lambda _: run)
    alarms = TimerQueue(table_of(MANY))
    alarms.load()
    fired: list[object] = []
    position = SimpleNamespace(upto=3)
    watermark = Watermark(
        inputs,
        ("n.q.commands", 0),
        position,
        time=world,
        deadlines=alarms,
        finding=lambda *_: None,
    )
    transitions = SimpleNamespace(
        has_room=True, propose_events=lambda _run, events: fired.append(events)
    )
    no_doubt: Any = SimpleNamespace(clears=lambda _trial: True, over=lambda: None)
    firing = TimerService(
        services,  # type: ignore[arg-type]
        0,
        MemoryTableStore().open("t"),
        world=world,  # type: ignore[arg-type]
        run_cache=SimpleNamespace(),  # type: ignore[arg-type]
        executor=SimpleNamespace(),  # type: ignore[arg-type]
        transitions=transitions,  # type: ignore[arg-type]
        queue=alarms,
        watermark=watermark,
        doubt=no_doubt,
        fence=_Fence,  # type: ignore[arg-type]
        counters=Counter(),
    )
    shard = SimpleNamespace(
        inputs=inputs,
        position=position,
        alarms=alarms,
        watermark=watermark,
        firing=firing,
        fired=fired,
        probe=probe,
    )
    decided = SimpleNamespace(refutable=True, at_ms=0, events=["timed out"])
    monkeypatch.setattr(
        "perdure_actors.partition.timer_service.ALARMS", {"activity": lambda *_: decided}
    )
    return shard


def test_deadlines_that_wait_for_unread_input_end_the_turn_and_fire_once_it_is_read(
    shard: Any,
) -> None:
    assert MANY > HELD_BACK_MAX
    horizon, firing = shard.watermark, shard.firing

    turns = 0
    while firing.fire(NOW_MS):
        turns += 1
        assert turns <= MANY // FIRED_A_TURN + 1, "the walk over what waits does not end"
    assert shard.fired == []

    shard.probe.answer = 4
    horizon.check(NOW_MS)
    turns = 0
    while firing.fire(NOW_MS):
        turns += 1
        assert turns <= 2 * MANY // FIRED_A_TURN
    assert len(shard.fired) == MANY


def test_an_input_that_was_appended_and_is_not_read_holds_deadlines_back(shard: Any) -> None:
    """The position must be the log's end: not one below it."""
    horizon = shard.watermark
    assert not horizon.has_read_to(NOW_MS)
    shard.probe.answer = 5
    horizon.check(NOW_MS)
    assert not horizon.has_read_to(NOW_MS), "the input at offset 4 is not read"

    shard.inputs.position = lambda *_: 5
    horizon.check(NOW_MS)
    assert horizon.has_read_to(NOW_MS)


def test_an_input_in_hand_is_not_read_yet(shard: Any) -> None:
    horizon = shard.watermark
    horizon.is_in_hand = lambda: True
    assert not horizon.has_read_to(NOW_MS)
    shard.probe.answer = 5
    shard.position.upto = 3
    horizon.check(NOW_MS)
    assert not horizon.has_read_to(NOW_MS)

    shard.position.upto = 4
    horizon.check(NOW_MS)
    assert horizon.has_read_to(NOW_MS)


def test_deadlines_that_are_over_or_later_do_not_hold_up_a_turn(
    shard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = {"activity": lambda *_: Later(NOW_MS + 1)}
    monkeypatch.setattr("perdure_actors.partition.timer_service.ALARMS", later)
    firing = shard.firing

    turns = 0
    while firing.fire(NOW_MS):
        turns += 1
        assert turns <= MANY // FIRED_A_TURN + 1
    assert shard.alarms.next_ms() == NOW_MS + 1
