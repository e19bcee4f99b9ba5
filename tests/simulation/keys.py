"""Invariants of a workflow id over its runs (G), and what never came to its end (H)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence
from itertools import pairwise

from tests.simulation.answers import Op
from tests.simulation.ledger import Entry, Fact, Ledger, RunLog


class KeyCheck:
    """G: one open run a workflow id, refusals that were true, and no answer from the past."""

    def __init__(self, ledger: Ledger, *, others: Collection[tuple[str, str]] = ()) -> None:
        """others: requests, by workflow and request id, whose refusals say nothing of runs."""
        self._ledger = ledger
        self._others = others

    def check_ids(self) -> None:
        """At most one run of an id is open at any time."""
        by_id: dict[str, list[RunLog]] = {}
        for run in self._ledger.runs.values():
            by_id.setdefault(run.workflow_id, []).append(run)
        for workflow_id, runs in by_id.items():
            runs.sort(key=lambda run: run.started.entry.offset)
            for before, after in pairwise(runs):
                closing = before.closing
                if closing is None or closing.entry.offset > after.started.entry.offset:
                    text = f"{workflow_id}: run {after.run_id} began while {before.run_id} was open"
                    self._ledger.fail("G", text)

    def check_refusals(self) -> None:
        """What was refused could not be had when it was decided."""
        covers: dict[int, list[Entry]] = {}
        for entry in self._ledger.entries:
            if entry.upto > entry.after:
                covers.setdefault(entry.partition, []).append(entry)
        for entry, outcome in self._ledger.outcomes:
            if outcome.outcome != "refused" or not outcome.workflow_id:
                continue
            if (outcome.workflow_id, outcome.request_id) in self._others:
                continue
            line = [one.offset for one in covers[entry.partition]]
            at = bisect_left(line, entry.offset)
            since = line[at - 1] if at else -1
            seen = self._statuses(outcome.workflow_id, since, entry.offset)
            code = outcome.reason.partition(":")[0]
            is_open = bool(seen & {"running", "blocked"})
            is_shut = bool(seen - {"running", "blocked"})
            wrong = (code == "already_started" and seen == {""}) or (
                code in ("closed", "not_found") and is_open and not is_shut
            )
            if wrong:
                text = f"{outcome.workflow_id}: refused as {code} at {entry.offset}, where it was"
                self._ledger.fail("G", f"{text} {sorted(seen)}")

    def _statuses(self, workflow_id: str, since: int, before: int) -> set[str]:
        seen = {self._status(workflow_id, since)}
        for run in self._ledger.of_workflow(workflow_id):
            for fact in run.facts:
                if since < fact.entry.offset <= before:
                    seen.add(self._status(workflow_id, fact.entry.offset))
        return seen

    def _status(self, workflow_id: str, offset: int) -> str:
        status = ""
        for run in self._ledger.of_workflow(workflow_id):
            status = run.status_at(offset) or status
        return status

    def check_order(self, ops: Sequence[Op]) -> None:
        """An answer is never older than what anybody had heard of the id before it was asked."""
        answered = sorted(
            (op for op in ops if op.answer is not None), key=lambda op: op.answered_ms
        )
        by_id: dict[str, list[Op]] = {}
        for op in answered:
            by_id.setdefault(op.workflow_id, []).append(op)
        for found in by_id.values():
            for later in found:
                heard = [op.offset for op in found if op.answered_ms < later.invoked_ms]
                if heard and later.offset < max(heard):
                    text = f"{later.kind} of {later.workflow_id} was answered from {later.offset},"
                    self._ledger.fail("G", f"{text} after an answer from {max(heard)}")


def unfinished(ledger: Ledger) -> list[str]:
    """H: what has not come to its end."""
    found = [
        f"run {run.workflow_id}/{run.run_id} has not ended: {_last(run.facts)}"
        for run in ledger.runs.values()
        if run.closing is None
    ]
    for run in ledger.runs.values():
        following = getattr(run.closing.event, "next_run_id", "") if run.closing else ""
        following = following or getattr(run.closing and run.closing.event, "new_run_id", "")
        if following and following not in ledger.runs:
            found.append(f"run {following} should follow {run.run_id} and never began")
    return found


def _last(facts: Sequence[Fact]) -> str:
    return f"{len(facts)} events, the last {type(facts[-1].event).__name__}"
