"""Invariant R: histories replay to what they say, and every table is what the log makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from perdure_actors import table_layout
from perdure_actors.partition.recovery import Recovery, TableDivergedError
from perdure_actors.replay.blocked import BlockedError
from perdure_actors.replay.coroutine import RunFacts
from perdure_actors.retention.checkpoint_reader import (
    CheckpointReader,
    NoCheckpointError,
    slices_in,
)
from perdure_actors.retention.log_checkpoint import note_slice
from perdure_schemas.events import WorkflowStarted
from perdure_topics.fold import Accepted, Cursor, fold_record
from perdure_topics.tables.memory_tables import MemoryTableStore
from tests.simulation.checker import RunLog, Violation, ledger_of
from tests.simulation.wild import WILD

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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
    recovery = Recovery(table, fresh_meta(meta), table_layout.Verified())
    for record in records:
        recovery.take(record)
    recovery.finish()
    return content(table)


def checkpoints_in(records: Iterable[StoredRecord]) -> list[tuple[int, int]]:
    """Where the whole checkpoints of a partition are: the offsets of first and last slices."""
    meta = table_layout.Meta()
    found: list[tuple[int, int]] = []
    cursor = Cursor()
    for record in records:
        cursor, verdict = fold_record(cursor, record)
        if not isinstance(verdict, Accepted):
            continue
        for one in slices_in(verdict):
            before = meta.checkpoint
            note_slice(meta, one, record.offset, verdict.envelope)
            if meta.checkpoint is not None and meta.checkpoint is not before:
                found.append((meta.checkpoint.first_offset, meta.checkpoint.last_offset))
    return found


def rebuilt_behind(records: Sequence[StoredRecord], meta: table_layout.Meta) -> Rebuilt:
    """What a log makes of an empty table that begins with a checkpoint."""
    table = MemoryTableStore().open("behind")
    reader = CheckpointReader(table, meta.cluster_id, meta.events_topic_id)
    loaded = next(found for record in records if (found := reader.take(record)) is not None)
    recovery = Recovery(table, *loaded)
    for record in records:
        recovery.take(record)
    return Rebuilt(content(table_of(recovery, table)), recovery.meta)


def table_of(recovery: Recovery, table: Table) -> Table:
    """The table of a recovery that is done."""
    recovery.finish()
    return table


def check_checkpoint(records: Sequence[StoredRecord], meta: table_layout.Meta) -> str:
    """Why readers from the last checkpoint and from the start differ; empty when they do not."""
    found = checkpoints_in(records)
    if not found:
        return ""
    first = found[-1][0]
    start = next(place for place, one in enumerate(records) if one.offset == first)
    try:
        mine = rebuilt_behind(records[start:], meta)
    except (NoCheckpointError, TableDivergedError) as error:
        return f"who begins with the checkpoint at {first} cannot go on: {error}"
    table = MemoryTableStore().open("whole")
    recovery = Recovery(table, fresh_meta(meta), table_layout.Verified())
    for record in records:
        recovery.take(record)
    theirs = Rebuilt(content(table_of(recovery, table)), recovery.meta)
    if mine.meta.cursor != theirs.meta.cursor:
        return f"cursors differ: {mine.meta.cursor} and {theirs.meta.cursor}"
    if says(mine.meta) != says(theirs.meta):
        return f"what is noted differs: {says(mine.meta)} and {says(theirs.meta)}"
    return difference(mine.rows, theirs.rows, theirs.meta.dispatched)


def says(meta: table_layout.Meta) -> tuple[object, ...]:
    """What the log says of a table beside its rows."""
    return (
        *(meta.offset, meta.dispatched, meta.marks, meta.short_lives, meta.bump_ms, meta.shown),
        *(meta.checkpoint, meta.open_checkpoint),
    )


class Rebuilt(NamedTuple):
    """A table as a log makes it."""

    rows: dict[bytes, bytes]
    meta: table_layout.Meta


def fresh_meta(meta: table_layout.Meta) -> table_layout.Meta:
    """The beginning of a table of the same log."""
    return table_layout.Meta(
        cluster_id=meta.cluster_id,
        events_topic_id=meta.events_topic_id,
        commands_topic_id=meta.commands_topic_id,
        partitions=meta.partitions,
    )


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
            records = world.broker.partition(world.topic("events"), number).whole
            shard = slot.shard
            theirs = rebuilt(records[: shard.meta.offset + 1], shard.meta)
            wrong = difference(content(shard.table), theirs, shard.meta.dispatched)
            wrong = wrong or check_checkpoint(records[: shard.meta.offset + 1], shard.meta)
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
