"""Runs in a shard's memory: what is saved is what the next owner loads."""

from __future__ import annotations

from perdure_actors.core.rules import apply
from perdure_actors.core.state import RecordId
from perdure_actors.partition.run_cache import Ops, RunCache
from perdure_schemas.events import ActivityCompleted, ActivityScheduled, WorkflowStarted
from perdure_schemas.payloads import Record
from perdure_topics.tables.memory_tables import MemoryTableStore


def test_an_activity_id_used_again_in_the_transition_that_ends_it_is_kept() -> None:
    table = MemoryTableStore().open("t")
    residents = RunCache(table)
    started = WorkflowStarted(workflow_type="Order")
    resident = residents.open("wf", "run", started, 1_000)
    asked = ActivityScheduled(
        activity_id="same", activity_type="charge", start_to_close_ms=10_000, task_queue="q"
    )
    pseq = 0

    def record(*events: Record) -> None:
        nonlocal pseq
        pseq += 1
        for place, event in enumerate(events):
            apply(resident.run, event, RecordId(1, b"n", pseq, place), 1_000 * pseq)
        ops: Ops = {}
        residents.save(resident, ops)
        puts = [(key, value) for key, value in ops.items() if value is not None]
        table.write(puts, [key for key, value in ops.items() if value is None])

    record(started, asked)

    record(ActivityCompleted(activity_id="same", attempt=1), asked)

    loaded = RunCache(table).find("run")
    assert loaded is not None
    assert loaded.run.activities == resident.run.activities
