"""A world for the pure core: runs made by its own rules, and invariants that always hold."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from perdure_actors.core.deadlines import CANCEL_GRACE_MS
from perdure_actors.core.decision import Decision, Effect, Limits, Rejection
from perdure_actors.core.liveness import Liveness
from perdure_actors.core.rules import COMMANDS, apply, effects_of, settle
from perdure_actors.core.search_attribute_types import type_of
from perdure_actors.core.signal_buffer import BufferedSignal, SignalBuffers, size_of
from perdure_actors.core.start import open_run
from perdure_actors.core.state import ENTITIES, ActivityState, ActorState, RecordId, Run
from perdure_schemas.command_headers import AttemptReport, Command
from perdure_schemas.commands import StartWorkflow
from perdure_schemas.events import INPUTS, ActivityScheduled, WorkflowStarted
from perdure_schemas.message_events import SignalBuffered, SignalExpired
from perdure_schemas.payloads import Record, RetryPolicy
from perdure_topics.engine_keys import NO_KEYS

NOW_MS = 1_000_000


def _is_settled(run_id: str) -> bool:
    """All that is decided here has happened, and is sent."""
    del run_id
    return True


class CoreWorld:
    """What deciding may ask, without a shard."""

    def __init__(self, *, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.task_queue = "orders"
        self.liveness = Liveness(NOW_MS)
        self.runs: dict[str, Run] = {}
        self.actors: dict[str, ActorState] = {}
        self.effects: list[Effect] = []
        self.buffers = SignalBuffers()
        self.words: list[Record] = []
        """Events of the partition that no run is about."""
        self.now_ms = NOW_MS
        self.engine_keys = NO_KEYS
        self.log: list[tuple[str, str, Record, RecordId, int]] = []
        """What happened: workflow id, run id, event, its place, and when."""
        self.pseq = 0
        self._run_ids = 0

    def token(self, issued: RecordId) -> bytes:
        return b"%d.%d" % (issued.pseq, issued.place)

    def may_report_by_ids(self, report: AttemptReport) -> bool:
        return self.engine_keys.is_signed(report) if self.engine_keys else not report.token

    def new_run_id(self) -> str:
        self._run_ids += 1
        return f"run-{self._run_ids}"

    def run(self, run_id: str) -> Run | None:
        return self.runs.get(run_id)

    def current(self, workflow_id: str) -> Run | None:
        actor = self.actors.get(workflow_id)
        return self.runs.get(actor.current_run_id) if actor else None

    def input_at(self, run_id: str, seq: int) -> int:
        events = [entry[2] for entry in self.log if entry[1] == run_id]
        inputs = [at for at, event in enumerate(events, 1) if type(event) in INPUTS and at <= seq]
        return max(inputs, default=0)

    def attribute_type(self, name: str) -> str:
        held = (run.search_attributes.get(name) for run in self.runs.values())
        return next((type_of(payload) for payload in held if payload is not None), "")

    is_settled = staticmethod(_is_settled)

    # What tests do.

    def decide(self, command: Command) -> Any:
        """What the rules say to a command now; nothing happens yet."""
        with self._unchanged():
            return COMMANDS[type(command)](self, command, self.now_ms)

    @contextmanager
    def _unchanged(self) -> Iterator[None]:
        """What is decided is returned: the world it was decided by stays as it was."""
        before = self._seen()
        yield
        assert self._seen() == before, "deciding wrote into the world"

    def _seen(self) -> object:
        """All that deciding can reach."""
        return [_marked(one) for one in (self.runs, self.actors, self.liveness, self.buffers)]

    def do(self, command: Command) -> Any:
        """Decide, and let what was decided happen."""
        verdict = self.decide(command)
        if not isinstance(verdict, Rejection):
            self.liveness.take(verdict.liveness)
        if isinstance(verdict, Decision):
            for step in verdict.steps:
                self.record(step.run_id, *step.events, workflow_id=_id_of(command))
            for word in verdict.words:
                say(self, word)
            if verdict.again is not None:
                return self.do(verdict.again)
        return verdict

    def record(self, run_id: str, *events: Record, workflow_id: str = "wf") -> Run:
        """One transition: the events happen, in one record."""
        self.pseq += 1
        first = events[0]
        if isinstance(first, WorkflowStarted):
            actor = self.actors.setdefault(workflow_id, ActorState(workflow_id))
            self.runs[run_id] = open_run(actor, run_id, first, self.now_ms)
            self.buffers.take(workflow_id)
        run = self.runs[run_id]
        workflow_id = run.state.workflow_id
        for place, event in enumerate(events):
            at = RecordId(1, b"n", self.pseq, place)
            with self._unchanged():
                settled = settle(self, run, event, self.now_ms)
                self.effects += effects_of(run, settled, at, self.now_ms)
            apply(run, settled, at, self.now_ms)
            self.log.append((workflow_id, run_id, settled, at, self.now_ms))
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
            assert run.state.run_id == run_id
            assert run.actor is self.actors[run.state.workflow_id]
            assert run.state.seq == sum(entry[1] == run_id for entry in self.log)
            _check_run(run)
            _check_pending(run)
        for workflow_id, actor in self.actors.items():
            of_id = [run for run in self.runs.values() if run.state.workflow_id == workflow_id]
            is_open = sum(run.state.is_open for run in of_id)
            assert is_open <= 1, "two open runs of one id"
            assert actor.current_run_id in self.runs
            follows = [bool(actor.next_run_id), actor.next_start is not None, actor.alarm_ms > 0]
            assert len(set(follows)) == 1, "a next run has an id, a start and a time, or none"
            assert not (is_open and actor.next_run_id)
        self._check_replay()

    def _check_replay(self) -> None:
        """Only events change a run: played again, they make the same."""
        again: dict[str, Run] = {}
        actors: dict[str, ActorState] = {}
        for workflow_id, run_id, event, at, now_ms in self.log:
            if isinstance(event, WorkflowStarted):
                actor = actors.setdefault(workflow_id, ActorState(workflow_id))
                again[run_id] = open_run(actor, run_id, event, now_ms)
            apply(again[run_id], event, at, now_ms)
        assert actors == self.actors
        assert {run_id: _facts(run) for run_id, run in again.items()} == {
            run_id: _facts(run) for run_id, run in self.runs.items()
        }


def say(world: CoreWorld, word: Record) -> None:
    """One record without a run, with an event of the partition."""
    world.pseq += 1
    world.words.append(word)
    if isinstance(word, SignalBuffered):
        one = BufferedSignal(word.signal, word.expires_ms, size_of(word.signal))
        world.buffers.add(word.workflow_id, world.pseq, one)
    elif isinstance(word, SignalExpired):
        world.buffers.remove(word.workflow_id, word.pseq)


def _marked(value: Any) -> Any:
    """What tells a value from what it is after something of it was written."""
    if isinstance(value, msgspec.Struct):
        if value.__struct_config__.frozen:
            return value
        return [_marked(getattr(value, name)) for name in value.__struct_fields__]
    if isinstance(value, Run | Liveness):
        return [_marked(getattr(value, name)) for name in value.__slots__]
    if isinstance(value, SignalBuffers):
        return _marked(vars(value))
    if isinstance(value, dict):
        first = next(iter(value.values()), None)
        if isinstance(first, msgspec.Struct) and first.__struct_config__.frozen:
            return dict(value)
        return [(key, _marked(one)) for key, one in value.items()]
    if isinstance(value, list | tuple):
        return [_marked(one) for one in value]
    return sorted(value) if isinstance(value, set) else value


def _facts(run: Run) -> tuple[object, ...]:
    pending = [run.entities(kind) for kind in ENTITIES]
    return run.state, run.started, pending, run.facts, run.updates, run.touched, run.gone


def _check_run(run: Run) -> None:
    state = run.state
    if state.closing is not None:
        assert state.status == state.closing.status
        assert not any(map(run.entities, ENTITIES)), "a closed run has nothing pending"
        assert state.alarm_ms == 0
        assert state.block is None
        assert state.waiting == []
    else:
        assert state.status == "running"
        assert (state.block is None) or state.waiting or state.block.input_seq == 0
        assert (state.block is None) == (state.blocked_ms == 0)
        assert state.begun == (state.begin_ms == 0)
        times = (state.execution_expires_ms, state.run_expires_ms, state.begin_ms)
        assert state.alarm_ms == min(filter(None, times), default=0)
    assert state.waiting == sorted(set(state.waiting))
    assert all(0 < seq <= state.seq for seq in state.waiting)


def _check_pending(run: Run) -> None:
    for activity_id, activity in run.activities.items():
        assert activity.scheduled.activity_id == activity_id
        waits = activity.state in ("backing_off", "paused")
        assert waits or activity.state in ("scheduled", "started")
        # One that starts over has made none of its attempts yet.
        assert activity.attempt >= (0 if waits else 1)
        assert activity.exhausted == (activity_id in run.state.parked)
        assert bool(activity.worker_id) <= (activity.state == "started")
        assert waits or activity.retry_ms == 0
        assert activity.retry_ms > 0 or activity.state != "backing_off"
        assert activity.alarm_ms == min(_deadlines(activity), default=0)
    for timer_id, timer in run.timers.items():
        assert timer.timer_id == timer_id
    # Nothing was saved here, so all that is pending is new.
    pending = {(kind, one) for kind in ENTITIES for one in run.entities(kind)}
    pending |= {("facts", "")} if run.facts is not None else set()
    pending |= {("update", one) for one in run.updates}
    assert run.touched - {("started", "")} == pending
    assert ("started", "") in run.touched
    assert all(kind in ENTITIES for kind, _, _ in run.gone)


def _deadlines(activity: ActivityState) -> list[int]:
    asked = activity.terms
    close_ms = activity.scheduled.schedule_to_close_ms
    times = [(activity.scheduled_ms, 0 if activity.exhausted else close_ms)]
    if asked.local and activity.state in ("scheduled", "started"):
        pass  # Whoever runs it keeps its times.
    elif activity.state == "scheduled":
        grace_ms = CANCEL_GRACE_MS if activity.cancel_requested else 0
        start_ms = 0 if activity.paused else asked.schedule_to_start_ms
        times += [
            (activity.waits_ms or activity.attempt_ms, start_ms),
            (activity.attempt_ms, grace_ms),
        ]
    elif activity.state == "started":
        times += [
            (activity.started_ms, asked.start_to_close_ms),
            (activity.started_ms, asked.heartbeat_ms),
        ]
    elif activity.state == "paused":
        times.append((0, 1 if activity.cancel_requested else 0))
    else:
        # A cancelled one has nothing to wait for.
        times.append((0, 1 if activity.cancel_requested else activity.retry_ms))
    return [from_ms + for_ms for from_ms, for_ms in times if for_ms]


def _id_of(command: Record) -> str:
    workflow_id: str = command.workflow_id  # type: ignore[attr-defined]
    return workflow_id
