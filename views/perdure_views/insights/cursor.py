"""A task queue's figures and findings in memory, up to the offset that was read. No Faust."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from perdure_topics.spans import read_span
from perdure_views.held_partitions import HeldPartitions
from perdure_views.insights.aggregate import place_of, take
from perdure_views.insights.rows import (
    HOPPING_S,
    RUNS,
    TUMBLING_S,
    WINDOWS,
    Figures,
    OpenRun,
    decode_figures,
    decode_run,
    run_key,
    window_of,
)
from perdure_views.insights.rules import quiet_notices

if TYPE_CHECKING:
    from collections.abc import Iterator

    from perdure_schemas.findings import Finding
    from perdure_topics.ports import Log, Tail, TopicInfo

FINE_S: Final = 2 * 3600
"""Windows of a minute are kept for so long where windows are let go at all."""
COARSE_S: Final = 25 * 3600
FORGET_EVERY: Final = 10_000
"""Records between two looks for windows that are let go."""


@dataclass(frozen=True, kw_only=True)
class Noticed:
    """A finding, and whether it is still so; None for what happened once and does not last."""

    finding: Finding
    holds: bool | None


class Following:
    """The rows of one events topic. Read more of it with `catch_up`, from one thread at a time.

    With `is_lean` it keeps what pages show: windows of a day, those of five minutes side by side,
    and the newest findings. Otherwise everything.
    """

    def __init__(
        self, log: Log, topic: TopicInfo, task_queue: str, *, findings_max: int | None = None
    ) -> None:
        self._log = log
        self._topic = topic
        self._queue = task_queue
        self._is_lean = findings_max is not None
        self._rows: list[dict[bytes, bytes]] = [{} for _ in range(topic.partitions)]
        self._found: deque[tuple[int, Finding]] = deque(maxlen=findings_max)
        self._ends: dict[int, tuple[int, int]] = {}
        self._held = HeldPartitions()
        self._taken = 0

    def catch_up(self, *, until: float = float("inf")) -> None:
        """Read to the ends as they are now, or until a moment of time.monotonic().

        A record that cannot be read holds up its own partition. Raises LogStuckError when the log
        does not give what it holds, LogError when it cannot be reached.
        """
        bell = threading.Event()
        tail = self._log.tail(on_ready=bell.set, committed=False)
        try:
            for partition in range(self._topic.partitions):
                self._ends[partition] = self._log.offsets(self._topic.name, partition)
            for partition in range(self._topic.partitions):
                if not self._held.is_held(partition):
                    self._read(tail, bell, partition, until)
        finally:
            tail.close()

    def _at(self, partition: int) -> int:
        first = self._ends[partition][0]
        return max(place_of(self._rows[partition].get).next_offset, first)

    def _read(self, tail: Tail, bell: threading.Event, partition: int, until: float) -> None:
        span = (self._at(partition), self._ends[partition][1])
        for records in read_span(tail, bell, (self._topic.name, partition), span, until_s=until):
            for record in records:
                try:
                    changes, found = take(self._rows[partition].get, record, self._queue)
                except Exception as error:
                    self._held.hold(partition, record, error)
                    return
                self._found.extend((partition, finding) for finding in found)
                self._change(partition, changes)
            self._taken += len(records)
            if self._is_lean and self._taken >= FORGET_EVERY:
                self._taken = 0
                self._forget(partition, records[-1].timestamp_ms // 1000)

    def _change(self, partition: int, changes: list[tuple[bytes, bytes | None]]) -> None:
        rows = self._rows[partition]
        for key, value in changes:
            if value is None:
                rows.pop(key, None)
            elif not (self._is_lean and _is_between(key)):
                rows[key] = value

    def _forget(self, partition: int, now_s: int) -> None:
        """Let old windows go."""
        rows = self._rows[partition]
        for key in [key for key in rows if key.startswith(WINDOWS)]:
            length_s, start_s, _ = window_of(key)
            if start_s < now_s - (FINE_S if length_s == TUMBLING_S else COARSE_S):
                del rows[key]

    @property
    def read(self) -> float:
        """How much of the log has been read, from 0 to 1."""
        total = sum(end - first for first, end in self._ends.values())
        left = sum(max(end - self._at(one), 0) for one, (_, end) in self._ends.items())
        return 1.0 if not total else 1.0 - left / total

    def figures(self) -> Iterator[tuple[bytes, Figures]]:
        """The figures of all windows, by their keys."""
        for rows in self._rows:
            for key, value in rows.items():
                if key.startswith(WINDOWS):
                    yield key, decode_figures(value)

    def findings(self, now_ms: int) -> Iterator[Noticed]:
        """What events have shown, in the order of the log, then what silence shows now."""
        for partition, finding in self._found:
            data = self._rows[partition].get(run_key(finding.run_id))
            run = decode_run(data) if data is not None else None
            yield Noticed(finding=finding, holds=_holds(finding, run))
        for rows in self._rows:
            for key, value in rows.items():
                if key.startswith(RUNS):
                    for finding in quiet_notices(decode_run(value), self._queue, now_ms):
                        yield Noticed(finding=finding, holds=True)


def _is_between(key: bytes) -> bool:
    """Whether it is a window of five minutes that overlaps those side by side."""
    if not key.startswith(WINDOWS):
        return False
    length_s, start_s, _ = window_of(key)
    return length_s == HOPPING_S and start_s % HOPPING_S != 0


def _holds(finding: Finding, run: OpenRun | None) -> bool | None:
    """Whether what an event has shown of a run is still so."""
    if finding.kind == "blocked":
        return run is not None and bool(run.blocked)
    if finding.kind == "exhausted":
        return run is not None and any(one.exhausted for one in run.activities.values())
    if finding.kind == "retrying":
        return run is not None and any(one.failure for one in run.activities.values())
    if finding.kind == "history_large":
        return run is not None
    return None
