"""The dead letters of a task queue for people: what they are, taking one again, setting it aside.

A letter is settled by a record behind it that names its offset: Kafka deletes no single record, and
what was replayed once must not be replayed by the next who looks.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from perdure_schemas.avro import UnreadableRecordError, decode
from perdure_schemas.command_headers import AGE, AttemptReport, age_header
from perdure_topics.names import murmur2, partition_of, role_of, topic_name
from perdure_topics.ports import LogError
from perdure_topics.spans import read_span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from perdure_topics.ports import Headers, Log, StoredRecord, TopicInfo

ERROR: Final = "perdure-error"
TOPIC: Final = "perdure-topic"
PARTITION: Final = "perdure-partition"
OFFSET: Final = "perdure-offset"
SETTLED: Final = "perdure-settled"
ACT: Final = "perdure-act"
_OWN: Final = frozenset({ERROR, TOPIC, PARTITION, OFFSET})
SENT_S: Final = 30.0


class DeadLetter(NamedTuple):
    """A record that could not be taken, where it came from, and why."""

    partition: int
    offset: int
    """Where it is in the dead letters: its name, with the partition."""
    time_ms: int
    reason: str
    topic: str
    """The topic that it was for."""
    source_partition: int
    source_offset: int
    kind: str
    """The record's type; empty where it is none of ours."""
    workflow_id: str
    request_id: str
    key: bytes | None
    value: bytes
    headers: Headers
    """As they came, without those that say why it is here."""
    settled: str = ""
    """What somebody did about it: replayed or dropped."""

    @property
    def name(self) -> str:
        """What people type."""
        return f"{self.partition}-{self.offset}"

    def shown(self) -> dict[str, Any]:
        """All of it, for people."""
        told = self._asdict() | {
            "name": self.name,
            "key": (self.key or b"").decode(errors="backslashreplace"),
            "headers": [[n, v.decode(errors="backslashreplace")] for n, v in self.headers],
        }
        try:
            told["value"] = msgspec.to_builtins(decode(self.value))
        except UnreadableRecordError:
            told["value"] = self.value.decode(errors="backslashreplace")
        return told


class DeadLetters:
    """The dead letters of one task queue. From one thread."""

    def __init__(self, log: Log, namespace: str, task_queue: str) -> None:
        """Raises LogError when the queue has none."""
        self._log = log
        self._topic = _existing(log, topic_name("dead", namespace, task_queue))
        self._bell = threading.Event()

    def all(self, *, also_settled: bool = False) -> list[DeadLetter]:
        """The letters that are there, oldest first. Raises LogError when they cannot be read."""
        found: dict[str, DeadLetter] = {}
        for record in self._records():
            headers = dict(record.headers)
            settled = headers.get(SETTLED)
            if settled is None:
                letter = _letter_of(record)
                found[letter.name] = letter
                continue
            name = settled.decode(errors="replace")
            if name in found:
                act = headers.get(ACT, b"").decode(errors="replace")
                found[name] = found[name]._replace(settled=act or "settled")
        return [letter for letter in found.values() if also_settled or not letter.settled]

    def replay(self, letter: DeadLetter) -> str:
        """Write a letter to where it was for, as it came, and settle it; where it is now.

        A command keeps its request id, so what was taken after all is not taken twice. It counts as
        sent now, by whoever replays it, however long it has lain here.

        Raises LogError when it cannot be written.
        """
        topic = _existing(self._log, letter.topic)
        partition = _partition_for(letter, topic)
        headers = [pair for pair in letter.headers if pair[0] != AGE]
        if role_of(topic.name) == "commands":
            headers.append(age_header(0))
        offset = self._write(topic.name, partition, letter.key, letter.value, tuple(headers))
        self.settle(letter, "replayed")
        return f"{topic.name}-{partition}-{offset}"

    def settle(self, letter: DeadLetter, act: str) -> None:
        """Remember that a letter has been seen to. Raises LogError when that cannot be written."""
        headers = ((SETTLED, letter.name.encode()), (ACT, act.encode()))
        self._write(self._topic.name, letter.partition, letter.key, b"", headers)

    def _records(self) -> Iterator[StoredRecord]:
        tail = self._log.tail(on_ready=self._bell.set, committed=True)
        try:
            for partition in range(self._topic.partitions):
                span = self._log.offsets(self._topic.name, partition)
                for records in read_span(tail, self._bell, (self._topic.name, partition), span):
                    yield from (record for record in records if record.offset < span[1])
        finally:
            tail.close()

    def _write(
        self, topic: str, partition: int, key: bytes | None, value: bytes, headers: Headers
    ) -> int:
        bell = threading.Event()
        appender = self._log.appender(on_ready=bell.set, timeout_ms=int(SENT_S * 1000))
        try:
            appender.append(topic, partition, value, key=key, headers=headers)
            while not (reports := appender.reports()):
                if not bell.wait(SENT_S):
                    raise LogError(
                        f"{topic} has not answered for {SENT_S:.0f} s: look whether it"
                        " is there before you try again"
                    )
                bell.clear()
            (report,) = reports
            if report.error or report.offset is None:
                raise LogError(f"{topic}-{partition} did not take it: {report.error or 'unknown'}")
            return report.offset
        finally:
            appender.close()


def _existing(log: Log, name: str) -> TopicInfo:
    info = log.topic(name)
    if info is None:
        raise LogError(f"there is no topic {name} on {log.address}")
    return info


def _letter_of(record: StoredRecord) -> DeadLetter:
    told: dict[str, str] = {}
    for name, value in record.headers:
        # What says why it is here was added last.
        if name in _OWN:
            told[name] = value.decode(errors="replace")
    kind = workflow_id = request_id = ""
    try:
        command = decode(record.value)
        kind = type(command).__name__
        workflow_id = getattr(command, "workflow_id", "")
        request_id = getattr(command, "request_id", "")
    except UnreadableRecordError:
        workflow_id = (record.key or b"").decode(errors="replace")
    return DeadLetter(
        record.partition,
        record.offset,
        record.timestamp_ms,
        told.get(ERROR, ""),
        told.get(TOPIC, ""),
        _number(told.get(PARTITION, "")),
        _number(told.get(OFFSET, "")),
        kind,
        workflow_id,
        request_id,
        record.key,
        record.value or b"",
        _came_with(record.headers),
    )


def _came_with(headers: Headers) -> Headers:
    """The headers of a record before it came here: ours are the last of each name."""
    left, kept = set(_OWN), []
    for name, value in reversed(headers):
        if name in left:
            left.discard(name)
        else:
            kept.append((name, value))
    return tuple(reversed(kept))


def _number(text: str) -> int:
    return int(text) if text.isdigit() else -1


def _partition_for(letter: DeadLetter, topic: TopicInfo) -> int:
    """Where a letter belongs: with its workflow, or whom its attempt reports to, or by its key."""
    by_key = (murmur2(letter.key or b"") & 0x7FFFFFFF) % topic.partitions
    if role_of(topic.name) != "commands":
        return by_key if letter.key else letter.source_offset % topic.partitions
    try:
        command = decode(letter.value)
    except UnreadableRecordError:
        return by_key
    if isinstance(command, AttemptReport) and 0 <= letter.source_partition < topic.partitions:
        return letter.source_partition
    return partition_of(letter.workflow_id, topic.partitions)


def has(letter: DeadLetter, text: str) -> bool:
    """Whether a letter speaks of something: in its reason, its type or its workflow id."""
    return any(text in part for part in (letter.reason, letter.kind, letter.workflow_id))
