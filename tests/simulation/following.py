"""Invariants of runs that follow others (N): each was announced, and begins once, as announced.

A run is followed when it continues as new, by its retry policy, or by its cron schedule.
"""

from __future__ import annotations

from typing import Any

from perdure_schemas import events as ev
from tests.simulation.ledger import Ledger, RunLog

_BY_FAILURE = (ev.WorkflowFailed, ev.WorkflowTimedOut)


def check_following(ledger: Ledger) -> int:
    """Check every run that follows another; how many there were."""
    found: dict[str, list[RunLog]] = {}
    for run in ledger.runs.values():
        before = _started(run).continued_run_id
        if before:
            found.setdefault(before, []).append(run)
    for before, runs in found.items():
        for run in runs:
            _check_one(ledger, before, run)
        if len(runs) > 1:
            ledger.fail("N", f"run {before} is followed by {len(runs)} runs")
    return len(found)


def _check_one(ledger: Ledger, before_id: str, run: RunLog) -> None:
    before = ledger.runs.get(before_id)
    closing = before.closing if before is not None else None
    name = f"run {run.workflow_id}/{run.run_id[:13]}"
    if before is None or closing is None:
        ledger.fail("N", f"{name} follows {before_id}, which has not ended")
        return
    event: Any = closing.event
    started, was = _started(run), _started(before)
    announced = getattr(event, "next_run_id", "") or getattr(event, "new_run_id", "")
    if announced != run.run_id:
        ledger.fail("N", f"{name} follows {before_id}, which announced {announced!r}")
    if run.started.entry.offset < closing.entry.offset:
        ledger.fail("N", f"{name} began before {before_id} had ended")
    if not hasattr(event, "next_run_delay_ms") and started.initiator != "workflow":
        ledger.fail("N", f"{name} follows {before_id}, which {type(event).__name__} has ended")
        return
    wrong = _wrong_start(run, started, was, event, closing.entry.time_ms)
    if wrong:
        ledger.fail("N", f"{name}, which follows {before_id}, {wrong}")


def _wrong_start(
    run: RunLog, started: ev.WorkflowStarted, was: ev.WorkflowStarted, event: Any, ended_ms: int
) -> str:
    attempt = was.attempt + 1 if started.initiator == "retry" else 1
    if started.attempt != attempt:
        return f"is attempt {started.attempt} and should be {attempt}"
    if (started.first_run_id, started.workflow_type) != (was.first_run_id, was.workflow_type):
        return "is of another chain or type"
    if started.initiator == "workflow":
        return "" if isinstance(event, ev.WorkflowContinuedAsNew) else "was not asked for"
    if started.input != was.input:
        return "has other arguments"
    policy = was.retry_policy
    most = policy.maximum_attempts if policy is not None else 0
    if started.initiator == "retry":
        if not isinstance(event, _BY_FAILURE) or policy is None:
            return f"is another attempt after {type(event).__name__}"
        if most and started.attempt > most:
            return f"is attempt {started.attempt} of {most}"
        due_ms = ended_ms + event.next_run_delay_ms
        is_early = not started.first_activation_delay_ms and run.started.entry.time_ms < due_ms
        return "began before its back-off was over" if is_early else ""
    if not was.cron_schedule:
        return "has no schedule"
    is_final = isinstance(event, ev.WorkflowFailed) and event.failure.chain[0].non_retryable
    due_ms = ended_ms + event.next_run_delay_ms
    is_early = run.started.entry.time_ms + started.first_activation_delay_ms < due_ms
    if is_early and not _is_ended_at_once(run):
        return "does not wait for its time"
    has_more = isinstance(event, _BY_FAILURE) and was.attempt < most and not is_final
    return "came by the clock, and attempts were left" if has_more else ""


def _is_ended_at_once(run: RunLog) -> bool:
    """Whether somebody ended it before it was due: its code never runs."""
    return run.closing is not None and run.closing.entry.offset == run.started.entry.offset


def _started(run: RunLog) -> ev.WorkflowStarted:
    event = run.started.event
    assert isinstance(event, ev.WorkflowStarted)
    return event
