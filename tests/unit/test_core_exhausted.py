"""Activities that are out of attempts and wait for a person."""

from __future__ import annotations

from typing import Any

import pytest

from perdure_actors.core.decision import Due, Later, PushOrders
from perdure_actors.core.state import ActivityState, Run
from perdure_schemas import commands as cmd
from perdure_schemas import events as ev
from perdure_schemas import operator_commands as op
from perdure_schemas import operator_events as oe
from perdure_schemas.payloads import Failure, FailureCause, RetryPolicy
from tests.unit.core_world import CoreWorld
from tests.unit.operating_world import (
    BOOM,
    TWICE,
    alarm,
    ask,
    claim,
    fail,
    pending,
)

# Out of attempts.


def exhausted() -> tuple[CoreWorld, Run, ActivityState]:
    world, run, activity = pending(
        retry_policy=TWICE, on_exhausted="pause", schedule_to_close_ms=60_000
    )
    fail(world, run)
    world.pass_ms(1_000)
    world.record("run-1", ev.ActivityAttemptScheduled(activity_id="1", attempt=2))
    fail(world, run)
    return world, run, activity


def test_an_activity_out_of_attempts_waits_for_a_person() -> None:
    world, run, activity = exhausted()

    assert world.log[-1][2] == oe.ActivityPaused(
        activity_id="1", reason="exhausted", failure=BOOM, attempt=2
    )
    assert (activity.state, activity.exhausted, activity.last_failure) == ("paused", True, BOOM)
    assert run.state.parked == ["1"]
    assert run.state.shown_status == "blocked"
    assert run.state.status == "running"
    world.pass_ms(10_000_000)
    assert alarm(world, run) == Later(), "its time stands still"
    world.check()


@pytest.mark.parametrize("kind", [op.RetryActivityNow, op.UnpauseActivity, op.ResetActivity])
def test_a_person_tries_it_again_with_all_of_its_time(kind: Any) -> None:
    world, run, activity = exhausted()
    world.pass_ms(10_000_000)

    ask(world, kind)
    due = alarm(world, run)
    if isinstance(due, Due):
        world.record("run-1", *due.events)

    assert run.state.parked == []
    assert run.state.shown_status == "running"
    assert activity.state == "scheduled"
    assert activity.attempt == (1 if kind is op.ResetActivity else 3)
    assert activity.alarm_ms == world.now_ms + 60_000
    world.check()


def test_a_person_fails_it() -> None:
    world, run, _ = exhausted()
    no = Failure(chain=[FailureCause(message="no")])

    verdict = ask(world, op.FailActivityNow, failure=no)

    assert verdict.steps[0].events == [
        ev.ActivityFailed(
            activity_id="1", attempt=2, failure=no, retry_state="operator", identity="ann"
        )
    ]
    assert run.state.parked == []
    assert run.activities == {}
    world.check()


def test_a_run_that_closes_waits_for_nobody() -> None:
    world, run, _ = exhausted()

    world.record("run-1", ev.WorkflowTerminated())

    assert run.state.parked == []
    assert run.state.shown_status == "terminated"


def test_time_that_runs_out_parks_it_too_and_stops_who_runs_it() -> None:
    world, run, activity = pending(on_exhausted="pause", schedule_to_close_ms=5_000)
    claim(world, run)
    world.pass_ms(5_000)

    due = alarm(world, run)
    assert isinstance(due, Due)
    world.record("run-1", *due.events)

    assert activity.exhausted
    assert world.effects[-1] == PushOrders("w1", 3, activity.issued, "timed_out")


def test_what_no_attempt_could_mend_fails_and_so_does_what_is_cancelled() -> None:
    final = Failure(chain=[FailureCause(message="no", non_retryable=True)])
    world, run, _ = pending(on_exhausted="pause")
    verdict = world.decide(world.report(cmd.FailActivity, run, failure=final))
    assert isinstance(verdict.steps[0].events[0], ev.ActivityFailed)

    world, run, _ = pending(on_exhausted="pause", retry_policy=RetryPolicy(maximum_attempts=1))
    world.record("run-1", ev.ActivityCancelRequested(activity_id="1"))
    verdict = world.decide(world.report(cmd.FailActivity, run, failure=BOOM))
    assert isinstance(verdict.steps[0].events[0], ev.ActivityFailed)
