"""What others wrote down beside the events: the effect journal, and the commands on the log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

from perdure_schemas import events as ev
from perdure_schemas.commands import ClaimActivity, CompleteActivity, FailActivity, WorkerLease
from perdure_schemas.payloads import Payload, Record
from tests.simulation.ledger import Fact


class Effect(NamedTuple):
    """A side effect as a worker's journal has it: written when it happened, whatever came after."""

    at_ms: int
    token: bytes
    worker_id: str
    run_id: str
    activity_id: str
    attempt: int
    result: bytes | None
    """What the attempt returns, when it gets that far."""


class Report(NamedTuple):
    """A command on the log, with its place."""

    partition: int
    offset: int
    appended_ms: int
    command: Record


class Walk(Protocol):
    """A walk over a run's facts, as far as it has come."""

    fact: Fact

    def fail(self, letter: str, text: str) -> None:
        """Note a broken promise where the walk is."""


WasAlive = Callable[[str, int, int], bool]
"""Whether a worker lived from one moment to another, and everybody could have heard of it."""


def nobody_knows(_worker_id: str, _since_ms: int, _until_ms: int) -> bool:
    """There is no journal of workers."""
    return False


class Evidence:
    """What others wrote down: the effect journal, and the commands on the log."""

    def __init__(
        self,
        effects: Sequence[Effect],
        reports: Iterable[Report],
        *,
        engine_key: bytes,
        clock_slack_ms: int,
        was_alive: WasAlive = nobody_knows,
    ) -> None:
        self._was_alive = was_alive
        self.engine_key = engine_key
        self._slack_ms = clock_slack_ms
        self._has_journal = bool(effects)
        self._effects: dict[bytes, list[Effect]] = {}
        for effect in effects:
            self._effects.setdefault(effect.token, []).append(effect)
        self._leases: dict[tuple[int, str], list[tuple[int, WorkerLease]]] = {}
        self._results: dict[bytes, list[Report]] = {}
        self._claims: dict[bytes, list[ClaimActivity]] = {}
        for report in reports:
            command = report.command
            if isinstance(command, WorkerLease):
                key = (report.partition, command.worker_id)
                self._leases.setdefault(key, []).append((report.appended_ms, command))
            elif isinstance(command, CompleteActivity | FailActivity):
                self._results.setdefault(command.token, []).append(report)
            elif isinstance(command, ClaimActivity):
                self._claims.setdefault(command.token, []).append(command)

    def check_completed(self, walk: Walk, event: ev.ActivityCompleted, token: bytes) -> None:
        """F: an effect before its success; D: the result is that attempt's."""
        if not self._has_journal:
            return
        found = [
            effect
            for effect in self._effects.get(token, ())
            if effect.at_ms <= walk.fact.entry.appended_ms
        ]
        if not found:
            walk.fail("F", f"completes activity {event.activity_id} without an effect")
            return
        data = event.result.data if isinstance(event.result, Payload) else None
        if all(effect.result != data for effect in found):
            walk.fail("D", f"records a result of {event.activity_id} that no attempt returned")

    def check_refuted(self, walk: Walk, token: bytes, due_ms: int) -> None:
        """T: a timeout that an unread report could refute waits for it (rule 9)."""
        entry = walk.fact.entry
        for report in self._results.get(token, ()):
            early = report.appended_ms + self._slack_ms < min(due_ms, entry.appended_ms)
            if early and report.partition == entry.partition and report.offset > entry.upto:
                walk.fail("T", f"times out though its result was appended at {report.offset}")
                return

    def check_lost(self, walk: Walk, worker_id: str, started: Fact | None) -> None:
        """T: a worker whose leases never lapsed is not lost."""
        entry = walk.fact.entry
        # One beside whose code another would run; by then its lease had to be over.
        if self._was_alive(worker_id, entry.appended_ms - 10_000, entry.appended_ms):
            walk.fail("T", f"counts worker {worker_id} as lost, which was alive all the time")
        leases = self._leases.get((entry.partition, worker_id), ())
        if started is None or not leases or leases[0][0] > started.entry.appended_ms:
            return
        heard_ms, lease_ms = leases[0][0], leases[0][1].lease_ms
        for appended_ms, lease in leases:
            if appended_ms > entry.appended_ms:
                break
            lapsed = lease.stopping or appended_ms > heard_ms + lease_ms - self._slack_ms
            if lapsed and appended_ms > started.entry.appended_ms:
                return
            heard_ms, lease_ms = appended_ms, lease.lease_ms
        if entry.appended_ms <= heard_ms + lease_ms - self._slack_ms:
            walk.fail("T", f"counts worker {worker_id} as lost, whose leases never lapsed")

    def asked_first(self, token: bytes, worker_id: str) -> bool:
        """Whether a worker asked for an attempt before it would run it, and did nothing else."""
        claims = [one for one in self._claims.get(token, ()) if one.worker_id == worker_id]
        return bool(claims) and all(one.wants_grant for one in claims)
