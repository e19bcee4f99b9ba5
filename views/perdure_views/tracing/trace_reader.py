"""Spans read from the log: events topics from their beginning, or from a saved offset.

Nothing is dropped here: when the spans do not arrive, reading waits. A position is saved with its
cursor and the runs that are open there, after all before it has arrived; so a repeat after a
crash sends the same spans once more, and misses none.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from perdure_schemas.avro import decode, decode_as
from perdure_schemas.transition import TransitionBody
from perdure_topics.fold import Accepted, Cursor, fold_record
from perdure_topics.ports import PositionLostError
from perdure_views.held_partitions import HeldPartitions
from perdure_views.tracing.projection import project
from perdure_views.tracing.spans import RunView, Span

if TYPE_CHECKING:
    from perdure_topics.ports import Log, StoredRecord, Tail, TopicInfo

logger = logging.getLogger("perdure.traces")
READ_AT_ONCE = 500
BATCH_MAX = 512


class Position(msgspec.Struct):
    """How far a partition has been shown."""

    topic_id: str = ""
    next_offset: int = 0
    cursor: Cursor = msgspec.field(default_factory=Cursor)
    runs: dict[str, RunView] = {}
    """The runs that are open there."""


_decode_position = msgspec.msgpack.Decoder(Position).decode


class PartitionReader:
    """One events partition on its way to spans."""

    def __init__(self, topic: TopicInfo, partition: int, *, since_ms: int, saved: Position) -> None:
        self.topic = topic.name
        self.partition = partition
        self._since_ms = since_ms
        self.position = saved
        if saved.topic_id != topic.topic_id:
            self.position = Position(topic_id=topic.topic_id)
        self.stale = 0

    def begin(self, log: Log, tail: Tail) -> int:
        """Read on from the position; the partition's end as it is now."""
        start, end = log.offsets(self.topic, self.partition)
        if self.position.next_offset < start or self.position.next_offset > end:
            # What was saved is not in the log any more: its beginning is where a fold may start.
            self.position = Position(topic_id=self.position.topic_id, next_offset=start)
        tail.assign(self.topic, self.partition, self.position.next_offset)
        return end

    def take(self, record: StoredRecord) -> list[Span]:
        """Fold one record; the spans that it brings.

        Raises UnreadableRecordError for a record that may count and cannot be read.
        """
        position = self.position
        cursor, verdict = fold_record(position.cursor, record)
        if not isinstance(verdict, Accepted):
            self.stale += 1
            self._pass(cursor, record)
            return []
        body = decode_as(TransitionBody, verdict.body)
        if not body.run_id:
            self._pass(cursor, record)
            return []
        events = [decode(data) for data in body.events]
        before = position.runs.get(body.run_id)
        run = (body.workflow_id, body.run_id)
        view, spans = project(before, run, body.seq, verdict.envelope.time_ms, events)
        # Only now: a record that fails is read again from the same place.
        self._pass(cursor, record)
        if view is not None and view.is_open:
            position.runs[body.run_id] = view
        else:
            position.runs.pop(body.run_id, None)
        if view is not None and not view.sampled:
            return []
        return [span for span in spans if span.end_ms >= self._since_ms]

    def _pass(self, cursor: Cursor, record: StoredRecord) -> None:
        self.position.cursor, self.position.next_offset = cursor, record.offset + 1


class TraceReader:
    """Reads partitions and gives their spans out in batches. Step it from one thread."""

    def __init__(
        self,
        log: Log,
        topics: Sequence[TopicInfo],
        export: Callable[[str, Sequence[Span]], None],
        *,
        since_ms: int,
        ring: Callable[[], None],
        directory: Path | None = None,
    ) -> None:
        """`export` returns once the spans of a topic have arrived; a directory keeps positions."""
        self._export = export
        self._directory = directory
        self._log = log
        self._tail = log.tail(on_ready=ring, committed=False)
        self._readers = [
            PartitionReader(
                topic, partition, since_ms=since_ms, saved=self._saved(topic.name, partition)
            )
            for topic in topics
            for partition in range(topic.partitions)
        ]
        self._ends = {id(reader): reader.begin(log, self._tail) for reader in self._readers}
        self._batches: dict[str, list[Span]] = {topic.name: [] for topic in topics}
        self._held = HeldPartitions()
        self.exported = 0

    @property
    def is_at_end(self) -> bool:
        """Whether all that was there at the beginning has been read."""
        return all(
            reader.position.next_offset >= self._ends[id(reader)] for reader in self._readers
        )

    @property
    def progress(self) -> tuple[int, int]:
        """How many records have been read of those that were there at the beginning."""
        ends = sum(self._ends.values())
        read = sum(
            min(reader.position.next_offset, self._ends[id(reader)]) for reader in self._readers
        )
        return read, ends

    def step(self) -> bool:
        """Read some of each partition; whether there may be more at once."""
        more = False
        for reader in self._readers:
            if self._held.is_held(reader):
                continue
            try:
                records = self._tail.take(reader.topic, reader.partition, READ_AT_ONCE)
            except PositionLostError as error:
                logger.warning("%s-%d: %s; going on", reader.topic, reader.partition, error)
                reader.begin(self._log, self._tail)
                continue
            more = more or len(records) >= READ_AT_ONCE
            for record in records:
                batch = self._batches[reader.topic]
                try:
                    batch += reader.take(record)
                except Exception as error:
                    self._held.hold(reader, record, error)
                    reader.begin(self._log, self._tail)
                    break
                if len(batch) >= BATCH_MAX:
                    self._send()
        return more

    def save(self) -> None:
        """Send what has gathered, and keep the positions where they are kept."""
        self._send()
        if self._directory is None:
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        for reader in self._readers:
            path = self._path(reader.topic, reader.partition)
            fresh = path.with_suffix(".new")
            with fresh.open("wb") as file:
                file.write(msgspec.msgpack.encode(reader.position))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)

    def close(self) -> None:
        """Stop reading."""
        self._tail.close()

    def _send(self) -> None:
        for topic, batch in self._batches.items():
            if batch:
                self._export(topic, batch)
                self.exported += len(batch)
                batch.clear()

    def _path(self, topic: str, partition: int) -> Path:
        assert self._directory is not None
        return self._directory / f"{topic}-{partition}.msgpack"

    def _saved(self, topic: str, partition: int) -> Position:
        if self._directory is None:
            return Position()
        path = self._path(topic, partition)
        with contextlib.suppress(FileNotFoundError):
            try:
                return _decode_position(path.read_bytes())
            except msgspec.DecodeError as error:
                logger.warning("%s is no position (%s): read from the beginning", path, error)
        return Position()
