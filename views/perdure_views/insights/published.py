"""Published results of insights: their findings topic, and their page of figures."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from perdure_schemas.avro import UnreadableRecordError, decode
from perdure_schemas.findings import Finding
from perdure_topics.spans import read_span
from perdure_views.insights.windows import unsummed

if TYPE_CHECKING:
    from perdure_topics.ports import Log, TopicInfo
    from perdure_views.insights.rows import Figures

FIGURES_BYTES_MAX: Final = 64 * 1024 * 1024
FIGURES_S: Final = 5.0


class UnreachableInsightsError(Exception):
    """A process of insights that does not answer, or answers with something else."""


class Published:
    """The newest findings of a namespace's findings topic. From one thread at a time."""

    def __init__(self, log: Log, topic: TopicInfo, *, findings_max: int) -> None:
        self._log = log
        self._topic = topic
        self._max = findings_max
        self._next: dict[int, int] = {}
        self._found: deque[Finding] = deque(maxlen=findings_max)

    def catch_up(self, *, until: float) -> None:
        """Read to the ends as they are now, or until a moment of time.monotonic().

        Raises LogError when the log cannot be reached.
        """
        name = self._topic.name
        bell = threading.Event()
        tail = self._log.tail(on_ready=bell.set, committed=True)
        try:
            for partition in range(self._topic.partitions):
                first, end = self._log.offsets(name, partition)
                at = max(self._next.get(partition, end - self._max), first)
                for records in read_span(tail, bell, (name, partition), (at, end), until_s=until):
                    for record in records:
                        at = record.offset + 1
                        self._take(record.value)
                # What stands before the end may be a mark of a transaction: it is no record.
                self._next[partition] = at if time.monotonic() >= until else max(at, end)
        finally:
            tail.close()

    def _take(self, value: bytes | None) -> None:
        try:
            found = decode(value or b"")
        except UnreadableRecordError:
            # Anybody may write here what they like; insights write findings.
            return
        if isinstance(found, Finding):
            self._found.append(found)

    @property
    def findings(self) -> list[Finding]:
        """The newest ones; one that was told again after a crash once, as it was told last."""
        return list({one.finding_id: one for one in self._found}.values())


def figures_of(address: str) -> list[tuple[bytes, Figures]]:
    """The figures that a process of `perdure insights` shows. Raises UnreachableInsightsError."""
    where = f"{address.rstrip('/')}/figures"
    try:
        with urllib.request.urlopen(where, timeout=FIGURES_S) as answer:  # noqa: S310 - of settings
            rows: list[dict[str, Any]] = json.loads(answer.read(FIGURES_BYTES_MAX))
        return unsummed(rows)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnreachableInsightsError(f"{where} gives no figures: {error}") from error
