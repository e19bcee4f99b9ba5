"""Invariants of operators' acts (O): each that was applied happened once, and where it was said."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from typing import Any

from perdure_schemas import events as ev
from perdure_schemas import operator_commands as oc
from perdure_schemas import operator_events as oe
from perdure_schemas import replies as rep
from perdure_schemas.payloads import Record
from perdure_schemas.transition import Outcome
from tests.simulation.activities import OPERATOR
from tests.simulation.answers import Op
from tests.simulation.evidence import Report
from tests.simulation.ledger import Entry, Fact, Ledger, RunLog

DONE: dict[type[Record], type[Record]] = {
    oc.PauseActivity: oe.ActivityPaused,
    oc.UnpauseActivity: oe.ActivityUnpaused,
    oc.ResetActivity: oe.ActivityReset,
    oc.FailActivityNow: ev.ActivityFailed,
    oc.UpdateActivityOptions: oe.ActivityOptionsUpdated,
}
"""What each command brings, by the name of who sent it: operators of a world have one an act."""
ACTS: tuple[Any, ...] = (*DONE, oc.RetryActivityNow)


class ActCheck:
    """Holds what operators asked for against what happened."""

    def __init__(self, ledger: Ledger, reports: Sequence[Report]) -> None:
        self._ledger = ledger
        self._commands: dict[tuple[str, str], Any] = {}
        for report in reports:
            command: Any = report.command
            if isinstance(command, ACTS) and command.request_id:
                self._commands.setdefault((command.workflow_id, command.request_id), command)
        self._outcomes: dict[tuple[str, str], tuple[Entry, Outcome]] = {}
        for entry, outcome in ledger.outcomes:
            key = (outcome.workflow_id, outcome.request_id)
            if key in self._commands and outcome.outcome in ("applied", "refused"):
                self._outcomes.setdefault(key, (entry, outcome))

    def _fail(self, text: str) -> None:
        self._ledger.fail("O", text)

    def check_once(self) -> None:
        """Each act that was applied happened to each of its activities once; no other did."""
        done = self._done()
        for key, command in self._commands.items():
            name = f"{type(command).__name__} {key[1]} of {key[0]}"
            happened = done.pop(key, Counter())
            doubled = [activity for activity, count in happened.items() if count > 1]
            if doubled:
                self._fail(f"{name} happened more than once to {doubled}")
            entry, outcome = self._outcomes.get(key, (None, None))
            applied = outcome is not None and outcome.outcome == "applied"
            if happened and not applied:
                self._fail(f"{name} happened, and was not applied")
            # Pausing what is paused changes nothing.
            may_be_none = isinstance(command, oc.PauseActivity)
            if applied and not happened and not may_be_none:
                where = f"at {entry.offset}" if entry is not None else ""
                self._fail(f"{name} was applied {where} and did not happen")
        for key in done:
            self._fail(f"{key[1]} of {key[0]} happened, and nobody asked for it")

    @property
    def requests(self) -> set[tuple[str, str]]:
        """What was asked for: workflow and request ids."""
        return set(self._commands)

    def check_refusals(self) -> None:
        """What was refused as not pending was not, all the time since the inputs before it."""
        covers: dict[int, list[int]] = {}
        for entry in self._ledger.entries:
            if entry.upto > entry.after:
                covers.setdefault(entry.partition, []).append(entry.offset)
        for key, (entry, outcome) in self._outcomes.items():
            command, code = self._commands[key], outcome.reason.partition(":")[0]
            run = self._ledger.runs.get(outcome.run_id or command.run_id)
            if outcome.outcome != "refused" or run is None:
                continue
            gone = self._ledger.forgotten.get(run.run_id)
            if code == "not_found" and gone is not None and gone.offset <= entry.offset:
                continue
            line = covers[entry.partition]
            at = bisect_left(line, entry.offset)
            since = line[at - 1] if at else -1
            closing = run.closing
            if code == "closed" and (closing is None or closing.entry.offset > entry.offset):
                self._fail(f"{key[1]} of {key[0]} was refused as closed, which it was not")
            pending = run.pending_at(since) & run.pending_at(entry.offset)
            if code == "not_found" and command.activity_id in pending:
                text = f"{key[1]} of {key[0]} was refused at {entry.offset}: no activity"
                self._fail(f"{text} {command.activity_id}, which was pending")

    def _done(self) -> dict[tuple[str, str], Counter[str]]:
        """What happened by whom: (workflow, request) -> how often to each activity."""
        done: dict[tuple[str, str], Counter[str]] = {}
        for run in self._ledger.runs.values():
            for fact in run.facts:
                name = self._by_whom(run, fact)
                if name:
                    event: Any = fact.event
                    found = done.setdefault((run.workflow_id, name), Counter())
                    found[event.activity_id] += 1
        return done

    def _by_whom(self, run: RunLog, fact: Fact) -> str:
        event: Any = fact.event
        if isinstance(event, ev.ActivityAttemptScheduled) and event.reason == OPERATOR:
            return self._retried_by(run, fact)
        if isinstance(event, ev.ActivityFailed):
            return str(event.identity) if event.retry_state == OPERATOR else ""
        if isinstance(event, oe.ActivityPaused) and event.attempt:
            return ""
        return str(event.identity) if type(event) in DONE.values() else ""

    def _retried_by(self, run: RunLog, fact: Fact) -> str:
        """A retry is by the command whose outcome its record has."""
        for outcome in fact.entry.body.outcomes:
            command = self._commands.get((run.workflow_id, outcome.request_id))
            if isinstance(command, oc.RetryActivityNow) and outcome.outcome == "applied":
                return outcome.request_id
        return f"the retry at events-{fact.entry.partition}@{fact.entry.offset}"

    def check_shown(self, ops: Sequence[Op]) -> None:
        """Whoever looks sees what is paused and what is parked, as the log has it there."""
        for op in ops:
            answer = op.answer
            if not isinstance(answer, rep.RunDescription):
                continue
            run = self._ledger.runs.get(answer.summary.run_id)
            if run is None:
                continue
            shown = {one.activity_id for one in answer.pending_activities if one.paused_ms}
            held = set().union(*run.held_at(op.offset))
            if shown != held:
                text = f"{op.workflow_id} at {op.offset}: {sorted(shown)} are shown as paused"
                self._fail(f"{text}, and {sorted(held)} are")
