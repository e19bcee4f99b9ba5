"""What tests of the embedded log are made of: a log with topics, and images of its directory."""

from __future__ import annotations

import shutil
from pathlib import Path

from perdure_topics.clock import ManualClock
from perdure_topics.embedded.embedded_log import EmbeddedLog
from perdure_topics.names import topic_name, topic_settings
from perdure_topics.ports import Log, Report, TopicSpec
from tests.log_rig import collect, collect_reports, no_bell, wait_for

EVENTS = topic_name("events", "ns", "q")
COMMANDS = topic_name("commands", "ns", "q")
REPLIES = topic_name("replies", "ns")


def open_log(directory: Path, *, clock: ManualClock | None = None) -> EmbeddedLog:
    log = EmbeddedLog.open(directory, clock=clock)
    log.create_topics(
        [
            TopicSpec(topic_name(role, "ns", "q"), 2, 1, topic_settings(role))
            for role in ("events", "commands", "tasks", "replies")
        ]
    )
    return log


def write(log: Log, topic: str, values: list[bytes], partition: int = 0) -> list[Report]:
    appender = log.appender(on_ready=no_bell)
    for value in values:
        appender.append(topic, partition, value)
    reports = collect_reports(appender, wait_for, len(values))
    appender.close()
    return reports


def read_all(log: Log, topic: str, partition: int = 0, start: int = 0) -> list[bytes | None]:
    """Every record from start on, or the error that reading meets."""
    tail = log.tail(on_ready=no_bell, committed=False)
    tail.assign(topic, partition, start)
    end = tail.probe_end(topic, partition).end() or 0
    found = collect(tail, wait_for, topic, partition, end - start) if end > start else []
    tail.close()
    return [record.value for record in found]


def crash_image(directory: Path, image: Path) -> None:
    """The directory as a crash of the machine leaves it: everything written, nothing closed."""
    shutil.rmtree(image, ignore_errors=True)
    shutil.copytree(directory, image)


def newest_wal(directory: Path) -> Path:
    return max(Path(directory, "log").glob("*.log"), key=lambda path: int(path.stem))
