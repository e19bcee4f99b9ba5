"""Figures and findings computed from a whole log at once, without Faust."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from perdure_views.insights.cursor import Following
from perdure_views.insights.windows import summary

if TYPE_CHECKING:
    from perdure_schemas.findings import Finding
    from perdure_topics.ports import Log, TopicInfo


def read_insights(
    log: Log, topic: TopicInfo, task_queue: str, now_ms: int
) -> tuple[list[dict[str, Any]], list[Finding]]:
    """The figures and findings of an events topic as it ends now.

    Raises UnreadableRecordError for a record that may count and cannot be read, LogStuckError
    when the log does not give what it holds.
    """
    following = Following(log, topic, task_queue)
    following.catch_up()
    return summary(following.figures()), [one.finding for one in following.findings(now_ms)]
