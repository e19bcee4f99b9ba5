"""Writers and readers of the simulated log, with the faults that Kafka's have."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from perdure_topics.ports import (
    Headers,
    LogError,
    PositionLostError,
    RecordTooLargeError,
    Report,
    StoredRecord,
)
from perdure_topics.simulated.probes import SimulatedEndProbe

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure_topics.simulated.broker import SimulatedBroker, SimulatedNode, SimulatedPartition

# What a dying process is told instead of the number of its pause.
DEAD = 0
_FRAMING = 128
_TIMED_OUT = "_MSG_TIMED_OUT: simulated"
_PURGED = "_PURGE_QUEUE: simulated"


class _Item(NamedTuple):
    """A record on its way."""

    number: int
    queued_ms: int
    value: bytes
    key: bytes | None
    headers: Headers
    tag: object


class _Lane:
    """What is on its way to one partition, in order."""

    def __init__(self, topic: str, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.items: deque[_Item] = deque()
        self.busy = False
        self.count = 0
        # A frame that lands after a later one is refused: its sequence number is old.
        self.landed = 0
        self.reports_ms = 0


class SimulatedAppender:
    """One incarnation of a writer."""

    def __init__(
        self,
        broker: SimulatedBroker,
        node: SimulatedNode,
        *,
        on_ready: Callable[[], None],
        timeout_ms: int,
    ) -> None:
        self._broker = broker
        self._node = node
        self._on_ready = on_ready
        self._timeout_ms = timeout_ms
        self._lanes: dict[tuple[str, int], _Lane] = {}
        self._reports: deque[Report] = deque()
        self._ended = ""
        self._closed = False
        node.on_silence.append(self._silenced)

    def append(
        self,
        topic: str,
        partition: int,
        value: bytes,
        *,
        key: bytes | None = None,
        headers: Headers = (),
        tag: object = None,
    ) -> None:
        """Queue a record; behind a failed one it fails, too.

        Raises LogFullError when nothing was queued.
        """
        where = f"{topic}-{partition}"
        if self._closed:
            raise LogError(f"{where}: this writer is closed")
        self._broker.partition(topic, partition)
        limit = int(self._broker.topics[topic][0].settings.get("max.message.bytes", 1_048_588))
        size = len(value) + len(key or b"") + _FRAMING
        if size > limit:
            raise RecordTooLargeError(f"{where}: a record of {size} bytes; the topic takes {limit}")
        lane = self._lanes.setdefault((topic, partition), _Lane(topic, partition))
        if self._ended:
            self._report(lane, Report(tag, None, -1, _PURGED), 1)
            return
        lane.count += 1
        lane.items.append(_Item(lane.count, self._broker.now_ms, value, key, headers, tag))
        self._pump(lane, first=True)

    def reports(self) -> list[Report]:
        """Take the reports that have come in."""
        taken = list(self._reports)
        self._reports.clear()
        return taken

    def close(self, *, flush_s: float = 0.0) -> None:
        """End this incarnation: with time to flush all is sent now, else some may still land."""
        self._closed = True
        if self._silenced in self._node.on_silence:
            self._node.on_silence.remove(self._silenced)
        for lane in self._lanes.values():
            items, lane.items = list(lane.items), deque()
            if self._ended or self._node.dead or (self._broker.away() and flush_s):
                continue
            if flush_s:
                for item in items:
                    record = self._land(lane, item)
                    if record is not None:
                        self._reports.append(Report(item.tag, record.offset, 0, None))
            else:
                self._leave_frames(lane, items)
        self._ended = self._ended or "it was closed"

    def _silenced(self, pause: int) -> None:
        """A process that dies leaves in its last frames what may still land."""
        if pause == DEAD and not self._closed:
            for lane in self._lanes.values():
                items, lane.items = list(lane.items), deque()
                self._leave_frames(lane, items)

    def _leave_frames(self, lane: _Lane, items: list[_Item]) -> None:
        """Some of what is in flight still lands, in its order and without a gap."""
        delay_ms = self._broker.rng.randrange(1, 20)
        for item in items[: self._broker.rng.randrange(len(items) + 1)]:
            self._later(lane, item, delay_ms)

    def _pump(self, lane: _Lane, *, first: bool = False) -> None:
        """Let the next record of a partition arrive in a moment."""
        if lane.busy or not lane.items:
            return
        lane.busy = True
        broker = self._broker
        delay = broker.rng.randrange(1, 4) if first else broker.rng.choice((0, 0, 0, 1))
        if broker.chance(broker.plan.slow_append):
            delay += broker.rng.randrange(1, broker.plan.slow_ms)
        broker.at(delay, lambda: self._arrive(lane))

    def _arrive(self, lane: _Lane) -> None:
        lane.busy = False
        broker = self._broker
        if self._node.dead or self._closed or not lane.items:
            return
        if self._node.paused:
            self._node.held.append(lambda: self._pump(lane))
            return
        head = lane.items[0]
        if self._timeout_ms and broker.now_ms - head.queued_ms > self._timeout_ms:
            self._fail_queued(_TIMED_OUT)
            return
        if broker.away():
            wait = broker.away_until_ms - broker.now_ms + broker.rng.randrange(1, 100)
            lane.busy = True
            broker.at(wait, lambda: self._arrive(lane))
            return
        self._meet(lane, lane.items.popleft())
        self._pump(lane)

    def _meet(self, lane: _Lane, item: _Item) -> None:
        """What becomes of a record that arrives."""
        broker, plan = self._broker, self._broker.plan
        error_ms = broker.rng.randrange(1, plan.error_ms) if plan.on() else 1
        if self._timeout_ms == 0:
            # Tried for ever, nothing is skipped: all it can do is break, with all behind it.
            if broker.chance(plan.ack_lost + plan.never_written + plan.late_written):
                lane.items.appendleft(item)
                self._break(lane)
                return
        elif broker.chance(plan.ack_lost):
            self._land(lane, item)
            self._report(lane, Report(item.tag, None, -1, _TIMED_OUT), error_ms)
            return
        elif broker.chance(plan.never_written):
            self._report(lane, Report(item.tag, None, -1, _TIMED_OUT), error_ms)
            return
        elif broker.chance(plan.late_written):
            self._report(lane, Report(item.tag, None, -1, _TIMED_OUT), error_ms)
            self._later(lane, item, error_ms + broker.rng.randrange(1, plan.late_ms))
            return
        elif broker.chance(plan.queue_timeout):
            lane.items.appendleft(item)
            self._fail_queued(_TIMED_OUT)
            return
        record = self._land(lane, item)
        assert record is not None
        offset = None if broker.chance(plan.no_offset) else record.offset
        self._report(lane, Report(item.tag, offset, record.timestamp_ms, None), 1)

    def _land(self, lane: _Lane, item: _Item) -> StoredRecord | None:
        if item.number <= lane.landed:
            return None
        lane.landed = item.number
        return self._broker.write(
            lane.topic, lane.partition, item.value, key=item.key, headers=item.headers
        )

    def _later(self, lane: _Lane, item: _Item, delay_ms: int) -> None:
        def land() -> None:
            self._land(lane, item)

        self._broker.at(delay_ms, land)

    def _break(self, lane: _Lane) -> None:
        """The connection is gone for good: some of this partition's records were written."""
        rng = self._broker.rng
        written = rng.randrange(len(lane.items) + 1)
        late_ms = rng.choice((0, 0, rng.randrange(1, 2_000)))
        for item in list(lane.items)[:written]:
            if late_ms:
                self._later(lane, item, late_ms)
            else:
                self._land(lane, item)
        self._fail_queued("_FATAL: simulated")

    def _fail_queued(self, error: str) -> None:
        self._ended = self._ended or f"a record failed: {error}"
        for lane in self._lanes.values():
            while lane.items:
                self._report(lane, Report(lane.items.popleft().tag, None, -1, error), 1)

    def _report(self, lane: _Lane, report: Report, delay_ms: int) -> None:
        lane.reports_ms = max(lane.reports_ms, self._broker.now_ms + delay_ms)
        self._broker.at(lane.reports_ms - self._broker.now_ms, lambda: self._deliver(report))

    def _deliver(self, report: Report) -> None:
        if self._node.dead or self._closed:
            return
        if self._node.paused:
            self._node.held.append(lambda: self._deliver(report))
            return
        self._reports.append(report)
        if report.error is not None and not self._ended:
            self._fail_queued(_PURGED)
        self._on_ready()


class _Reading:
    """How far a reader has come in a partition, and how far it can see."""

    def __init__(self, where: SimulatedPartition, offset: int) -> None:
        self.where = where
        self.position = offset
        self.visible = offset
        self.fetching = False
        self.lost = ""


class SimulatedTail:
    """A reader of hand-assigned partitions."""

    def __init__(
        self,
        broker: SimulatedBroker,
        node: SimulatedNode,
        *,
        on_ready: Callable[[], None],
        committed: bool,
    ) -> None:
        self._broker = broker
        self._node = node
        self._on_ready = on_ready
        self._committed = committed
        self._reading: dict[tuple[str, int], tuple[_Reading, Callable[[], None]]] = {}

    def assign(self, topic: str, partition: int, offset: int) -> None:
        """Read a partition from an offset on; also moves a partition already read."""
        self.unassign(topic, partition)
        where = self._broker.partition(topic, partition)
        reading = _Reading(where, offset)

        def news() -> None:
            self._fetch((topic, partition), reading)

        where.watchers.append(news)
        self._reading[topic, partition] = (reading, news)
        news()

    def unassign(self, topic: str, partition: int) -> None:
        """Stop reading a partition and forget what was fetched of it."""
        found = self._reading.pop((topic, partition), None)
        if found is not None:
            found[0].where.watchers.remove(found[1])

    def take(self, topic: str, partition: int, records_max: int) -> list[StoredRecord]:
        """Take what has come in. Raises PositionLostError when the position is not there."""
        found = self._reading.get((topic, partition))
        if found is None:
            return []
        reading = found[0]
        where = reading.where
        start = reading.position - where.base
        stop = min(reading.visible, reading.position + records_max, where.end) - where.base
        if start < 0 or (reading.lost and start >= stop):
            raise PositionLostError(reading.lost or f"{topic}-{partition}: deleted below")
        taken = where.records[start:stop]
        reading.position += len(taken)
        if where.marks:
            return [record for record in taken if record.offset not in where.marks]
        return taken

    def position(self, topic: str, partition: int) -> int:
        """Below this offset everything was taken, or is nothing that is ever given out."""
        found = self._reading.get((topic, partition))
        return -1 if found is None else found[0].position

    def ready(self) -> list[tuple[str, int]]:
        """The (topic, partition)s that have something to take, or to say."""
        return [
            key
            for key, (reading, _) in self._reading.items()
            if reading.visible > reading.position or reading.lost
        ]

    def probe_end(self, topic: str, partition: int) -> SimulatedEndProbe:
        """Ask the log where a partition ends now, without waiting for the answer."""
        broker, probe = self._broker, SimulatedEndProbe(f"{topic}-{partition}")
        where = broker.partition(topic, partition)
        delay = broker.rng.randrange(1, 4)
        if broker.chance(broker.plan.probe_delay):
            delay += broker.rng.randrange(1, broker.plan.probe_ms)

        def answer() -> None:
            # A broker that is away knows nothing, and one that is there not always.
            if broker.away() or broker.chance(broker.plan.probe_unknown):
                broker.at(broker.rng.randrange(1, 3), lambda: tell(None))
                return
            span = (where.base, where.end)
            broker.at(broker.rng.randrange(1, 3), lambda: tell(span))

        def tell(span: tuple[int, int] | None) -> None:
            probe.answer, probe.is_unknown = span, span is None
            self._on_ready()

        broker.at(delay, answer)
        return probe

    def close(self) -> None:
        """Stop reading."""
        for topic, partition in tuple(self._reading):
            self.unassign(topic, partition)

    def _fetch(self, key: tuple[str, int], reading: _Reading) -> None:
        if reading.fetching:
            return
        reading.fetching = True
        broker = self._broker
        delay = broker.rng.randrange(1, 3)
        if broker.chance(broker.plan.reader_lag):
            delay += broker.rng.randrange(1, broker.plan.lag_ms)
        broker.at(delay, lambda: self._fetched(key, reading))

    def _fetched(self, key: tuple[str, int], reading: _Reading) -> None:
        reading.fetching = False
        current = self._reading.get(key)
        if self._node.dead or current is None or current[0] is not reading:
            return
        if self._node.paused:
            self._node.held.append(lambda: self._fetch(key, reading))
            return
        if self._broker.away():
            reading.fetching = True
            wait = self._broker.away_until_ms - self._broker.now_ms + 1
            self._broker.at(wait, lambda: self._fetched(key, reading))
            return
        where = reading.where
        if not where.base <= reading.position <= where.end:
            reading.lost = (
                f"{key[0]}-{key[1]}: position {reading.position} is not in the log, which "
                f"holds {where.base} to {where.end}"
            )
        reading.visible = where.readable_end(committed=self._committed)
        if reading.visible > reading.position or reading.lost:
            self._on_ready()
