"""The state of insights for a partition: its cursor, its open runs, figures by window.

Each row says up to which offset it has been changed, so a record that is taken twice changes
nothing the second time. The cursor's row is written last: what it covers is in the others.
"""

from __future__ import annotations

from typing import Final

import msgspec

from perdure_topics.fold import Cursor

CURSOR: Final = b"\x00cursor"
RUNS: Final = b"R"
WINDOWS: Final = b"W"
TUMBLING_S: Final = 60
HOPPING_S: Final = 300
"""A window of so long begins with every tumbling one."""
FAILURE_TYPES_MAX: Final = 50
OTHER_TYPES: Final = "(others)"
BUCKETS: Final = 40
"""Latencies by powers of two of a millisecond: the last holds all above 17 years."""


class Place(msgspec.Struct, array_like=True):
    """How far a partition has been read."""

    next_offset: int = 0
    cursor: Cursor = msgspec.field(default_factory=Cursor)


class OpenActivity(msgspec.Struct, array_like=True):
    """An activity without an outcome."""

    activity_type: str
    task_queue: str
    scheduled_ms: int
    attempt: int = 1
    started: bool = False
    failure: str = ""
    next_ms: int = 0
    """When the next attempt is due, while it backs off."""
    limit_ms: int = 0
    """Its start-to-close timeout; 0 when it has none."""
    paused: bool = False
    """No attempt begins until somebody lets it."""
    exhausted: bool = False
    """It is paused because it has no attempt left."""


class OpenRun(msgspec.Struct, array_like=True):
    """A run without a terminal event."""

    offset: int
    workflow_id: str
    run_id: str
    workflow_type: str
    start_ms: int
    moved_ms: int
    """When something last happened to it."""
    events: int = 0
    size: int = 0
    blocked: str = ""
    activities: dict[str, OpenActivity] = {}
    timers: dict[str, int] = {}
    """Due times by timer id."""


class Figures(msgspec.Struct, array_like=True):
    """What happened to the runs of one type in one window of time."""

    offset: int = -1
    started: int = 0
    closed: dict[str, int] = {}
    """By outcome."""
    latency: dict[int, int] = {}
    """Closed runs by the power of two of their milliseconds."""
    activities: int = 0
    """Activities that completed."""
    attempts_failed: int = 0
    failures: dict[str, int] = {}
    """Failed attempts by the type of the error."""
    blocked: int = 0


decode_place = msgspec.msgpack.Decoder(Place).decode
decode_run = msgspec.msgpack.Decoder(OpenRun).decode
decode_figures = msgspec.msgpack.Decoder(Figures).decode
encode = msgspec.msgpack.Encoder().encode


def run_key(run_id: str) -> bytes:
    """An OpenRun."""
    return RUNS + run_id.encode()


def window_key(length_s: int, start_s: int, workflow_type: str) -> bytes:
    """The Figures of a type in a window."""
    return WINDOWS + b"%06d/%012d/" % (length_s, start_s) + workflow_type.encode()


def window_of(key: bytes) -> tuple[int, int, str]:
    """Length and start of a window in seconds, and the workflow type, of its key."""
    length, start, name = key[1:].split(b"/", 2)
    return int(length), int(start), name.decode()


def windows_at(time_ms: int) -> list[tuple[int, int]]:
    """The windows that a moment falls into: (length, start) in seconds, tumbling and hopping."""
    minute = time_ms // 1000 // TUMBLING_S * TUMBLING_S
    hops = range(minute - HOPPING_S + TUMBLING_S, minute + 1, TUMBLING_S)
    return [(TUMBLING_S, minute), *((HOPPING_S, start) for start in hops)]


def bucket_of(latency_ms: int) -> int:
    """The power of two that a latency is below."""
    return min(max(latency_ms, 1).bit_length(), BUCKETS)


def percentile(latency: dict[int, int], share: float) -> int | None:
    """The latency in ms that a share of the closed runs stayed below; None when none closed."""
    total = sum(latency.values())
    seen = 0
    for bucket in sorted(latency):
        seen += latency[bucket]
        if seen >= share * total:
            return int(2**bucket)
    return None
