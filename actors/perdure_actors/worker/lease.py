"""When a worker tells which partition that it is alive. No record is built or sent here."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

LEASE_MS = 20_000
BUSY_LEASE_MS = 6_000
ASK_MS = 1_000
"""How often a partition is asked at most."""
# Three leases in the time of one: two may be late or lost.
_PER_LEASE = 3


class DueLease(NamedTuple):
    """A lease to send now."""

    topic: str
    partition: int
    lease_ms: int


class LeaseBook:
    """Keeps, for every partition that should know this worker, when it was last told.

    A partition with promoted attempts of this worker is told often, so that a dead worker's
    attempts are retried in seconds; the others are told seldom, so that an idle fleet is quiet.
    The short lease goes out with the first promotion: a worker that dies a moment later is not
    believed for as long as an idle one.
    """

    def __init__(self, topic: str, partitions: int) -> None:
        self._home = {(topic, partition) for partition in range(partitions)}
        self._held: Counter[tuple[str, int]] = Counter()
        self._hurried: tuple[str, int] | None = None
        self._sent: dict[tuple[str, int], tuple[int, int]] = {}
        """When a partition was last told, and the lease it was told, both in ms."""
        self.is_urgent = False
        """Whether a partition believes this worker for longer than it now should."""

    def hold(self, topic: str, partition: int) -> None:
        """An attempt of a partition's run was promoted."""
        place = (topic, partition)
        self._held[place] += 1
        if self._sent.get(place, (0, LEASE_MS))[1] > BUSY_LEASE_MS:
            self.is_urgent = True

    def let_go(self, topic: str, partition: int) -> None:
        """A promoted attempt has ended."""
        place = (topic, partition)
        self._held[place] -= 1
        if self._held[place] <= 0:
            del self._held[place]

    def hurry(self, topic: str, partition: int) -> None:
        """A partition is to be asked something: its next lease is due soon."""
        self._hurried = (topic, partition)

    def due(self, now_ms: int) -> list[DueLease]:
        """The leases to send now; they count as sent."""
        due = []
        self.is_urgent = False
        hurried, self._hurried = self._hurried, None
        asked = set() if hurried is None else {hurried}
        for place in self._home | self._held.keys() | asked:
            lease_ms = BUSY_LEASE_MS if place in self._held else LEASE_MS
            sent_ms, told_ms = self._sent.get(place, (0, 0))
            # The next one is due by the lease that was told, which may be the shorter one.
            wait_ms = 0 if lease_ms < told_ms else min(lease_ms, told_ms) // _PER_LEASE
            if place == hurried:
                wait_ms = min(wait_ms, ASK_MS)
            if not told_ms or now_ms - sent_ms >= wait_ms:
                self._sent[place] = (now_ms, lease_ms)
                due.append(DueLease(*place, lease_ms))
        return due

    def all_known(self) -> list[DueLease]:
        """Every partition that was ever told, for the farewell."""
        return [DueLease(*place, 0) for place in self._sent]
