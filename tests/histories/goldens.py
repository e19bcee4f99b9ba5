"""Golden histories as files: read, replayed, and written once for each new case.

`python -m tests.histories.goldens` writes those that are missing and touches no other.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import msgspec

from perdure._schedules.schedule import ScheduleOverlapPolicy, SchedulePolicy
from perdure._schedules.schedule_records import ActionRecord, ScheduleRecord, SchedulerState, encode
from perdure._schedules.spec import ScheduleIntervalSpec, ScheduleSpec
from perdure.workflow._info import HISTORY_LENGTH_SUGGESTED_MAX
from perdure_actors.definitions.registry import workflow_definition
from perdure_actors.replay.coroutine import Coroutine, RunFacts
from perdure_schemas.child_events import (
    ChildWorkflowCanceled,
    ChildWorkflowCompleted,
    ChildWorkflowFailed,
    ChildWorkflowStarted,
)
from perdure_schemas.events import (
    ActivityAttemptScheduled,
    ActivityCompleted,
    ActivityHeartbeat,
    ActivityRetryScheduled,
    Event,
    WorkflowBlocked,
    WorkflowContinuedAsNew,
    WorkflowResumed,
)
from perdure_schemas.operator_events import (
    ActivityDetached,
    ActivityOptionsUpdated,
    ActivityPaused,
    ActivityReset,
    ActivityUnpaused,
)
from perdure_schemas.payloads import (
    CarriedChild,
    Failure,
    FailureCause,
    Record,
)
from tests.histories import (
    concurrency,
    concurrency_goldens,
    life,
    life_goldens,
    message_goldens,
    workflows,
)
from tests.unit.player import CONVERTER, FACTS, Player

FOLDER = Path(__file__).parent
KINDS: dict[str, type[Record]] = {kind.__name__: kind for kind in get_args(Event)}


@dataclass
class Golden:
    """A recorded run."""

    workflow: type
    facts: RunFacts
    transitions: list[tuple[int, int, list[Record]]]

    def replay(self, workflow: type | None = None) -> Coroutine:
        """The run's code after all of its history. Raises BlockedError where it does not fit."""
        definition = workflow_definition(workflow or self.workflow)
        run = Coroutine(definition, self.facts, converter=CONVERTER)
        for seq, time_ms, events in self.transitions:
            run.recall(events, seq=seq, time_ms=time_ms)
        return run


def read(path: Path) -> Golden:
    """A golden history from its file."""
    data = json.loads(path.read_text())
    return Golden(
        workflow=_workflow(data["workflow"]),
        facts=RunFacts(**data["facts"]),
        transitions=[
            (item["seq"], item["time_ms"], [_event(dict(event)) for event in item["events"]])
            for item in data["transitions"]
        ],
    )


def _workflow(name: str) -> type:
    modules = (workflows, concurrency, life)
    workflow: type = next(getattr(one, name) for one in modules if hasattr(one, name))
    return workflow


def _event(fields: dict[str, Any]) -> Record:
    return msgspec.convert(fields, KINDS[fields.pop("type")])


def write(path: Path, player: Player) -> None:
    """A golden history to a new file."""
    transitions = [
        {
            "seq": seq,
            "time_ms": time_ms,
            "events": [
                {"type": type(event).__name__, **_without_defaults(event)} for event in events
            ],
        }
        for seq, time_ms, events in player.history
    ]
    data = {
        "workflow": player.workflow.__name__,
        "facts": FACTS._asdict(),
        "transitions": transitions,
    }
    with path.open("x") as file:
        json.dump(data, file, indent=1)
        file.write("\n")


def _without_defaults(event: Record) -> dict[str, Any]:
    """The fields that differ from what a record has by itself."""
    fields: dict[str, Any] = msgspec.to_builtins(event)
    for link in (fields.get("failure") or {}).get("chain", []):
        # Where the file stood on the machine that wrote it is no part of what happened.
        link["stack_trace"] = ""
    defaults = {
        field.name: field.default_factory() if callable(field.default_factory) else field.default
        for field in msgspec.structs.fields(type(event))
    }
    return {name: value for name, value in fields.items() if value != defaults[name]}


def _shipped() -> Player:
    """1 started, 2 charge, 3 charged, 4 deduct, 5 deducted, 6 notify, 7 notified, 8 completed."""
    player = Player(workflows.OrderSaga, workflows.Order("o-1", 12.5))
    for number in ("1", "2", "3"):
        player.complete(number, f"r{number}")
    return player


def _refunded() -> Player:
    """Deducting fails for good; the refund follows, and the run fails."""
    player = Player(workflows.OrderSaga, workflows.Order("o-2", 12.5))
    player.complete("1", "r1")
    player.fail("2", "out of stock")
    player.complete("3")
    return player


def _untold() -> Player:
    """The notification times out, and the run completes all the same."""
    player = Player(workflows.OrderSaga, workflows.Order("o-3", 12.5))
    player.complete("1", "r1")
    player.complete("2")
    player.time_out("3")
    return player


def _race() -> Player:
    """All three come in, out of order; the timeout's timer is cancelled."""
    player = Player(workflows.Race)
    for number in ("2", "3", "1"):
        player.complete(number, int(number))
    return player


def _race_timed_out() -> Player:
    """One comes in, then the timer fires and the others are cancelled."""
    player = Player(workflows.Race)
    player.complete("2", 2)
    player.fire("1", after_s=30)
    return player


def _cancelled() -> Player:
    """A condition, a name made of chance, a cancelled sleep, and tidying up."""
    player = Player(workflows.Patient)
    player.fire("2", after_s=5)
    player.complete("1")
    player.cancel("enough")
    player.complete("2")
    return player


def _continued() -> Player:
    """A timer, then the next run."""
    player = Player(workflows.Counter, 3)
    player.fire("1", after_s=0.25)
    return player


def _mended() -> Player:
    """Two inputs wait while the run is blocked, and are taken one after the other."""
    player = Player(workflows.Mended)
    ahead = player.history.pop()
    started, asked = ahead[2]
    first, second = (
        ActivityCompleted(activity_id=n, attempt=1, result=CONVERTER.to_payload(n)) for n in "12"
    )
    asked_next = player.complete("1", "1")
    ended = player.complete("2", "2")
    time_ms = player.time_ms
    player.history = [
        (1, time_ms, [started, asked]),
        (3, time_ms, [first, WorkflowBlocked(cause="error", message="a bug", input_seq=3)]),
        (5, time_ms, [second]),
        (6, time_ms + 60_000, [WorkflowResumed(input_seq=3), *asked_next]),
        (8, time_ms + 60_000, [WorkflowResumed(input_seq=5), *ended]),
    ]
    return player


def _noting() -> Player:
    """All that code can note down, before and after an activity and a timer."""
    player = Player(workflows.Noting)
    player.complete("1")
    player.fire("1", after_s=1)
    return player


def _family() -> Player:
    """A child's result and a child's cancellation, each once it was heard that they run."""
    player = Player(workflows.Family)
    for child_id in "12":
        player.give(ChildWorkflowStarted(child_id=child_id, run_id=f"kid-{child_id}"))
    result = CONVERTER.to_payload(11)
    player.give(ChildWorkflowCompleted(child_id="1", run_id="kid-1", result=result))
    player.give(ChildWorkflowCanceled(child_id="2", run_id="kid-2"))
    return player


def _schedule_kept() -> Player:
    """An action starts, the next is skipped, a trigger waits; the third time is of another run."""
    action = ActionRecord("Report", "report", "q", input=CONVERTER.to_payloads(["x"]))
    spec = ScheduleSpec(intervals=[ScheduleIntervalSpec(timedelta(hours=1))])
    schedule = ScheduleRecord(action, spec, SchedulePolicy(pause_on_failure=True))
    player = Player(workflows.Scheduler, encode(SchedulerState("nightly", schedule)))
    player.fire("1", after_s=2800)
    player.give(ChildWorkflowStarted(child_id="1", run_id="report-1"))
    player.fire("2", after_s=3600)
    player.update("trigger", int(ScheduleOverlapPolicy.BUFFER_ONE), update_id="u1")
    player.update("pause", "enough", update_id="u2")
    player.seq = HISTORY_LENGTH_SUGGESTED_MAX
    player.update("unpause", "on", update_id="u3")
    return player


def _schedule_taken_over() -> Player:
    """The run after that hears how the action ended, and starts what waited."""
    kept = _schedule_kept().outputs[-1]
    assert isinstance(kept, WorkflowContinuedAsNew)
    child = CarriedChild(
        child_id="1", workflow_id="report-x", run_id="report-1", parent_run_id="run-0"
    )
    player = Player(
        workflows.Scheduler, CONVERTER.from_payload(kept.input[0], bytes), children=[child]
    )
    player.give(ChildWorkflowCompleted(child_id="1", result=CONVERTER.to_payload("figures")))
    player.give(ChildWorkflowStarted(child_id="2", run_id="report-2"))
    failure = Failure(chain=[FailureCause(message="no figures", type="X")])
    player.give(ChildWorkflowFailed(child_id="2", failure=failure))
    player.seq = HISTORY_LENGTH_SUGGESTED_MAX
    player.update("trigger", 0, update_id="u4")
    return player


def _aside(player: Player, *events: Record) -> None:
    """Events of the run that its code does not see."""
    player.history.append((player.seq, player.time_ms, list(events)))
    player.seq += len(events)


def _local() -> Player:
    """A local activity fails once, and the host that ran its second attempt is gone; cut there."""
    player = Player(workflows.Operated)
    failure = Failure(chain=[FailureCause(message="busy", type="OSError")])
    lost = Failure(chain=[FailureCause(message="its host is gone", type="HostLost")])
    for attempt, why in ((1, failure), (2, lost)):
        due_ms = player.time_ms + 1000
        _aside(
            player,
            ActivityRetryScheduled(activity_id="1", attempt=attempt, failure=why, due_ms=due_ms),
        )
        _aside(player, ActivityAttemptScheduled(activity_id="1", attempt=attempt + 1))
    player.complete("1", "found")
    player.cancel("enough")
    player.confirm_canceled("2")
    return player


def _elsewhere() -> Player:
    """An attempt goes on outside its worker, beats, and another process completes it."""
    player = Player(workflows.Operated)
    player.complete("1", "found")
    _aside(player, ActivityDetached(activity_id="2", attempt=1))
    beat = CONVERTER.to_payloads(["half"])
    _aside(player, ActivityHeartbeat(activity_id="2", attempt=1, details=beat))
    player.complete("2", "approved")
    player.complete("3", "refunded")
    player.complete("4")
    return player


def _operated() -> Player:
    """One activity is out of attempts, given other options, and retried; the next is given up."""
    player = Player(workflows.Operated)
    player.complete("1", "found")
    player.complete("2", "approved")
    closed = Failure(chain=[FailureCause(message="closed", type="BankClosed")])
    _aside(player, ActivityPaused(activity_id="3", reason="exhausted", failure=closed, attempt=5))
    _aside(player, ActivityOptionsUpdated(activity_id="3", start_to_close_ms=5000))
    _aside(player, ActivityUnpaused(activity_id="3", reset_attempts=True))
    _aside(player, ActivityAttemptScheduled(activity_id="3", attempt=1, reason="operator"))
    player.complete("3", "refunded")
    _aside(player, ActivityPaused(activity_id="4", reason="by hand", identity="ada"))
    _aside(player, ActivityReset(activity_id="4", keep_paused=True, identity="ada"))
    player.fail("4", "given up")
    return player


CASES: dict[str, Callable[[], Player]] = {
    "activity_local": _local,
    "activity_elsewhere": _elsewhere,
    "activity_operated": _operated,
    "schedule_kept": _schedule_kept,
    "schedule_taken_over": _schedule_taken_over,
    "order_shipped": _shipped,
    "order_refunded": _refunded,
    "order_untold": _untold,
    "race": _race,
    "race_timed_out": _race_timed_out,
    "patient_cancelled": _cancelled,
    "counter_continued": _continued,
    "mended": _mended,
    "noting": _noting,
    "family": _family,
    **message_goldens.CASES,
    **concurrency_goldens.CASES,
    **life_goldens.CASES,
}


def main() -> None:
    """Write the histories that are missing."""
    for name, make in CASES.items():
        path = FOLDER / f"{name}.json"
        if not path.exists():
            write(path, make())


if __name__ == "__main__":
    main()
