"""What tests of a log are made of: waiting, topics, collecting what comes in."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import TypeVar

import pytest

from perdure_topics.names import topic_name, topic_settings
from perdure_topics.ports import (
    Appender,
    GroupReader,
    Log,
    Member,
    Report,
    StoredRecord,
    Tail,
    TopicSpec,
)

T = TypeVar("T")
MakeLog = Callable[[], Log]
Wait = Callable[[Callable[[], T]], T]


def wait_for(condition: Callable[[], T], timeout_s: float = 20.0) -> T:
    """Ask until the answer is true; the last one when time is over."""
    until = time.monotonic() + timeout_s
    while True:
        answer = condition()
        if answer or time.monotonic() >= until:
            return answer
        time.sleep(0.002)


def no_bell() -> None:
    """For readers that are asked again and again."""


def new_topic(log: Log, role: str = "commands", partitions: int = 4) -> str:
    """A topic nobody has."""
    name = topic_name(role, f"t{uuid.uuid4().hex[:12]}", "orders")
    log.create_topics([TopicSpec(name, partitions, 1, topic_settings(role))])
    return name


class Contract:
    host_role = "events"
    """A role that this adapter may write and cut; the loopback one may not touch events."""

    @pytest.fixture
    def wait(self) -> Wait[object]:
        return wait_for

    @staticmethod
    def cut(log: Log, topic: str, partition: int, offset: int) -> None:
        """Delete records, as whoever owns the log."""
        log.delete_before(topic, partition, offset)

    @staticmethod
    def write(
        log: Log, wait: Wait[list[Report]], topic: str, partition: int, values: list[bytes]
    ) -> list[Report]:
        """Append values and wait until all are acknowledged."""
        appender = log.appender(on_ready=no_bell)
        try:
            for at, value in enumerate(values):
                appender.append(topic, partition, value, tag=at)
            return collect_reports(appender, wait, len(values))
        finally:
            appender.close()


def collect_reports(appender: Appender, wait: Wait[list[Report]], count: int) -> list[Report]:
    """So many reports, or those that came in time."""
    found: list[Report] = []

    def enough() -> list[Report]:
        found.extend(appender.reports())
        return found if len(found) >= count else []

    wait(enough)
    return found


def collect(
    tail: Tail, wait: Wait[list[StoredRecord]], topic: str, partition: int, count: int
) -> list[StoredRecord]:
    """So many records of a tail, or those that came in time."""
    found: list[StoredRecord] = []

    def enough() -> list[StoredRecord]:
        found.extend(tail.take(topic, partition, 1000))
        return found if len(found) >= count else []

    wait(enough)
    return found


def collect_group(
    reader: GroupReader, wait: Wait[list[StoredRecord]], count: int
) -> list[StoredRecord]:
    """So many records of a group reader, or those that came in time."""
    found: list[StoredRecord] = []

    def enough() -> list[StoredRecord]:
        found.extend(reader.take(1000))
        return found if len(found) >= count else []

    wait(enough)
    return found


class Holder:
    """A group member and what it holds, letting go at once of what is revoked."""

    def __init__(self, member: Member | GroupReader) -> None:
        self.member = member
        self.held: set[int] = set()
        self.kinds: list[str] = []

    def look(self) -> set[int]:
        for change in self.member.changes():
            self.kinds.append(change.kind)
            if change.kind == "assigned":
                self.held.add(change.partition)
                continue
            self.held.discard(change.partition)
            if change.kind == "revoked":
                self.member.release(change.partition)
        return self.held


def settle(wait: Wait[bool], holders: list[Holder], wanted: list[int]) -> None:
    """Wait until the members hold so many partitions each, in any order."""

    def even() -> bool:
        return sorted(len(holder.look()) for holder in holders) == sorted(wanted)

    assert wait(even), [holder.held for holder in holders]
