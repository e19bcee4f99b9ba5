"""Local activities in the core: the same life, run by the host instead of a worker."""

from __future__ import annotations

from typing import Any

from perdure_actors.core.deadlines import decide_activity_alarm, decide_local_lost
from perdure_actors.core.decision import Due, Later, RunLocal, StopLocal
from perdure_actors.core.state import ActivityState, Run
from perdure_schemas.commands import CompleteActivity, ConfirmActivityCanceled, FailActivity
from perdure_schemas.events import (
    ActivityCanceled,
    ActivityCancelRequested,
    ActivityCompleted,
    ActivityRetryScheduled,
    ActivityTimedOut,
    WorkflowTerminated,
)
from perdure_schemas.payloads import Failure, FailureCause, Payload, RetryPolicy
from perdure_schemas.tracing import trace_of
from tests.unit.core_world import CoreWorld

BOOM = Failure(chain=[FailureCause(message="boom")])
LOST = FailureCause(
    kind="timeout",
    type="HostLost",
    timeout_type="heartbeat",
    message=(
        "host lost: attempt 1 of local activity charge was under way in the process that had the"
        " run"
    ),
)


def local_world(**fields: Any) -> tuple[CoreWorld, Run, ActivityState]:
    world = CoreWorld()
    run = world.start()
    world.schedule(run, local=True, **fields)
    return world, run, run.activities["1"]


def test_the_host_is_told_to_run_it_and_no_task_is_sent() -> None:
    world, run, activity = local_world()

    trace = trace_of(run.started, "run-1")
    assert world.effects == [RunLocal("wf", "run-1", "Order", activity, trace)]
    assert activity.alarm_ms == 0, "whoever runs it keeps its times"
    assert decide_activity_alarm(world, run, "1", world.now_ms) == Later()
    world.check()


def test_schedule_to_close_is_kept_by_the_run_and_stops_what_runs() -> None:
    world, run, activity = local_world(schedule_to_close_ms=5_000)
    world.pass_ms(5_000)

    due = decide_activity_alarm(world, run, "1", world.now_ms)

    assert isinstance(due, Due)
    assert isinstance(due.events[0], ActivityTimedOut)
    world.record("run-1", *due.events)
    assert world.effects[1:] == [StopLocal(activity.issued, "timed_out")]


def test_its_reports_are_those_of_any_activity() -> None:
    world, run, _ = local_world()
    result = Payload(data=b"1")

    decision = world.do(world.report(CompleteActivity, run, result=result, worker_id=""))

    assert decision.steps[0].events == [
        ActivityCompleted(activity_id="1", attempt=1, result=result)
    ]
    assert run.activities == {}


def test_a_failed_attempt_is_followed_by_another_in_this_host() -> None:
    world, run, activity = local_world()

    world.do(world.report(FailActivity, run, failure=BOOM))
    assert activity.state == "backing_off"
    world.pass_ms(1_000)
    due = decide_activity_alarm(world, run, "1", world.now_ms)
    assert isinstance(due, Due)
    world.record("run-1", *due.events)

    again = world.effects[-1]
    assert isinstance(again, RunLocal)
    assert again.activity.attempt == 2
    world.check()


def test_cancelling_stops_what_runs_and_waits_for_its_word() -> None:
    world, run, activity = local_world()

    world.record("run-1", ActivityCancelRequested(activity_id="1"))
    assert world.effects[1:] == [StopLocal(activity.issued, "cancel_requested")]
    world.pass_ms(60_000)
    assert decide_activity_alarm(world, run, "1", world.now_ms) == Later()

    decision = world.do(world.report(ConfirmActivityCanceled, run))
    assert isinstance(decision.steps[0].events[0], ActivityCanceled)


def test_a_run_that_closes_stops_what_runs() -> None:
    world, _run, activity = local_world()

    world.record("run-1", WorkflowTerminated())

    assert world.effects[1:] == [StopLocal(activity.issued, "not_found")]


def test_one_that_backs_off_has_nothing_to_stop() -> None:
    world, run, _ = local_world()
    world.do(world.report(FailActivity, run, failure=BOOM))
    before = list(world.effects)

    world.record("run-1", WorkflowTerminated())

    assert world.effects == before


def test_an_attempt_whose_host_is_gone_has_failed() -> None:
    world, run, _ = local_world()

    due = decide_local_lost(run, "1", world.now_ms)

    assert due == Due(
        [
            ActivityRetryScheduled(
                activity_id="1",
                attempt=1,
                failure=Failure(chain=[LOST]),
                due_ms=world.now_ms + 1_000,
            )
        ]
    )


def test_the_only_attempt_is_never_made_twice() -> None:
    world, run, _ = local_world(retry_policy=RetryPolicy(maximum_attempts=1))

    due = decide_local_lost(run, "1", world.now_ms)

    assert due == Due(
        [
            ActivityTimedOut(
                activity_id="1",
                attempt=1,
                timeout_type="heartbeat",
                retry_state="maximum_attempts_reached",
                failure=Failure(chain=[LOST]),
            )
        ]
    )


def test_what_is_not_under_way_is_not_lost() -> None:
    world, run, _ = local_world()
    world.schedule(run, "2")
    world.do(world.report(FailActivity, run, failure=BOOM))

    assert decide_local_lost(run, "1", world.now_ms) == Later()
    assert decide_local_lost(run, "2", world.now_ms) == Later(), "a worker runs that one"
    assert decide_local_lost(run, "3", world.now_ms) == Later()
