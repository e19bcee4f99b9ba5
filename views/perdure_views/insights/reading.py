"""The same figures and findings from a whole log at once, without Faust: any log, read access."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

from perdure_views.export import QUIET_S, LogStuckError
from perdure_views.insights.noticing import quiet_notices
from perdure_views.insights.rows import RUNS, WINDOWS, decode_figures, decode_run
from perdure_views.insights.summing import summary
from perdure_views.insights.taking import take

if TYPE_CHECKING:
    from perdure_schemas.findings import Finding
    from perdure_topics.ports import Log, TopicInfo

READ_AT_ONCE: Final = 1_000


def read_insights(
    log: Log, topic: TopicInfo, task_queue: str, now_ms: int
) -> tuple[list[dict[str, Any]], list[Finding]]:
    """The figures and findings of an events topic as it ends now.

    Raises UnreadableRecordError for a record that may count and cannot be read, LogStuckError
    when the log does not give what it holds.
    """
    figures: list[tuple[bytes, Any]] = []
    findings: list[Finding] = []
    bell = threading.Event()
    tail = log.tail(on_ready=bell.set, committed=False)
    try:
        for partition in range(topic.partitions):
            rows: dict[bytes, bytes] = {}
            at, end = log.offsets(topic.name, partition)
            if at < end:
                tail.assign(topic.name, partition, at)
            while at < end:
                bell.clear()
                records = tail.take(topic.name, partition, READ_AT_ONCE)
                if not records and not bell.wait(QUIET_S):
                    raise LogStuckError(f"{topic.name}-{partition} gives nothing behind {at - 1}")
                for record in records:
                    at = record.offset + 1
                    changes, found = take(rows.get, record, task_queue)
                    findings += found
                    for key, value in changes:
                        if value is None:
                            rows.pop(key, None)
                        else:
                            rows[key] = value
            tail.unassign(topic.name, partition)
            for key, value in rows.items():
                if key.startswith(WINDOWS):
                    figures.append((key, decode_figures(value)))
                elif key.startswith(RUNS):
                    findings += quiet_notices(decode_run(value), task_queue, now_ms)
    finally:
        tail.close()
    return summary(figures), findings
