"""From accepted RecordEmitted events to the topics of users: each once, in the order of its log.

The fold's cursor is kept with the position that was read to, in the same step that publishes; so
what is published is never published again, whoever dies when.
"""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from perdure_schemas.avro import decode, decode_as
from perdure_schemas.fact_events import RecordEmitted
from perdure_schemas.transition import TransitionBody
from perdure_topics.fold import Accepted, Cursor, fold_record
from perdure_topics.names import role_of
from perdure_topics.ports import LogUnavailableError, PositionLostError
from perdure_topics.publishing import (
    NOTE_BYTES_MAX,
    Emission,
    FencedError,
    Mark,
    PublishError,
)
from perdure_views.held_partitions import HeldPartitions

if TYPE_CHECKING:
    from perdure_topics.ports import Log, StoredRecord, Tail, TopicInfo
    from perdure_topics.publishing import Publisher
    from perdure_views.turn import Turn

_LOG: Final = logging.getLogger("perdure.relay")
READ_AT_ONCE: Final = 200
EMISSIONS_MAX: Final = 500
EMITTED_BYTES_MAX: Final = 4 * 1024 * 1024
"""So much goes into one transaction."""
UNMARKED_MAX: Final = 5_000
MARK_EVERY_S: Final = 10.0
"""Partitions without emissions are marked so often."""
TOPIC_AGAIN_S: Final = 1.0
RETRY_S: Final = 1.0
TURN_SAID_S: Final = 3.0
"""Who waits for a turn for longer says so."""
FENCED_S: Final = 15.0
"""Who was taken over from leaves the work to the other so long, whatever the group says."""


class _Note(msgspec.Struct, array_like=True):
    """What is kept with an offset."""

    topic_id: str
    cursor: Cursor


_decode_note = msgspec.msgpack.Decoder(_Note).decode


class _Source:
    """One events partition as it is read."""

    def __init__(self, topic: TopicInfo, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.cursor = Cursor()
        self.next_offset = 0
        self.marked = 0
        self._safe = (0, Cursor())

    def begin(self, log: Log, tail: Tail, mark: Mark | None) -> None:
        """Read from a mark on, or from where a fold may start."""
        start, end = log.offsets(self.topic.name, self.partition)
        self.cursor, self.next_offset = Cursor(), start
        note = _note_of(mark) if mark else None
        if mark and note and note.topic_id == self.topic.topic_id:
            if start <= mark.next_offset <= end:
                self.cursor, self.next_offset = note.cursor, mark.next_offset
            else:
                _LOG.error(
                    "%s-%d holds offsets %d to %d, and was read to %d: records may be missed",
                    self.topic.name,
                    self.partition,
                    start,
                    end,
                    mark.next_offset,
                )
        self.marked = self.next_offset
        self._safe = (self.next_offset, self.cursor)
        tail.assign(self.topic.name, self.partition, self.next_offset)

    def take(self, record: StoredRecord) -> list[RecordEmitted]:
        """Fold a record; what it emits. Raises UnreadableRecordError."""
        cursor, verdict = fold_record(self.cursor, record)
        emitted: list[RecordEmitted] = []
        if isinstance(verdict, Accepted):
            events = map(decode, decode_as(TransitionBody, verdict.body).events)
            emitted = [event for event in events if isinstance(event, RecordEmitted)]
        # Only now: a record that cannot be read is read again from the same place.
        self.cursor, self.next_offset = cursor, record.offset + 1
        if not self.cursor.parts:
            # The parts of an unfinished transition are too large to be kept: they are read again.
            self._safe = (self.next_offset, self.cursor)
        return emitted

    @property
    def unmarked(self) -> int:
        """How many records have been read since the mark."""
        return self._safe[0] - self.marked

    def mark(self) -> Mark:
        """How far it has been read, with what a reader needs to go on."""
        next_offset, cursor = self._safe
        packed = msgspec.msgpack.encode(_Note(self.topic.topic_id, cursor))
        note = base64.b64encode(packed).decode()
        assert len(note) <= NOTE_BYTES_MAX, f"a cursor of {len(note)} bytes"
        return Mark(self.topic.name, self.partition, next_offset, note)


def _note_of(mark: Mark) -> _Note | None:
    try:
        return _decode_note(base64.b64decode(mark.note, validate=True))
    except ValueError:
        return None


class Relay:
    """Reads the events of task queues and publishes what they emit. Step it from one thread."""

    def __init__(
        self,
        log: Log,
        topics: Sequence[TopicInfo],
        publisher: Publisher,
        *,
        turn: Turn,
        ring: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._publisher = publisher
        self._turn = turn
        self._waits_since_s = clock()
        self._fenced_until_s = 0.0
        self._clock = clock
        self._tail = log.tail(on_ready=ring, committed=False)
        self._sources = [
            _Source(topic, partition) for topic in topics for partition in range(topic.partitions)
        ]
        self._held = HeldPartitions(clock)
        self._emissions: list[Emission] = []
        self._bytes = 0
        self._marked_s = clock()
        self._known: dict[str, tuple[float, str]] = {}
        self._said = ""
        self._has_begun = False
        self.published = 0

    def step(self) -> float:
        """Read and publish some, if it is this relay's turn; in how many seconds to step again.

        Raises LogError for what is not allowed.
        """
        if not self._has_turn():
            return RETRY_S
        try:
            if not self._has_begun:
                self._begin()
            more = self._read()
            self._publish_due()
        except (PublishError, LogUnavailableError) as error:
            # Nothing of it is published, or it is not known: the marks know.
            self._has_begun = False
            self._known.clear()
            self._say(f"{error}: trying again")
            return RETRY_S
        except FencedError as error:
            self._has_begun = False
            self._fenced_until_s = self._clock() + FENCED_S
            self._say(f"{error}. It works, and this one waits")
            return RETRY_S
        if self._emissions:
            return RETRY_S
        self._said = ""
        return 0.0 if more else MARK_EVERY_S

    def _has_turn(self) -> bool:
        """Whether this relay works now; one that waits says so."""
        now_s = self._clock()
        if self._turn.is_mine():
            self._waits_since_s = now_s
            return now_s >= self._fenced_until_s
        self._has_begun = False
        if now_s - self._waits_since_s >= TURN_SAID_S:
            names = ", ".join(sorted({source.topic.name for source in self._sources}))
            self._say(
                f"another relay publishes what {names} emits: this one waits, and goes on when"
                " that one ends; one is enough"
            )
        return False

    def _begin(self) -> None:
        places = [(source.topic.name, source.partition) for source in self._sources]
        marks = {(mark.topic, mark.partition): mark for mark in self._publisher.begin(places)}
        self._emissions.clear()
        self._bytes = 0
        for source in self._sources:
            place = (source.topic.name, source.partition)
            source.begin(self._log, self._tail, marks.get(place))
        self._has_begun = True

    def _read(self) -> bool:
        """Take what there is, as far as one transaction holds it; whether there may be more."""
        more = False
        for source in self._sources:
            if self._held.is_held(source):
                continue
            if len(self._emissions) >= EMISSIONS_MAX or self._bytes >= EMITTED_BYTES_MAX:
                return True
            try:
                records = self._tail.take(source.topic.name, source.partition, READ_AT_ONCE)
            except PositionLostError as error:
                raise PublishError(str(error)) from error
            more = more or len(records) == READ_AT_ONCE
            for record in records:
                try:
                    emitted = source.take(record)
                except Exception as error:
                    self._held.hold(source, record, error)
                    self._tail.assign(source.topic.name, source.partition, source.next_offset)
                    break
                for event in emitted:
                    self._emissions.append(
                        Emission(
                            event.topic, event.key, event.value, event.headers, event.partition
                        )
                    )
                    self._bytes += len(event.key or b"") + len(event.value or b"")
        return more

    def _publish_due(self) -> None:
        unmarked = sum(source.unmarked for source in self._sources)
        late = self._clock() - self._marked_s >= MARK_EVERY_S
        if not self._emissions and not (unmarked >= UNMARKED_MAX or (unmarked and late)):
            return
        sendable = [one for one in self._emissions if not self._is_ours(one.topic)]
        for topic in {one.topic for one in sendable}:
            problem = self._problem_of(topic)
            if problem:
                self._say(problem)
                return
        marks = [source.mark() for source in self._sources if source.unmarked]
        self._publisher.publish(sendable, marks)
        for source in self._sources:
            source.marked += source.unmarked
        self.published += len(sendable)
        self._emissions.clear()
        self._bytes = 0
        self._marked_s = self._clock()

    def _problem_of(self, topic: str) -> str:
        """Why nothing can be published to a topic now; empty when nothing speaks against it."""
        asked_s, problem = self._known.get(topic, (0.0, "?"))
        if problem or self._clock() - asked_s > TOPIC_AGAIN_S:
            found = self._log.topic(topic)
            problem = (
                ""
                if found
                else f"there is no topic {topic!r} on {self._log.address}: make it, and what was"
                " emitted to it is published; until then the relay waits"
            )
            self._known[topic] = (self._clock(), problem)
        return problem

    def _is_ours(self, topic: str) -> bool:
        """Whether a topic belongs to a task queue: only its own processes write there."""
        role = role_of(topic)
        if role is None:
            return False
        first = topic.split(".", maxsplit=1)[0]
        names = self._log.topic_names()
        if not any(name.startswith(f"{first}.") and name.endswith(".commands") for name in names):
            return False
        _LOG.error("a workflow emitted to %s, which is a task queue's own: dropped", topic)
        return True

    def _say(self, text: str) -> None:
        """Say something once, until it changes."""
        if text != self._said:
            self._said = text
            _LOG.warning("%s", text)

    def close(self) -> None:
        """Stop reading and publishing, and let another relay have the turn."""
        self._tail.close()
        self._publisher.close()
        self._turn.close()
