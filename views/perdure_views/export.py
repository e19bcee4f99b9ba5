"""The accepted events of a task queue as rows, for tools that read tables."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple, get_type_hints

import msgspec

from perdure_schemas.avro import UnreadableRecordError, decode, decode_as
from perdure_schemas.transition import TransitionBody
from perdure_topics.fold import Accepted, Cursor, fold_record
from perdure_topics.spans import read_span

if TYPE_CHECKING:
    from perdure_topics.ports import Log, StoredRecord, TopicInfo

ROWS_A_GROUP: Final = 20_000


class EventRow(NamedTuple):
    """One event of one run, and where the log has it."""

    namespace: str
    task_queue: str
    partition: int
    offset: int
    pseq: int
    epoch: int
    time_ms: int
    workflow_id: str
    run_id: str
    seq: int
    event_type: str
    event: str
    """The event as JSON; bytes in base64."""
    code_version: str


class Unread(NamedTuple):
    """What of an events topic cannot be read, where it is, and why."""

    what: str
    partition: int
    offset: int
    reason: str
    run_id: str = ""
    """Whose event it is; empty where nobody knows."""

    def __str__(self) -> str:
        return f"{self.what}, partition {self.partition}, offset {self.offset}: {self.reason}"


OnUnread = Callable[[Unread, UnreadableRecordError], None]


def _raise(_unread: Unread, error: UnreadableRecordError) -> None:
    raise error


def rows_of(
    log: Log,
    topic: TopicInfo,
    place: tuple[str, str],
    *,
    on_read: Callable[[int], None] = lambda _records: None,
    on_unread: OnUnread = _raise,
) -> Iterator[EventRow]:
    """The accepted events of an events topic as it ends now, partition by partition.

    `place` is namespace and task queue; `on_read` hears of records read, `on_unread` of what may
    count and cannot be read, such as what a newer release wrote: an event, a transition, or the
    rest of a partition, for nobody knows what counts behind a record that cannot be judged. Read
    access is enough.

    Raises UnreadableRecordError where `on_unread` is not given, LogStuckError when the log does
    not give what it holds.
    """
    bell = threading.Event()
    tail = log.tail(on_ready=bell.set, committed=False)
    try:
        for partition in range(topic.partitions):
            cursor = Cursor()
            span = log.offsets(topic.name, partition)
            batches = read_span(tail, bell, (topic.name, partition), span)
            for record in (record for records in batches for record in records):
                on_read(1)
                try:
                    cursor, verdict = fold_record(cursor, record)
                except UnreadableRecordError as error:
                    what = "a record that may count, and all that follows it in its partition"
                    on_unread(Unread(what, partition, record.offset, str(error)), error)
                    break
                if isinstance(verdict, Accepted):
                    yield from _rows(verdict, record, place, on_unread)
            tail.unassign(topic.name, partition)
    finally:
        tail.close()


def _rows(
    accepted: Accepted, record: StoredRecord, place: tuple[str, str], on_unread: OnUnread
) -> Iterator[EventRow]:
    """The events of a transition, but for those that cannot be read."""
    partition, offset, envelope = record.partition, record.offset, accepted.envelope
    try:
        body = decode_as(TransitionBody, accepted.body)
    except UnreadableRecordError as error:
        on_unread(
            Unread("a transition, nobody knows of which run", partition, offset, f"{error}"), error
        )
        return
    if not body.run_id:
        return
    for seq, data in enumerate(body.events, body.seq):
        try:
            event = decode(data)
        except UnreadableRecordError as error:
            what = f"event {seq} of workflow {body.workflow_id!r}, run {body.run_id}"
            on_unread(Unread(what, partition, offset, str(error), body.run_id), error)
            continue
        yield EventRow(
            *place,
            partition,
            offset,
            envelope.pseq,
            envelope.epoch,
            envelope.time_ms,
            body.workflow_id,
            body.run_id,
            seq,
            type(event).__name__,
            msgspec.json.encode(event).decode(),
            body.code_version,
        )


def write_jsonl(rows: Iterator[EventRow], out: BinaryIO) -> int:
    """Write a line of JSON for each row; how many."""
    count = 0
    for count, row in enumerate(rows, 1):  # noqa: B007 - the last number is the answer
        out.write(msgspec.json.encode(row._asdict()) + b"\n")
    return count


def write_parquet(rows: Iterator[EventRow], path: Path) -> int:
    """Write one Parquet file, whole or not at all; how many rows. Needs the extra `export`."""
    import pyarrow as pa
    from pyarrow import parquet

    kinds: dict[Any, Any] = {int: pa.int64(), str: pa.string()}
    fields = [
        pa.field("time", pa.timestamp("ms", tz="UTC"))
        if name == "time_ms"
        else pa.field(name, kinds[kind])
        for name, kind in get_type_hints(EventRow).items()
    ]
    schema, count = pa.schema(fields), 0
    fresh = path.with_name(path.name + ".new")
    with parquet.ParquetWriter(fresh, schema, compression="zstd") as writer:
        for group in _groups(rows):
            count += len(group)
            columns = list(zip(*group, strict=True))
            arrays = [
                pa.array(column, type=field.type)
                for column, field in zip(columns, fields, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
    fresh.replace(path)
    return count


def _groups(rows: Iterator[EventRow]) -> Iterator[list[EventRow]]:
    group: list[EventRow] = []
    for row in rows:
        group.append(row)
        if len(group) >= ROWS_A_GROUP:
            yield group
            group = []
    if group:
        yield group
