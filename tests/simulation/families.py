"""Invariants of parents and children (K): each child is begun once, and its end told once.

They hold whatever the partitions and task queues that parent and child are in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from perdure_schemas import child_events as ce
from perdure_schemas import events as ev
from perdure_schemas.avro import decode
from perdure_schemas.child_commands import ReportChildRefused
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
    refusals = _refusals((ledger, *others))
    asked = 0
    for run in ledger.runs.values():
        asked += _check_run(ledger, run, children, refusals, everywhere=bool(others))
    return asked


def _refusals(ledgers: Iterable[Ledger]) -> set[tuple[str, str]]:
    """The children that were refused, by the runs that asked for them: heard of there or not."""
    return {
        (report.run_id, report.child_id)
        for one in ledgers
        for _, outcome in one.outcomes
        for errand in outcome.errands
        if isinstance(report := decode(errand.command), ReportChildRefused)
    }


def _check_run(
    ledger: Ledger,
    parent: RunLog,
    children: dict[tuple[str, str], list[RunLog]],
    refusals: Collection[tuple[str, str]],
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
    for event in _heard(ledger, parent):
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
        # A parent that has closed is not told.
        was_refused = (parent.run_id, child.child_id) in refusals
        unheard = was_refused and parent.closing is not None and not refused[child.child_id]
        if len(chains) + refused[child.child_id] + unheard != 1:
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


def _heard(ledger: Ledger, parent: RunLog) -> Iterator[Any]:
    """What a run was told, and those that it left its children to of them."""
    yield from (fact.event for fact in parent.facts)
    run = parent
    while run.closing is not None and getattr(run.closing.event, "keeps_children", False):
        following = ledger.runs.get(getattr(run.closing.event, "new_run_id", ""))
        if following is None:
            return
        run = following
        left = {
            child.child_id
            for child in _started(run).children
            if child.parent_run_id == parent.run_id
        }
        for fact in run.facts:
            if getattr(fact.event, "child_id", None) in left:
                yield fact.event


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
