"""A world for the pure core: runs made by its own rules, and invariants that always hold."""

from __future__ import annotations

from typing import Any

from perdure_actors.core.decision import Decision, Effect, Limits
from perdure_actors.core.rules import COMMANDS, apply, effects_of, settle
from perdure_actors.core.soft import Soft
from perdure_actors.core.starting import open_run
from perdure_actors.core.state import ActorState, RecordId, Run
from perdure_schemas.commands import StartWorkflow
from perdure_schemas.events import ActivityScheduled, WorkflowStarted
from perdure_schemas.payloads import Record, RetryPolicy

NOW_MS = 1_000_000


class CoreWorld:
    """What deciding may ask, without a shard."""

    def __init__(self, *, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.task_queue = "orders"
        self.soft = Soft(NOW_MS)
        self.runs: dict[str, Run] = {}
        self.actors: dict[str, ActorState] = {}
        self.effects: list[Effect] = []
        self.now_ms = NOW_MS
        self._pseq = 0
        self._run_ids = 0

    def token(self, issued: RecordId) -> bytes:
        return b"%d.%d" % (issued.pseq, issued.place)

    def new_run_id(self) -> str:
        self._run_ids += 1
        return f"run-{self._run_ids}"

    def run(self, run_id: str) -> Run | None:
        return self.runs.get(run_id)

    def current(self, workflow_id: str) -> Run | None:
        actor = self.actors.get(workflow_id)
        return self.runs.get(actor.current_run_id) if actor else None

    def actor(self, workflow_id: str) -> ActorState | None:
        return self.actors.get(workflow_id)

    # What tests do.

    def decide(self, command: Record) -> Any:
        """What the rules say to a command now; nothing happens yet."""
        return COMMANDS[type(command)](self, command, self.now_ms)

    def do(self, command: Record) -> Any:
        """Decide, and let what was decided happen."""
        verdict = self.decide(command)
        if isinstance(verdict, Decision):
            for step in verdict.steps:
                self.record(step.run_id, *step.events, workflow_id=_id_of(command))
        return verdict

    def record(self, run_id: str, *events: Record, workflow_id: str = "wf") -> Run:
        """One transition: the events happen, in one record."""
        self._pseq += 1
        first = events[0]
        if isinstance(first, WorkflowStarted):
            actor = self.actors.setdefault(workflow_id, ActorState(workflow_id))
            self.runs[run_id] = open_run(actor, run_id, first, self.now_ms)
        run = self.runs[run_id]
        for place, event in enumerate(events):
            at = RecordId(1, b"n", self._pseq, place)
            settled = settle(self, run, event, self.now_ms)
            self.effects += effects_of(run, settled, at, self.now_ms)
            apply(run, settled, at, self.now_ms)
        return run

    def start(self, workflow_id: str = "wf", **fields: Any) -> Run:
        """A run that is open."""
        self.do(StartWorkflow(workflow_id=workflow_id, workflow_type="Order", **fields))
        run = self.current(workflow_id)
        assert run is not None
        return run

    def schedule(self, run: Run, activity_id: str = "1", **fields: Any) -> ActivityScheduled:
        """An activity its code asked for."""
        made: dict[str, Any] = {"start_to_close_ms": 10_000, "retry_policy": RetryPolicy()}
        event = ActivityScheduled(
            activity_id=activity_id, activity_type="charge", **{**made, **fields}
        )
        self.record(run.state.run_id, event)
        return event

    def report(self, kind: Any, run: Run, activity_id: str = "1", **fields: Any) -> Any:
        """A worker's report about the current attempt, unless fields say otherwise."""
        activity = run.activities[activity_id]
        made: dict[str, Any] = {
            "workflow_id": run.state.workflow_id,
            "run_id": run.state.run_id,
            "activity_id": activity_id,
            "attempt": activity.attempt,
            "token": self.token(activity.issued),
            "worker_id": "w1",
        }
        return kind(**{**made, **fields})

    def pass_ms(self, passed_ms: int) -> None:
        """Time goes on."""
        self.now_ms += passed_ms

    def check(self) -> None:
        """What holds whatever has happened."""
        for run_id, run in self.runs.items():
            state = run.state
            assert state.run_id == run_id
            assert run.actor is self.actors[state.workflow_id]
            if state.closing is not None:
                assert state.status == state.closing.status
                assert not run.activities, "a closed run has nothing pending"
                assert not run.timers
                assert state.alarm_ms == 0
                assert state.block is None
                assert state.waiting == []
            else:
                assert state.status == "running"
                assert (state.block is None) or state.waiting or state.block.input_seq == 0
            assert state.waiting == sorted(set(state.waiting))
            assert all(0 < seq <= state.seq for seq in state.waiting)
            for activity_id, activity in run.activities.items():
                assert activity.scheduled.activity_id == activity_id
                assert activity.state in ("scheduled", "started", "backing_off")
                assert activity.attempt >= 1
                assert bool(activity.worker_id) <= (activity.state == "started")
                assert (activity.retry_ms > 0) == (activity.state == "backing_off")
        for workflow_id in self.actors:
            of_id = [run for run in self.runs.values() if run.state.workflow_id == workflow_id]
            assert sum(run.state.is_open for run in of_id) <= 1, "two open runs of one id"


def _id_of(command: Record) -> str:
    workflow_id: str = command.workflow_id  # type: ignore[attr-defined]
    return workflow_id
