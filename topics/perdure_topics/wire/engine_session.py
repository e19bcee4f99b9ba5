"""The engine's side of one connection: what a worker or client of another process asks for."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Final

from perdure_schemas.version import VERSION as RELEASE
from perdure_topics.embedded.partition import EmbeddedPartition
from perdure_topics.names import role_of
from perdure_topics.ports import LogError, PositionLostError, StoredRecord, TopicSpec, size_of
from perdure_topics.wire import frames as wire
from perdure_topics.wire.frame_queue import Batch, Outbox, Outlet
from perdure_topics.wire.wire_socket import WireClosedError

if TYPE_CHECKING:
    from perdure_topics.embedded.commit import EmbeddedAppender
    from perdure_topics.embedded.embedded_log import EmbeddedLog
    from perdure_topics.embedded.groups import Group
    from perdure_topics.wire.wire_socket import WireSocket

_LOG = logging.getLogger(__name__)
PARTS_MAX: Final = 20_000
"""Writers, feeds and members of one connection together."""
_READ_RECORDS: Final = 512
APPENDED: Final = frozenset({"commands"})
"""What other processes append: all else says what a host has decided, or what has happened."""
TOPICS_MAX: Final = 2_000
PARTITIONS_MAX: Final = 256


class _Feed:
    """A partition on its way to one reader, as much of it as the reader has room for."""

    def __init__(
        self, session: Session, number: int, place: EmbeddedPartition, at: int, *, skips: bool
    ) -> None:
        self.marked = False
        self._skips = skips
        self._session = session
        self._number = number
        self._place = place
        self._at = at
        # One thread adds to each of these, so neither needs a lock.
        self._sent_bytes = self._took_bytes = 0
        self._live = True
        place.add_listener(self.ring)
        self.ring()

    def ring(self) -> None:
        self._session.outbox.mark(self)

    def took(self, size_bytes: int) -> None:
        self._took_bytes += size_bytes
        self.ring()

    def stop(self) -> None:
        self._live = False
        self._place.remove_listener(self.ring)

    def collect(self, out: Batch) -> None:
        room = wire.WINDOW_BYTES - (self._sent_bytes - self._took_bytes)
        if not self._live or room <= 0:
            return
        try:
            records = self._read()
        except LogError as error:
            self.stop()
            lost = isinstance(error, PositionLostError)
            out.add(wire.Lost(self._number, lost, str(error)))
            return
        rows: list[wire.RecordRow] = []
        size = 0
        for record in records:
            if size >= room:
                break
            size += size_of(record)
            rows.append((record.key, record.value, record.timestamp_ms, record.headers))
        if rows:
            out.add(wire.Records(self._number, self._at, rows), size)
            self._at += len(rows)
            self._sent_bytes += size
            if self._at < self._place.end:
                self.ring()

    def _read(self) -> list[StoredRecord]:
        store = self._session.log.store
        try:
            return self._place.read(store, self._at, _READ_RECORDS)
        except PositionLostError:
            if not self._skips or self._at >= self._place.start:
                raise
            # Old tasks were deleted; the host sends again what it still wants done.
            self._at = self._place.start
            return self._place.read(store, self._at, _READ_RECORDS)


class _Writer:
    """An appender in the engine that writes for one in another process."""

    def __init__(self, session: Session, number: int) -> None:
        self.marked = False
        self._session = session
        self._number = number
        self._refused: deque[wire.AckRow] = deque()
        self._appender: EmbeddedAppender = session.log.appender(on_ready=self.ring)

    def ring(self) -> None:
        self._session.outbox.mark(self)

    def append(self, first: int, rows: list[wire.AppendRow]) -> None:
        append = self._appender.append
        for at, (topic, partition, value, key, headers) in enumerate(rows, first):
            try:
                if role_of(topic) not in APPENDED:
                    msg = (
                        f"{topic} is written by the engine's own process only; others append "
                        f"commands, which its host decides on"
                    )
                    raise LogError(msg)
                append(topic, partition, value, key=key, headers=headers, tag=at)
            except LogError as error:
                self._refused.append((at, None, 0, str(error)))
                self.ring()

    def close(self) -> None:
        self._appender.close()

    def collect(self, out: Batch) -> None:
        rows: list[wire.AckRow] = [
            (report.tag, report.offset, report.timestamp_ms, report.error)  # type: ignore[misc]
            for report in self._appender.reports()
        ]
        rows.extend(self._refused.popleft() for _ in range(len(self._refused)))
        if rows:
            out.add(wire.Acks(self._number, rows), 24 * len(rows))


class _Member:
    """A member of a group that lives in another process."""

    def __init__(self, session: Session, number: int, group: Group, *, reads: bool) -> None:
        self.marked = False
        self._session = session
        self._number = number
        self._group = group
        self._reads = reads
        self._closed = False
        self._told: deque[tuple[str, EmbeddedPartition]] = deque()
        self._feeds: dict[int, int] = {}
        group.join(self)

    @property
    def turns(self) -> int | None:
        """Its connection says whether it lives."""
        return None

    def on_ready(self) -> None:
        self._session.outbox.mark(self)

    def tell(self, kind: str, partition: EmbeddedPartition) -> None:
        self._told.append((kind, partition))

    def release(self, partition: int) -> None:
        self._group.release(self, partition)

    def commit(self, offsets: list[tuple[int, int]]) -> None:
        for partition, offset in offsets:
            self._group.commit(self, partition, offset)

    def close(self) -> None:
        self._closed = True
        self._group.leave(self)
        for feed in list(self._feeds.values()):
            self._session.stop_feed(feed)

    def collect(self, out: Batch) -> None:
        """The change first, then its feed: a reader must know what it gets."""
        rows: list[wire.ChangeRow] = []
        started: list[tuple[int, EmbeddedPartition]] = []
        for _ in range(len(self._told)):
            kind, place = self._told.popleft()
            if kind != "assigned":
                self._session.stop_feed(self._feeds.pop(place.number, 0))
                rows.append((kind, place.number, 0, 0))
                continue
            feed = self._session.next_feed()
            self._feeds[place.number] = feed
            rows.append((kind, place.number, feed, place.end))
            started.append((feed, place))
        if rows:
            out.add(wire.Changes(self._number, rows), 24 * len(rows))
        for feed, place in started:
            if self._reads and self._feeds.get(place.number) == feed:
                self._session.start_feed(feed, place, self._group.position(place), skips=True)
            if self._closed:
                self._session.stop_feed(feed)


class Session:
    """One connection. Its own thread takes frames in; the outbox's thread sends."""

    def __init__(self, log: EmbeddedLog, socket: WireSocket) -> None:
        self.log = log
        self.outbox = Outbox()
        self.marked = False
        self._socket = socket
        self._answers: deque[wire.Answer] = deque()
        self._writers: dict[int, _Writer] = {}
        self._feeds: dict[int, _Feed] = {}
        self._members: dict[int, _Member] = {}
        self._feed_number = 0

    def greet(self) -> bool:
        """Answer the first frame; False when this client is not served.

        Raises WireClosedError.
        """
        raw = self._socket.receive()
        try:
            first = wire.decode_from_client(raw[0])
            hello = first[0]
        except (ValueError, IndexError) as error:
            msg = f"its first frame cannot be read: {error}"
            raise WireClosedError(msg) from error
        if not isinstance(hello, wire.Hello) or len(raw) > 1 or len(first) > 1:
            msg = "it did not wait for its welcome"
            raise WireClosedError(msg)
        if hello.version != wire.VERSION:
            older = "the client" if hello.version < wire.VERSION else "the engine"
            message = (
                f"the engine (release {RELEASE}) speaks version {wire.VERSION} of the local "
                f"protocol, the client (release {hello.release}) version {hello.version}: "
                f"upgrade {older}"
            )
            self._socket.send(wire.encode([wire.Refused(message)]))
            return False
        welcome = wire.Welcome(wire.VERSION, RELEASE, self.log.cluster_id)
        self._socket.send(wire.encode([welcome]))
        return True

    def run(self) -> None:
        """Take frames in until the other side is gone. Raises WireClosedError."""
        while True:
            for message in self._socket.receive():
                try:
                    frames = wire.decode_from_client(message)
                except ValueError as error:
                    msg = f"it sent a message that cannot be read: {error}"
                    raise WireClosedError(msg) from error
                for frame in frames:
                    self._take(frame)

    def close(self) -> None:
        """Give back all that the other side held, at once."""
        self.outbox.close()
        for member in self._members.values():
            member.close()
        for writer in self._writers.values():
            writer.close()
        for feed in list(self._feeds.values()):
            feed.stop()

    def next_feed(self) -> int:
        """A number for a feed of a group; those of a client's own tails are above zero."""
        self._feed_number -= 1
        return self._feed_number

    def start_feed(
        self, number: int, place: EmbeddedPartition, offset: int, *, skips: bool = False
    ) -> None:
        """Begin to send a partition; `skips` goes on behind what was deleted under the reader."""
        self._feeds[number] = _Feed(self, number, place, offset, skips=skips)

    def stop_feed(self, number: int) -> None:
        """Send no more of a partition."""
        feed = self._feeds.pop(number, None)
        if feed is not None:
            feed.stop()

    def collect(self, out: Batch) -> None:
        """Hand over the answers."""
        for _ in range(len(self._answers)):
            out.add(self._answers.popleft())

    def _take(self, frame: wire.FromClient) -> None:
        match frame:
            case wire.Append(number, first, rows):
                if number not in self._writers:
                    self._check_room()
                    self._writers[number] = _Writer(self, number)
                self._writers[number].append(first, rows)
            case wire.Took(number, size_bytes):
                if number in self._feeds:
                    self._feeds[number].took(size_bytes)
            case wire.Commit(number, offsets):
                if number in self._members:
                    self._members[number].commit(offsets)
            case wire.CloseWriter(number):
                if number in self._writers:
                    self._writers.pop(number).close()
            case wire.Follow(number, topic, partition, offset):
                self._follow(number, topic, partition, offset)
            case wire.Unfollow(number):
                self.stop_feed(number)
            case wire.Join(number, group, topic, reads):
                self._join(number, group, topic, reads=reads)
            case wire.Release(number, partition):
                if number in self._members:
                    self._members[number].release(partition)
            case wire.Leave(number):
                if number in self._members:
                    self._members.pop(number).close()
            case wire.Hello() | wire.Beat():
                pass
            case _:
                self._answer(frame)

    def _follow(self, number: int, topic: str, partition: int, offset: int) -> None:
        self._check_room()
        self.stop_feed(number)
        try:
            self.start_feed(number, self.log.place(topic, partition), offset)
        except LogError as error:
            self._tell(_Once(wire.Lost(number, False, str(error))))

    def _join(self, number: int, group: str, topic: str, *, reads: bool) -> None:
        self._check_room()
        if group.endswith(".hosts"):
            # It would be given partitions, and could write nothing for them.
            _LOG.warning(
                "another process wanted to join group %s and is given nothing: workflows run in"
                " the engine's own process only",
                group,
            )
            return
        try:
            found = self.log.group(group, topic)
        except LogError as error:
            # The client asks for the topic before it joins: this one is gone or never was.
            msg = f"group {group}: {error}"
            raise WireClosedError(msg) from error
        self._members[number] = _Member(self, number, found, reads=reads)

    def _answer(self, frame: wire.Asking) -> None:
        try:
            answer = self._answer_to(frame)
        except LogError as error:
            answer = wire.Answer(frame.ask, error=str(error))
        self._answers.append(answer)
        self._tell(self)

    def _answer_to(self, frame: wire.Asking) -> wire.Answer:
        match frame:
            case wire.Probe(ask, topic, partition):
                place = self.log.place(topic, partition)
                return wire.Answer(ask, number=place.end, offsets=(place.start, place.end))
            case wire.AskOffsets(ask, topic, partition):
                return wire.Answer(ask, offsets=self.log.offsets(topic, partition))
            case wire.AskMembers(ask, group):
                return wire.Answer(ask, number=self.log.group_members(group))
            case wire.AskTopic(ask, name):
                info = self.log.topic(name)
                return wire.Answer(ask, topic=None if info is None else info[:])
            case wire.AskNames(ask):
                return wire.Answer(ask, names=self.log.topic_names())
            case wire.MakeTopics(ask, specs):
                self._make_topics([TopicSpec(*spec) for spec in specs])
                return wire.Answer(ask)
            case wire.DeleteBefore(ask, topic, partition, offset):
                msg = f"{topic} is cut by the engine's own process only, not at {offset} from here"
                raise LogError(msg)

    def _make_topics(self, specs: list[TopicSpec]) -> None:
        """Make topics of task queues; others share the memory and the files with them."""
        known = self.log.topic_names()
        for spec in specs:
            if role_of(spec.name) is None:
                msg = f"{spec.name!r} is no topic of a task queue: only those are made from here"
                raise LogError(msg)
            if spec.partitions > PARTITIONS_MAX:
                msg = (
                    f"{spec.name} with {spec.partitions} partitions: an engine's topics have at "
                    f"most {PARTITIONS_MAX}"
                )
                raise LogError(msg)
        if len(known) + len({spec.name for spec in specs} - set(known)) > TOPICS_MAX:
            msg = f"this engine has {len(known)} topics, and makes no more than {TOPICS_MAX}"
            raise LogError(msg)
        self.log.create_topics(specs)

    def _tell(self, outlet: Outlet) -> None:
        self.outbox.mark(outlet)

    def _check_room(self) -> None:
        if len(self._writers) + len(self._feeds) + len(self._members) >= PARTS_MAX:
            msg = f"it opened more than {PARTS_MAX} writers, readers and members"
            raise WireClosedError(msg)


class _Once:
    """A single frame to send."""

    def __init__(self, frame: wire.Frame) -> None:
        self.marked = False
        self._frame = frame

    def collect(self, out: Batch) -> None:
        out.add(self._frame)
