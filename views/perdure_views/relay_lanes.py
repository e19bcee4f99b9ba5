"""What a person does about a target of the relay that is behind: publish again, or skip records.

It takes over from a relay that works, which goes on from the marks that are left here: so there is
one way to keep them, and whoever asked is told at once what came of it.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec.structs import replace

from perdure_topics.names import topic_name
from perdure_topics.publisher_port import Emission, RefusedError
from perdure_topics.spans import read_span
from perdure_views.relay_source import EVENT_ID, Reading, Source, Unmarked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from perdure_topics.ports import Log, TopicInfo
    from perdure_topics.publisher_port import Publisher
    from perdure_views.relay_source import Due

PUBLISHED_AT_ONCE: Final = 200
REASON_BYTES_MAX: Final = 1_000


class Lane(NamedTuple):
    """A target that is behind in one partition of the events."""

    partition: int
    target: str
    offset: int
    """From this offset of the events on its records are held back."""
    why: str
    published: int = 0
    skipped: int = 0
    is_behind: bool = True


class Lanes:
    """The targets of a task queue that are behind."""

    def __init__(
        self, log: Log, events: TopicInfo, publisher: Publisher, *, queue: tuple[str, str]
    ) -> None:
        """`queue` is its namespace and its name."""
        self._log = log
        self._publisher = publisher
        self._dead = topic_name("dead", *queue)
        self._bell = threading.Event()
        self._tail = log.tail(on_ready=self._bell.set, committed=False)
        self._sources = [Source(events, partition) for partition in range(events.partitions)]
        self._begin()

    def _begin(self) -> None:
        places = [(source.topic.name, source.partition) for source in self._sources]
        marks = self._publisher.begin(places)
        for source, place in zip(self._sources, places, strict=True):
            own = [mark for mark in marks if (mark.topic, mark.partition) == place]
            source.begin(self._log, self._tail, own, Unmarked.REFUSE)
            self._tail.unassign(*place)

    def held(self) -> list[Lane]:
        """Those that are behind now."""
        return [
            Lane(source.partition, target, place.offset, source.why.get(target, ""))
            for source in self._sources
            for target, place in source.late.items()
        ]

    def settle(
        self,
        target: str,
        *,
        skips: float = 0,
        problem_of: Callable[[str], str] = lambda _target: "",
    ) -> list[Lane]:
        """Publish what a target has missed; what came of it, by partition.

        So many records of each partition as `skips` says go to the dead letters: those that the
        topic does not take, or all while nothing can be published to it, as `problem_of` says.

        Raises FencedError when a relay takes over again meanwhile, PublishError or LogError.
        """
        return [
            _Settled(self, source, target, skips).run(problem_of(target))
            for source in self._sources
            if target in source.late
        ]

    def missed(self, source: Source, target: str) -> Iterator[list[Due]]:
        """What a target has missed, up to where the first reading stands."""
        place, end = source.late[target], source.reading.place.offset
        reading = Reading(source, place)
        span = (place.offset, end)
        for records in read_span(
            self._tail, self._bell, (source.topic.name, source.partition), span
        ):
            found: list[Due] = []
            for record in records:
                if record.offset < end:
                    found += [due for due in reading.take(record) if due.target == target]
            for first in range(0, len(found), PUBLISHED_AT_ONCE):
                yield found[first : first + PUBLISHED_AT_ONCE]

    def publish(self, dues: Sequence[Due], source: Source) -> None:
        """Publish records beside the mark of their partition; after a refusal it can go on."""
        try:
            self._publisher.publish([due.emission for due in dues], [source.mark()])
        except RefusedError:
            self._publisher.begin([])
            raise

    def bury(self, due: Due, why: str, source: Source) -> None:
        """Publish a record to the dead letters instead, with the reason."""
        headers = {
            **due.emission.headers,
            "perdure-error": why.encode()[:REASON_BYTES_MAX],
            "perdure-topic": due.emission.topic.encode(),
            "perdure-partition": b"%d" % source.partition,
            "perdure-offset": b"%d" % due.place.offset,
            EVENT_ID: due.event_id.encode(),
        }
        letter = Emission(self._dead, due.emission.key, due.emission.value, headers, -1)
        self._publisher.publish([letter], [source.mark()])

    def close(self) -> None:
        """Let go: a relay goes on."""
        self._tail.close()
        self._publisher.close()


class _Settled:
    """One lane being published."""

    def __init__(self, lanes: Lanes, source: Source, target: str, skips: float) -> None:
        self._lanes = lanes
        self._source = source
        self._target = target
        self._skips = skips
        self._published = 0
        self._skipped = 0

    def run(self, problem: str) -> Lane:
        """Publish it as far as that goes."""
        source, target = self._source, self._target
        offset = source.late[target].offset
        for dues in self._lanes.missed(source, target):
            why = self._take(dues, problem)
            if why:
                source.why[target] = why
                return Lane(source.partition, target, offset, why, self._published, self._skipped)
        source.catch_up_with(target)
        self._lanes.publish((), source)
        return Lane(
            source.partition, target, offset, "", self._published, self._skipped, is_behind=False
        )

    def _take(self, dues: Sequence[Due], problem: str) -> str:
        """Publish some; why it stops, or nothing."""
        left = list(dues)
        while left:
            index, why = (0, problem) if problem else self._publish(left)
            if not why:
                return ""
            if index:
                # What stands before the refused one is not refused with it.
                _, refused = self._publish(left[:index])
                if refused:
                    return refused
                del left[:index]
            if self._skips <= 0:
                return why
            due = left.pop(0)
            self._keep(due, number=due.number + 1)
            self._lanes.bury(due, why, self._source)
            self._skips -= 1
            self._skipped += 1
        return ""

    def _publish(self, dues: Sequence[Due]) -> tuple[int, str]:
        """Publish records; which of them was refused and why, with those before it published."""
        before = self._source.late[self._target]
        self._keep(dues[-1], number=dues[-1].number + 1)
        try:
            self._lanes.publish(dues, self._source)
        except RefusedError as error:
            self._source.late[self._target] = before
            return error.index, f"{error} (event {dues[error.index].event_id})"
        self._published += len(dues)
        return -1, ""

    def _keep(self, due: Due, *, number: int) -> None:
        """The lane begins behind a record."""
        self._source.late[self._target] = replace(due.place, done=number)
