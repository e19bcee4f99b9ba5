"""What is kept of a partition: runs forgotten, how long runs stay. Pure data only."""

from __future__ import annotations

from perdure_schemas.payloads import Record


class RunsForgotten(Record, frozen=True, kw_only=True, gc=False):
    """Closed runs are known no more, whoever reads this; an event of the partition."""

    runs: list[str]
    reason: str = ""
    identity: str = ""


class RetentionSet(Record, frozen=True, kw_only=True, gc=False):
    """How long closed runs are kept from now on; an event of the partition."""

    keep_ms: int
    by_status: dict[str, int] = {}
    identity: str = ""
