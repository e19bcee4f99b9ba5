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
KEEP_MS: Final = 30 * 24 * 3_600_000
"""How long closed runs are kept where nobody has said otherwise."""
KEEP_MS_MAX: Final = 100 * 366 * 24 * 3_600_000
STATUSES: Final = (COMPLETED, FAILED, CANCELED, TERMINATED, TIMED_OUT, CONTINUED_AS_NEW)


class RetentionPolicy(msgspec.Struct, frozen=True, array_like=True):
    """How long runs are kept after their end, in ms."""

    keep_ms: int = KEEP_MS
    by_status: dict[str, int] = {}
    """Where it is another for runs of a status."""

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
    return table_layout.encode(
        RetentionPolicy(event.keep_ms, dict(sorted(event.by_status.items())))
    )


def policy_in(table: Table) -> RetentionPolicy | None:
    """The rule that a table has; None while nobody has said any."""
    row = table.get(table_layout.RETENTION)
    return None if row is None else _decode(row)


def problem_of(keep_ms: int, by_status: Mapping[str, int]) -> str:
    """Why a rule cannot be taken; empty when it can."""
    for status in by_status:
        if status not in STATUSES:
            return f"no closed run is {status!r}: give one of {', '.join(STATUSES)}"
    for keep in (keep_ms, *by_status.values()):
        if keep != FOR_EVER and not 0 <= keep <= KEEP_MS_MAX:
            return f"closed runs cannot be kept for {keep} ms: give 0 to 100 years, or -1 for ever"
    return ""
