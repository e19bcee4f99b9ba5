"""What must hold when all has come to rest: the checker's invariants, and every promise made.

It reads the log, the activities' journal and the talkers' notes, and nothing that decides.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from perdure_schemas import events as ev
from perdure_schemas.message_events import WorkflowUpdateAccepted
from tests.broker.orders_app import Job, outcome_of
from tests.broker.processes import TaskQueue
from tests.chaos.app import family_value
from tests.simulation.checker import Ledger, RunLog, check, ledger_of

SLACK_MS = 5_000
SHOWN = 3


def read_notes(path: Path) -> list[dict[str, Any]]:
    """Every line that the talkers wrote; the last may be cut off by a kill."""
    found = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def _json(data: bytes) -> Any:
    return msgspec.json.decode(data)


def _given(run: RunLog) -> Any:
    started = run.started.event
    assert isinstance(started, ev.WorkflowStarted)
    return _json(started.input[0].data) if started.input else None


def _returned(run: RunLog) -> Any:
    """What a run returned; an Ellipsis when it did not complete."""
    closing = run.closing
    if closing is None or not isinstance(closing.event, ev.WorkflowCompleted):
        return ...
    result = closing.event.result
    return _json(result.data) if result is not None else None


def chain_is_right(run: RunLog) -> str:
    """Whether a chain that has ended returned what its job says."""
    if run.closing is None:
        return ""
    wanted = outcome_of(msgspec.convert(_given(run), Job))
    return "" if _returned(run) == wanted else f"returned {_returned(run)}, not {wanted}"


def family_is_right(run: RunLog) -> str:
    """Whether a parent that has ended returned what its name says."""
    if run.closing is None:
        return ""
    wanted = family_value(_given(run))
    return "" if _returned(run) == wanted else f"returned {_returned(run)}, not {wanted}"


MODELS = {"Chain": chain_is_right, "Parent": family_is_right}


class Promises:
    """What the talkers were told, against the log."""

    def __init__(self, ledger: Ledger, notes: Iterable[dict[str, Any]]) -> None:
        self._runs = {run.workflow_id: run for run in ledger.runs.values()}
        self._ledger = ledger
        self._notes = list(notes)
        self.broken: list[str] = []

    def check(self) -> list[str]:
        """Everything; what was wrong."""
        for note in self._notes:
            if note["stage"] == "ok":
                self._answered(note)
            elif note["stage"] in ("unheard", "failed"):
                self.broken.append(f"{note['op']} of {note['id']}: {note}")
        for run in self._runs.values():
            if getattr(run.started.event, "workflow_type", "") == "Ledger":
                self._book(run)
        for id, count in Counter(run.workflow_id for run in self._ledger.runs.values()).items():
            if count > 1:
                self.broken.append(f"{id} has {count} runs, though it was started once")
        return self.broken

    def _answered(self, note: dict[str, Any]) -> None:
        run = self._runs.get(note["id"])
        if run is None:
            if note["op"] != "signal":
                self.broken.append(f"{note['op']} of {note['id']} was answered: it has no run")
        elif note["op"] == "start" and note["answer"] not in (None, run.run_id):
            self.broken.append(f"start of {note['id']} said {note['answer']}, not {run.run_id}")
        elif note["op"] == "result" and note["answer"] != _returned(run):
            self.broken.append(f"result of {note['id']} was told as {note['answer']}")

    def _book(self, run: RunLog) -> None:
        """Each thing told once, and all that was acknowledged."""
        returned = _returned(run)
        if run.closing is None:
            return
        if returned is ...:
            self.broken.append(f"{run.workflow_id} ended as {type(run.closing.event).__name__}")
            return
        entries = returned["entries"]
        told = [note for note in self._notes if note["id"] == run.workflow_id and "entry" in note]
        acknowledged = {note["entry"] for note in told if note["stage"] == "ok"}
        invoked = {note["entry"] for note in told}
        if twice := [entry for entry, count in Counter(entries).items() if count > 1]:
            self.broken.append(f"{run.workflow_id} heard {twice} more than once")
        if lost := acknowledged - {*entries}:
            self.broken.append(f"{run.workflow_id} never heard {sorted(lost)}, acknowledged")
        if made_up := {*entries} - invoked:
            self.broken.append(f"{run.workflow_id} heard {sorted(made_up)}, which nobody said")
        updates = [f.event for f in run.facts if isinstance(f.event, WorkflowUpdateAccepted)]
        if len(updates) != len({update.update_id for update in updates}):
            self.broken.append(f"{run.workflow_id} took an update twice")


def verdict(stage: TaskQueue, notes: Path, *, clock_slack_ms: int = SLACK_MS) -> Verdict:
    """Check everything there is."""
    records = stage.dump()
    found = check(records, effects=stage.effects(), models=MODELS, clock_slack_ms=clock_slack_ms)
    ledger = ledger_of(records)
    told = read_notes(notes)
    broken = [f"{one.letter}: {one.text}" for one in found] + Promises(ledger, told).check()
    events = next(kept for topic, kept in records.items() if topic.endswith(".events"))
    return Verdict(broken, ledger, told, events)


class Verdict(msgspec.Struct):
    """What was found, and what the figures are made of."""

    broken: list[str]
    ledger: Any
    notes: list[dict[str, Any]]
    events: list[Any]
