"""What an events topic says, read by a fold of the checker's own: written from the rules' text.

It must import neither perdure_topics.fold nor perdure_actors, else a bug they share would hide.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from perdure_schemas import events as ev
from perdure_schemas import operator_events as op
from perdure_schemas.avro import MAGIC, UnreadableRecordError, decode
from perdure_schemas.partition_events import RetentionSet, RunsForgotten
from perdure_schemas.payloads import Record
from perdure_schemas.transition import EpochBump, Outcome, Transition, TransitionBody

CLOSING = (
    ev.WorkflowCompleted,
    ev.WorkflowFailed,
    ev.WorkflowCanceled,
    ev.WorkflowTerminated,
    ev.WorkflowTimedOut,
    ev.WorkflowContinuedAsNew,
)
STATUS: dict[type[Record], str] = {
    ev.WorkflowCompleted: "completed",
    ev.WorkflowFailed: "failed",
    ev.WorkflowCanceled: "canceled",
    ev.WorkflowTerminated: "terminated",
    ev.WorkflowTimedOut: "timed_out",
    ev.WorkflowContinuedAsNew: "continued_as_new",
}


KEEP_MS = 30 * 24 * 3_600_000
"""How long closed runs are kept where nobody has said otherwise."""
AHEAD_MS = 1_000
BEHIND_MS = 600_000
"""What may lie between a record's time and its stamp."""
_OUTCOMES = (
    ev.ActivityCompleted,
    ev.ActivityFailed,
    ev.ActivityTimedOut,
    ev.ActivityCanceled,
)
_LETS_GO = (op.ActivityUnpaused, ev.ActivityAttemptScheduled, *_OUTCOMES)


class Stored(Protocol):
    """A record as any log gives it back."""

    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> tuple[tuple[str, bytes], ...]: ...
    @property
    def timestamp_ms(self) -> int: ...


class Violation(NamedTuple):
    """A broken promise: the letter of the invariant, and what was seen."""

    letter: str
    text: str


class Entry(NamedTuple):
    """An accepted transition."""

    partition: int
    offset: int
    appended_ms: int
    epoch: int
    nonce: bytes
    pseq: int
    """That of its first part."""
    after: int
    upto: int
    dispatched: int
    time_ms: int
    body: TransitionBody
    events: list[Record]


class Fact(NamedTuple):
    """An event of a run, with where it stands."""

    seq: int
    place: int
    event: Record
    entry: Entry


@dataclass
class RunLog:
    """All that the log says of a run."""

    workflow_id: str
    run_id: str
    partition: int
    facts: list[Fact] = field(default_factory=list)

    @property
    def started(self) -> Fact:
        """Its first event."""
        return self.facts[0]

    @property
    def closing(self) -> Fact | None:
        """Its terminal event."""
        return next((fact for fact in self.facts if isinstance(fact.event, CLOSING)), None)

    def status_at(self, offset: int) -> str:
        """Its status once the record at an events offset is taken; empty before it exists."""
        status = ""
        for fact in self.facts:
            if fact.entry.offset > offset:
                break
            kind = type(fact.event)
            if kind in STATUS:
                status = STATUS[kind]
            elif kind is ev.WorkflowBlocked and status != "":
                status = "blocked"
            elif not status:
                status = "running"
        return self._unblocked(status, offset)

    def _unblocked(self, status: str, offset: int) -> str:
        if status == "running":
            return "blocked" if self._is_parked(offset) else status
        if status != "blocked":
            return status
        waiting: set[int] = set()
        blocked = False
        for fact in self.facts:
            if fact.entry.offset > offset:
                break
            if isinstance(fact.event, ev.WorkflowBlocked):
                blocked = True
                waiting.add(fact.event.input_seq)
            elif isinstance(fact.event, ev.WorkflowResumed):
                waiting.discard(fact.event.input_seq)
                blocked = bool(waiting)
            elif blocked and type(fact.event) in ev.INPUTS:
                waiting.add(fact.seq)
        return "blocked" if blocked or self._is_parked(offset) else "running"

    def _is_parked(self, offset: int) -> bool:
        """Whether an activity that is out of attempts waits for a person."""
        return bool(self.held_at(offset)[1])

    def pending_at(self, offset: int) -> set[str]:
        """The activities without an outcome, as of an events offset."""
        pending: set[str] = set()
        for fact in self.facts:
            if fact.entry.offset > offset or isinstance(fact.event, CLOSING):
                break
            event: Any = fact.event
            if isinstance(event, ev.ActivityScheduled):
                pending.add(event.activity_id)
            elif isinstance(event, _OUTCOMES):
                pending.discard(event.activity_id)
        return pending

    def held_at(self, offset: int) -> tuple[set[str], set[str]]:
        """The activities that are paused, and those that are parked, as of an events offset."""
        paused: set[str] = set()
        parked: set[str] = set()
        for fact in self.facts:
            if fact.entry.offset > offset:
                break
            event: Any = fact.event
            if isinstance(event, op.ActivityPaused):
                (paused if event.failure is None else parked).add(event.activity_id)
            elif isinstance(event, CLOSING):
                return set(), set()
            elif isinstance(event, op.ActivityReset):
                if not event.keep_paused or event.activity_id not in paused:
                    paused.discard(event.activity_id)
                    parked.discard(event.activity_id)
            elif isinstance(event, _LETS_GO):
                paused.discard(event.activity_id)
                parked.discard(event.activity_id)
        return paused, parked


class Issue(NamedTuple):
    """An attempt that an accepted event issued."""

    run_id: str
    activity_id: str
    attempt: int
    fact: Fact


@dataclass
class Ledger:
    """What counts in an events topic, and what was wrong while it was read."""

    entries: list[Entry] = field(default_factory=list)
    runs: dict[str, RunLog] = field(default_factory=dict)
    outcomes: list[tuple[Entry, Outcome]] = field(default_factory=list)
    issued: dict[bytes, Issue] = field(default_factory=dict)
    upto: dict[int, int] = field(default_factory=dict)
    dispatched: dict[int, int] = field(default_factory=dict)
    """The highest number up to which all effects of a partition are said to be sent."""
    forgotten: dict[str, Entry] = field(default_factory=dict)
    """Where runs were forgotten."""
    keep_ms: dict[int, int] = field(default_factory=dict)
    """How long a partition keeps closed runs, where somebody has said so."""
    bumps: int = 0
    stale: int = 0
    violations: list[Violation] = field(default_factory=list)

    def of_workflow(self, workflow_id: str) -> list[RunLog]:
        """The runs of a workflow id, in the order they began."""
        found = [run for run in self.runs.values() if run.workflow_id == workflow_id]
        return sorted(found, key=lambda run: run.started.entry.offset)

    def fail(self, letter: str, text: str) -> None:
        """Note a broken promise."""
        self.violations.append(Violation(letter, text))


@dataclass
class _Fold:
    """Rule 2, as the text has it."""

    epoch: int = 0
    nonce: bytes = b""
    pseq: int = 0
    upto: int = -1
    topic_id: str | None = None
    open_parts: list[Transition] = field(default_factory=list)

    def bump(self, bump: EpochBump) -> bool:
        """A bump counts if its epoch is higher than the current one; it takes no pseq."""
        if bump.epoch <= self.epoch:
            return False
        self.epoch, self.nonce = bump.epoch, bump.nonce
        # A bump before the last part drops all of them, and pseq goes back.
        self.pseq -= len(self.open_parts)
        self.open_parts = []
        if self.topic_id not in (None, bump.input_topic_id):
            self.upto = -1
        self.topic_id = bump.input_topic_id
        return True

    def take(self, record: Transition) -> bool:
        """(epoch, nonce) are the current ones, pseq = last + 1 and after = upto."""
        if (record.epoch, record.nonce) != (self.epoch, self.nonce):
            return False
        if record.pseq != self.pseq + 1 or record.after != self.upto:
            return False
        if record.part != len(self.open_parts) + 1 or record.parts < record.part:
            return False
        if record.part < record.parts and (record.upto != record.after or record.parts > 64):
            return False
        self.pseq = record.pseq
        self.open_parts.append(record)
        return True

    def whole(self) -> list[Transition] | None:
        """The parts of a transition that is complete."""
        last = self.open_parts[-1]
        if last.part != last.parts:
            return None
        parts, self.open_parts = self.open_parts, []
        self.upto = last.upto
        return parts


def token_of(entry: Entry, place: int, engine_key: bytes = b"") -> bytes:
    """The token of the attempt that an event issued, as the rules derive it."""
    text = b"%d/%d/%d/" % (entry.epoch, entry.pseq, place) + entry.nonce
    return hashlib.blake2b(text, digest_size=16, key=engine_key).digest()


def read_ledger(records: Iterable[Stored], *, engine_key: bytes = b"") -> Ledger:
    """Fold an events topic, partition by partition."""
    ledger = Ledger()
    by_partition: dict[int, list[Stored]] = {}
    for record in records:
        by_partition.setdefault(record.partition, []).append(record)
    for partition, kept in sorted(by_partition.items()):
        kept.sort(key=lambda record: record.offset)
        _fold_partition(ledger, partition, kept, engine_key)
    return ledger


def _fold_partition(
    ledger: Ledger, partition: int, kept: Sequence[Stored], engine_key: bytes
) -> None:
    fold = _Fold()
    for record in kept:
        if record.value is None or not record.value.startswith(MAGIC):
            ledger.stale += 1
            continue
        try:
            envelope = decode(record.value)
        except UnreadableRecordError as error:
            ledger.fail("B", f"events-{partition}@{record.offset} cannot be read: {error}")
            return
        if isinstance(envelope, EpochBump):
            counted = fold.bump(envelope)
            ledger.bumps += counted
            ledger.stale += not counted
        elif isinstance(envelope, Transition) and fold.take(envelope):
            parts = fold.whole()
            if parts is not None:
                _accept(ledger, record, parts, engine_key)
        else:
            ledger.stale += 1
    ledger.upto[partition] = fold.upto


def is_followed(ledger: Ledger, event: Record) -> bool:
    """Whether another run is still to follow the one that ended so."""
    following = getattr(event, "next_run_id", "") or getattr(event, "new_run_id", "")
    return bool(following) and following not in ledger.runs


def _take_forgotten(ledger: Ledger, entry: Entry) -> None:
    """P: only closed runs are forgotten, each once, and never before their time."""
    where = f"events-{entry.partition}@{entry.offset}"
    for event in entry.events:
        if isinstance(event, RetentionSet):
            ledger.keep_ms[entry.partition] = event.keep_ms
        for run_id in event.runs if isinstance(event, RunsForgotten) else ():
            run = ledger.runs.get(run_id)
            closing = run.closing if run is not None else None
            kept_ms = ledger.keep_ms.get(entry.partition, KEEP_MS)
            if run_id in ledger.forgotten or closing is None:
                ledger.fail("P", f"{where} forgets run {run_id}, which is open, gone or unknown")
            elif is_followed(ledger, closing.event):
                ledger.fail("P", f"{where} forgets run {run_id}, which another is to follow")
            elif kept_ms < 0 or entry.time_ms - closing.entry.time_ms < kept_ms:
                ledger.fail("P", f"{where} forgets run {run_id} before its time")
            elif ledger.dispatched.get(entry.partition, 0) < closing.entry.pseq:
                ledger.fail("P", f"{where} forgets run {run_id}, of which effects are not sent")
            ledger.forgotten[run_id] = entry


def _accept(ledger: Ledger, record: Stored, parts: list[Transition], engine_key: bytes) -> None:
    last = parts[-1]
    where = f"events-{record.partition}@{record.offset}"
    body = decode(b"".join(part.body for part in parts))
    if not isinstance(body, TransitionBody):
        ledger.fail("B", f"{where} holds a {type(body).__name__}")
        return
    entry = Entry(
        record.partition,
        record.offset,
        record.timestamp_ms,
        last.epoch,
        last.nonce,
        parts[0].pseq,
        last.after,
        last.upto,
        last.dispatched,
        last.time_ms,
        body,
        [decode(data) for data in body.events],
    )
    ledger.entries.append(entry)
    so_far = ledger.dispatched.get(entry.partition, 0)
    ledger.dispatched[entry.partition] = max(so_far, entry.dispatched)
    # A host's time is never ahead of the log's, whatever its clock says, and not far behind.
    ahead_ms = entry.time_ms - entry.appended_ms
    if not -BEHIND_MS <= ahead_ms <= AHEAD_MS and entry.appended_ms > 10 * BEHIND_MS:
        ledger.fail("T", f"{where} was recorded {ahead_ms} ms ahead of the log's stamp")
    ledger.outcomes += [(entry, outcome) for outcome in body.outcomes]
    if not body.run_id:
        _take_forgotten(ledger, entry)
        return
    if body.run_id in ledger.forgotten:
        ledger.fail("C", f"{where} is about run {body.run_id}, which was forgotten")
    run = ledger.runs.get(body.run_id)
    if run is None:
        run = ledger.runs[body.run_id] = RunLog(body.workflow_id, body.run_id, entry.partition)
    elif run.partition != entry.partition:
        ledger.fail("C", f"{where}: run {body.run_id} is in partition {run.partition}, too")
    if body.seq != len(run.facts) + 1:
        ledger.fail(
            "C", f"{where}: run {body.run_id} goes on at seq {body.seq}, not {len(run.facts) + 1}"
        )
    for place, event in enumerate(entry.events):
        fact = Fact(len(run.facts) + 1, place, event, entry)
        run.facts.append(fact)
        _issue(ledger, run, fact, engine_key)


def _issue(ledger: Ledger, run: RunLog, fact: Fact, engine_key: bytes) -> None:
    event = fact.event
    if isinstance(event, ev.ActivityScheduled):
        attempt = 1
    elif isinstance(event, ev.ActivityAttemptScheduled):
        attempt = event.attempt
    else:
        return
    token = token_of(fact.entry, fact.place, engine_key)
    if token in ledger.issued:
        ledger.fail("F", f"token {token.hex()} was issued twice, again by run {run.run_id}")
    ledger.issued[token] = Issue(run.run_id, event.activity_id, attempt, fact)
