"""The journal of a partition (rules 4, 5): appended, acknowledged, contiguous, folded, written.

It sees no run and no code of users. What is in flight is speculation: it counts once the log has
acknowledged it and all before it, without a gap, and the fold of any reader takes it. Then one
batch takes it into the table. Whatever else the log says ends the incarnation.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from perdure_actors import table_layout
from perdure_actors.partition.doubt import add_mark, live, purge_marks
from perdure_actors.partition.fence import AppendFailedError
from perdure_actors.retention.log_checkpoint import note_slice
from perdure_schemas.avro import encode
from perdure_schemas.transition import EpochBump, Transition
from perdure_topics.fold import Accepted, Cursor, Partial, fold
from perdure_topics.ports import LogError

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure_actors.partition.log_time import LogTime
    from perdure_schemas.events import InputTrying
    from perdure_schemas.partition_events import CheckpointSlice
    from perdure_topics.ports import Appender, Table

PART_BYTES_MAX = 7 * 1024 * 1024
PARTS_MAX = 64


class SentEffects(Protocol):
    """Whoever sends the effects of accepted records, as the table must know it."""

    done: list[tuple[int, int]]
    """Kept effects that are acknowledged: their records' numbers and their places."""

    @property
    def dispatched(self) -> int:
        """The pseq up to which every effect is acknowledged."""


class Shown(Protocol):
    """Whoever shows accepted records, as the table must know it."""

    @property
    def shown(self) -> int:
        """The pseq up to which everything has been shown."""


class Entry:
    """A record that was appended and is not yet accepted."""

    __slots__ = (
        "began_s",
        "body",
        "envelope",
        "history_key",
        "kept_body",
        "mark",
        "ops",
        "owners",
        "sent_mono_ms",
        "slice",
    )

    def __init__(self, envelope: Transition, body: bytes) -> None:
        self.envelope = envelope
        self.body = body
        self.began_s = time.perf_counter()
        self.ops: dict[bytes, bytes | None] = {}
        """The rows that its acceptance writes; None deletes one."""
        self.history_key: bytes | None = None
        """Where its body is kept."""
        self.kept_body = body
        """Its body as it is kept."""
        self.owners: tuple[str, ...] = ()
        """The ids that its acceptance takes marks of doubt from."""
        self.mark: InputTrying | None = None
        """What this record says is about to be tried."""
        self.slice: CheckpointSlice | None = None
        """What it has of a checkpoint."""
        self.sent_mono_ms = -1
        """When the last part was appended, by this machine's monotonic clock."""

    @property
    def first_pseq(self) -> int:
        """The number of the first part: that by which a transition and its effects are known."""
        return self.envelope.pseq - self.envelope.part + 1


E = TypeVar("E", bound=Entry)


class Journal(Generic[E]):
    """What one incarnation of an owner appends, and how much of it counts."""

    def __init__(
        self,
        appender: Appender,
        place: tuple[str, int],
        table: Table,
        meta: table_layout.Meta,
        *,
        log_time: LogTime,
        entry: Callable[[Transition, bytes], E],
        sent: SentEffects,
        shown: Shown,
    ) -> None:
        """Go on behind the own bump; `place` is the events topic and the partition."""
        self._appender = appender
        self._topic, self._partition = place
        self._table = table
        self.meta = meta
        self._log_time = log_time
        self._entry = entry
        self._sent = sent
        self._shown = shown
        self.cursor: Cursor = meta.cursor
        self.in_flight: deque[E] = deque()
        self._pseq, self.upto = self.cursor.pseq, self.cursor.upto
        """Inputs up to here are taken."""
        self.input_leader_epoch = -1
        self._covered_to = self.cursor.upto
        """Inputs up to here are covered by what was appended."""
        self.covered_at_ms = log_time.mono_ms
        """When inputs were last covered, by this machine's monotonic clock."""

    @property
    def next_pseq(self) -> int:
        """The number of the next record."""
        return self._pseq + 1

    @property
    def uncovered(self) -> int:
        """How many inputs were taken that nothing covers yet."""
        return self.upto - self._covered_to

    # -- append --

    def append(self, body: bytes, key: bytes | None, *, covers: bool, kind: int = 0) -> E:
        """Append a record, in as many parts as it takes; `covers` takes in the inputs so far.

        The first record of a checkpoint is of a kind of its own: a log may begin with it.

        Raises AppendFailedError when the log does not take it.
        """
        log_time = self._log_time
        upto = self.upto if covers else self._covered_to
        fields = {
            "epoch": self.cursor.epoch,
            "nonce": self.cursor.nonce,
            "pseq": self._pseq + 1,
            "after": self._covered_to,
            "upto": upto,
            "dispatched": self._sent.dispatched,
            "time_ms": log_time.time_ms,
            "input_leader_epoch": self.input_leader_epoch,
            "kind": kind,
            "input_topic_id": self.cursor.input_topic_id if kind else "",
        }
        parts = pack_parts(fields, body)
        for envelope in parts:
            self._send(envelope, key)
        last = self._entry(parts[-1], body)
        last.sent_mono_ms = log_time.mono_ms
        if len(parts) > 1:
            self.in_flight.extend(self._entry(envelope, b"") for envelope in parts[:-1])
        self.in_flight.append(last)
        self._covered_to = upto
        if covers:
            self.covered_at_ms = log_time.mono_ms
        return last

    def _send(self, envelope: Transition, key: bytes | None) -> None:
        """Append a record; its pseq is spent once the log has taken it."""
        try:
            self._appender.append(
                self._topic, self._partition, encode(envelope), key=key, tag=envelope.pseq
            )
        except LogError as error:
            raise AppendFailedError(str(error)) from error
        self._pseq = envelope.pseq

    # -- accept --

    def accept(self) -> list[E]:
        """Take the log's reports in order; what is acknowledged and contiguous is in the table.

        Raises AppendFailedError for anything else that the log says.
        """
        reports = self._appender.reports()
        accepted: list[E] = []
        if not reports:
            return accepted
        ops: dict[bytes, bytes | None] = {}
        for report in reports:
            if isinstance(report.tag, EpochBump) and report.error is None:
                # The own bump was read back before its report came.
                continue
            entry = self.in_flight.popleft() if self.in_flight else None
            if report.error is not None or report.offset is None or entry is None:
                raise AppendFailedError(report.error or "an append of unknown fate")
            if report.tag != entry.envelope.pseq:
                raise AppendFailedError("reports out of order")
            if report.offset != self.meta.offset + 1:
                raise AppendFailedError(f"a gap: offset {report.offset} after {self.meta.offset}")
            self._fold(entry, report.offset, ops)
            accepted.append(entry)
        if accepted:
            self._log_time.heard(report.timestamp_ms, accepted[-1].sent_mono_ms)
            self.write(ops)
        return accepted

    def _fold(self, entry: E, offset: int, ops: dict[bytes, bytes | None]) -> None:
        """The same fold as any reader's, over a record that this owner wrote."""
        envelope, meta = entry.envelope, self.meta
        self.cursor, verdict = fold(self.cursor, envelope)
        if not isinstance(verdict, Accepted | Partial):
            raise AppendFailedError(f"the fold refuses a record of ours: {verdict}")
        meta.offset = offset
        meta.transitions += 1
        purge_marks(meta, envelope.upto, *entry.owners)
        live(meta, envelope)
        if entry.mark is not None:
            add_mark(meta, entry.mark)
        if entry.slice is not None:
            note_slice(meta, entry.slice, offset, envelope)
        else:
            meta.log_bytes += len(entry.body)
        ops.update(entry.ops)
        if entry.history_key is not None:
            ops[entry.history_key] = table_layout.pack_history(
                offset, envelope.pseq, envelope.time_ms, entry.kept_body
            )

    def write(self, ops: dict[bytes, bytes | None]) -> None:
        """One batch: state, history, indexes, timers, and how far the log is in it."""
        meta, sent = self.meta, self._sent
        for pseq, place in sent.done:
            ops[table_layout.effect_key(pseq, place)] = None
        sent.done.clear()
        meta.cursor = self.cursor
        meta.dispatched = sent.dispatched
        meta.shown = self._shown.shown
        ops[table_layout.META] = table_layout.encode(meta)
        puts = [(key, value) for key, value in ops.items() if value is not None]
        self._table.write(puts, [key for key, value in ops.items() if value is None])

    def rows_ahead(self, start: bytes, end: bytes) -> dict[bytes, bytes]:
        """The rows of history between two keys that what is in flight will write."""
        rows: dict[bytes, bytes] = {}
        for place, entry in enumerate(self.in_flight, self.meta.offset + 1):
            mine = dict(entry.ops)
            if entry.history_key is not None:
                envelope = entry.envelope
                mine[entry.history_key] = table_layout.pack_history(
                    place, envelope.pseq, envelope.time_ms, entry.kept_body
                )
            found = {key: data for key, data in mine.items() if start <= key < end}
            rows.update((key, data) for key, data in found.items() if data is not None)
        return rows

    def close(self, *, flush_s: float = 0.0) -> None:
        """Append no more; flush for so long."""
        self._appender.close(flush_s=flush_s)


def pack_parts(envelope: dict[str, Any], body: bytes) -> list[Transition]:
    """The records of a transition: one, or several with consecutive pseqs.

    Raises ValueError when there would be too many.
    """
    if len(body) <= PART_BYTES_MAX:
        return [Transition(body=body, **envelope)]
    chunks = [body[at : at + PART_BYTES_MAX] for at in range(0, len(body), PART_BYTES_MAX)]
    if len(chunks) > PARTS_MAX:
        msg = f"a transition of {len(body)} bytes; {PARTS_MAX * PART_BYTES_MAX} is the most"
        raise ValueError(msg)
    first, upto = envelope["pseq"], envelope["upto"]
    out = []
    for number, chunk in enumerate(chunks):
        last = number == len(chunks) - 1
        fields = {**envelope, "pseq": first + number, "part": number + 1, "parts": len(chunks)}
        fields["upto"] = upto if last else envelope["after"]
        out.append(Transition(body=chunk, **fields))
    return out
