"""The relay's reader of an events partition, with its offset and lagging targets.

A target is a topic, or a partition of one that a record names. One that cannot be published to is
left behind: its records are passed over, from a place that the mark keeps, and read again from
there once it can. So nothing is lost or doubled over a restart, and the others go on.
"""

from __future__ import annotations

import base64
import logging
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from perdure_schemas.avro import decode, decode_as
from perdure_schemas.fact_events import RecordEmitted
from perdure_schemas.transition import TransitionBody
from perdure_topics.fold import Accepted, Cursor, fold_record
from perdure_topics.publisher_port import NOTE_BYTES_MAX, Emission, Mark

if TYPE_CHECKING:
    from perdure_topics.ports import Log, StoredRecord, Tail, TopicInfo

_LOG: Final = logging.getLogger("perdure.relay")
LATE_MAX: Final = 8
"""So many targets of a partition may be behind: a mark's note holds no more."""


class Place(msgspec.Struct, array_like=True, frozen=True):
    """Where a reader may begin: an offset between two transitions, and the fold's cursor there."""

    offset: int
    cursor: Cursor


class _Note(msgspec.Struct, array_like=True):
    """What is kept with an offset."""

    topic_id: str
    cursor: Cursor
    late: dict[str, Place] = {}


_decode_note = msgspec.msgpack.Decoder(_Note).decode


class Due(NamedTuple):
    """A record to publish, and where it comes from."""

    source: Source
    target: str
    place: Place
    """Where its transition begins: from there on it is read again."""
    number: int
    """Which of its transition's it is."""
    emission: Emission

    @property
    def identity(self) -> tuple[str, int, int, int]:
        """The same for each time that it is read."""
        topic, partition = self.source.topic.name, self.source.partition
        return topic, partition, self.place.offset, self.number


def target_of(emission: Emission) -> str:
    """What a record is for: its topic, or the partition of it that it names."""
    if emission.partition < 0:
        return emission.topic
    return f"{emission.topic}#{emission.partition}"


class Reading:
    """A fold over a partition, from a place on."""

    def __init__(self, source: Source, place: Place) -> None:
        self._source = source
        self._cursor = place.cursor
        self.place = place
        """Where a reader may begin that has all that was read here."""
        self.next_offset = place.offset

    def take(self, record: StoredRecord) -> list[Due]:
        """Fold a record; what it emits. Raises UnreadableRecordError, and then it was not read."""
        cursor, verdict = fold_record(self._cursor, record)
        found: list[Due] = []
        if isinstance(verdict, Accepted):
            events = map(decode, decode_as(TransitionBody, verdict.body).events)
            emitted = [event for event in events if isinstance(event, RecordEmitted)]
            for number, event in enumerate(emitted):
                one = Emission(event.topic, event.key, event.value, event.headers, event.partition)
                found.append(Due(self._source, target_of(one), self.place, number, one))
        self._cursor, self.next_offset = cursor, record.offset + 1
        if not cursor.parts:
            # The parts of an unfinished transition are too large to be kept: they are read again.
            self.place = Place(self.next_offset, cursor)
        return found


class Source:
    """One events partition as it is read."""

    def __init__(self, topic: TopicInfo, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.marked = 0
        self.late: dict[str, Place] = {}
        """The targets that are behind, and where each is read from again."""
        self.reading = Reading(self, Place(0, Cursor()))
        self._marked_late: dict[str, Place] = {}

    @property
    def next_offset(self) -> int:
        """The offset of what is read next."""
        return self.reading.next_offset

    def begin(self, log: Log, tail: Tail, mark: Mark | None) -> None:
        """Read from a mark on, or from where a fold may start."""
        start, end = log.offsets(self.topic.name, self.partition)
        place = Place(start, Cursor())
        self.late = {}
        note = _note_of(mark) if mark else None
        if mark and note and note.topic_id == self.topic.topic_id:
            first = min([mark.next_offset, *(late.offset for late in note.late.values())])
            if start <= mark.next_offset <= end:
                place = Place(mark.next_offset, note.cursor)
                self.late = {name: late for name, late in note.late.items() if late.offset >= start}
            if not (start <= first and mark.next_offset <= end):
                _LOG.error(
                    "%s-%d holds offsets %d to %d, and was read to %d: records may be missed",
                    self.topic.name,
                    self.partition,
                    start,
                    end,
                    first,
                )
        self.marked = place.offset
        self._marked_late = dict(self.late)
        self.reading = Reading(self, place)
        tail.assign(self.topic.name, self.partition, place.offset)

    def take(self, record: StoredRecord) -> list[Due]:
        """Fold a record; what it emits for targets that are not behind."""
        return [due for due in self.reading.take(record) if due.target not in self.late]

    def leave_behind(self, target: str, place: Place) -> bool:
        """Pass over the records of a target from a place on; False when too many are behind."""
        if len(self.late) >= LATE_MAX:
            return False
        self.late[target] = place
        if len(self._note()) <= NOTE_BYTES_MAX:
            return True
        del self.late[target]
        return False

    @property
    def unmarked(self) -> int:
        """How much of what was done is not in the mark yet."""
        return self.reading.place.offset - self.marked + (self.late != self._marked_late)

    def mark(self) -> Mark:
        """How far it has been read, with what a reader needs to go on."""
        note = self._note()
        assert len(note) <= NOTE_BYTES_MAX, f"a note of {len(note)} bytes"
        return Mark(self.topic.name, self.partition, self.reading.place.offset, note)

    def has_marked(self) -> None:
        """The mark is published."""
        self.marked = self.reading.place.offset
        self._marked_late = dict(self.late)

    def _note(self) -> str:
        note = _Note(self.topic.topic_id, self.reading.place.cursor, self.late)
        return base64.b64encode(msgspec.msgpack.encode(note)).decode()


def _note_of(mark: Mark) -> _Note | None:
    try:
        return _decode_note(base64.b64decode(mark.note, validate=True))
    except ValueError:
        return None
