"""How long closed runs are kept: the rule of a partition, as its log says it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from perdure_actors import table_layout
from perdure_actors.core.state import (
    CANCELED,
    COMPLETED,
    CONTINUED_AS_NEW,
    FAILED,
    TERMINATED,
    TIMED_OUT,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from perdure_schemas.partition_events import RetentionSet
    from perdure_topics.ports import Table

FOR_EVER: Final = -1
YES: Final = "yes"
NO: Final = "no"
KEEP_MS: Final = 30 * 24 * 3_600_000
"""How long closed runs are kept where nobody has said otherwise."""
KEEP_MS_MAX: Final = 100 * 366 * 24 * 3_600_000
STATUSES: Final = (COMPLETED, FAILED, CANCELED, TERMINATED, TIMED_OUT, CONTINUED_AS_NEW)


class RetentionPolicy(msgspec.Struct, frozen=True, array_like=True):
    """How long runs are kept after their end, in ms."""

    keep_ms: int = KEEP_MS
    by_status: dict[str, int] = {}
    """Where it is another for runs of a status."""

    cut: str = ""
    """Whether events below a checkpoint may be deleted: yes, no, or as the kind of log says."""

    def cuts(self, *, is_alone: bool) -> bool:
        """Whether the log may be cut; one that is a directory of this machine is, unless told."""
        return self.cut == YES or (is_alone and self.cut != NO)

    def keep_of(self, status: str) -> int:
        """How long a run of a status is kept."""
        return self.by_status.get(status, self.keep_ms)

    @property
    def terms(self) -> list[int]:
        """The lengths of time there are, for ever left out."""
        found = {self.keep_of(status) for status in STATUSES}
        return sorted(keep for keep in found if keep != FOR_EVER)


_decode = msgspec.msgpack.Decoder(RetentionPolicy).decode


def policy_row(event: RetentionSet) -> bytes:
    """The row that an event of the log makes."""
    by_status = dict(sorted(event.by_status.items()))
    return table_layout.encode(RetentionPolicy(event.keep_ms, by_status, event.cut))


def policy_in(table: Table) -> RetentionPolicy | None:
    """The rule that a table has; None while nobody has said any."""
    row = table.get(table_layout.RETENTION)
    return None if row is None else _decode(row)


def problem_of(keep_ms: int, by_status: Mapping[str, int], cut: str = "") -> str:
    """Why a rule cannot be taken; empty when it can."""
    if cut not in ("", YES, NO):
        return f"events are cut off or not: {cut!r} is neither yes nor no"
    for status in by_status:
        if status not in STATUSES:
            return f"no closed run is {status!r}: give one of {', '.join(STATUSES)}"
    for keep in (keep_ms, *by_status.values()):
        if keep != FOR_EVER and not 0 <= keep <= KEEP_MS_MAX:
            return f"closed runs cannot be kept for {keep} ms: give 0 to 100 years, or -1 for ever"
    return ""


class ReaderRow(msgspec.Struct, frozen=True, array_like=True):
    """How far a registered reader of a partition's events has read."""

    next_offset: int
    time_ms: int
    """When it said so, by recorded time."""


_decode_reader = msgspec.msgpack.Decoder(ReaderRow).decode


def readers_of(table: Table) -> dict[str, ReaderRow]:
    """The registered readers of a partition's events, by name."""
    found = table.scan(*table_layout.prefix_range(table_layout.READERS))
    start = len(table_layout.READERS)
    return {key[start:].decode(): _decode_reader(row) for key, row in found}


def readers_below(table: Table, offset: int) -> str:
    """Which registered readers have yet to read something below an offset; empty for none."""
    late = [name for name, row in readers_of(table).items() if row.next_offset < offset]
    return ", ".join(late)
