"""Invariants of single runs: activities, timers, endings (C, D, E, F, T), from facts alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from perdure_schemas import events as ev
from perdure_schemas.commands import CompleteActivity, FailActivity, WorkerLease
from perdure_schemas.message_events import WorkflowSignaled
from perdure_schemas.payloads import Payload, Record
from tests.simulation.ledger import CLOSING, Fact, Ledger, RunLog, token_of

Expected = Callable[[RunLog], str]
"""A model of the workflow code: why a run's ending is wrong; empty when it is right."""


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


@dataclass
class _Activity:
    scheduled: ev.ActivityScheduled
    fact: Fact
    """What issued the attempt."""
    attempt: int = 1
    state: str = "scheduled"
    started: Fact | None = None
    worker_id: str = ""
    due_ms: int = 0
    beat: Fact | None = None


@dataclass
class _Timer:
    due_ms: int
    over: bool = False


class RunCheck:
    """Walks one run's facts."""

    def __init__(self, ledger: Ledger, run: RunLog, evidence: Evidence) -> None:
        self._ledger = ledger
        self._run = run
        self._evidence = evidence
        self._activities: dict[str, _Activity] = {}
        self._over: set[str] = set()
        self._timers: dict[str, _Timer] = {}
        self._fact: Fact = run.facts[0]
        self._closed = False
        self._last_ms = 0

    def walk(self) -> None:
        """Check every fact in order."""
        if not isinstance(self._run.facts[0].event, ev.WorkflowStarted):
            self._fail("C", "does not begin with WorkflowStarted")
        for fact in self._run.facts:
            self._fact = fact
            if self._closed:
                self._fail("E", f"has {type(fact.event).__name__} after its end")
            if fact.entry.time_ms < self._last_ms:
                self._fail("T", f"recorded time went back from {self._last_ms}")
            self._last_ms = fact.entry.time_ms
            take = _TAKES.get(type(fact.event))
            if take is not None:
                take(self, fact.event)
            elif isinstance(fact.event, CLOSING):
                self._closed = True

    def _fail(self, letter: str, text: str) -> None:
        entry = self._fact.entry
        where = f"events-{entry.partition}@{entry.offset} seq {self._fact.seq}"
        name = f"{self._run.workflow_id}/{self._run.run_id[:13]}"
        self._ledger.fail(letter, f"{where}: run {name} {text}")

    # -- activities --

    def _scheduled(self, event: ev.ActivityScheduled) -> None:
        if event.activity_id in self._activities or event.activity_id in self._over:
            self._fail("D", f"schedules activity {event.activity_id} twice")
        self._activities[event.activity_id] = _Activity(event, self._fact)

    def _activity(self, event: Record) -> _Activity | None:
        activity_id: str = event.activity_id  # type: ignore[attr-defined]
        found = self._activities.get(activity_id)
        if found is None:
            again = " again" if activity_id in self._over else ""
            self._fail("D", f"has {type(event).__name__} of activity {activity_id}{again}")
            return None
        attempt = getattr(event, "attempt", found.attempt)
        if not isinstance(event, ev.ActivityAttemptScheduled) and attempt != found.attempt:
            text = f"has {type(event).__name__} of attempt {attempt} of activity {activity_id}"
            self._fail("D", f"{text}; {found.attempt} is current")
        return found

    def _attempt_scheduled(self, event: ev.ActivityAttemptScheduled) -> None:
        found = self._activity(event)
        if found is None:
            return
        name = f"attempt {event.attempt} of activity {event.activity_id}"
        if event.reason == "handed_back":
            if event.attempt != found.attempt or found.state == "backing_off":
                self._fail("F", f"hands back {name} while {found.attempt} is {found.state}")
        else:
            if event.attempt != found.attempt + 1 or found.state != "backing_off":
                self._fail("F", f"issues {name} after {found.attempt}, which is {found.state}")
            if self._fact.entry.time_ms < found.due_ms:
                self._fail("T", f"issues {name} {found.due_ms - self._fact.entry.time_ms} ms early")
            policy = found.scheduled.retry_policy
            if policy and policy.maximum_attempts and event.attempt > policy.maximum_attempts:
                self._fail("F", f"issues {name}; {policy.maximum_attempts} are allowed")
        found.attempt, found.fact = event.attempt, self._fact
        found.state, found.started, found.worker_id = "scheduled", None, ""

    def _activity_started(self, event: ev.ActivityStarted) -> None:
        found = self._activity(event)
        if found is None:
            return
        if found.state != "scheduled":
            text = f"starts attempt {event.attempt} of activity {event.activity_id} by"
            self._fail("D", f"{text} {event.worker_id}; it is {found.state} by {found.worker_id}")
        found.state, found.started, found.worker_id = "started", self._fact, event.worker_id
        found.beat = self._fact

    def _heartbeat(self, event: ev.ActivityHeartbeat) -> None:
        found = self._activity(event)
        if found is not None:
            found.beat = self._fact

    def _retry_scheduled(self, event: ev.ActivityRetryScheduled) -> None:
        found = self._activity(event)
        if found is None:
            return
        if found.state == "backing_off":
            self._fail("D", f"fails attempt {event.attempt} of {event.activity_id} twice")
        self._failed_attempt(found, event.failure.chain[0].timeout_type, event.failure)
        found.state, found.due_ms = "backing_off", event.due_ms

    def _completed(self, event: ev.ActivityCompleted) -> None:
        found = self._activity(event)
        if found is None:
            return
        if found.state == "backing_off":
            text = f"completes activity {event.activity_id} by attempt {event.attempt},"
            self._fail("D", f"{text} which has failed")
        token = token_of(found.fact.entry, found.fact.place, self._evidence.engine_key)
        self._evidence.check_completed(self, event, token)
        self._end(event.activity_id)

    def _outcome(
        self, event: ev.ActivityFailed | ev.ActivityTimedOut | ev.ActivityCanceled
    ) -> None:
        found = self._activity(event)
        if found is None:
            return
        if isinstance(event, ev.ActivityTimedOut):
            self._failed_attempt(found, event.timeout_type, event.failure)
        self._end(event.activity_id)

    def _end(self, activity_id: str) -> None:
        self._activities.pop(activity_id, None)
        self._over.add(activity_id)

    def _failed_attempt(self, found: _Activity, timeout_type: str, failure: object) -> None:
        """A timeout is never early by recorded time, and no unread word refutes it."""
        now_ms, scheduled = self._fact.entry.time_ms, found.scheduled
        kind = _first_type(failure)
        if kind == "WorkerLost":
            self._evidence.check_lost(self, found.worker_id, found.started)
            return
        since: Fact | None = None
        length_ms = 0
        if timeout_type == "start_to_close":
            since, length_ms = found.started, scheduled.start_to_close_ms
        elif timeout_type == "heartbeat":
            since, length_ms = found.beat, scheduled.heartbeat_ms
        elif timeout_type == "schedule_to_start":
            since, length_ms = found.fact, scheduled.schedule_to_start_ms
        if since is None:
            return
        early_ms = since.entry.time_ms + length_ms - now_ms
        if early_ms > 0:
            text = f"times activity {scheduled.activity_id} out ({timeout_type})"
            self._fail("T", f"{text} {early_ms} ms early")
        token = token_of(found.fact.entry, found.fact.place, self._evidence.engine_key)
        # By the log's clock, which is one, whatever the hosts' clocks say.
        self._evidence.check_refuted(self, token, since.entry.appended_ms + length_ms)

    # -- timers --

    def _timer_started(self, event: ev.TimerStarted) -> None:
        if event.timer_id in self._timers:
            self._fail("T", f"starts timer {event.timer_id} twice")
        self._timers[event.timer_id] = _Timer(self._fact.entry.time_ms + event.duration_ms)

    def _is_spoken_to(self) -> bool:
        """Whether a signal came in the same transition: it ends a start delay."""
        return any(
            isinstance(fact.event, WorkflowSignaled)
            for fact in self._run.facts
            if fact.entry.offset == self._fact.entry.offset
        )

    def _timer_fired(self, event: ev.TimerFired) -> None:
        if event.timer_id == "":
            started = self._run.started
            delay_ms = getattr(started.event, "first_activation_delay_ms", 0)
            due_ms = 0 if self._is_spoken_to() else started.entry.time_ms + delay_ms
            self._timers[""] = _Timer(due_ms)
        timer = self._timers.get(event.timer_id)
        if timer is None or timer.over:
            self._fail("T", f"fires timer {event.timer_id}, which is over or was never started")
            return
        if self._fact.entry.time_ms < timer.due_ms:
            early_ms = timer.due_ms - self._fact.entry.time_ms
            self._fail("T", f"fires timer {event.timer_id} {early_ms} ms early")
        timer.over = True

    def _timer_canceled(self, event: ev.TimerCanceled) -> None:
        timer = self._timers.get(event.timer_id)
        if timer is not None:
            timer.over = True


def _first_type(failure: object) -> str:
    chain = getattr(failure, "chain", None)
    return chain[0].type if chain else ""


_TAKES: dict[type[Record], Callable[[RunCheck, object], None]] = {
    ev.ActivityScheduled: RunCheck._scheduled,  # type: ignore[dict-item]
    ev.ActivityAttemptScheduled: RunCheck._attempt_scheduled,  # type: ignore[dict-item]
    ev.ActivityStarted: RunCheck._activity_started,  # type: ignore[dict-item]
    ev.ActivityHeartbeat: RunCheck._heartbeat,  # type: ignore[dict-item]
    ev.ActivityRetryScheduled: RunCheck._retry_scheduled,  # type: ignore[dict-item]
    ev.ActivityCompleted: RunCheck._completed,  # type: ignore[dict-item]
    ev.ActivityFailed: RunCheck._outcome,  # type: ignore[dict-item]
    ev.ActivityTimedOut: RunCheck._outcome,  # type: ignore[dict-item]
    ev.ActivityCanceled: RunCheck._outcome,  # type: ignore[dict-item]
    ev.TimerStarted: RunCheck._timer_started,  # type: ignore[dict-item]
    ev.TimerFired: RunCheck._timer_fired,  # type: ignore[dict-item]
    ev.TimerCanceled: RunCheck._timer_canceled,  # type: ignore[dict-item]
}


class Evidence:
    """What others wrote down: the effect journal, and the commands on the log."""

    def __init__(
        self,
        effects: Sequence[Effect],
        reports: Iterable[Report],
        *,
        engine_key: bytes,
        clock_slack_ms: int,
    ) -> None:
        self.engine_key = engine_key
        self._slack_ms = clock_slack_ms
        self._has_journal = bool(effects)
        self._effects: dict[bytes, list[Effect]] = {}
        for effect in effects:
            self._effects.setdefault(effect.token, []).append(effect)
        self._leases: dict[tuple[int, str], list[tuple[int, WorkerLease]]] = {}
        self._results: dict[bytes, list[Report]] = {}
        for report in reports:
            command = report.command
            if isinstance(command, WorkerLease):
                key = (report.partition, command.worker_id)
                self._leases.setdefault(key, []).append((report.appended_ms, command))
            elif isinstance(command, CompleteActivity | FailActivity):
                self._results.setdefault(command.token, []).append(report)

    def check_completed(self, run: RunCheck, event: ev.ActivityCompleted, token: bytes) -> None:
        """F: an effect before its success; D: the result is that attempt's."""
        if not self._has_journal:
            return
        found = [
            effect
            for effect in self._effects.get(token, ())
            if effect.at_ms <= run._fact.entry.appended_ms
        ]
        if not found:
            run._fail("F", f"completes activity {event.activity_id} without an effect")
            return
        data = event.result.data if isinstance(event.result, Payload) else None
        if all(effect.result != data for effect in found):
            run._fail("D", f"records a result of {event.activity_id} that no attempt returned")

    def check_refuted(self, run: RunCheck, token: bytes, due_ms: int) -> None:
        """T: a timeout that an unread report could refute waits for it (rule 9)."""
        entry = run._fact.entry
        for report in self._results.get(token, ()):
            early = report.appended_ms + self._slack_ms < min(due_ms, entry.appended_ms)
            if early and report.partition == entry.partition and report.offset > entry.upto:
                run._fail("T", f"times out though its result was appended at {report.offset}")
                return

    def check_lost(self, run: RunCheck, worker_id: str, started: Fact | None) -> None:
        """T: a worker whose leases never lapsed is not lost."""
        entry = run._fact.entry
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
            run._fail("T", f"counts worker {worker_id} as lost, whose leases never lapsed")


def check_journal(ledger: Ledger, effects: Sequence[Effect]) -> None:
    """F: nothing runs that was not issued by an accepted event; max_attempts=1 is at most once."""
    once: Counts = {}
    for effect in effects:
        issue = ledger.issued.get(effect.token)
        if issue is None:
            ledger.fail("B", f"worker {effect.worker_id} ran an attempt that nobody issued")
            continue
        found = (issue.run_id, issue.activity_id, issue.attempt)
        if found != (effect.run_id, effect.activity_id, effect.attempt):
            ledger.fail("F", f"a token of {found} was used for {effect[3:6]}")
        scheduled = _scheduled_of(ledger.runs[issue.run_id], issue.activity_id)
        policy = scheduled.retry_policy if scheduled else None
        if policy is not None and policy.maximum_attempts == 1:
            key = (issue.run_id, issue.activity_id)
            once[key] = once.get(key, 0) + 1
    for key, count in once.items():
        if count > 1:
            ledger.fail("F", f"activity {key} with max_attempts=1 ran {count} times")


Counts = dict[tuple[str, str], int]


def _scheduled_of(run: RunLog, activity_id: str) -> ev.ActivityScheduled | None:
    for fact in run.facts:
        if isinstance(fact.event, ev.ActivityScheduled) and fact.event.activity_id == activity_id:
            return fact.event
    return None


def check_runs(ledger: Ledger, evidence: Evidence, models: Mapping[str, Expected]) -> None:
    """C, D, E, F and T of every run."""
    for run in ledger.runs.values():
        RunCheck(ledger, run, evidence).walk()
        started = run.started.event
        model = models.get(getattr(started, "workflow_type", ""))
        if model is not None and (wrong := model(run)):
            ledger.fail("E", f"run {run.workflow_id}/{run.run_id}: {wrong}")
