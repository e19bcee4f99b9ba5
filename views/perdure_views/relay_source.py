"""The relay's reader of an events partition, with its offset and lagging targets.

A target is a topic, or a partition of one that a record names. One that cannot be published to is
left behind: its records are passed over, from a place that the mark keeps, and read again from
there once it can. So nothing is lost or doubled over a restart, and the others go on.
"""

from __future__ import annotations

import base64
import logging
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from perdure_schemas.avro import decode, decode_as
from perdure_schemas.fact_events import RecordEmitted
from perdure_schemas.transition import TransitionBody
from perdure_topics.fold import Accepted, Cursor, fold_record
from perdure_topics.ports import LogError
from perdure_topics.publisher_port import NOTE_BYTES_MAX, Emission, Mark

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from perdure_topics.ports import Log, StoredRecord, Tail, TopicInfo

_LOG: Final = logging.getLogger("perdure.relay")
LATE_MAX: Final = 64
"""So many targets of a partition may be behind: the relay reads the log once more for each."""
WHY_CHARS_MAX: Final = 500
EVENT_ID: Final = "perdure-event-id"
"""The header that says which event of which run a record is: the same however often it is read."""


class NoMarkError(LogError):
    """Nobody knows how far a partition was published."""


class Unmarked(StrEnum):
    """What is done with what was emitted before, where nobody knows how far it was published."""

    REFUSE = "refuse"
    PUBLISH = "publish"
    PASS = "pass"  # noqa: S105 - it is passed over


class Place(msgspec.Struct, array_like=True, frozen=True):
    """Where a reader may begin: an offset between two transitions, and the fold's cursor there."""

    offset: int
    cursor: Cursor
    done: int = 0
    """Of the transition that begins there, what is emitted below this number is done with."""


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
    workflow_id: str
    run_id: str
    event_id: str

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
            found = list(self._emitted(decode_as(TransitionBody, verdict.body)))
        self._cursor, self.next_offset = cursor, record.offset + 1
        if not cursor.parts:
            # The parts of an unfinished transition are too large to be kept: they are read again.
            self.place = Place(self.next_offset, cursor)
        return found

    def _emitted(self, body: TransitionBody) -> Iterator[Due]:
        number = 0
        for seq, data in enumerate(body.events, body.seq):
            event = decode(data)
            if not isinstance(event, RecordEmitted):
                continue
            event_id = f"{body.run_id}-{seq}"
            headers = {**event.headers, EVENT_ID: event_id.encode()}
            one = Emission(event.topic, event.key, event.value, headers, event.partition)
            whose = (body.workflow_id, body.run_id, event_id)
            if number >= self.place.done:
                yield Due(self._source, target_of(one), self.place, number, one, *whose)
            number += 1


class Source:
    """One events partition as it is read."""

    def __init__(self, topic: TopicInfo, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.marked = 0
        self.late: dict[str, Place] = {}
        """The targets that are behind, and where each is read from again."""
        self.why: dict[str, str] = {}
        """Why they are."""
        self.judged_below = 0
        """Without a mark, what was emitted below this offset may have been published before."""
        self._unmarked = Unmarked.REFUSE
        self.has_mark = False
        """Whether the next relay knows how far this was published."""
        self.reading = Reading(self, Place(0, Cursor()))
        self._marked_late: dict[str, Place] = {}

    @property
    def next_offset(self) -> int:
        """The offset of what is read next."""
        return self.reading.next_offset

    def begin(self, log: Log, tail: Tail, marks: Sequence[Mark], unmarked: Unmarked) -> None:
        """Read from the furthest mark on, or from where a fold may start."""
        start, end = log.offsets(self.topic.name, self.partition)
        place, self.late, began_below = Place(start, Cursor()), {}, self.judged_below
        self.judged_below = 0
        self.why = {}
        noted = [(mark, note) for mark in marks if (note := self._own_note(mark))]
        mark, note = max(noted, key=lambda one: one[0].next_offset, default=(None, None))
        if mark is None or note is None or mark.next_offset > end:
            # Whether that is all that there was is known when it has been read. What came since
            # this one began for the first time nobody has published: there would be a mark.
            self.judged_below = began_below or end
            self._unmarked = unmarked
        else:
            first = min([mark.next_offset, *(late.offset for late in note.late.values())])
            if mark.next_offset >= start:
                place = Place(mark.next_offset, note.cursor)
                self.late = {name: late for name, late in note.late.items() if late.offset >= start}
                self.why = {name: mark.behind.get(name, "") for name in self.late}
            if first < start:
                _LOG.error(
                    "%s-%d holds offsets %d to %d, and was read to %d: records may be missed",
                    self.topic.name,
                    self.partition,
                    start,
                    end,
                    first,
                )
        self.marked = place.offset
        self.has_mark = not self.judged_below
        self._marked_late = dict(self.late)
        self.reading = Reading(self, place)
        tail.assign(self.topic.name, self.partition, place.offset)

    def _own_note(self, mark: Mark) -> _Note | None:
        """What a mark says, if it is about this very topic and no other of its name."""
        note = _note_of(mark)
        return note if note and note.topic_id == self.topic.topic_id else None

    def _judged(self, due: list[Due], record: StoredRecord) -> list[Due]:
        """What of that which was emitted before anybody published is to be published."""
        if record.offset >= self.judged_below or self._unmarked is Unmarked.PUBLISH or not due:
            return due
        if self._unmarked is Unmarked.PASS:
            return []
        raise NoMarkError(
            f"nobody knows how far {self.topic.name}-{self.partition} was published: there is no"
            f" mark of it, and run {due[0].run_id} of workflow {due[0].workflow_id!r} emitted a"
            f" record for {due[0].target} at offset {record.offset}. Give --from-beginning if"
            " nothing of it was published, or --from-now if all of it was; where there is a mark"
            " neither has an effect"
        )

    def take(self, record: StoredRecord) -> list[Due]:
        """Fold a record; what it emits for targets that are not behind."""
        found = self._judged(self.reading.take(record), record)
        return [due for due in found if due.target not in self.late]

    def leave_behind(self, due: Due, why: str) -> bool:
        """Pass over the records of a target from one on; False when too many are behind."""
        if len(self.late) >= LATE_MAX:
            return False
        target = due.target
        self.late[target] = replace(due.place, done=due.number)
        self.why[target] = why[:WHY_CHARS_MAX]
        if len(self._note()) <= NOTE_BYTES_MAX:
            return True
        self.catch_up_with(target)
        return False

    def catch_up_with(self, target: str) -> None:
        """A target is not behind any more."""
        del self.late[target]
        self.why.pop(target, None)

    @property
    def unmarked(self) -> int:
        """How much of what was done is not in the mark yet."""
        if not (self.has_mark or self.is_first or self._unmarked is Unmarked.PUBLISH):
            return 0
        news = self.is_first or self.late != self._marked_late
        return self.reading.place.offset - self.marked + news

    @property
    def is_first(self) -> bool:
        """Whether what was emitted before is judged, and the first mark can be made."""
        return not self.has_mark and self.next_offset >= self.judged_below

    def mark(self) -> Mark:
        """How far it has been read, with what a reader needs to go on."""
        note = self._note()
        assert len(note) <= NOTE_BYTES_MAX, f"a note of {len(note)} bytes"
        offset = self.reading.place.offset
        return Mark(self.topic.name, self.partition, offset, note, dict(self.why))

    def has_marked(self) -> None:
        """The mark is published."""
        self.marked = self.reading.place.offset
        self.has_mark = True
        self._marked_late = dict(self.late)

    def _note(self) -> str:
        note = _Note(self.topic.topic_id, self.reading.place.cursor, self.late)
        return base64.b64encode(msgspec.msgpack.encode(note)).decode()


def _note_of(mark: Mark) -> _Note | None:
    try:
        return _decode_note(base64.b64decode(mark.note, validate=True))
    except ValueError:
        return None
