"""Reading a partition from an offset to an end that is known: for views of what a log holds now."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from perdure_topics.ports import LogError

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from perdure_topics.ports import StoredRecord, Tail

READ_AT_ONCE: Final = 1_000
QUIET_S: Final = 30.0
"""A partition that gives nothing for so long before its end is said to be stuck."""


class LogStuckError(LogError):
    """The log did not give what it says it holds."""


def read_span(
    tail: Tail,
    bell: threading.Event,
    place: tuple[str, int],
    span: tuple[int, int],
    *,
    until_s: float = float("inf"),
) -> Iterator[list[StoredRecord]]:
    """The records of a partition, batch by batch, from an offset up to but not including another.

    `place` is topic and partition, `bell` is what the tail rings; at the moment `until_s` of
    time.monotonic() it ends early. The last batch may hold records behind the span.

    Raises LogStuckError when nothing comes for QUIET_S before the end.
    """
    at, end = span
    if at >= end:
        return
    tail.assign(*place, at)
    while at < end and (left_s := until_s - time.monotonic()) > 0:
        bell.clear()
        records = tail.take(*place, READ_AT_ONCE)
        if records:
            at = records[-1].offset + 1
            yield records
            continue
        # What follows may be no records at all, as the marks that transactions leave.
        at = max(at, tail.position(*place))
        if at < end and not bell.wait(min(QUIET_S, left_s)) and left_s > QUIET_S:
            topic, partition = place
            raise LogStuckError(
                f"{topic}-{partition} gives nothing behind offset {at - 1} and ends at {end}:"
                " is the broker well?"
            )
    tail.unassign(*place)
