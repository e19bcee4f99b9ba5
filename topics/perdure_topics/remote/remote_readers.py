"""The readers of a remote log: tails that go on after a restart, members that join again."""

from __future__ import annotations

from collections import deque
from threading import Lock
from typing import TYPE_CHECKING, Final

from perdure_topics.ports import Change, LogError, PositionLostError, StoredRecord, size_of
from perdure_topics.wire import frames

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure_topics.remote.link import Ask, Link
    from perdure_topics.wire.frame_queue import Batch

_TOOK_BYTES: Final = frames.WINDOW_BYTES // 4
"""Room is reported when this much was taken."""


class RemoteProbe:
    """A question for the end of a partition."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def end(self) -> int | None:
        """The end, once answered. Raises LogError when the log could not answer."""
        answer = self._answer()
        return None if answer is None else answer.number

    def span(self) -> tuple[int, int] | None:
        """The first offset that is there and the end, once answered; LogError as above."""
        answer = self._answer()
        if answer is not None and answer.offsets is None:
            raise LogError("the engine is of an older release: it does not say where topics begin")
        return None if answer is None else answer.offsets

    def _answer(self) -> frames.Answer | None:
        if self._ask.error is not None:
            raise self._ask.error
        answer = self._ask.answer
        if answer is not None and answer.error is not None:
            raise LogError(answer.error)
        return answer


class _Feed:
    """What came in of one partition and was not taken yet."""

    def __init__(self, link: Link, number: int, topic: str, partition: int) -> None:
        self._link = link
        self.number = number
        self.topic = topic
        self.partition = partition
        self.next = -1
        """The offset that follows on what came in; -1 until something did."""
        self.lost: LogError | None = None
        self._records: deque[StoredRecord] = deque()
        self._took_bytes = 0

    def put(self, frame: frames.Records | frames.Lost) -> None:
        """Take in what the engine sent."""
        if isinstance(frame, frames.Lost):
            kind = PositionLostError if frame.position else LogError
            self.lost = kind(frame.message)
            return
        topic, partition = self.topic, self.partition
        offset = frame.first
        for key, value, at_ms, headers in frame.rows:
            self._records.append(StoredRecord(topic, partition, offset, key, value, headers, at_ms))
            offset += 1
        self.next = offset

    def take(self, count: int) -> list[StoredRecord]:
        """Take what came in; the engine may send as much again."""
        records = self._records
        taken = [records.popleft() for _ in range(min(count, len(records)))]
        for record in taken:
            self._took_bytes += size_of(record)
        if self._took_bytes >= _TOOK_BYTES:
            self._link.send(frames.Took(self.number, self._took_bytes))
            self._took_bytes = 0
        return taken

    def position(self) -> int:
        """The offset of what is taken next."""
        # In this order: what precedes an end was put in before the end was noted.
        end = self.next
        return self._records[0].offset if self._records else end

    def is_empty(self) -> bool:
        """Whether nothing waits to be taken."""
        return not self._records


class RemoteTail:
    """A reader of hand-assigned partitions in another process than the log."""

    def __init__(self, link: Link, *, on_ready: Callable[[], None]) -> None:
        self._link = link
        self._on_ready = on_ready
        self._feeds: dict[tuple[str, int], _Feed] = {}
        self._lock = Lock()
        self._part = link.register(self)

    def assign(self, topic: str, partition: int, offset: int) -> None:
        """Read a partition from an offset on; also moves a partition already read."""
        self.unassign(topic, partition)
        feed = _Feed(self._link, self._link.number(), topic, partition)
        feed.next = offset
        self._feeds[topic, partition] = feed
        self._follow(feed)

    def unassign(self, topic: str, partition: int) -> None:
        """Stop reading a partition and forget what was fetched of it."""
        feed = self._feeds.pop((topic, partition), None)
        if feed is not None:
            self._link.feeds.pop(feed.number, None)
            self._link.send(frames.Unfollow(feed.number))

    def take(self, topic: str, partition: int, records_max: int) -> list[StoredRecord]:
        """Take what has come in, in order.

        Raises PositionLostError when the position is not in the log any more.
        """
        feed = self._feeds.get((topic, partition))
        if feed is None:
            return []
        taken = feed.take(records_max)
        if not taken and feed.lost is not None:
            raise feed.lost
        if taken and not feed.is_empty():
            self._on_ready()
        return taken

    def position(self, topic: str, partition: int) -> int:
        """Below this offset everything was taken."""
        feed = self._feeds.get((topic, partition))
        return -1 if feed is None else feed.position()

    def ready(self) -> list[tuple[str, int]]:
        """The (topic, partition)s that have something to take, or to say."""
        return [
            key for key, feed in self._feeds.items() if feed.lost is not None or not feed.is_empty()
        ]

    def probe_end(self, topic: str, partition: int) -> RemoteProbe:
        """Ask the engine where a partition ends now, without waiting for the answer."""
        ask = self._link.ask(lambda number: frames.Probe(number, topic, partition), self._on_ready)
        return RemoteProbe(ask)

    def close(self) -> None:
        """Stop reading."""
        self._link.forget(self._part)
        for topic, partition in list(self._feeds):
            self.unassign(topic, partition)

    def came_up(self) -> None:
        """Go on where the last connection ended."""
        for feed in list(self._feeds.values()):
            if feed.lost is None:
                self._follow(feed)

    def went_down(self, reason: str, *, final: bool) -> None:
        """The next connection goes on; without one the readers must learn of it."""
        if final:
            for feed in list(self._feeds.values()):
                feed.lost = LogError(reason)
            self._on_ready()

    def tick(self) -> None:
        """Nothing waits for too long here."""

    def _follow(self, feed: _Feed) -> None:
        def put(frame: frames.Records | frames.Lost) -> None:
            feed.put(frame)
            self._on_ready()

        with self._lock:
            if self._link.feeds.pop(feed.number, None) is not None:
                self._link.send(frames.Unfollow(feed.number))
            # A number of its own each time: what is left of the last one must not count.
            feed.number = self._link.number()
            self._link.feeds[feed.number] = put
            self._link.send(frames.Follow(feed.number, feed.topic, feed.partition, feed.next))


class RemoteMember:
    """A member of a consumer group in another process than the log."""

    reads = False

    def __init__(self, link: Link, group: str, topic: str, *, on_ready: Callable[[], None]) -> None:
        self.marked = False
        self._link = link
        self._group = group
        self._topic = topic
        self._on_ready = on_ready
        self._changes: deque[Change] = deque()
        self._held: dict[int, _Feed] = {}
        self._ends: dict[int, int] = {}
        self._commits: dict[int, int] = {}
        self._number = 0
        self._part = link.register(self)

    def changes(self) -> list[Change]:
        """Take the changes that have come in."""
        changes = self._changes
        return [changes.popleft() for _ in range(len(changes))]

    def release(self, partition: int) -> None:
        """Say that a revoked partition is let go of."""
        self._send_commits()
        self._link.send(frames.Release(self._number, partition))

    def commit(self, partition: int, offset: int) -> None:
        """Commit the offset after the last record that is done with."""
        self._commits[partition] = offset
        self._link.mark(self)

    def close(self) -> None:
        """Commit and leave the group."""
        self._link.forget(self._part)
        self._send_commits()
        self._link.send(frames.Leave(self._number))
        self._link.members.pop(self._number, None)
        self._drop()

    def collect(self, out: Batch) -> None:
        """Hand over the commits that gathered."""
        commits, self._commits = self._commits, {}
        if commits:
            out.add(frames.Commit(self._number, list(commits.items())), 16 * len(commits))

    def came_up(self) -> None:
        """Join, or join again."""
        self.marked = False
        self._link.members.pop(self._number, None)
        self._number = self._link.number()
        self._link.members[self._number] = self._told
        self._link.send(frames.Join(self._number, self._group, self._topic, self.reads))

    def went_down(self, reason: str, *, final: bool) -> None:
        """All that was held is lost: another may hold it by now."""
        for partition in list(self._held):
            self._changes.append(Change("lost", partition))
        self._drop()
        self._on_ready()

    def tick(self) -> None:
        """Nothing waits for too long here."""

    def _told(self, rows: list[frames.ChangeRow]) -> None:
        for kind, partition, number, end in rows:
            feed = self._held.pop(partition, None)
            if feed is not None:
                self._link.feeds.pop(feed.number, None)
            if kind == "assigned":
                feed = _Feed(self._link, number, self._topic, partition)
                self._ends[partition] = end
                self._assigned(partition)
                self._held[partition] = feed
                self._link.feeds[number] = self._putter(feed)
            self._changes.append(Change(kind, partition))
        self._on_ready()

    def _assigned(self, partition: int) -> None:
        """A reader begins afresh."""

    def _putter(self, feed: _Feed) -> Callable[[frames.Records | frames.Lost], None]:
        def put(frame: frames.Records | frames.Lost) -> None:
            feed.put(frame)
            self._on_ready()

        return put

    def _drop(self) -> None:
        for feed in self._held.values():
            self._link.feeds.pop(feed.number, None)
        self._held.clear()
        self._commits.clear()

    def _send_commits(self) -> None:
        commits, self._commits = self._commits, {}
        if commits:
            self._link.send(frames.Commit(self._number, list(commits.items())))


class RemoteGroupReader(RemoteMember):
    """A member of a consumer group that reads what it is given."""

    reads = True

    def __init__(self, link: Link, group: str, topic: str, *, on_ready: Callable[[], None]) -> None:
        self._paused: set[int] = set()
        self._turn = 0
        super().__init__(link, group, topic, on_ready=on_ready)

    def take(self, records_max: int) -> list[StoredRecord]:
        """Take what has come in, over all its partitions, each first in turn."""
        feeds = [
            feed
            for partition, feed in list(self._held.items())
            if partition not in self._paused and not feed.is_empty()
        ]
        if not feeds:
            return []
        self._turn += 1
        at = self._turn % len(feeds)
        taken: list[StoredRecord] = []
        for feed in feeds[at:] + feeds[:at]:
            taken += feed.take(records_max - len(taken))
        if any(not feed.is_empty() for feed in feeds):
            self._on_ready()
        return taken

    def redelivery_end(self, partition: int) -> int:
        """The partition's end as seen when it was assigned; below it a record may come again."""
        return self._ends.get(partition, 0)

    def pause(self, partition: int) -> None:
        """Take nothing from a partition until it is resumed."""
        self._paused.add(partition)

    def resume(self, partition: int) -> None:
        """Take from a partition again."""
        self._paused.discard(partition)
        self._on_ready()

    def _assigned(self, partition: int) -> None:
        self._paused.discard(partition)
