"""A log that begins with a checkpoint: its rows put into an empty table, whose fold then goes on.

Rows first, up to the last slice; then whoever folds reads on from slice 1, so that what was written
between slices is applied to the state that they hold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from perdure_actors import table_layout
from perdure_actors.retention.log_checkpoint import RowDigest, slice_bytes
from perdure_schemas.avro import UnreadableRecordError, decode_as, kind_of
from perdure_schemas.partition_events import CheckpointSlice
from perdure_schemas.transition import TransitionBody
from perdure_topics.fold import CHECKPOINT_KIND, Accepted, Bumped, Cursor, Partial, fold_record

if TYPE_CHECKING:
    from perdure_topics.ports import StoredRecord, Table


class NoCheckpointError(Exception):
    """The log does not begin with a whole checkpoint; the message says what it begins with."""


class LoadedCheckpoint(NamedTuple):
    """What a table is good for that has the rows of a checkpoint."""

    meta: table_layout.Meta
    verified: table_layout.Verified


def slices_in(accepted: Accepted) -> list[CheckpointSlice]:
    """The slices that a record has; mostly none."""
    body = decode_as(TransitionBody, accepted.body)
    if body.run_id:
        return []
    found = [data for data in body.events if kind_of(data) is CheckpointSlice]
    return [decode_as(CheckpointSlice, data) for data in found]


class CheckpointReader:
    """Reads the checkpoint that a log begins with into an empty table."""

    def __init__(self, table: Table, cluster_id: str, events_topic_id: str) -> None:
        self._table = table
        self._log = (cluster_id, events_topic_id)
        self._cursor = Cursor()
        self._digest = RowDigest()
        self._meta: table_layout.Meta | None = None
        self._first_offset = -1
        self._number = 0
        self.size = 0
        """What the rows take so far, in bytes."""

    def take(self, record: StoredRecord) -> LoadedCheckpoint | None:
        """Take a record; what the table is good for, once it has the last slice.

        Raises NoCheckpointError where the log does not begin with a whole checkpoint of this log,
        and UnreadableRecordError for one of a release that knows more than this one.
        """
        self._cursor, verdict = fold_record(self._cursor, record)
        if isinstance(verdict, Bumped) and self._number:
            raise NoCheckpointError(f"its owner ended before slice {self._number + 1} of it")
        if isinstance(verdict, Bumped):
            raise NoCheckpointError("it begins with the bump of an owner")
        if not isinstance(verdict, Accepted):
            if self._number or isinstance(verdict, Partial):
                return None
            raise NoCheckpointError("it begins in the middle of what an owner wrote")
        for one in slices_in(verdict):
            if not self._number:
                self._begin(one, verdict, record)
            elif self._add(one):
                return self._whole()
        if not self._number:
            raise NoCheckpointError("it begins in the middle of what an owner wrote")
        return None

    def _begin(self, one: CheckpointSlice, accepted: Accepted, record: StoredRecord) -> None:
        envelope = accepted.envelope
        if one.number != 1 or envelope.kind != CHECKPOINT_KIND:
            raise NoCheckpointError(f"it begins with slice {one.number} of one")
        if one.layout != table_layout.LAYOUT:
            msg = (
                f"a checkpoint of layout {one.layout}; this release reads {table_layout.LAYOUT}:"
                " let a newer release own the partition"
            )
            raise UnreadableRecordError(msg)
        meta = table_layout.decode_meta(one.meta)
        if (meta.cluster_id, meta.events_topic_id) != self._log:
            raise NoCheckpointError(
                f"it is of another log: of cluster {meta.cluster_id}, topic {meta.events_topic_id}"
            )
        cursor = meta.cursor
        behind = (cursor.epoch, cursor.nonce, cursor.pseq + 1, cursor.upto, meta.offset + 1)
        first, offset = envelope.pseq - envelope.part + 1, record.offset - envelope.part + 1
        here = (envelope.epoch, envelope.nonce, first, envelope.after, offset)
        if behind != here:
            raise NoCheckpointError(f"it is of the state before offset {meta.offset + 1}")
        self._meta, self._first_offset, self._number = meta, offset, 1

    def _add(self, one: CheckpointSlice) -> bool:
        """Put a slice's rows into the table; whether it was the last."""
        if one.number != self._number + 1:
            raise NoCheckpointError(f"slice {one.number} follows {self._number}")
        self._number = one.number
        self._digest.take(one.keys, one.values)
        self.size += slice_bytes(one)
        self._table.write(zip(one.keys, one.values, strict=True), ())
        if not one.is_last:
            return False
        if (one.rows, one.digest) != (self._digest.rows, self._digest.value()):
            raise NoCheckpointError(f"{self._digest.rows} rows are there of {one.rows}")
        return True

    def _whole(self) -> LoadedCheckpoint:
        meta = self._meta
        assert meta is not None, "the first slice has the cursor"
        verified = table_layout.Verified(next_offset=self._first_offset, cursor=meta.cursor)
        rows = [
            (table_layout.META, table_layout.encode(meta)),
            (table_layout.VERIFIED, table_layout.encode(verified)),
        ]
        self._table.write(rows, ())
        return LoadedCheckpoint(meta, verified)
