"""The relay: publishes accepted RecordEmitted events to topics of users, exactly once, in order.

The fold's cursor is kept with the position that was read to, in the same step that publishes; so
what is published is never published again, whoever dies when.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from perdure_topics.ports import LogUnavailableError, PositionLostError
from perdure_topics.publisher_port import FencedError, PublishError, RefusedError
from perdure_views.held_partitions import HeldPartitions
from perdure_views.relay_source import WHY_CHARS_MAX, Due, NoMarkError, Reading, Source, Unmarked
from perdure_views.relay_targets import Targets

if TYPE_CHECKING:
    from perdure_topics.ports import Log, TopicInfo
    from perdure_topics.publisher_port import Mark, Publisher
    from perdure_views.relay_source import Place
    from perdure_views.single_active import Turn

_LOG: Final = logging.getLogger("perdure.relay")
READ_AT_ONCE: Final = 200
EMISSIONS_MAX: Final = 500
EMITTED_BYTES_MAX: Final = 4 * 1024 * 1024
"""So much goes into one transaction."""
UNMARKED_MAX: Final = 5_000
MARK_EVERY_S: Final = 10.0
"""Partitions without emissions are marked so often."""
SHOWN_EVERY_S: Final = 3_600.0
"""Marks of a quiet queue are made again so often: a group's offsets are forgotten in a week."""
RETRY_S: Final = 1.0
ASKED_EVERY_S: Final = 2.0
"""An idle relay asks so often whose turn it is: a member that does not ask stands still."""
TURN_SAID_S: Final = 3.0
"""Who waits for a turn for longer says so."""
REFUSED_S: Final = 30.0
"""A target that refused a record is left alone for so long."""
SAID_MAX: Final = 1_000
FENCED_S: Final = 15.0
"""Who was taken over from leaves the work to the other so long, whatever the group says."""


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
        unmarked: Unmarked = Unmarked.REFUSE,
        tell: Callable[[Due, str], None] = lambda _due, _why: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`unmarked` is for partitions without a mark; `tell` hears of each target left behind."""
        self._log = log
        self._unmarked = unmarked
        self._tell = tell
        self._targets = Targets(log, clock)
        self._publisher = publisher
        self._turn = turn
        self._waits_since_s = clock()
        self._fenced_until_s = 0.0
        self._clock = clock
        self._tail = log.tail(on_ready=ring, committed=False)
        self._sources = [
            Source(topic, partition) for topic in topics for partition in range(topic.partitions)
        ]
        self._held = HeldPartitions(clock)
        self._late_tail = log.tail(on_ready=ring, committed=False)
        self._lane: tuple[Source, str, Reading] | None = None
        """The target that was behind and catches up."""
        self._due: list[Due] = []
        self._bytes = 0
        self._marked_s = clock() - SHOWN_EVERY_S
        self._problems: dict[str, tuple[float, str]] = {}
        """Targets that refused a record, until when they are left alone, and why."""
        self._stuck: dict[tuple[str, int, int, int], tuple[float, str]] = {}
        """Records that their topic does not take, until when none of its partition follows, why."""
        self._said: dict[str, str] = {}
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
            if not self._due:
                more |= self._catch_up()
        except (PublishError, LogUnavailableError) as error:
            # Nothing of it is published, or it is not known: the marks know.
            self._has_begun = False
            self._targets.forget()
            self._say("", f"{error}: trying again")
            return RETRY_S
        except FencedError as error:
            self._has_begun = False
            self._fenced_until_s = self._clock() + FENCED_S
            self._say("", f"{error}. It works, and this one waits")
            return RETRY_S
        if self._due:
            return RETRY_S
        self._said.pop("", None)
        if more:
            return 0.0
        return RETRY_S if any(source.late for source in self._sources) else ASKED_EVERY_S

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
                "",
                f"another relay publishes what {names} emits: this one waits, and goes on when"
                " that one ends; one is enough",
            )
        return False

    def _begin(self) -> None:
        places = [(source.topic.name, source.partition) for source in self._sources]
        marks: dict[tuple[str, int], list[Mark]] = {}
        for mark in self._publisher.begin(places):
            marks.setdefault((mark.topic, mark.partition), []).append(mark)
        self._due.clear()
        self._bytes = 0
        self._lane = None
        for source in self._sources:
            place = (source.topic.name, source.partition)
            source.begin(self._log, self._tail, marks.get(place, ()), self._unmarked)
        self._has_begun = True

    def _read(self) -> bool:
        """Take what there is, as far as one transaction holds it; whether there may be more."""
        more = False
        for source in self._sources:
            if self._held.is_held(source):
                continue
            if len(self._due) >= EMISSIONS_MAX or self._bytes >= EMITTED_BYTES_MAX:
                return True
            try:
                records = self._tail.take(source.topic.name, source.partition, READ_AT_ONCE)
            except PositionLostError as error:
                raise PublishError(str(error)) from error
            more = more or len(records) == READ_AT_ONCE
            for record in records:
                try:
                    emitted = source.take(record)
                except NoMarkError:
                    raise
                except Exception as error:
                    self._held.hold(source, record, error)
                    self._tail.assign(source.topic.name, source.partition, source.next_offset)
                    break
                self._due += emitted
                for due in emitted:
                    self._bytes += len(due.emission.key or b"") + len(due.emission.value or b"")
        return more

    def _publish_due(self) -> None:
        unmarked = sum(source.unmarked for source in self._sources)
        late = self._clock() - self._marked_s >= MARK_EVERY_S
        is_first = any(source.is_first for source in self._sources)
        if not self._due and not (unmarked >= UNMARKED_MAX or is_first or (unmarked and late)):
            if self._clock() - self._marked_s >= SHOWN_EVERY_S:
                self._publish((), [source for source in self._sources if source.has_mark])
            return
        sendable = []
        for due in self._due:
            if due.target in due.source.late:
                continue
            problem = self._stuck_by(due) or self._problem_of(due.target)
            if not problem:
                sendable.append(due)
            elif due.source.leave_behind(due, problem):
                self._say(due.target, f"{problem}; others are not held up")
                self._tell(due, problem)
            else:
                self._say("", f"{problem}. Too many others are behind already: the relay waits")
                return
        self._publish(sendable)
        self._due.clear()
        self._bytes = 0

    def _publish(self, sendable: Sequence[Due], also: Sequence[Source] = ()) -> None:
        """Publish records, together with how far all is read."""
        marked = [source for source in self._sources if source.unmarked or source in also]
        try:
            self._publisher.publish(
                [due.emission for due in sendable], [source.mark() for source in marked]
            )
        except RefusedError as error:
            self._refused(sendable[error.index], error)
            raise
        for source in marked:
            source.has_marked()
        for due in sendable:
            self._stuck.pop(due.identity, None)
        self.published += len(sendable)
        self._marked_s = self._clock()

    def _refused(self, due: Due, error: RefusedError) -> None:
        """Remember what cannot be published, so that the next attempt goes without it."""
        again_s = self._clock() + REFUSED_S
        if error.is_final:
            if len(self._stuck) >= SAID_MAX:
                self._stuck.clear()
            self._stuck[due.identity] = (again_s, f"{error} (event {due.event_id})")
        else:
            self._problems[due.target] = (again_s, str(error))

    def _stuck_by(self, due: Due) -> str:
        """Why a record cannot be published now, while others of its topic can; or nothing."""
        again_s, problem = self._stuck.get(due.identity, (0.0, ""))
        return problem if self._clock() < again_s else ""

    # -- targets that are behind --

    def _catch_up(self) -> bool:
        """Publish some of what a target missed that was behind; whether there is more."""
        lane = self._lane or self._next_lane()
        if lane is None:
            return False
        source, target, reading = lane
        end = source.reading.place.offset
        found: list[Due] = []
        records = self._late_tail.take(source.topic.name, source.partition, READ_AT_ONCE)
        for record in records:
            if record.offset < end:
                found += [due for due in reading.take(record) if due.target == target]
        self._lane = lane
        stuck = next((n for n, due in enumerate(found) if self._stuck_by(due)), None)
        if stuck is not None:
            return self._stop_before(found, stuck)
        is_there = reading.place.offset >= end
        if not found and not is_there:
            return bool(records)
        if is_there:
            # Only now may what comes next be published beside it: nothing is read ahead.
            source.catch_up_with(target)
        else:
            source.late[target] = reading.place
        self._publish(found)
        if is_there:
            self._end_lane()
            _LOG.warning("%s is published to again, and is no longer behind", target)
        return True

    def _stop_before(self, found: list[Due], stuck: int) -> bool:
        """Publish what stands before a record that its topic does not take; whether there was."""
        due = found[stuck]
        why = self._stuck_by(due)
        if due.source.why.get(due.target) != why[:WHY_CHARS_MAX]:
            self._tell(due, why)
        due.source.late[due.target] = msgspec.structs.replace(due.place, done=due.number)
        due.source.why[due.target] = why[:WHY_CHARS_MAX]
        self._say(due.target, f"{why}; others are not held up")
        self._publish(found[:stuck])
        self._end_lane()
        return stuck > 0

    def _end_lane(self) -> None:
        if self._lane is not None:
            source, _, _ = self._lane
            self._lane = None
            self._late_tail.unassign(source.topic.name, source.partition)

    def _next_lane(self) -> tuple[Source, str, Reading] | None:
        for source in self._sources:
            for target, place in source.late.items():
                if self._is_stuck(source, place) or self._problem_of(target):
                    continue
                topic, partition = source.topic.name, source.partition
                self._late_tail.assign(topic, partition, place.offset)
                return source, target, Reading(source, place)
        return None

    def _is_stuck(self, source: Source, place: Place) -> bool:
        """Whether it is known that the first record of a lane cannot be published now."""
        now_s = self._clock()
        where = (source.topic.name, source.partition, place.offset)
        return any(
            identity[:3] == where and identity[3] == place.done and now_s < again_s
            for identity, (again_s, _) in self._stuck.items()
        )

    def _problem_of(self, target: str) -> str:
        """Why nothing can be published to a target now; empty when nothing speaks against it."""
        refused_s, problem = self._problems.get(target, (0.0, ""))
        return problem if self._clock() < refused_s else self._targets.problem_of(target)

    def _say(self, about: str, text: str, *, level: int = logging.WARNING) -> None:
        """Say something of a target, or of all, once until it changes."""
        if self._said.get(about) != text:
            if len(self._said) >= SAID_MAX:
                self._said.clear()
            self._said[about] = text
            _LOG.log(level, "%s", text)

    def close(self) -> None:
        """Stop reading and publishing, and let another relay have the turn."""
        self._tail.close()
        self._late_tail.close()
        self._publisher.close()
        self._turn.close()
