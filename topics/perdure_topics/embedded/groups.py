"""Consumer groups of the embedded log: who is given which partition, and what was committed."""

from __future__ import annotations

import time
from threading import RLock
from typing import TYPE_CHECKING, Final, Protocol

from perdure_topics.embedded.store import commit_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure_topics.embedded.commit import Committer
    from perdure_topics.embedded.partition import EmbeddedPartition, EmbeddedTopic
    from perdure_topics.embedded.store import EmbeddedStore

RELEASE_S: Final = 1.0
"""How long a revoked partition waits for its owner to let go."""
STILL_S: Final = 30.0
"""A member whose owner takes no turn for so long is given nothing, as on Kafka."""
LOOK_S_MAX: Final = 1.0
"""So much counts between two looks: a process that was stopped has no owner that stands still."""


class Partner(Protocol):
    """What a group needs of a member."""

    @property
    def on_ready(self) -> Callable[[], None]:
        """What to ring after it was told something."""

    @property
    def turns(self) -> int | None:
        """How often its owner has asked for changes; None where that says nothing of its life."""

    def tell(self, kind: str, partition: EmbeddedPartition) -> None:
        """Note a change."""


class Group:
    """A consumer group on one topic: every partition has one owner, shares are even.

    The assignment is cooperative: only what must move is revoked, and it moves when its owner has
    let go of it, or has been asked for a second.
    """

    def __init__(
        self,
        name: str,
        topic: EmbeddedTopic,
        store: EmbeddedStore,
        committer: Committer,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._clock = clock
        self._topic = topic
        self._store = store
        self._committer = committer
        self._lock = RLock()
        self._members: list[Partner] = []
        self._owners: dict[int, Partner] = {}
        self._revoked: dict[int, float] = {}
        """Partitions on their way from an owner, and until when they wait for it."""
        self._committed: dict[int, int] = {}
        self._still: dict[int, tuple[int, float]] = {}
        """Members by identity: their turns as last seen, and for how long they have stood so."""
        self._looked_s = self._clock()

    @property
    def member_count(self) -> int:
        """How many members the group has."""
        return len(self._members)

    def join(self, member: Partner) -> None:
        """Take a member in and give it its share."""
        with self._lock:
            self._members.append(member)
            told = self._balance()
        _ring(told)

    def leave(self, member: Partner) -> None:
        """Take a member's partitions and give them to the others at once."""
        with self._lock:
            if member not in self._members:
                return
            self._members.remove(member)
            self._still.pop(id(member), None)
            for number in [n for n, owner in self._owners.items() if owner is member]:
                self._take_back(number, "lost")
            told = self._balance()
        _ring(told)

    def release(self, member: Partner, number: int) -> None:
        """Take a revoked partition from an owner that let go of it."""
        with self._lock:
            if number not in self._revoked or self._owners.get(number) is not member:
                return
            del self._revoked[number]
            del self._owners[number]
            told = self._balance()
        _ring(told)

    def expire(self) -> None:
        """Take the revoked partitions that waited long enough; the log calls this now and then.

        So are those of members that stand still, where another member turns.
        """
        with self._lock:
            now = self._clock()
            late = {number for number, until in self._revoked.items() if until <= now}
            before = self._turning()
            self._look(now)
            turning = self._turning()
            held = {number for number, owner in self._owners.items() if owner not in turning}
            told = [self._take_back(number, "lost") for number in sorted(late | held)]
            if late or turning != before:
                told += self._balance()
        _ring(told)

    def _look(self, now: float) -> None:
        """Note who has turned since the last look."""
        passed_s = min(now - self._looked_s, LOOK_S_MAX)
        self._looked_s = now
        for member in self._members:
            turns = member.turns
            if turns is not None:
                seen, still_s = self._still.get(id(member), (turns, 0.0))
                self._still[id(member)] = turns, still_s + passed_s if turns == seen else 0.0

    def _turning(self) -> list[Partner]:
        """The members that may own something; all of them where none turns."""
        turning = [m for m in self._members if self._still.get(id(m), (0, 0.0))[1] < STILL_S]
        return turning or list(self._members)

    def commit(self, member: Partner, number: int, offset: int) -> None:
        """Keep an owner's position; that of anyone else is void."""
        with self._lock:
            if self._owners.get(number) is not member:
                return
            self._committed[number] = offset
        key = commit_key(self.name, self._topic.name, number)
        self._committer.put_group_offset(key, offset)

    def position(self, partition: EmbeddedPartition) -> int:
        """Where the group goes on in a partition: the earliest when it is new there."""
        number = partition.number
        with self._lock:
            found = self._committed.get(number)
            if found is None:
                found = self._store.number(commit_key(self.name, self._topic.name, number))
        return max(partition.start, min(found or 0, partition.end))

    def _take_back(self, number: int, kind: str) -> Partner:
        owner = self._owners.pop(number)
        self._revoked.pop(number, None)
        owner.tell(kind, self._topic.partitions[number])
        return owner

    def _balance(self) -> list[Partner]:
        """Even the shares out; says whose bells to ring."""
        if not self._members:
            return []
        turning = self._turning()
        shares: dict[int, list[int]] = {id(member): [] for member in self._members}
        for number, owner in sorted(self._owners.items()):
            shares[id(owner)].append(number)
        told: list[Partner] = []
        limits = self._limits(shares, turning)
        for member in self._members:
            share = shares[id(member)]
            kept = [number for number in share if number not in self._revoked]
            for number in kept[limits[id(member)] :]:
                self._revoked[number] = self._clock() + RELEASE_S
                member.tell("revoked", self._topic.partitions[number])
                told.append(member)
        free = [n for n in range(len(self._topic.partitions)) if n not in self._owners]
        for member in turning:
            share = shares[id(member)]
            going = sum(1 for number in share if number in self._revoked)
            room = limits[id(member)] - (len(share) - going)
            for number in free[: max(room, 0)]:
                self._owners[number] = member
                member.tell("assigned", self._topic.partitions[number])
                told.append(member)
            free = free[max(room, 0) :]
        return told

    def _limits(self, shares: dict[int, list[int]], turning: list[Partner]) -> dict[int, int]:
        """How many partitions each member may have: whoever has most keeps the odd ones."""
        each, odd = divmod(len(self._topic.partitions), len(turning))
        ranked = sorted(turning, key=lambda member: -len(shares[id(member)]))
        limits = dict.fromkeys(shares, 0)
        return limits | {id(member): each + (at < odd) for at, member in enumerate(ranked)}


def _ring(told: list[Partner]) -> None:
    for member in {id(member): member for member in told}.values():
        member.on_ready()
