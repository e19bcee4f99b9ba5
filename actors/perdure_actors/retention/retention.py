"""Retention: closed runs that have been kept long enough are named in the log, and so forgotten.

Only the record forgets. Whoever folds it drops the same rows, so a table is what its log makes of
it, from whatever start. The owner looks once a minute, some runs a turn, and no more than once at
each run for each length of time that its rule knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from perdure_actors import table_layout
from perdure_actors.retention.policy import (
    FOR_EVER,
    STATUSES,
    RetentionPolicy,
    policy_in,
    problem_of,
)
from perdure_actors.visibility.values import TIME, run_at, sortable
from perdure_schemas.operator_commands import RunRetention, SetRetention
from perdure_schemas.partition_events import RetentionSet, RunsForgotten
from perdure_schemas.replies import Accepted, Refused, RetentionInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from perdure_actors.core.state import RunState
    from perdure_schemas.command_headers import Command
    from perdure_schemas.payloads import Record, ReplyTo
    from perdure_topics.ports import StoredRecord, Table

EVERY_MS: Final = 60_000
SETTLED_MS: Final = 60_000
"""No run is forgotten so soon after its end: who waited for it may ask once more."""
LOOKED_A_TURN: Final = 200
RUNS_A_RECORD: Final = 50
EVENTS_A_RECORD: Final = 5_000
"""So many events are forgotten at once, or one run: its rows go in one batch."""
DUE_COUNTED_MAX: Final = 1_000
"""So many closed runs are looked at when somebody asks what would be forgotten."""
LATER_MAX: Final = 10_000
_MS_NS: Final = 1_000_000
_FIELD: Final = "CloseTime"
_PLACE: Final = len(table_layout.found_prefix(_FIELD, sortable(TIME, 0)))


class Runs(Protocol):
    """Whoever holds the runs of a partition."""

    def may_forget(self, run_id: str) -> RunState | None:
        """A closed run that nothing is under way about, and that no other is to follow."""


class Proposes(Protocol):
    """Whoever makes records of what happens."""

    @property
    def has_room(self) -> bool:
        """Whether more may be decided before what is proposed is accepted."""

    def propose_event(self, event: Record, *, covers: bool) -> object:
        """Propose an event of the partition."""


class Position(Protocol):
    """How far the log of a partition is written."""

    @property
    def next_pseq(self) -> int:
        """The number of the next record."""


class Sent(Protocol):
    """How far effects are sent."""

    @property
    def dispatched(self) -> int:
        """The pseq up to which every effect is acknowledged."""


class _Walk(NamedTuple):
    """Where a walk over closed runs goes on, for one length of time."""

    keep_ms: int
    start: bytes


def _closed_before(time_ms: int) -> bytes:
    return table_layout.found_prefix(_FIELD, sortable(TIME, time_ms * _MS_NS))


def closed_runs(table: Table, start: bytes, before_ms: int, limit: int) -> Iterator[bytes]:
    """The index rows of runs that closed before a time, oldest first."""
    start = start or table_layout.found_prefix(_FIELD)
    for key, _ in table.scan(start, _closed_before(before_ms), limit=limit):
        yield key


def run_in(key: bytes) -> str:
    """The run that such a row names."""
    return run_at(key[_PLACE:])


class Retention:
    """What one owner of a partition lets its log forget."""

    def __init__(
        self,
        table: Table,
        *,
        runs: Runs,
        proposes: Proposes,
        position: Position,
        sent: Sent,
        unsaid: RetentionPolicy,
    ) -> None:
        """The rule that is unsaid holds until the log has one."""
        self._table = table
        self._runs = runs
        self._proposes = proposes
        self._position = position
        self._sent = sent
        self._policy = self._unsaid = unsaid
        self._walks: list[_Walk] = []
        self._from: dict[int, bytes] = {}
        """How far each length of time has been walked."""
        self._later: list[bytes] = []
        """Runs that another was to follow when they were looked at."""
        self._note: tuple[int, int] | None = None
        """A time, and the last record that was written by then."""
        self._safe_ms = 0
        """What closed before is sent to everybody that it concerns."""
        self._due_ms = 0

    def ask_now(self, now_ms: int) -> None:
        """Look at the next turn."""
        self._note = (now_ms, self._position.next_pseq - 1)
        self._due_ms = 0

    def step(self, now_ms: int) -> bool:
        """One turn; whether there is more to do at once."""
        if not self._walks:
            if now_ms < self._due_ms:
                return False
            self._begin(now_ms)
        if not self._walks or not self._proposes.has_room:
            return False
        walk = self._walks.pop()
        on = self._walk(walk, now_ms)
        if on is not None:
            self._walks.append(on)
        return bool(self._walks)

    def _begin(self, now_ms: int) -> None:
        self._due_ms = now_ms + EVERY_MS
        if self._note is not None and self._sent.dispatched >= self._note[1]:
            self._safe_ms, self._note = self._note[0], None
        if self._note is None:
            self._note = (now_ms, self._position.next_pseq - 1)
        policy = policy_in(self._table) or self._unsaid
        if policy != self._policy:
            self._policy = policy
            self._from.clear()
            self._later.clear()
        again, self._later = self._later, []
        self._forget([key for key in again if self._is_due(key, now_ms)])
        self._walks = [_Walk(keep, self._from.get(keep, b"")) for keep in policy.terms]

    def _before(self, keep_ms: int, now_ms: int) -> int:
        """Which runs have been kept so long, and may go: those that closed before."""
        return min(now_ms - max(keep_ms, SETTLED_MS), self._safe_ms)

    def _is_due(self, key: bytes, now_ms: int) -> bool:
        state = self._state(key)
        if state is None or state.closing is None:
            return False
        keep_ms = self._policy.keep_of(state.status)
        return keep_ms != FOR_EVER and state.closing.time_ms < self._before(keep_ms, now_ms)

    def _state(self, key: bytes) -> RunState | None:
        row = self._table.get(table_layout.run_key(run_in(key)))
        return None if row is None else table_layout.decode_run(row)

    def _walk(self, walk: _Walk, now_ms: int) -> _Walk | None:
        """Look at some runs; where to go on, None at the end."""
        before_ms = self._before(walk.keep_ms, now_ms)
        found: list[bytes] = []
        looked = events = 0
        start = walk.start
        for key in closed_runs(self._table, walk.start, before_ms, LOOKED_A_TURN):
            looked += 1
            start = key + b"\0"
            state = self._state(key)
            if state is None or self._policy.keep_of(state.status) != walk.keep_ms:
                continue
            found.append(key)
            events += state.seq
            if len(found) >= RUNS_A_RECORD or events >= EVENTS_A_RECORD:
                break
        else:
            if looked < LOOKED_A_TURN:
                self._from[walk.keep_ms] = start
                self._forget(found)
                return None
        self._from[walk.keep_ms] = start
        self._forget(found)
        return _Walk(walk.keep_ms, start)

    def _forget(self, keys: list[bytes]) -> None:
        runs = []
        for key in keys:
            state = self._runs.may_forget(run_in(key))
            if state is not None:
                runs.append(state.run_id)
            elif len(self._later) < LATER_MAX:
                self._later.append(key)
        if runs:
            self._proposes.propose_event(RunsForgotten(runs=runs, reason="retention"), covers=False)


class Outcomes(Protocol):
    """Whoever notes what became of inputs."""

    def add(
        self, record: StoredRecord, command: Command, outcome: str, *, reason: str = ""
    ) -> None:
        """What became of a command."""


class Owed(Protocol):
    """Whoever keeps answers until a record covers their inputs."""

    def answer(self, reply: ReplyTo | None, record: Record | None) -> None:
        """Owe an answer."""


class RetentionCommands:
    """What people say of how long a partition keeps closed runs."""

    def __init__(
        self,
        partition: int,
        retention: Retention,
        *,
        proposes: Proposes,
        outcomes: Outcomes,
        owed: Owed,
    ) -> None:
        self._partition = partition
        self._retention = retention
        self._proposes = proposes
        self._outcomes = outcomes
        self._owed = owed

    def take(self, record: StoredRecord, command: SetRetention | RunRetention, now_ms: int) -> None:
        """Take one, in its place among the inputs."""
        problem = ""
        if command.partition != self._partition:
            problem = f"this is partition {self._partition}, not {command.partition}"
        elif isinstance(command, SetRetention):
            problem = problem_of(command.keep_ms, command.by_status, command.cut)
        if problem:
            self._outcomes.add(record, command, "refused", reason=f"invalid: {problem}")
            self._owed.answer(command.reply, Refused(code="invalid", message=problem))
            return
        self._outcomes.add(record, command, "applied")
        self._owed.answer(command.reply, Accepted())
        if isinstance(command, SetRetention):
            said = RetentionSet(
                keep_ms=command.keep_ms,
                by_status=command.by_status,
                identity=command.identity,
                cut=command.cut,
            )
            self._proposes.propose_event(said, covers=True)
        self._retention.ask_now(now_ms)


def retention_info(
    table: Table, partition: int, now_ms: int, unsaid: RetentionPolicy
) -> RetentionInfo:
    """How long a partition keeps closed runs, and what it would forget now."""
    said = policy_in(table)
    policy = said or unsaid
    due, looked, oldest = 0, 0, 0
    for key in closed_runs(table, b"", now_ms + 1, DUE_COUNTED_MAX):
        looked += 1
        row = table.get(table_layout.run_key(run_in(key)))
        state = None if row is None else table_layout.decode_run(row)
        if state is None or state.closing is None:
            continue
        oldest = oldest or state.closing.time_ms
        keep_ms = policy.keep_of(state.status)
        due += keep_ms != FOR_EVER and state.closing.time_ms < now_ms - keep_ms
    counts = table.scan(*table_layout.prefix_range(table_layout.COUNTS))
    closed = sum(
        table_layout.unpack_count(row)
        for key, row in counts
        if table_layout.count_of(key)[1] in STATUSES
    )
    return RetentionInfo(
        partition=partition,
        keep_ms=policy.keep_ms,
        by_status=policy.by_status,
        is_default=said is None,
        closed_runs=closed,
        due_runs=due,
        is_more=looked >= DUE_COUNTED_MAX,
        oldest_ms=oldest,
        table_bytes=table.size_bytes(),
        cut=policy.cut,
    )
