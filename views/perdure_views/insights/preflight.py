"""Checks before insights start: the same events topic, the same number of partitions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from perdure_topics.names import group_name
from perdure_topics.ports import LogError

if TYPE_CHECKING:
    from pathlib import Path

    from perdure_topics.ports import Log, TopicInfo

MARKER: Final = "events.json"


class _Marked(msgspec.Struct):
    """The events topic that tables were made from."""

    topic_id: str
    partitions: int


def changelog_name(namespace: str, task_queue: str) -> str:
    """The topic that keeps the tables, as Faust names it."""
    return f"{group_name('insights', namespace, task_queue)}-rows-changelog"


def check_tables(log: Log, events: TopicInfo, changelog: str, directory: Path) -> None:
    """Refuse tables, and a changelog, of another events topic; a new directory is marked.

    Raises LogError that says which of them, and what to delete.
    """
    remedy = (
        f"the task queue was made anew. Delete the topic {changelog} and the directory {directory}:"
        " all of it is rebuilt from the events"
    )
    kept = log.topic(changelog)
    if kept is not None and kept.partitions != events.partitions:
        raise LogError(
            f"the topic {changelog} on {log.address} has {kept.partitions} partitions, and"
            f" {events.name} has {events.partitions}: {remedy}"
        )
    marker = directory / MARKER
    now = _Marked(events.topic_id, events.partitions)
    if marker.exists():
        try:
            found = msgspec.json.decode(marker.read_bytes(), type=_Marked)
        except msgspec.MsgspecError:
            found = _Marked("", 0)
        if found != now:
            raise LogError(
                f"the tables in {directory} are of another {events.name}, of {found.partitions}"
                f" partitions where this one has {now.partitions}: {remedy}"
            )
    directory.mkdir(parents=True, exist_ok=True)
    marker.write_bytes(msgspec.json.encode(now))
