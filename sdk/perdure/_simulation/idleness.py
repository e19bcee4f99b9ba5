"""Whether a shard waits for nothing but time, and for which: how far time may leap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure_actors import table_layout

if TYPE_CHECKING:
    from perdure_actors.partition.processor import PartitionProcessor

_UNDER_WAY = ("scheduled", "started")
TOGETHER_MS = 100
TOGETHER_MAX = 64


def is_idle(shard: PartitionProcessor) -> bool:
    """Whether a shard waits for nothing but time, and no activity of its runs is under way."""
    if shard.journal.in_flight or shard.owed or not shard.outbox.is_idle or shard.timers.is_busy:
        return False
    found = shard.table.scan(*table_layout.prefix_range(table_layout.ACTIVITIES))
    return not any(table_layout.decode_activity(value).state in _UNDER_WAY for _, value in found)


def next_due_ms(shard: PartitionProcessor) -> int | None:
    """How far to leap for a shard's nearest deadlines; its table has none that was given up.

    Timers that are due almost together are met by one leap. What is awaited there would else be
    late by the time that an activity of the first takes, though nothing but time was between.
    """
    due_ms: int | None = None
    first_ms = 0
    for key, _ in shard.table.scan(*table_layout.alarms_range(), limit=TOGETHER_MAX):
        alarm = table_layout.alarm_of(key)
        if due_ms is None:
            first_ms = alarm.due_ms
        elif alarm.kind != "timer" or alarm.due_ms > first_ms + TOGETHER_MS:
            break
        due_ms = alarm.due_ms
        if alarm.kind != "timer":
            break
    return due_ms
