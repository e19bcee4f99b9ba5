"""Invariants of single runs: activities, timers, endings (C, D, E, F, T), from facts alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perdure_schemas import events as ev
from perdure_schemas import operator_events as op
from perdure_schemas.message_events import WorkflowSignaled
from perdure_schemas.payloads import Record
from tests.simulation.activities import OPERATOR, ActivityCheck
from tests.simulation.evidence import Effect, Evidence
from tests.simulation.ledger import CLOSING, Fact, Ledger, RunLog

Expected = Callable[[RunLog], str]
"""A model of the workflow code: why a run's ending is wrong; empty when it is right."""


@dataclass
class _Timer:
    due_ms: int
    over: bool = False


class RunCheck:
    """Walks one run's facts."""

    def __init__(self, ledger: Ledger, run: RunLog, evidence: Evidence) -> None:
        self._ledger = ledger
        self._run = run
        self._activities = ActivityCheck(self, evidence)
        self._timers: dict[str, _Timer] = {}
        self.fact: Fact = run.facts[0]
        self._closed = False
        self._last_ms = 0

    def walk(self) -> None:
        """Check every fact in order."""
        if not isinstance(self._run.facts[0].event, ev.WorkflowStarted):
            self.fail("C", "does not begin with WorkflowStarted")
        for fact in self._run.facts:
            self.fact = fact
            if self._closed:
                self.fail("E", f"has {type(fact.event).__name__} after its end")
            if fact.entry.time_ms < self._last_ms:
                self.fail("T", f"recorded time went back from {self._last_ms}")
            self._last_ms = fact.entry.time_ms
            take = _TAKES.get(type(fact.event))
            if take is not None:
                take(self, fact.event)
            elif isinstance(fact.event, CLOSING):
                self._closed = True
            else:
                self._activities.take(fact.event)

    def fail(self, letter: str, text: str) -> None:
        """Note a broken promise where the walk is."""
        entry = self.fact.entry
        where = f"events-{entry.partition}@{entry.offset} seq {self.fact.seq}"
        name = f"{self._run.workflow_id}/{self._run.run_id[:13]}"
        self._ledger.fail(letter, f"{where}: run {name} {text}")

    # -- timers --

    def _timer_started(self, event: ev.TimerStarted) -> None:
        if event.timer_id in self._timers:
            self.fail("T", f"starts timer {event.timer_id} twice")
        self._timers[event.timer_id] = _Timer(self.fact.entry.time_ms + event.duration_ms)

    def _is_spoken_to(self) -> bool:
        """Whether a signal came in the same transition: it ends a start delay."""
        return any(
            isinstance(fact.event, WorkflowSignaled)
            for fact in self._run.facts
            if fact.entry.offset == self.fact.entry.offset
        )

    def _timer_fired(self, event: ev.TimerFired) -> None:
        if event.timer_id == "":
            started = self._run.started
            delay_ms = getattr(started.event, "first_activation_delay_ms", 0)
            due_ms = 0 if self._is_spoken_to() else started.entry.time_ms + delay_ms
            self._timers[""] = _Timer(due_ms)
        timer = self._timers.get(event.timer_id)
        if timer is None or timer.over:
            self.fail("T", f"fires timer {event.timer_id}, which is over or was never started")
            return
        if self.fact.entry.time_ms < timer.due_ms:
            early_ms = timer.due_ms - self.fact.entry.time_ms
            self.fail("T", f"fires timer {event.timer_id} {early_ms} ms early")
        timer.over = True

    def _timer_canceled(self, event: ev.TimerCanceled) -> None:
        timer = self._timers.get(event.timer_id)
        if timer is not None:
            timer.over = True


_TAKES: dict[type[Record], Callable[[RunCheck, Any], None]] = {
    ev.TimerStarted: RunCheck._timer_started,
    ev.TimerFired: RunCheck._timer_fired,
    ev.TimerCanceled: RunCheck._timer_canceled,
}


def check_journal(ledger: Ledger, effects: Sequence[Effect]) -> None:
    """F: nothing runs that was not issued by an accepted event; max_attempts=1 is at most once.

    L: a local attempt runs once, and an activity no oftener than it has attempts.
    """
    ran: Counter[tuple[str, str]] = Counter()
    for effect in effects:
        issue = ledger.issued.get(effect.token)
        if issue is None:
            ledger.fail("B", f"worker {effect.worker_id} ran an attempt that nobody issued")
            continue
        found = (issue.run_id, issue.activity_id, issue.attempt)
        if found != (effect.run_id, effect.activity_id, effect.attempt):
            ledger.fail("F", f"a token of {found} was used for {effect[3:6]}")
        ran[found[:2]] += 1
    local = Counter(effect.token for effect in effects)
    for key, count in ran.items():
        _check_runs_of(ledger, key, count)
    for token, count in local.items():
        issue = ledger.issued.get(token)
        if count > 1 and issue is not None:
            scheduled, _ = _scheduled_of(ledger.runs[issue.run_id], issue.activity_id)
            if scheduled is not None and scheduled.local:
                ledger.fail("L", f"local attempt {issue[:3]} ran {count} times")


def _check_runs_of(ledger: Ledger, key: tuple[str, str], count: int) -> None:
    scheduled, is_helped = _scheduled_of(ledger.runs[key[0]], key[1])
    policy = scheduled.retry_policy if scheduled else None
    if scheduled is None or policy is None or not policy.maximum_attempts or is_helped:
        return
    if count > policy.maximum_attempts == 1:
        ledger.fail("F", f"activity {key} with max_attempts=1 ran {count} times")
    elif scheduled.local and count > policy.maximum_attempts:
        text = f"with max_attempts={policy.maximum_attempts} ran {count} times"
        ledger.fail("L", f"local activity {key} {text}")


_HELP = (op.ActivityUnpaused, op.ActivityReset, op.ActivityOptionsUpdated)


def _scheduled_of(run: RunLog, activity_id: str) -> tuple[ev.ActivityScheduled | None, bool]:
    """An activity, and whether people gave it attempts beyond its policy."""
    scheduled, is_helped = None, False
    for fact in run.facts:
        event: Any = fact.event
        if getattr(event, "activity_id", None) != activity_id:
            continue
        if isinstance(event, ev.ActivityScheduled):
            scheduled = event
        by_hand = isinstance(event, ev.ActivityAttemptScheduled) and event.reason == OPERATOR
        is_helped |= by_hand or isinstance(event, _HELP)
    return scheduled, is_helped


def check_runs(ledger: Ledger, evidence: Evidence, models: Mapping[str, Expected]) -> None:
    """C, D, E, F and T of every run."""
    for run in ledger.runs.values():
        RunCheck(ledger, run, evidence).walk()
        started = run.started.event
        model = models.get(getattr(started, "workflow_type", ""))
        if model is not None and (wrong := model(run)):
            ledger.fail("E", f"run {run.workflow_id}/{run.run_id}: {wrong}")
