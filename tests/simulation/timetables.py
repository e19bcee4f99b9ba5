"""What the checker knows of a schedule: the chain of its runs, its times, and what it showed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from perdure._schedules import schedule_records
from perdure_actors.core.state import SCHEDULER_TYPE
from perdure_schemas import child_events as ce
from perdure_schemas.message_events import WorkflowUpdateAccepted
from perdure_schemas.payloads import Payload
from tests.simulation.ledger import Entry, Ledger, RunLog

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)


def is_schedule(run: RunLog) -> bool:
    """Whether a run is a schedule's actor."""
    return getattr(run.started.event, "workflow_type", "") == SCHEDULER_TYPE


def times_between(
    schedule: schedule_records.ScheduleRecord, after: datetime, upto: datetime
) -> list[datetime]:
    """The times of a schedule of intervals after a moment and up to another."""
    found = set()
    for interval in schedule.spec.intervals:
        at = EPOCH + ((after - EPOCH) // interval.every + 1) * interval.every
        while at <= upto:
            found.add(at)
            at += interval.every
    return sorted(found)


@dataclass
class Turn:
    """One transition of a schedule: what it was told, and what it did."""

    entry: Entry
    now: datetime
    events: list[Any]
    asked: list[ce.ChildWorkflowInitiated]
    shown: schedule_records.Listed
    before: schedule_records.Listed | None

    def told(self, name: str) -> list[Any]:
        """What updates of a name said, each in a record of its own."""
        return [
            [value_of(payload) for payload in event.input]
            for event in self.events
            if isinstance(event, WorkflowUpdateAccepted) and event.update_name == name
        ]


@dataclass
class Chain:
    """A schedule from its making to its end: what the walk knows of it."""

    runs: list[RunLog]
    running: dict[str, tuple[str, bool | None]] = field(default_factory=dict)
    """The children that were not told to have ended: who asked, and if their failure pauses it."""
    due: Counter[datetime] = field(default_factory=Counter)
    """Times that were looked at and have not been taken, by hand or not."""
    by_hand: Counter[datetime] = field(default_factory=Counter)
    """Those of them that somebody asked for."""
    buffered: int = 0
    counts: bool = True
    """Whether what waits can be counted: not once its limit has dropped some of it."""
    shown: schedule_records.Listed | None = None
    history: list[tuple[int, str, schedule_records.Listed]] = field(default_factory=list)
    """What it showed: events offset, run id, and that."""


def standing_of(
    standing: schedule_records.Standing | schedule_records.Listed,
    schedule: schedule_records.ScheduleRecord,
) -> Any:
    """What must be the same wherever a schedule is looked at."""
    counts = (standing.num_actions, standing.num_missed, standing.num_skipped)
    return (standing.upto, *counts, schedule.spec, schedule.policy, schedule.state)


def chains(ledger: Ledger) -> list[list[RunLog]]:
    """The runs of each schedule in their order."""
    found: list[list[RunLog]] = []
    for run in ledger.runs.values():
        started = run.started.event
        if not is_schedule(run) or getattr(started, "continued_run_id", None):
            continue
        chain = [run]
        while (closing := chain[-1].closing) is not None:
            following = ledger.runs.get(getattr(closing.event, "new_run_id", ""))
            if following is None:
                break
            chain.append(following)
        found.append(chain)
    return found


def schedule_of(shown: schedule_records.Listed) -> schedule_records.ScheduleRecord:
    """The schedule that was shown, without what its action is given."""
    action = schedule_records.ActionRecord(shown.workflow, shown.workflow_id, shown.task_queue)
    return schedule_records.ScheduleRecord(action, shown.spec, shown.policy, shown.state)


def is_over(shown: schedule_records.Listed) -> bool:
    """Whether it has taken all the actions that it is limited to."""
    return shown.state.limited_actions and shown.state.remaining_actions <= 0


def holds(shown: schedule_records.Listed) -> bool:
    """Whether it takes no actions by itself."""
    return shown.state.paused or is_over(shown)


def time_of(workflow_id: str) -> datetime:
    """The time that an action's workflow id ends with."""
    return datetime.strptime(workflow_id[-20:], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def value_of(payload: Payload) -> Any:
    """What a payload of the default converter holds: bytes, or any JSON."""
    if payload.encoding == "binary/plain":
        return payload.data
    return msgspec.json.decode(payload.data)
