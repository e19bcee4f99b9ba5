"""Invariant R: histories replay to what they say, and every table is what the log makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure_actors import table_layout
from perdure_actors.partition.recovery import Recovery
from perdure_actors.replay.blocked import BlockedError
from perdure_actors.replay.coroutine import RunFacts
from perdure_schemas.events import WorkflowStarted
from perdure_topics.tables.memory_tables import MemoryTableStore
from tests.simulation.checker import RunLog, Violation, ledger_of
from tests.simulation.wild import WILD

if TYPE_CHECKING:
    from collections.abc import Iterable

    from perdure_actors.definitions.workflow_code import WorkflowCode
    from perdure_topics.ports import StoredRecord, Table
    from tests.simulation.world import World

_ALL = (b"", b"\xff" * 64)
_POSITIONS = (table_layout.META, table_layout.VERIFIED)


def check_replays(world: World) -> list[Violation]:
    """Replay every history with fresh code, fed by the recorded inputs only."""
    found = []
    code = world.code("good")
    for run in ledger_of(world.dump()).runs.values():
        if getattr(run.started.event, "workflow_type", "") == WILD:
            # What raised then raises now.
            continue
        wrong = replay(run, code, namespace=world.namespace, task_queue=world.task_queue)
        if wrong:
            found.append(Violation("R", f"run {run.workflow_id}/{run.run_id}: {wrong}"))
    return found


def replay(run: RunLog, code: WorkflowCode, *, namespace: str, task_queue: str) -> str:
    """Why fresh code does not do what a history says; empty when it does."""
    started = run.started.event
    if not isinstance(started, WorkflowStarted):
        return "it does not begin with WorkflowStarted"
    facts = RunFacts(
        namespace=namespace, task_queue=task_queue, workflow_id=run.workflow_id, run_id=run.run_id
    )
    coroutine = code.make(started, facts)
    try:
        size = 0
        for first in [fact for fact in run.facts if fact.place == 0]:
            entry = first.entry
            coroutine.recall(entry.events, seq=first.seq, time_ms=entry.time_ms, history_bytes=size)
            size += sum(map(len, entry.body.events))
    except BlockedError as error:
        return f"{error.cause}: {error} (recorded {error.recorded}, produced {error.produced})"
    finally:
        coroutine.close()
    return ""


def rebuilt(records: Iterable[StoredRecord], meta: table_layout.Meta) -> dict[bytes, bytes]:
    """The rows that a partition's records make of an empty table."""
    table = MemoryTableStore().open("rebuilt")
    fresh = table_layout.Meta(
        cluster_id=meta.cluster_id,
        events_topic_id=meta.events_topic_id,
        commands_topic_id=meta.commands_topic_id,
        partitions=meta.partitions,
    )
    recovery = Recovery(table, fresh, table_layout.Verified())
    for record in records:
        recovery.take(record)
    recovery.finish()
    return content(table)


def content(table: Table) -> dict[bytes, bytes]:
    """The rows of a table that are a function of the log."""
    return {key: value for key, value in table.scan(*_ALL) if key not in _POSITIONS}


def difference(mine: dict[bytes, bytes], theirs: dict[bytes, bytes], dispatched: int) -> str:
    """Which rows two tables do not share.

    Only of kept effects that may not have gone out must the log say the same, and all.
    """
    keys = [
        key
        for key in sorted(mine.keys() | theirs.keys())
        if mine.get(key) != theirs.get(key) and not _may_be_let_go(key, mine, dispatched)
    ]
    if not keys:
        return ""
    shown = "; ".join(
        f"{key!r}: owner {_short(mine.get(key))}, log {_short(theirs.get(key))}" for key in keys[:3]
    )
    return f"{len(keys)} rows differ: {shown}"


def _may_be_let_go(key: bytes, mine: dict[bytes, bytes], dispatched: int) -> bool:
    if not key.startswith(table_layout.EFFECTS):
        return False
    return key not in mine or table_layout.place_of_effect(key)[0] <= dispatched


def _short(value: bytes | None) -> str:
    if value is None:
        return "nothing"
    try:
        return repr(table_layout.decode_any(value))[:400]
    except Exception:
        return repr(value)[:400]


def check_tables(world: World) -> list[Violation]:
    """Every owner's table against one rebuilt from offset 0."""
    found = []
    for host in world.hosts:
        if host.host is None:
            continue
        for number, slot in host.host.slots.items():
            if slot.shard is None:
                continue
            records = world.broker.partition(world.topic("events"), number).records
            shard = slot.shard
            theirs = rebuilt(records[: shard.meta.offset + 1], shard.meta)
            wrong = difference(content(shard.table), theirs, shard.meta.dispatched)
            if wrong:
                found.append(Violation("R", f"{host.name}, partition {number}: {wrong}"))
            kept = [
                table_layout.place_of_effect(key)
                for key, _ in shard.table.scan(*table_layout.effects_range())
            ]
            if over := [place for place in kept if place[0] <= shard.meta.dispatched]:
                text = f"keeps effects that were acknowledged: {over[:5]}"
                found.append(Violation("R", f"{host.name}, partition {number} {text}"))
    return found
