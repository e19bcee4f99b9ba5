"""What a host hears and need not log: leases and heartbeats. A take-over renews all of it once.

What a command says of it is in its verdict, as notices; `Liveness.take` is what writes them down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

LEASE_MS_DEFAULT = 6_000
STOOD_MS = 3_000
"""Half a lease: a turn comes every few hundred milliseconds."""
RENEW_EVERY_MS = 60_000


class Lease(msgspec.Struct, frozen=True):
    """A worker as its last lease showed it."""

    worker_id: str
    identity: str
    task_queue: str
    reply_partition: int
    lease_ms: int
    seen_ms: int
    slots: int = 0
    slots_used: int = 0
    version: str = ""


class Leased(NamedTuple):
    """A worker is alive."""

    lease: Lease


class Left(NamedTuple):
    """A worker is stopping, and will not be heard of again."""

    worker_id: str


class Held(NamedTuple):
    """A worker runs an attempt."""

    worker_id: str
    run_id: str
    activity_id: str


class Heard(NamedTuple):
    """An attempt is alive."""

    run_id: str
    activity_id: str
    at_ms: int


class Detached(NamedTuple):
    """An attempt is no worker's any more."""

    worker_id: str
    run_id: str
    activity_id: str


Notice = Leased | Left | Held | Heard | Detached


class Liveness:
    """The leases and heartbeats of one shard since it was taken over."""

    __slots__ = ("_heartbeats", "_held", "leases", "renewed_ms", "taken_over_ms", "turned_ms")

    def __init__(self, taken_over_ms: int) -> None:
        self.taken_over_ms = taken_over_ms
        self.turned_ms = taken_over_ms
        self.renewed_ms = taken_over_ms
        self.leases: dict[str, Lease] = {}
        self._heartbeats: dict[tuple[str, str], int] = {}
        self._held: dict[str, set[tuple[str, str]]] = {}
        """Started attempts by worker: (run id, activity id). May name some that have ended."""

    def take(self, notices: Iterable[Notice]) -> None:
        """Write down what commands have said."""
        for notice in notices:
            if isinstance(notice, Heard):
                self._heartbeats[notice.run_id, notice.activity_id] = notice.at_ms
            elif isinstance(notice, Held):
                self.hold(*notice)
            elif isinstance(notice, Detached):
                self.forget(*notice)
            elif isinstance(notice, Leased):
                self.leases[notice.lease.worker_id] = notice.lease
            else:
                self.leases.pop(notice.worker_id, None)

    def turned(self, now_ms: int) -> None:
        """The host has taken a turn. If it stood still, workers of its process did, too."""
        stood_ms = now_ms - self.turned_ms
        self.turned_ms = now_ms
        if stood_ms >= STOOD_MS:
            self.renew(now_ms)

    def renew(self, now_ms: int) -> None:
        """Hear everybody anew, as after a take-over: it was not they who were silent.

        The host stood still, or its clock leapt, or the log gave no answer for as long. Once a
        minute at most, so that who is lost is found out where that goes on and on.
        """
        if now_ms - self.renewed_ms >= RENEW_EVERY_MS:
            self.renewed_ms = self.taken_over_ms = now_ms

    def heartbeat_ms(self, run_id: str, activity_id: str) -> int:
        """When an attempt last said that it is alive; 0 for never."""
        return self._heartbeats.get((run_id, activity_id), 0)

    def heard_ms(self, run_id: str, activity_id: str) -> int:
        """When an attempt was last heard of, or everything was heard anew."""
        return max(self.taken_over_ms, self.heartbeat_ms(run_id, activity_id))

    @property
    def holds_attempts(self) -> bool:
        """Whether any worker was granted an attempt that may not have ended."""
        return bool(self._held)

    def attempts_of(self, worker_id: str) -> Collection[tuple[str, str]]:
        """The attempts that a worker was granted: (run id, activity id). Some may have ended."""
        return frozenset(self._held.get(worker_id, ()))

    def hold(self, worker_id: str, run_id: str, activity_id: str) -> None:
        """Remember that a worker runs an attempt."""
        self._held.setdefault(worker_id, set()).add((run_id, activity_id))

    def forget(self, worker_id: str, run_id: str, activity_id: str) -> None:
        """Forget an attempt that ended, or that another worker runs."""
        attempts = self._held.get(worker_id)
        if attempts is not None:
            attempts.discard((run_id, activity_id))
            if not attempts:
                del self._held[worker_id]
        if not any((run_id, activity_id) in others for others in self._held.values()):
            # Another worker may run the next attempt by now, and be heard of.
            self._heartbeats.pop((run_id, activity_id), None)

    def lease_ends_ms(self, worker_id: str) -> int:
        """When a worker counts as lost, unless it is heard of again."""
        lease = self.leases.get(worker_id)
        if lease is None:
            return self.taken_over_ms + LEASE_MS_DEFAULT
        return max(lease.seen_ms, self.taken_over_ms) + lease.lease_ms

    def lost_workers(self, now_ms: int) -> list[str]:
        """The workers that hold attempts and whose lease has run out."""
        return [worker for worker in self._held if self.lease_ends_ms(worker) <= now_ms]

    def drop_expired(self, now_ms: int) -> None:
        """Forget the leases of workers that hold nothing and are gone."""
        for worker_id in [w for w in self.leases if self.lease_ends_ms(w) <= now_ms]:
            if worker_id not in self._held:
                del self.leases[worker_id]
