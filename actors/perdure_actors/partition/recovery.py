"""Recovery (rule 6): the log folded into a table, which a new owner must do before it decides."""

from __future__ import annotations

import hashlib
from collections import deque
from typing import TYPE_CHECKING

from msgspec.structs import replace

from perdure_actors import table_layout
from perdure_actors.core.rules import apply, effects_of
from perdure_actors.core.state import RecordId
from perdure_actors.partition.doubt import add_mark, begin_life, live, purge_marks
from perdure_actors.partition.observer import RecentTransition, RecentTransitions
from perdure_actors.partition.outbox import effect_rows, outcome_rows
from perdure_actors.partition.run_cache import RunCache, RunMemory
from perdure_actors.retention.log_checkpoint import note_slice
from perdure_schemas.avro import FRAME_BYTES, decode, decode_as, kind_of
from perdure_schemas.events import InputTrying, WorkflowBlocked, WorkflowStarted
from perdure_schemas.partition_events import CheckpointSlice, RunsForgotten
from perdure_schemas.transition import TransitionBody
from perdure_topics.fold import Accepted, Bumped, Stale, fold_record

if TYPE_CHECKING:
    from perdure_actors.core.decision import Effect
    from perdure_actors.partition.run_cache import CachedRun, Ops
    from perdure_schemas.payloads import Record
    from perdure_schemas.transition import Transition
    from perdure_topics.fold import Verdict
    from perdure_topics.ports import StoredRecord, Table

BATCH = 500
_NO_RUN = b"\0\0"
"""How a body begins that is about no run: two empty texts."""
FOLDED_RUNS = 5_000
"""Runs in memory while a table is made."""


class TableDivergedError(Exception):
    """The table holds what the log does not: it must be wiped."""


def mark_of(record: StoredRecord) -> bytes:
    """What tells one record from any other."""
    return hashlib.blake2b(record.value or b"", digest_size=16).digest()


def first_offset(verified: table_layout.Verified) -> int:
    """Where to go on reading: at the last record that was verified, to see that it is there."""
    return verified.next_offset - 1 if verified.mark else verified.next_offset


def check_mark(verified: table_layout.Verified, record: StoredRecord) -> None:
    """Raise TableDivergedError when the last verified record is another one now."""
    if mark_of(record) != verified.mark:
        msg = f"the log holds another record at offset {record.offset} than it did"
        raise TableDivergedError(msg)


class Recovery:
    """Folds records into a table: those it holds are compared, those behind are applied."""

    def __init__(
        self, table: Table, meta: table_layout.Meta, verified: table_layout.Verified
    ) -> None:
        self._table = table
        self.meta = meta
        self._compares = meta.offset >= 0
        self.cursor = verified.cursor
        self.next_offset = verified.next_offset
        self._verified = verified
        self._mark = verified.mark
        self._last: StoredRecord | None = None
        """The last record that was taken; it is marked when that is written down."""
        self._run_cache = RunCache(table, RunMemory(runs_max=FOLDED_RUNS, idle_max=FOLDED_RUNS))
        self._ops: Ops = {}
        self._run_cache.ahead = self._rows_ahead
        self._changed: dict[str, CachedRun] = {}
        """The runs that the batch has changed: each is saved once, as the batch leaves it."""
        self._unsaved = 0
        self.partitions = 0
        """How many partitions the queue had by the last bump that says so; 0: none did."""
        self.recent = RecentTransitions()
        self._kept: deque[bytes] = deque()
        """Rows of effects that may not have gone out, in the order of their records."""
        self.stale = 0
        self.folded = 0
        """How many records were read, those compared included."""

    def take(self, record: StoredRecord) -> None:
        """Fold one record.

        Raises TableDivergedError when the table cannot be right, and UnreadableRecordError for a
        record that counts, or may, and cannot be read.
        """
        if record.offset < self.next_offset:
            check_mark(self._verified, record)
            return
        held = record.offset <= self.meta.offset
        if self._compares and not held and self.cursor != self.meta.cursor:
            raise TableDivergedError(self._difference())
        self._compares = held
        cursor, verdict = fold_record(self.cursor, record)
        if isinstance(verdict, Accepted) and not held and _forgets(verdict.body):
            # What it drops is looked for in the table: all before it must be there.
            self.save()
        self.cursor = cursor
        self.next_offset = record.offset + 1
        self._last = record
        self.folded += 1
        if isinstance(verdict, Accepted):
            envelope = verdict.envelope
            self.recent.add(RecentTransition(envelope.pseq, envelope.time_ms, verdict.body))
            if not held:
                self._apply(verdict, record)
        else:
            self._take_other(verdict, held=held)
        if held:
            return
        self.meta.offset = record.offset
        self.meta.cursor = self.cursor
        self._unsaved += 1
        if self._unsaved >= BATCH:
            self.save()

    def _take_other(self, verdict: Verdict, *, held: bool) -> None:
        if isinstance(verdict, Stale):
            self.stale += 1
        elif isinstance(verdict, Bumped):
            self.partitions = verdict.bump.partitions or self.partitions
            if not held:
                begin_life(self.meta, verdict.bump)

    def _difference(self) -> str:
        mine, theirs = self.meta.cursor, self.cursor
        return (
            f"at offset {self.meta.offset} the table has epoch {mine.epoch}, pseq {mine.pseq},"
            f" inputs to {mine.upto}; the log has {theirs.epoch}, {theirs.pseq}, {theirs.upto}"
        )

    def _apply(self, accepted: Accepted, record: StoredRecord) -> None:
        envelope = accepted.envelope
        body = decode_as(TransitionBody, accepted.body)
        self.meta.transitions += 1
        if not _is_slice(body):
            self.meta.log_bytes += len(accepted.body)
        self.meta.dispatched = max(self.meta.dispatched, envelope.dispatched)
        self.meta.shown = max(self.meta.shown, body.shown)
        purge_marks(self.meta, envelope.upto, body.run_id, body.workflow_id)
        live(self.meta, envelope)
        effects = self._apply_run(body, accepted, record) if body.run_id else []
        # A transition in several parts is known by its first: that is what its owner knew.
        pseq = envelope.pseq - envelope.part + 1
        if not body.run_id:
            self._apply_partition(body, pseq)
            self._note_slices(body, envelope, record.offset)
        effects += outcome_rows(body.outcomes, envelope.time_ms, self._ops)
        self._kept += effect_rows(effects, pseq, envelope.epoch, self._ops)

    def _apply_run(
        self, body: TransitionBody, accepted: Accepted, record: StoredRecord
    ) -> list[Effect]:
        """Play a transition of a run; the errands that its owner had from it."""
        envelope = accepted.envelope
        effects: list[Effect] = []
        events = [decode(data) for data in body.events]
        first = events[0]
        if isinstance(first, WorkflowStarted):
            resident = self._run_cache.open(body.workflow_id, body.run_id, first, envelope.time_ms)
        else:
            found = self._run_cache.find(body.run_id)
            if found is None:
                msg = f"offset {record.offset} is about run {body.run_id}, which the table lacks"
                raise TableDivergedError(msg)
            resident = found
        state = resident.run.state
        if body.seq == state.seq + 1:
            effects = _apply_events(resident, events, body, envelope)
        elif state.is_open:
            # The record counts all the same; only its run stands still, for a person to see.
            state.block = _misfit(body.seq, state.seq, record.offset)
            state.blocked_ms = envelope.time_ms
        kept_body = accepted.body
        if resident.inherited is not None:
            self._ops.update(resident.inherited.rows_to_write(body.run_id))
            kept_body = resident.inherited.stored(body) if resident.inherited.rows else kept_body
            resident.inherited = None
        if body.run_id not in self._changed:
            self._changed[body.run_id] = resident
            resident.pinned += 1
        self._ops[table_layout.history_key(body.run_id, body.seq)] = table_layout.pack_history(
            record.offset, envelope.pseq, envelope.time_ms, kept_body
        )
        return effects

    def _rows_ahead(self, start: bytes, end: bytes) -> dict[bytes, bytes]:
        """The rows between two keys that the batch will write."""
        return {
            key: data for key, data in self._ops.items() if start <= key < end and data is not None
        }

    def _apply_partition(self, body: TransitionBody, pseq: int) -> None:
        for data in body.events:
            event = decode(data)
            if isinstance(event, InputTrying):
                add_mark(self.meta, event)
            self._run_cache.happened(event, pseq, self._ops)

    def _note_slices(self, body: TransitionBody, envelope: Transition, offset: int) -> None:
        for data in body.events:
            if kind_of(data) is CheckpointSlice:
                note_slice(self.meta, decode_as(CheckpointSlice, data), offset, envelope)

    def save(self) -> None:
        """Write what has been folded."""
        while self._kept and table_layout.place_of_effect(self._kept[0])[0] <= self.meta.dispatched:
            self._ops[self._kept.popleft()] = None
        for resident in self._changed.values():
            self._run_cache.save(resident, self._ops)
            resident.pinned -= 1
        self._changed.clear()
        self._run_cache.end_turn()
        if self._last is not None:
            self._mark, self._last = mark_of(self._last), None
        self._ops[table_layout.META] = table_layout.encode(self.meta)
        verified = table_layout.Verified(
            next_offset=self.next_offset, cursor=self.cursor, mark=self._mark
        )
        self._ops[table_layout.VERIFIED] = table_layout.encode(verified)
        puts = [(key, value) for key, value in self._ops.items() if value is not None]
        self._table.write(puts, [key for key, value in self._ops.items() if value is None])
        self._ops = {}
        self._unsaved = 0
        self._run_cache.forgotten()

    def finish(self) -> table_layout.Meta:
        """Write the rest; what the table is good for now.

        Raises TableDivergedError when the log ended before what the table holds.
        """
        if self._compares and (
            self.next_offset <= self.meta.offset or self.cursor != self.meta.cursor
        ):
            raise TableDivergedError(self._difference())
        self.save()
        self._run_cache.clear()
        return replace(self.meta)


def _is_slice(body: TransitionBody) -> bool:
    return not body.run_id and any(kind_of(data) is CheckpointSlice for data in body.events)


def _forgets(data: bytes) -> bool:
    """Whether a record says that runs are forgotten."""
    if data[FRAME_BYTES : FRAME_BYTES + 2] != _NO_RUN:
        return False
    body = decode_as(TransitionBody, data)
    return not body.run_id and any(kind_of(event) is RunsForgotten for event in body.events)


def _apply_events(
    resident: CachedRun, events: list[Record], body: TransitionBody, envelope: Transition
) -> list[Effect]:
    pseq = envelope.pseq - envelope.part + 1
    epoch, nonce, time_ms = envelope.epoch, envelope.nonce, envelope.time_ms
    run = resident.run
    effects: list[Effect] = []
    for place, event in enumerate(events):
        at = RecordId(epoch, nonce, pseq, place)
        effects += effects_of(run, event, at, time_ms)
        apply(run, event, at, time_ms)
        run.state.history_bytes += len(body.events[place])
    return effects


def _misfit(seq: int, last: int, offset: int) -> WorkflowBlocked:
    return WorkflowBlocked(
        cause="corrupt",
        message=f"the record at offset {offset} begins with event {seq} where {last + 1} is due",
    )
