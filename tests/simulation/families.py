"""Invariants of parents and children (K): each child is begun once, and its end told once.

They hold whatever the partitions and task queues that parent and child are in.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from perdure_schemas import child_events as ce
from perdure_schemas import events as ev
from tests.simulation.ledger import STATUS, Ledger, RunLog

OUTCOMES: dict[type, str] = {
    ce.ChildWorkflowCompleted: "completed",
    ce.ChildWorkflowFailed: "failed",
    ce.ChildWorkflowCanceled: "canceled",
    ce.ChildWorkflowTimedOut: "timed_out",
    ce.ChildWorkflowTerminated: "terminated",
}


def check_families(ledger: Ledger, *others: Ledger) -> int:
    """Check the children of every run in one task queue; how many there were.

    Those on other queues are looked for in the ledgers of these, and let pass where none is given.
    """
    children: dict[tuple[str, str], list[RunLog]] = {}
    for run in [run for one in (ledger, *others) for run in one.runs.values()]:
        started = run.started.event
        if isinstance(started, ev.WorkflowStarted) and started.parent is not None:
            key = (started.parent.run_id, started.child_id)
            children.setdefault(key, []).append(run)
    asked = 0
    for run in ledger.runs.values():
        asked += _check_run(ledger, run, children, everywhere=bool(others))
    return asked


def _check_run(
    ledger: Ledger,
    parent: RunLog,
    children: dict[tuple[str, str], list[RunLog]],
    *,
    everywhere: bool,
) -> int:
    queue = _started(parent).task_queue
    initiated = [
        fact.event
        for fact in parent.facts
        if isinstance(fact.event, ce.ChildWorkflowInitiated)
        and (everywhere or fact.event.task_queue == queue)
    ]
    told: dict[str, list[Any]] = {}
    begun: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for fact in parent.facts:
        event: Any = fact.event
        if isinstance(event, ce.ChildWorkflowStarted):
            begun[event.child_id] += 1
        elif isinstance(event, ce.ChildWorkflowStartFailed):
            refused[event.child_id] += 1
        elif type(event) in OUTCOMES:
            told.setdefault(event.child_id, []).append(event)
    for child in initiated:
        name = f"child {child.child_id} of {parent.workflow_id}/{parent.run_id[:13]}"
        runs = children.get((parent.run_id, child.child_id), [])
        chains = [run for run in runs if not _started(run).continued_run_id]
        if len(chains) + refused[child.child_id] != 1:
            text = f"was begun {len(chains)} times and refused {refused[child.child_id]}"
            ledger.fail("K", f"{name} {text}")
            continue
        heard = told.get(child.child_id, [])
        if begun[child.child_id] > 1 or len(heard) > 1:
            text = f"was told to run {begun[child.child_id]} times and to end {len(heard)} times"
            ledger.fail("K", f"{name} {text}")
        if heard:
            _check_told(ledger, name, runs, heard[0])
    return len(initiated)


def _started(run: RunLog) -> ev.WorkflowStarted:
    event = run.started.event
    assert isinstance(event, ev.WorkflowStarted)
    return event


def _check_told(ledger: Ledger, name: str, runs: list[RunLog], told: Any) -> None:
    ended = [run for run in runs if run.run_id == told.run_id]
    if not ended or ended[0].closing is None:
        ledger.fail("K", f"{name}: run {told.run_id} was told to have ended, and has not")
        return
    event: Any = ended[0].closing.event
    if STATUS[type(event)] != OUTCOMES[type(told)]:
        ledger.fail("K", f"{name}: told {OUTCOMES[type(told)]}, and was {STATUS[type(event)]}")
    if getattr(event, "result", None) != getattr(told, "result", None):
        ledger.fail("K", f"{name}: told another result than it had")
