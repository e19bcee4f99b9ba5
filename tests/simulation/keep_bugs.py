"""Bugs to plant of what is kept, and for how long."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from perdure_actors import table_layout
from perdure_actors.partition.recovery import Recovery, mark_of
from perdure_actors.partition.run_cache import RunCache
from perdure_actors.retention.log_checkpoint import CheckpointWriter, RowDigest, Slices
from perdure_actors.retention.log_head import LogHead
from perdure_actors.retention.retention import Retention
from perdure_schemas.avro import decode
from perdure_schemas.partition_events import RunsForgotten
from perdure_topics.fold import fold_record
from tests.simulation import bugs
from tests.simulation.mutant import OWNERS, Mutant

_apply_partition = Recovery._apply_partition
_next_slice = Slices.next
_take = Recovery.take


def too_early(self: Retention, keep_ms: int, now_ms: int) -> int:
    """Closed runs go a second before they have been kept for as long as was said."""
    return min(now_ms - keep_ms + 1_000, self._safe_ms)


def effects_unasked(self: Retention, keep_ms: int, now_ms: int) -> int:
    """Runs go whether or not what their end means for others has been sent."""
    del self
    return now_ms - keep_ms


def not_folded(self: Recovery, body: Any, pseq: int) -> None:
    """A new owner reads over what its predecessor forgot."""
    kept = [data for data in body.events if not isinstance(decode(data), RunsForgotten)]
    _apply_partition(self, replace(body, events=kept), pseq)


def followed_too(self: RunCache, run_id: str) -> Any:
    """A closed run goes though another is to follow it."""
    resident = self.find(run_id)
    if resident is None or resident.pinned or resident.run.state.is_open:
        return None
    return resident.run.state


def one_row_missing(self: Slices) -> Any:
    """A checkpoint leaves out signals that wait, or else histories."""
    one = _next_slice(self)
    kept = [at for at, key in enumerate(one.keys) if not key.startswith(table_layout.BUFFERED)]
    if len(kept) == len(one.keys):
        kept = [at for at, key in enumerate(one.keys) if not key.startswith(b"H")]
    keys, values = [one.keys[at] for at in kept], [one.values[at] for at in kept]
    # The digest is of what is there: only who folds by himself can tell.
    fresh = self.__dict__.setdefault("_honest", RowDigest())
    fresh.take(keys, values)
    if not one.is_last:
        return replace(one, keys=keys, values=values)
    return replace(one, keys=keys, values=values, rows=fresh.rows, digest=fresh.value())


def begun_in_flight(self: CheckpointWriter, mono_ms: int) -> bool:
    """A checkpoint begins though what was proposed before it is not in the table."""
    if self._slices is not None:
        return self._write(self._slices, mono_ms)
    if self.is_due:
        self._begin(mono_ms)
    return False


def cut_before_the_last_slice(self: LogHead, mono_ms: int, verified_to: int) -> None:
    """The log is cut as soon as the first slice is there."""
    del mono_ms, verified_to
    begun = self._written.meta.open_checkpoint
    if begun is not None and begun.first_offset > self._cut_to:
        self._cut_to = begun.first_offset
        self._cut(begun.first_offset)


def took_between(self: Recovery, record: Any) -> None:
    """The record behind the header is passed over."""
    if record.offset == self._verified.next_offset + 1 and self._verified.mark == b"":
        self.cursor, _ = fold_record(self.cursor, record)
        self.next_offset, self._mark = record.offset + 1, mark_of(record)
        self.meta.offset, self.meta.cursor = record.offset, self.cursor
        return
    _take(self, record)


KEEPS: tuple[Mutant, ...] = (
    Mutant(
        "closed runs go before their time",
        bugs.patched(Retention, "_before", too_early),
        (),
        "P",
        ("forgets",),
    ),
    Mutant(
        "closed runs go before their effects are sent",
        bugs.patched(Retention, "_before", effects_unasked),
        ("slow_append",),
        "P",
        ("forgets", "children"),
    ),
    Mutant(
        "what was forgotten is known again after a take-over",
        bugs.patched(Recovery, "_apply_partition", not_folded),
        OWNERS,
        "GRX",
        ("forgets",),
    ),
    Mutant(
        "a run is forgotten that another is to follow",
        bugs.patched(RunCache, "may_forget", followed_too),
        (),
        "AHNPRX",
        ("forgets", "following"),
    ),
    Mutant(
        "a checkpoint leaves rows out",
        bugs.patched(Slices, "next", one_row_missing),
        (),
        "RX",
        ("forgets",),
    ),
    Mutant(
        "a checkpoint begins with records in flight",
        bugs.patched(CheckpointWriter, "step", begun_in_flight),
        ("slow_append",),
        "HRX",
        ("forgets",),
    ),
    Mutant(
        "the log is cut before its checkpoint is whole",
        bugs.patched(LogHead, "step", cut_before_the_last_slice),
        OWNERS,
        "HRX",
        ("forgets",),
    ),
    Mutant(
        "what was written between slices is passed over",
        bugs.patched(Recovery, "take", took_between),
        OWNERS,
        "GHRX",
        ("forgets",),
    ),
)
