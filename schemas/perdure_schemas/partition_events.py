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
    cut: str = ""


class CheckpointSlice(Record, frozen=True, kw_only=True, gc=False):
    """A part of a checkpoint: rows of the table as they were before its first slice."""

    number: int
    layout: int
    partitions: int = 0
    meta: bytes = b""
    keys: list[bytes] = []
    values: list[bytes] = []
    is_last: bool = False
    rows: int = 0
    digest: bytes = b""
