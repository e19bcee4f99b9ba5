"""What tests of operators share: a run with one pending activity, and what is done to it."""

from __future__ import annotations

from typing import Any

from perdure_actors.core.deadlines import decide_activity_alarm
from perdure_actors.core.decision import Due, Later
from perdure_actors.core.state import ActivityState, RecordId, Run
from perdure_schemas import commands as cmd
from perdure_schemas.payloads import Failure, FailureCause, ReplyTo, RetryPolicy
from tests.unit.core_world import CoreWorld

BOOM = Failure(chain=[FailureCause(message="boom", type="Boom")])
REPLY = ReplyTo(partition=3, correlation_id="c-1")
TWICE = RetryPolicy(maximum_attempts=2)
AT = RecordId(1, b"n", 90, 1)


def pending(**fields: Any) -> tuple[CoreWorld, Run, ActivityState]:
    world = CoreWorld()
    run = world.start()
    world.schedule(run, **fields)
    return world, run, run.activities["1"]


def fail(world: CoreWorld, run: Run) -> None:
    world.do(world.report(cmd.FailActivity, run, failure=BOOM))


def claim(world: CoreWorld, run: Run, **fields: Any) -> Any:
    return world.do(world.report(cmd.ClaimActivity, run, reply=REPLY, **fields))


def ask(world: CoreWorld, kind: Any, **fields: Any) -> Any:
    made = {"workflow_id": "wf", "activity_id": "1", "identity": "ann", **fields}
    return world.do(kind(**made))


def alarm(world: CoreWorld, run: Run) -> Due | Later:
    return decide_activity_alarm(world, run, "1", world.now_ms)
