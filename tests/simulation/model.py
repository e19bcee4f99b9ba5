"""What a run of the chain must end with, as a pure function of its recorded inputs (E)."""

from __future__ import annotations

from typing import Any

import msgspec

from perdure_actors.replay.marker_calls import SIDE_EFFECT
from perdure_schemas import child_events as ce
from perdure_schemas import events as ev
from perdure_schemas.fact_events import MarkerRecorded
from tests.simulation.families import OUTCOMES
from tests.simulation.ledger import Fact, RunLog
from tests.simulation.workflows import Plan, Step, mix

_FOREVER = 1 << 60


class _Unfinished(Exception):
    """The history does not reach this far."""


class _Story:
    """The inputs of a run, looked up as the code would meet them."""

    def __init__(self, run: RunLog) -> None:
        self._outcomes: dict[str, Fact] = {}
        self._fired: dict[str, int] = {}
        self._ended: dict[str, Any] = {}
        self._children = 0
        self._activities = 0
        self._timers = 0
        self._level, self._notes = "", iter(_notes(run))
        for fact in run.facts:
            event = fact.event
            if isinstance(event, ev.ActivityCompleted | ev.ActivityFailed | ev.ActivityTimedOut):
                self._outcomes[event.activity_id] = fact
            elif type(event) in OUTCOMES:
                self._ended[event.child_id] = event  # type: ignore[attr-defined]
            elif isinstance(event, ev.TimerFired):
                self._fired[event.timer_id] = fact.seq

    def chain(self, plan: Plan) -> str:
        chain = plan.salt
        for step in plan.steps:
            chain = self._step(step, chain)
        return chain

    def _step(self, step: Step, chain: str) -> str:
        if step.kind == "timer":
            if self._timer() == _FOREVER:
                raise _Unfinished
            return mix(chain, "slept")
        if step.kind == "fan":
            texts = [mix(chain, str(n)) for n in range(step.count)]
            return mix(chain, *[self._activity(text)[1] for text in texts])
        if step.kind == "race":
            fired = self._timer()
            seq, result = self._activity(chain, may_lack=fired != _FOREVER)
            return mix(chain, "late" if fired < seq else result)
        if step.kind == "child":
            return mix(chain, self._child())
        if step.kind == "note":
            return mix(chain, *self._note())
        return mix(chain, self._activity(chain)[1])

    def _child(self) -> str:
        self._children += 1
        event = self._ended.get(str(self._children))
        if event is None:
            raise _Unfinished
        if not isinstance(event, ce.ChildWorkflowCompleted):
            return "childless"
        assert event.result is not None
        result: str = msgspec.json.decode(event.result.data)
        return result

    def _note(self) -> tuple[str, str]:
        """The level that counted, and what was drawn, as the history has them."""
        for kind, value in self._notes:
            if kind == SIDE_EFFECT:
                return self._level, value
            self._level = value
        raise _Unfinished

    def _timer(self) -> int:
        self._timers += 1
        return self._fired.get(str(self._timers), _FOREVER)

    def _activity(self, text: str, *, may_lack: bool = False) -> tuple[int, str]:
        self._activities += 1
        fact = self._outcomes.get(str(self._activities))
        if fact is None:
            if may_lack:
                return _FOREVER, ""
            raise _Unfinished
        if not isinstance(fact.event, ev.ActivityCompleted):
            return fact.seq, f"failed {text}"
        return fact.seq, result_of(text)


def _notes(run: RunLog) -> list[tuple[str, str]]:
    noted = [fact.event for fact in run.facts if isinstance(fact.event, MarkerRecorded)]
    return [(one.kind, one.value.data.decode()) for one in noted if one.value is not None]


def result_of(text: str) -> str:
    """What the activity returns for its input: the same whoever runs it, and how often."""
    return mix("worked", text)


def _plan_of(started: ev.WorkflowStarted) -> Plan:
    return msgspec.json.decode(started.input[0].data, type=Plan)


def expected_chain(run: RunLog) -> str:
    """Why the end of a run is wrong; empty when it is right."""
    closing = run.closing
    started = run.started.event
    if closing is None or not isinstance(started, ev.WorkflowStarted):
        return ""
    event: Any = closing.event
    asked = any(isinstance(fact.event, ev.WorkflowCancelRequested) for fact in run.facts)
    if isinstance(event, ev.WorkflowTerminated | ev.WorkflowTimedOut):
        return ""
    # A blocked run may come to its end by inputs that were there before it was asked.
    blocked = any(isinstance(fact.event, ev.WorkflowBlocked) for fact in run.facts)
    # So may one whose child ended its own way after it was asked to cancel.
    swallowed = any(isinstance(fact.event, ce.ChildCancelRequested) for fact in run.facts)
    if isinstance(event, ev.WorkflowCanceled) or (asked and not blocked and not swallowed):
        both = isinstance(event, ev.WorkflowCanceled) and asked
        return "" if both else f"asked to cancel: {asked}, ended {type(event).__name__}"
    plan = _plan_of(started)
    try:
        chain = _Story(run).chain(plan)
    except _Unfinished:
        return f"{type(event).__name__} before its steps were done"
    return _compare(event, plan, chain, started.attempt)


def _compare(event: Any, plan: Plan, chain: str, attempt: int) -> str:
    kind, got = type(event), ""
    if plan.again:
        wanted: type = ev.WorkflowContinuedAsNew
        if kind is wanted:
            got = msgspec.json.decode(event.input[0].data, type=Plan).salt
    elif plan.fails or plan.fails_first >= attempt:
        wanted = ev.WorkflowFailed
        got = event.failure.chain[0].message if kind is wanted else ""
    else:
        wanted = ev.WorkflowCompleted
        got = msgspec.json.decode(event.result.data) if kind is wanted else ""
    if kind is wanted and got == chain:
        return ""
    return f"ended {kind.__name__} {got!r}, expected {wanted.__name__} {chain!r}"
