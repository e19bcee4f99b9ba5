"""Consumer groups of the simulated log: fair shares, notice, and members that are not told."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from perdure_topics.ports import Change, StoredRecord
from perdure_topics.simulated.broker import SESSION_MS
from perdure_topics.simulated.clients import DEAD, SimulatedTail

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure_topics.simulated.broker import SimulatedBroker, SimulatedNode

RELEASE_MS: Final = 1_000


class SimulatedGroup:
    """What the broker knows of a consumer group of one topic."""

    def __init__(self, broker: SimulatedBroker, topic: str) -> None:
        self.broker = broker
        self.topic = topic
        self.members: list[SimulatedMember] = []
        self.owners: dict[int, SimulatedMember] = {}
        self.committed: dict[int, int] = {}
        self._leaving: dict[int, int] = {}
        """Partitions that are being revoked, each with the number of its revocation."""
        self._revocations = 0
        broker.ticks.append(self._tick)

    @property
    def member_count(self) -> int:
        """How many members it has now."""
        return len(self.members)

    def join(self, member: SimulatedMember) -> None:
        """Take a member in, in a moment."""

        def joined() -> None:
            if not member.node.dead and not member.closed and member not in self.members:
                self.members.append(member)
                self._balance()

        self.broker.at(self.broker.rng.randrange(1, 50), joined)

    def remove(self, member: SimulatedMember) -> list[int]:
        """Let a member go at once; says what it held."""
        if member not in self.members:
            return []
        self.members.remove(member)
        held = [number for number, owner in self.owners.items() if owner is member]
        for number in held:
            del self.owners[number]
            self._leaving.pop(number, None)
        self._balance()
        return held

    def hand_over(
        self, number: int, member: SimulatedMember, revocation: int | None = None
    ) -> None:
        """A revoked partition was let go of, or the second of that revocation is over."""
        current = self._leaving.get(number)
        is_meant = current is not None and revocation in (None, current)
        if is_meant and self.owners.get(number) is member:
            del self._leaving[number]
            del self.owners[number]
            member.gone(number)
            self._balance()

    def kick(self, member: SimulatedMember, told_ms: int) -> None:
        """Take all from a member, tell it so much later, and let it join again."""
        if member not in self.members:
            # It is out already, and joins again once it has been told of that.
            return
        held = self.remove(member)

        def told() -> None:
            for number in held:
                member.gone(number)
            member.tell("lost", held)
            self.join(member)

        self.broker.at(told_ms, lambda: member.hear(told))

    def _balance(self) -> None:
        """Move as little as fairness asks for."""
        count = len(self.broker.topics[self.topic][1])
        if not self.members:
            return
        held: dict[int, list[int]] = {id(member): [] for member in self.members}
        for number in range(count):
            owner = self.owners.get(number)
            if owner is not None:
                held[id(owner)].append(number)
        least, more = divmod(count, len(self.members))
        # Those who hold most may keep one more; the sort is stable, so the run is the same.
        by_share = sorted(self.members, key=lambda one: -len(held[id(one)]))
        allowed = {id(one): least + (at < more) for at, one in enumerate(by_share)}
        for member in self.members:
            mine = [n for n in held[id(member)] if n not in self._leaving]
            leaving = len(held[id(member)]) - len(mine)
            surplus = len(held[id(member)]) - leaving - allowed[id(member)]
            for number in mine[len(mine) - surplus :] if surplus > 0 else []:
                self._revoke(number, member)
        given: dict[int, list[int]] = {}
        for number in range(count):
            if number not in self.owners:
                taker = min(self.members, key=lambda one: len(held[id(one)]) - allowed[id(one)])
                held[id(taker)].append(number)
                self.owners[number] = taker
                given.setdefault(self.members.index(taker), []).append(number)
        for at, numbers in given.items():
            self._give(numbers, self.members[at])

    def _give(self, numbers: list[int], member: SimulatedMember) -> None:
        def given() -> None:
            still = [number for number in numbers if self.owners.get(number) is member]
            for number in still:
                member.come(number)
            if still:
                member.tell("assigned", still)

        self.broker.at(self.broker.rng.randrange(1, 30), lambda: member.hear(given))

    def _revoke(self, number: int, member: SimulatedMember) -> None:
        self._revocations += 1
        mine = self._leaving[number] = self._revocations

        def revoked() -> None:
            # It waits a second from here; who cannot even hear this is out with its session.
            if self.owners.get(number) is member and self._leaving.get(number) == mine:
                member.tell("revoked", [number])
                self.broker.at(RELEASE_MS, lambda: self.hand_over(number, member, mine))

        # After its assignment at the earliest: that may still be on its way.
        self.broker.at(30, lambda: member.hear(revoked))

    def _tick(self) -> None:
        broker = self.broker
        for member in tuple(self.members):
            if broker.chance(broker.plan.rebalance):
                self.kick(member, 1)
            elif broker.chance(broker.plan.zombie):
                self.kick(member, broker.rng.randrange(1, broker.plan.zombie_ms))


class SimulatedMember:
    """A member that learns what is its own, and reads nothing."""

    def __init__(
        self, group: SimulatedGroup, node: SimulatedNode, *, on_ready: Callable[[], None]
    ) -> None:
        self.node = node
        self.closed = False
        self._group = group
        self._on_ready = on_ready
        self._changes: deque[Change] = deque()
        node.on_silence.append(self._silent)
        group.join(self)

    def changes(self) -> list[Change]:
        """Take the changes that have come in."""
        taken = list(self._changes)
        self._changes.clear()
        return taken

    def release(self, partition: int) -> None:
        """Say that a revoked partition is let go of."""
        self._group.hand_over(partition, self)

    def commit(self, partition: int, offset: int) -> None:
        """Commit a position."""
        if self._group.owners.get(partition) is self:
            self._group.committed[partition] = offset

    def close(self) -> None:
        """Leave the group."""
        if not self.closed:
            self.closed = True
            self.node.on_silence.remove(self._silent)
            self._group.broker.at(1, self._leave)

    def hear(self, news: Callable[[], None]) -> None:
        """Take what the broker says, when this process can."""
        if self.node.dead or self.closed:
            return
        if self.node.paused:
            self.node.held.append(lambda: self.hear(news))
            return
        news()

    def tell(self, kind: str, partitions: list[int]) -> None:
        """Leave changes for the owner."""
        self._changes.extend(Change(kind, partition) for partition in partitions)
        self._on_ready()

    def come(self, partition: int) -> None:
        """A partition is its own now."""

    def gone(self, partition: int) -> None:
        """A partition is not its own any more."""

    def _leave(self) -> None:
        self._group.remove(self)

    def _silent(self, pause: int) -> None:
        """The process is dead or paused: the broker notices when the session is over."""

        def notice() -> None:
            if pause == DEAD:
                self._group.remove(self)
            elif self.node.paused and self.node.pauses == pause:
                self._group.kick(self, 1)

        self._group.broker.at(SESSION_MS, notice)


class SimulatedGroupReader(SimulatedMember):
    """A member that reads the partitions it is given."""

    def __init__(
        self, group: SimulatedGroup, node: SimulatedNode, *, on_ready: Callable[[], None]
    ) -> None:
        self._tail = SimulatedTail(group.broker, node, on_ready=on_ready, committed=False)
        self._ends: dict[int, int] = {}
        self._paused: set[int] = set()
        self._turn: deque[int] = deque()
        super().__init__(group, node, on_ready=on_ready)

    def take(self, records_max: int) -> list[StoredRecord]:
        """Take what has come in, over all its partitions, in turn."""
        taken: list[StoredRecord] = []
        for _ in range(len(self._turn)):
            partition = self._turn[0]
            self._turn.rotate(-1)
            if partition not in self._paused and len(taken) < records_max:
                taken += self._tail.take(self._group.topic, partition, records_max - len(taken))
        return taken

    def redelivery_end(self, partition: int) -> int:
        """The partition's end as seen when it was assigned; below it a record may come again."""
        return self._ends.get(partition, 2**63 - 1)

    def pause(self, partition: int) -> None:
        """Take nothing from a partition until it is resumed."""
        self._paused.add(partition)

    def resume(self, partition: int) -> None:
        """Take from a partition again."""
        self._paused.discard(partition)
        self._on_ready()

    def close(self) -> None:
        """Commit and leave the group."""
        super().close()
        self._tail.close()
        self._turn.clear()

    def come(self, partition: int) -> None:
        """Read a partition from what was committed, or from its start."""
        where = self._group.broker.partition(self._group.topic, partition)
        self._ends[partition] = where.end
        self._paused.discard(partition)
        start = max(self._group.committed.get(partition, where.base), where.base)
        self._tail.assign(self._group.topic, partition, start)
        self._turn = deque(sorted({*self._turn, partition}))

    def gone(self, partition: int) -> None:
        """Stop reading a partition."""
        self._tail.unassign(self._group.topic, partition)
        self._ends.pop(partition, None)
        self._turn = deque(number for number in self._turn if number != partition)
