"""Which topics are an engine's own: known by what hosts wrote about them, not by a likely name."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from perdure_schemas.avro import UnreadableRecordError, decode
from perdure_schemas.transition import EpochBump, Transition
from perdure_topics.names import role_of, task_queues_of, topic_name, unquote
from perdure_topics.ports import LogError, LogForbiddenError
from perdure_topics.requirements import mismatches
from perdure_topics.spans import read_span

if TYPE_CHECKING:
    from perdure_topics.ports import Log, StoredRecord, TopicInfo

LOOK_S: Final = 5.0
KNOWN_MAX: Final = 1_000
_OF_A_QUEUE: Final = ("commands", "events", "tasks", "dead")


class EngineTopics:
    """Tells an engine's topics from those of users that are named alike.

    The bump that opens each partition of the events says the id of the commands that it belongs
    to, so a queue is one when its events begin with a record of a host's. Before any host has run
    there is only what `perdure topics create` made: all four topics of the queue, empty.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._known: dict[str, str] = {}
        """By a topic's id, the task queue or namespace that it belongs to; empty for a user's."""

    def refusal_of(self, info: TopicInfo) -> str:
        """Why nobody else may write to a topic; empty for one of a user's.

        Raises LogError when the log cannot say.
        """
        if info.topic_id not in self._known:
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            self._known[info.topic_id] = self._owner_as_seen(info)
        owner = self._known[info.topic_id]
        if not owner:
            return ""
        return f"topic {info.name!r} is {owner}'s own: only its processes write there"

    def _owner_as_seen(self, info: TopicInfo) -> str:
        try:
            return self._owner_of(info)
        except LogForbiddenError:
            # Who may write to this topic, and not so much as see what would be its siblings, has
            # been given a right to it: nobody gives one to an engine's own.
            return ""

    def _owner_of(self, info: TopicInfo) -> str:
        role = role_of(info.name)
        if role is None:
            return ""
        try:
            namespace, *rest = map(unquote, info.name.split(".")[:2])
        except ValueError:
            # What is no name of ours quoted cannot be one.
            return ""
        if role in ("replies", "findings"):
            return self._owning_namespace(namespace, role, info)
        return f"task queue {rest[0]!r}" if self._is_queue(namespace, rest[0]) else ""

    def _owning_namespace(self, namespace: str, role: str, info: TopicInfo) -> str:
        queues = task_queues_of(self._log.topic_names(), namespace)
        is_one = any(self._is_queue(namespace, queue) for queue in queues)
        # Hosts of the namespace refuse to run with one that has other settings.
        return (
            f"namespace {namespace!r}" if is_one and not mismatches(self._log, role, info) else ""
        )

    def _is_queue(self, namespace: str, queue: str) -> bool:
        """Whether the topics of these names are a task queue's."""
        infos = [self._log.topic(topic_name(role, namespace, queue)) for role in _OF_A_QUEUE]
        commands, events = infos[0], infos[1]
        if commands is None or events is None:
            return False
        is_whole = all(infos)
        for partition in range(events.partitions):
            first = self._first(events.name, partition)
            if first is None:
                continue
            try:
                found = decode(first.value)
            except UnreadableRecordError:
                return False
            if isinstance(found, EpochBump):
                return is_whole or found.input_topic_id == commands.topic_id
            return isinstance(found, Transition)
        return is_whole

    def _first(self, topic: str, partition: int) -> StoredRecord | None:
        start, end = self._log.offsets(topic, partition)
        if start >= end:
            return None
        bell = threading.Event()
        tail = self._log.tail(on_ready=bell.set, committed=False)
        try:
            place, until_s = (topic, partition), time.monotonic() + LOOK_S
            for records in read_span(tail, bell, place, (start, end), until_s=until_s):
                return records[0]
        finally:
            tail.close()
        raise LogError(f"{topic}-{partition} gives none of its records: is the broker well?")
