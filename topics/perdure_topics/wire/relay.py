"""The gateway's side of a client's connection: the same frames as an engine's, before any log.

A client appends commands and follows its replies; that is all this serves. What a record may be,
and which reply is its own, the door keeper says; workers and hosts go to the log itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from perdure_schemas.version import VERSION as RELEASE
from perdure_topics.names import quote, role_of, topic_name
from perdure_topics.ports import LogError, PositionLostError, StoredRecord, size_of
from perdure_topics.wire import frames as wire

if TYPE_CHECKING:
    from perdure_topics.ports import Appender, EndProbe, Log, Tail

_LOG = logging.getLogger(__name__)
PARTS_MAX: Final = 64
"""Writers and feeds of one connection together: a client needs one of each an event loop."""
TAKE_MAX: Final = 512
SEND_S: Final = 20.0
COUNTED_S: Final = 10.0
OFFSET_MAX: Final = (1 << 63) - 1
FOLLOWED: Final = frozenset({"replies"})
APPENDED: Final = frozenset({"commands"})


class RelayClosedError(Exception):
    """The connection is of no use; the message says why, for the other side."""


class Channel(Protocol):
    """Whole binary messages to and from the other side."""

    async def receive(self) -> bytes:
        """The next message. Raises RelayClosedError when there will be none."""

    async def send(self, message: bytes) -> None:
        """Send a message, waiting while the other side takes nothing. Raises RelayClosedError."""


class _Feed:
    """A partition on its way to its reader, as much of it as that has room for."""

    def __init__(self, number: int, topic: str, partition: int, at: int) -> None:
        self.number = number
        self.topic = topic
        self.partition = partition
        self.at = at
        self.room = wire.WINDOW_BYTES
        self.held: deque[StoredRecord] = deque()

    def collect(self, tail: Tail, own: Own) -> wire.Frame | None:
        """What there is to send; what is not the reader's own is empty. Raises LogError."""
        if not self.held and self.room > 0:
            self.held.extend(tail.take(self.topic, self.partition, TAKE_MAX))
        rows: list[wire.RecordRow] = []
        first = self.held[0].offset if self.held else self.at
        while self.held and self.room > 0:
            record = self.held[0]
            # The other side counts on offsets without a gap.
            if rows and record.offset != first + len(rows):
                break
            self.held.popleft()
            self.room -= size_of(record)
            value = None if record.value is None else own(record.value)
            # An empty record keeps its place: the other side counts.
            kept = (record.key, value, record.timestamp_ms, record.headers)
            rows.append((None, None, record.timestamp_ms, ()) if value is None else kept)
        if not rows:
            return None
        self.at = first + len(rows)
        return wire.Records(self.number, first, rows)


Admit = Callable[[wire.AppendRow, wire.Place], wire.Admitted]
Own = Callable[[bytes], bytes | None]
"""A record that is followed, as its reader may have it; None for one that is another's."""


class Relay:
    """One connection. Everything happens on the event loop that serves it."""

    def __init__(self, log: Log, namespace: str, admit: Admit, own: Own) -> None:
        self._log = log
        self._prefix = f"{quote(namespace, 'namespace')}."
        self._replies = topic_name("replies", namespace)
        self._counts: dict[str, tuple[float, int]] = {}
        """How many partitions a topic had when it was last asked."""
        self._admit = admit
        self._own = own
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._writers: dict[int, Appender] = {}
        self._feeds: dict[int, _Feed] = {}
        self._probes: list[tuple[int, EndProbe]] = []
        self._out: deque[wire.Frame] = deque()
        self._tail: Tail | None = None
        self._asking: set[asyncio.Task[None]] = set()

    async def run(self, channel: Channel) -> None:
        """Serve until the other side is gone. Raises RelayClosedError with what it did wrong."""
        if not await self._greet(channel):
            return
        self._tail = await asyncio.to_thread(self._log.tail, on_ready=self._ring, committed=False)
        taking = asyncio.create_task(self._take_all(channel))
        sending = asyncio.create_task(self._send_all(channel))
        try:
            done, _ = await asyncio.wait({taking, sending}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for one in (taking, sending, *self._asking):
                one.cancel()
            await asyncio.gather(taking, sending, *self._asking, return_exceptions=True)
            await asyncio.to_thread(self._close)

    def _close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        if self._tail is not None:
            self._tail.close()

    async def _greet(self, channel: Channel) -> bool:
        try:
            (hello,) = wire.decode_from_client(await channel.receive())
        except ValueError as error:
            raise RelayClosedError(f"the first message cannot be read: {error}") from error
        if not isinstance(hello, wire.Hello):
            raise RelayClosedError("the first message is no greeting")
        if hello.version != wire.VERSION:
            message = (
                f"the gateway (release {RELEASE}) speaks version {wire.VERSION}, the client"
                f" (release {hello.release}) version {hello.version}: upgrade the older one"
            )
            await channel.send(wire.encode([wire.Refused(message)]))
            return False
        cluster_id = await asyncio.to_thread(lambda: self._log.cluster_id)
        await channel.send(wire.encode([wire.Welcome(wire.VERSION, RELEASE, cluster_id)]))
        return True

    # Coming in.

    async def _take_all(self, channel: Channel) -> None:
        while True:
            message = await channel.receive()
            try:
                frames = wire.decode_from_client(message)
            except ValueError as error:
                raise RelayClosedError(f"a message cannot be read: {error}") from error
            for frame in frames:
                await self._take(frame)

    async def _take(self, frame: wire.FromClient) -> None:
        match frame:
            case wire.Append(number, first, rows):
                await self._append(number, first, rows)
            case wire.Took(number, size_bytes):
                if (feed := self._feeds.get(number)) is not None:
                    feed.room += size_bytes
                    self._news.set()
            case wire.CloseWriter(number):
                if (writer := self._writers.pop(number, None)) is not None:
                    await asyncio.to_thread(writer.close)
            case wire.Follow(number, topic, partition, offset):
                await self._follow(number, topic, partition, offset)
            case wire.Unfollow(number):
                self._unfollow(number)
            case wire.Hello() | wire.Beat() | wire.Release() | wire.Commit() | wire.Leave():
                pass
            case wire.Join(_, group):
                raise RelayClosedError(
                    f"a gateway serves clients: a worker (group {group}) connects to the log itself"
                )
            case _:
                self._check_room(len(self._asking))
                asking = asyncio.create_task(self._answer(frame))
                self._asking.add(asking)
                asking.add_done_callback(self._asking.discard)

    async def _append(self, number: int, first: int, rows: list[wire.AppendRow]) -> None:
        writer = self._writers.get(number)
        if writer is None:
            self._check_room(len(self._writers) + len(self._feeds))
            writer = await asyncio.to_thread(self._log.appender, on_ready=self._ring)
            self._writers[number] = writer
        for at, (topic, partition, value, key, headers) in enumerate(rows, first):
            try:
                self._check_topic(topic, APPENDED)
                replies = await self._count(self._replies)
                place = wire.Place(partition, await self._count(topic), replies)
                one = self._admit((topic, partition, value, key, headers), place)
                writer.append(topic, partition, one.value, key=one.key, headers=one.headers, tag=at)
            except LogError as error:
                self._say(wire.Acks(number, [(at, None, 0, str(error))]))

    async def _count(self, topic: str) -> int:
        """How many partitions a topic has. Raises LogError when there is none."""
        now_s = self._loop.time()
        known = self._counts.get(topic)
        if known is not None and now_s - known[0] < COUNTED_S:
            return known[1]
        info = await asyncio.to_thread(self._log.topic, topic)
        if info is None:
            raise LogError(f"there is no topic {topic}")
        if len(self._counts) >= PARTS_MAX:
            self._counts.clear()
        self._counts[topic] = now_s, info.partitions
        return info.partitions

    async def _check_place(self, topic: str, partition: int, roles: frozenset[str] | None) -> None:
        self._check_topic(topic, roles)
        count = await self._count(topic)
        if not 0 <= partition < count:
            raise LogError(f"{topic} has partitions 0 to {count - 1}, not {partition}")

    async def _follow(self, number: int, topic: str, partition: int, offset: int) -> None:
        assert self._tail is not None
        self._check_room(len(self._writers) + len(self._feeds))
        self._unfollow(number)
        place = (topic, partition)
        try:
            await self._check_place(topic, partition, FOLLOWED)
            if not 0 <= offset <= OFFSET_MAX:
                raise LogError(f"{topic} has no offset {offset}")
            if any((feed.topic, feed.partition) == place for feed in self._feeds.values()):
                raise LogError(f"partition {partition} of {topic} is followed here already")
            self._tail.assign(topic, partition, offset)
        except LogError as error:
            self._say(wire.Lost(number, False, str(error)))
            return
        self._feeds[number] = _Feed(number, topic, partition, offset)
        self._news.set()

    def _unfollow(self, number: int) -> None:
        feed = self._feeds.pop(number, None)
        if feed is not None and self._tail is not None:
            self._tail.unassign(feed.topic, feed.partition)

    async def _answer(self, frame: wire.Asking) -> None:
        try:
            answer = await self._answer_to(frame)
        except LogError as error:
            answer = wire.Answer(frame.ask, error=str(error))
        if answer is not None:
            self._out.append(answer)
        self._news.set()

    async def _answer_to(self, frame: wire.Asking) -> wire.Answer | None:
        """The answer, or None when it will come later."""
        match frame:
            case wire.AskTopic(ask, name):
                self._check_topic(name, None)
                info = await asyncio.to_thread(self._log.topic, name)
                return wire.Answer(ask, topic=None if info is None else info[:])
            case wire.AskNames(ask):
                names = await asyncio.to_thread(self._log.topic_names)
                return wire.Answer(ask, names=[n for n in names if n.startswith(self._prefix)])
            case wire.Probe(ask, topic, partition):
                await self._check_place(topic, partition, FOLLOWED)
                assert self._tail is not None
                self._check_room(len(self._probes))
                self._probes.append((ask, self._tail.probe_end(topic, partition)))
                return None
            case wire.AskOffsets(ask, topic, partition):
                await self._check_place(topic, partition, None)
                offsets = await asyncio.to_thread(self._log.offsets, topic, partition)
                return wire.Answer(ask, offsets=offsets)
            case _:
                raise LogError(
                    f"a gateway does not do this ({type(frame).__name__}): use --broker instead"
                )

    def _check_topic(self, topic: str, roles: frozenset[str] | None) -> None:
        role = role_of(topic)
        if not topic.startswith(self._prefix) or (roles is not None and role not in roles):
            raise LogError(f"this gateway does not give a client the topic {topic}")

    def _check_room(self, parts: int) -> None:
        if parts >= PARTS_MAX:
            raise RelayClosedError(f"it opened more than {PARTS_MAX} writers and readers")

    # Going out.

    def _ring(self) -> None:
        """The bell of the log's threads."""
        try:
            self._loop.call_soon_threadsafe(self._news.set)
        except RuntimeError:
            _LOG.debug("the gateway's loop has ended before a connection of it")

    def _say(self, frame: wire.Frame) -> None:
        self._out.append(frame)
        self._news.set()

    async def _send_all(self, channel: Channel) -> None:
        while True:
            frames = self._gather()
            if not frames:
                try:
                    async with asyncio.timeout(wire.BEAT_S):
                        await self._news.wait()
                except TimeoutError:
                    frames = [wire.Beat()]
                else:
                    self._news.clear()
                    frames = self._gather()
            if frames:
                try:
                    async with asyncio.timeout(SEND_S):
                        await channel.send(wire.encode(frames))
                except TimeoutError:
                    raise RelayClosedError(f"it took nothing for {SEND_S:.0f} s") from None

    def _settle(self, ask: int, probe: EndProbe) -> bool:
        """Answer a question for an end, once the log has."""
        try:
            span = probe.span()
        except LogError as error:
            self._out.append(wire.Answer(ask, error=str(error)))
            return True
        if span is not None:
            self._out.append(wire.Answer(ask, number=span[1], offsets=span))
        return span is not None

    def _gather(self) -> list[wire.Frame]:
        frames: list[wire.Frame] = []
        self._probes = [one for one in self._probes if not self._settle(*one)]
        while self._out:
            frames.append(self._out.popleft())
        for number, writer in self._writers.items():
            rows: list[wire.AckRow] = [
                (report.tag, report.offset, report.timestamp_ms, report.error)  # type: ignore[misc]
                for report in writer.reports()
            ]
            if rows:
                frames.append(wire.Acks(number, rows))
        assert self._tail is not None
        for feed in list(self._feeds.values()):
            try:
                records = feed.collect(self._tail, self._own)
            except LogError as error:
                self._unfollow(feed.number)
                records = wire.Lost(feed.number, isinstance(error, PositionLostError), str(error))
            if records is not None:
                frames.append(records)
        return frames
