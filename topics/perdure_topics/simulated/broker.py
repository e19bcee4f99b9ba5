"""The broker of a simulated world: time, what is due when, partitions and their troubles."""

from __future__ import annotations

import heapq
from random import Random
from typing import TYPE_CHECKING, Final, Protocol

from perdure_topics.names import role_of
from perdure_topics.ports import LogError, LogUnavailableError, StoredRecord, TopicInfo, TopicSpec
from perdure_topics.simulated.faults import FaultPlan

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure_topics.ports import Headers

TICK_MS: Final = 1_000
SESSION_MS: Final = 6_000


class GroupState(Protocol):
    """What the broker keeps of a consumer group without knowing how groups work."""

    @property
    def member_count(self) -> int:
        """How many members it has now."""


class SimulatedPartition:
    """What a partition holds, and who wants to hear of more."""

    def __init__(self, topic: str, number: int) -> None:
        self.topic = topic
        self.number = number
        self.base = 0
        self.records: list[StoredRecord] = []
        self.deleted: list[StoredRecord] = []
        """What was deleted from its head: for whoever judges a whole world, no reader has it."""
        self.marks: set[int] = set()
        """Offsets that a transaction's mark takes, which no reader is given."""
        self.leader_epoch = 0
        self.time_ms = 0
        self.stalled_at: int | None = None
        """Where a foreign transaction is open: committed readers see nothing from here on."""
        self.watchers: list[Callable[[], None]] = []

    @property
    def end(self) -> int:
        """The offset after the last record."""
        return self.base + len(self.records)

    def readable_end(self, *, committed: bool) -> int:
        """How far a reader may see."""
        if committed and self.stalled_at is not None:
            return min(self.stalled_at, self.end)
        return self.end

    @property
    def given(self) -> list[StoredRecord]:
        """The records that readers are given."""
        return [record for record in self.records if record.offset not in self.marks]

    @property
    def whole(self) -> list[StoredRecord]:
        """All that it ever held, but for what was truncated; the offset of each is its place."""
        return self.deleted + self.records

    def changed(self) -> None:
        """Tell all readers that there may be news."""
        for watcher in tuple(self.watchers):
            watcher()


class SimulatedNode:
    """A process of the world, as its network sees it: running, paused or dead."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = False
        self.paused = False
        self.pauses = 0
        self.held: list[Callable[[], None]] = []
        """What comes in while it is paused."""
        self.on_silence: list[Callable[[int], None]] = []
        """Told when it dies or is paused; the number says which pause."""


class SimulatedBroker:
    """A broker in memory whose time is turned by hand. Same seed and steps, same run."""

    def __init__(
        self, seed: int, plan: FaultPlan | None = None, *, wall_ms: int = 1_700_000_000_000
    ) -> None:
        self.rng = Random(seed)  # noqa: S311 (the same run again is the point)
        self.plan = plan or FaultPlan()
        self.now_ms = 0
        self.topics: dict[str, tuple[TopicInfo, list[SimulatedPartition]]] = {}
        self.groups: dict[tuple[str, str], GroupState] = {}
        self.away_until_ms = 0
        self.drawn = 0
        """How many faults were drawn."""
        self.ticks: list[Callable[[], None]] = []
        """Called every second of the world's time."""
        self.began_ms = wall_ms
        """Its clock when it began; later, and all machines have been off for so long."""
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._made = 0
        self.at(TICK_MS, self._tick)

    def at(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Do something later; what is due at one time is done in the order of the calls."""
        self._count += 1
        heapq.heappush(self._due, (self.now_ms + delay_ms, self._count, action))

    def run_until(self, time_ms: int) -> None:
        """Turn the time on, doing what falls due."""
        while self._due and self._due[0][0] <= time_ms:
            due_ms, _, action = heapq.heappop(self._due)
            self.now_ms = max(self.now_ms, due_ms)
            action()
        self.now_ms = max(self.now_ms, time_ms)

    @property
    def wall_ms(self) -> int:
        """The broker's clock."""
        return self.began_ms + self.now_ms

    def next_at(self) -> int:
        """When something is due next."""
        return self._due[0][0]

    def chance(self, probability: float) -> bool:
        """Draw a fault; a fault that is off draws nothing, so plans can be compared."""
        drawn = probability > 0 and self.rng.random() < probability
        self.drawn += drawn
        return drawn

    def away(self) -> bool:
        """Whether the broker cannot be reached now."""
        return self.now_ms < self.away_until_ms

    def check_there(self, what: str) -> None:
        """Raise LogUnavailableError while the broker is away."""
        if self.away():
            raise LogUnavailableError(f"cannot {what}: no answer from simulated:// for 0 s")

    def create(self, spec: TopicSpec) -> None:
        """Make a topic unless there is one."""
        if spec.name not in self.topics:
            self._made += 1
            info = TopicInfo(spec.name, f"topic-{self._made}", spec.partitions, 1, spec.settings)
            partitions = [SimulatedPartition(spec.name, n) for n in range(spec.partitions)]
            self.topics[spec.name] = (info, partitions)

    def partition(self, topic: str, number: int) -> SimulatedPartition:
        """A partition. Raises LogError when there is none."""
        found = self.topics.get(topic)
        if found is None or not 0 <= number < len(found[1]):
            raise LogError(f"{topic}-{number} does not exist")
        return found[1][number]

    def write(
        self,
        topic: str,
        number: int,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Headers = (),
    ) -> StoredRecord:
        """Append a record now, as any producer may."""
        where = self.partition(topic, number)
        # The broker's clock stamps it, and never goes back within a partition.
        where.time_ms = max(where.time_ms, self.wall_ms)
        record = StoredRecord(
            topic, number, where.end, key, value, headers, where.time_ms, where.leader_epoch
        )
        where.records.append(record)
        where.changed()
        return record

    def truncate(self, topic: str, number: int, count: int) -> int:
        """Lose the last records of a partition, as an unsynced broker does; says how many."""
        where = self.partition(topic, number)
        lost = min(count, len(where.records))
        if lost:
            del where.records[-lost:]
            where.marks = {offset for offset in where.marks if offset < where.end}
            where.leader_epoch += 1
            where.changed()
        return lost

    def stall(self, topic: str, number: int, for_ms: int) -> None:
        """Leave a foreign transaction open in a partition for so long.

        Its end leaves a mark, except in events, whose offsets no stranger may take.
        """
        where = self.partition(topic, number)
        if where.stalled_at is not None:
            return
        where.stalled_at = where.end

        def end() -> None:
            where.stalled_at = None
            if role_of(topic) != "events":
                where.marks.add(where.end)
                self.write(topic, number, None)
            where.changed()

        self.at(for_ms, end)

    def outage(self, for_ms: int) -> None:
        """Be away for so long."""
        self.away_until_ms = max(self.away_until_ms, self.now_ms + for_ms)

    def pause(self, node: SimulatedNode) -> None:
        """Stop a process as SIGSTOP does."""
        if not node.paused:
            node.paused = True
            node.pauses += 1
            for tell in tuple(node.on_silence):
                tell(node.pauses)

    def resume(self, node: SimulatedNode) -> None:
        """Let it go on: what it had not sent leaves now."""
        node.paused = False
        held, node.held = node.held, []
        for action in held:
            self.at(0, action)

    def crash(self, node: SimulatedNode) -> None:
        """Kill a process: what it had not sent is gone, its group finds out later."""
        node.dead = True
        for tell in tuple(node.on_silence):
            tell(0)

    def _tick(self) -> None:
        plan, rng = self.plan, self.rng
        if self.chance(plan.outage):
            self.outage(rng.randrange(1, plan.outage_ms))
        for chance, act in ((plan.stall, self._stall_one), (plan.truncation, self._truncate_one)):
            if self.chance(chance) and self.topics:
                act(rng.choice(list(self.topics)))
        for tick in tuple(self.ticks):
            tick()
        self.at(TICK_MS, self._tick)

    def _stall_one(self, topic: str) -> None:
        number = self.rng.randrange(len(self.topics[topic][1]))
        self.stall(topic, number, self.rng.randrange(1, self.plan.stall_ms))

    def _truncate_one(self, topic: str) -> None:
        number = self.rng.randrange(len(self.topics[topic][1]))
        self.truncate(topic, number, self.rng.randrange(1, self.plan.truncation_max + 1))
