"""Deadlines of an activity: exactly what each brings, and when it is not due after all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from perdure_actors.core.deadlines import decide_activity_alarm, decide_worker_lost
from perdure_actors.core.decision import Due, Ignored, Later
from perdure_actors.core.liveness import Liveness
from perdure_actors.core.state import Run
from perdure_schemas import commands as cmd
from perdure_schemas import events as ev
from perdure_schemas.payloads import Failure, FailureCause, Payload, RetryPolicy
from tests.unit.core_world import NOW_MS, CoreWorld

BOOM = Failure(chain=[FailureCause(message="boom", type="Boom")])
ONCE = RetryPolicy(maximum_attempts=1)
HALF = [Payload(data=b"half")]


@pytest.fixture
def world() -> Iterator[CoreWorld]:
    made = CoreWorld()
    yield made
    made.check()


def alarm(world: CoreWorld, run: Run) -> Due | Later:
    return decide_activity_alarm(world, run, "1", world.now_ms)


def claim(world: CoreWorld, run: Run, **fields: Any) -> None:
    world.do(world.report(cmd.ClaimActivity, run, identity="me", **fields))


def cancel(world: CoreWorld) -> None:
    world.record("run-1", ev.ActivityCancelRequested(activity_id="1"))


def timed_out(kind: str, details: list[Payload] | None = None) -> FailureCause:
    return FailureCause(
        kind="timeout",
        message=f"activity charge timed out: {kind}",
        timeout_type=kind,
        last_heartbeat_details=details or [],
    )


def test_an_activity_that_has_ended_has_no_deadline(world: CoreWorld) -> None:
    run = world.start()
    world.schedule(run, schedule_to_close_ms=100)
    world.do(world.report(cmd.CompleteActivity, run))
    world.pass_ms(100)

    assert alarm(world, run) == Later()


def test_the_time_of_all_attempts_ends_one_that_backs_off_with_its_last_failure(
    world: CoreWorld,
) -> None:
    run = world.start()
    world.schedule(run, schedule_to_close_ms=3_000, retry_policy=RetryPolicy())
    world.do(world.report(cmd.HeartbeatActivity, run, details=HALF))
    world.do(world.report(cmd.FailActivity, run, failure=BOOM))
    world.pass_ms(3_000)

    verdict = alarm(world, run)

    event = ev.ActivityTimedOut(
        activity_id="1",
        attempt=1,
        timeout_type="schedule_to_close",
        retry_state="timeout",
        failure=Failure(chain=[timed_out("schedule_to_close", HALF), *BOOM.chain]),
    )
    assert verdict == Due([event], refutable=True, at_ms=world.now_ms)


def test_an_attempt_that_no_worker_starts_is_not_tried_again(world: CoreWorld) -> None:
    run = world.start()
    world.schedule(run, schedule_to_start_ms=100)
    world.pass_ms(100)

    verdict = alarm(world, run)

    event = ev.ActivityTimedOut(
        activity_id="1",
        attempt=1,
        timeout_type="schedule_to_start",
        retry_state="non_retryable_failure",
        failure=Failure(chain=[timed_out("schedule_to_start")]),
    )
    assert verdict == Due([event], refutable=True, at_ms=world.now_ms)


def test_an_attempt_not_yet_due_is_looked_at_again(world: CoreWorld) -> None:
    run = world.start()
    world.schedule(run, schedule_to_start_ms=100, schedule_to_close_ms=50)

    assert alarm(world, run) == Later(NOW_MS + 50)


def test_an_attempt_without_deadlines_is_not_looked_at_again(world: CoreWorld) -> None:
    run = world.start()
    world.schedule(run, start_to_close_ms=0)
    assert alarm(world, run) == Later()

    claim(world, run)

    assert alarm(world, run) == Later()


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"start_to_close_ms": 100}, "start_to_close"),
        ({"heartbeat_ms": 100}, "heartbeat"),
        ({"heartbeat_ms": 100, "start_to_close_ms": 0}, "heartbeat"),
    ],
)
def test_an_attempt_that_timed_out_is_tried_again(
    world: CoreWorld, fields: dict[str, Any], kind: str
) -> None:
    run = world.start()
    world.schedule(run, **fields)
    claim(world, run)
    world.record("run-1", ev.ActivityHeartbeat(activity_id="1", attempt=1, details=HALF))
    world.pass_ms(100)

    verdict = alarm(world, run)

    event = ev.ActivityRetryScheduled(
        activity_id="1",
        attempt=1,
        failure=Failure(chain=[timed_out(kind, HALF)]),
        due_ms=NOW_MS + 1_100,
        identity="me",
        started_ms=NOW_MS,
    )
    assert verdict == Due([event], refutable=True, at_ms=world.now_ms)
    world.record("run-1", event)
    assert run.activities["1"].heartbeat_details == HALF


def test_the_last_attempt_that_timed_out_is_the_outcome(world: CoreWorld) -> None:
    run = world.start()
    world.schedule(run, start_to_close_ms=100, retry_policy=ONCE)
    claim(world, run)
    world.pass_ms(100)

    verdict = alarm(world, run)

    event = ev.ActivityTimedOut(
        activity_id="1",
        attempt=1,
        timeout_type="start_to_close",
        retry_state="maximum_attempts_reached",
        failure=Failure(chain=[timed_out("start_to_close")]),
        started_ms=NOW_MS,
    )
    assert verdict == Due([event], refutable=True, at_ms=world.now_ms)


def test_an_activity_without_a_policy_is_tried_again_by_the_default_one(world: CoreWorld) -> None:
    run = world.start()
    world.schedule(run, retry_policy=None)

    verdict = world.do(world.report(cmd.FailActivity, run, failure=BOOM, started_ms=7))

    (event,) = verdict.steps[0].events
    assert event == ev.ActivityRetryScheduled(
        activity_id="1", attempt=1, failure=BOOM, due_ms=NOW_MS + 1_000, started_ms=7
    )


def test_a_failure_that_says_nothing_is_a_failure(world: CoreWorld) -> None:
    run = world.start()
    world.schedule(run, retry_policy=RetryPolicy(maximum_attempts=2))
    world.do(world.report(cmd.FailActivity, run, failure=Failure()))
    world.record("run-1", ev.ActivityAttemptScheduled(activity_id="1", attempt=2))

    verdict = world.do(world.report(cmd.FailActivity, run, failure=Failure()))

    (event,) = verdict.steps[0].events
    assert event == ev.ActivityFailed(
        activity_id="1", attempt=2, failure=Failure(), retry_state="maximum_attempts_reached"
    )


def test_heartbeats_do_not_put_off_the_time_of_all_attempts(world: CoreWorld) -> None:
    run = world.start()
    world.schedule(run, heartbeat_ms=300, schedule_to_close_ms=400, start_to_close_ms=0)
    claim(world, run)
    world.pass_ms(299)
    world.do(world.report(cmd.HeartbeatActivity, run))

    world.pass_ms(1)

    assert alarm(world, run) == Later(NOW_MS + 400)


@pytest.mark.parametrize(
    ("heartbeat_ms", "later_ms"), [(100, NOW_MS + 600), (5_000, NOW_MS + 1_000)]
)
def test_after_a_take_over_the_nearer_of_both_times_counts(
    world: CoreWorld, heartbeat_ms: int, later_ms: int
) -> None:
    run = world.start()
    world.schedule(run, heartbeat_ms=heartbeat_ms, start_to_close_ms=1_000)
    claim(world, run)
    world.pass_ms(500)
    world.liveness = Liveness(world.now_ms)

    assert alarm(world, run) == Later(later_ms)


def test_a_cancel_ends_an_attempt_that_backs_off_at_once(world: CoreWorld) -> None:
    run = world.start()
    world.schedule(run, schedule_to_close_ms=50_000)
    world.do(world.report(cmd.FailActivity, run, failure=BOOM))

    cancel(world)

    assert run.activities["1"].alarm_ms == 1
    assert alarm(world, run) == Due([ev.ActivityCanceled(activity_id="1", attempt=1)])


def test_a_cancelled_attempt_has_a_grace_to_be_reported_in(world: CoreWorld) -> None:
    run = world.start()
    world.schedule(run)
    world.pass_ms(1_000)
    cancel(world)
    assert alarm(world, run) == Later(NOW_MS + 1_500)

    world.pass_ms(500)

    event = ev.ActivityCanceled(activity_id="1", attempt=1)
    assert alarm(world, run) == Due([event], refutable=True, at_ms=world.now_ms)


def test_a_cancelled_attempt_that_was_claimed_is_left_to_its_worker(world: CoreWorld) -> None:
    run = world.start()
    world.schedule(run, start_to_close_ms=9_000)
    cancel(world)
    claim(world, run)
    world.pass_ms(1_500)

    assert alarm(world, run) == Later(NOW_MS + 9_000)


def test_a_cancelled_attempt_that_times_out_is_not_tried_again(world: CoreWorld) -> None:
    run = world.start()
    world.schedule(run, start_to_close_ms=100)
    claim(world, run)
    cancel(world)
    world.pass_ms(100)

    verdict = alarm(world, run)

    event = ev.ActivityTimedOut(
        activity_id="1",
        attempt=1,
        timeout_type="start_to_close",
        retry_state="cancel_requested",
        failure=Failure(chain=[timed_out("start_to_close")]),
        started_ms=NOW_MS,
    )
    assert verdict == Due([event], refutable=True, at_ms=world.now_ms)


def test_a_cancel_of_an_activity_that_has_ended_changes_nothing(world: CoreWorld) -> None:
    run = world.start()
    world.schedule(run)
    world.do(world.report(cmd.CompleteActivity, run))

    cancel(world)

    assert run.activities == {}
    assert run.gone == [("activity", "1", 0)]


def test_an_outcome_that_comes_twice_ends_an_activity_once(world: CoreWorld) -> None:
    run = world.start()
    world.schedule(run, schedule_to_close_ms=100)
    outcome = ev.ActivityCanceled(activity_id="1", attempt=1)

    world.record("run-1", outcome)
    world.record("run-1", outcome)

    assert run.gone == [("activity", "1", NOW_MS + 100)]


@pytest.mark.parametrize(("identity", "who"), [("me", "me"), ("", "w1")])
def test_an_attempt_of_a_lost_worker_says_who_ran_it(
    world: CoreWorld, identity: str, who: str
) -> None:
    run = world.start()
    world.schedule(run)
    world.do(world.report(cmd.ClaimActivity, run, identity=identity))
    world.do(world.report(cmd.HeartbeatActivity, run, details=HALF))

    verdict = decide_worker_lost(run, "1", "w1", NOW_MS + 6_000)

    cause = FailureCause(
        kind="timeout",
        type="WorkerLost",
        timeout_type="heartbeat",
        message=(
            f"worker lost: {who} ran attempt 1 of charge and has not been heard of since its"
            " lease ended"
        ),
        last_heartbeat_details=HALF,
    )
    event = ev.ActivityRetryScheduled(
        activity_id="1",
        attempt=1,
        failure=Failure(chain=[cause]),
        due_ms=NOW_MS + 7_000,
        identity=identity,
        started_ms=NOW_MS,
    )
    assert verdict == Due([event], refutable=True)


@pytest.mark.parametrize("left", ["ended", "handed back", "another's"])
def test_a_lost_worker_that_runs_it_no_more_is_forgotten(world: CoreWorld, left: str) -> None:
    run = world.start()
    world.schedule(run)
    claim(world, run)
    if left == "ended":
        world.do(world.report(cmd.CompleteActivity, run))
    else:
        world.do(world.report(cmd.HandBackActivity, run, reason="worker_shutdown"))
    if left == "another's":
        claim(world, run, worker_id="w2")

    verdict = decide_worker_lost(run, "1", "w1", NOW_MS + 6_000)

    assert verdict == Later()


def test_only_the_worker_that_runs_an_attempt_can_hand_it_back(world: CoreWorld) -> None:
    run = world.start()
    world.schedule(run)
    claim(world, run)

    verdict = world.do(world.report(cmd.HandBackActivity, run, worker_id="w2"))

    assert verdict == Ignored("handed back by a worker that does not run it")
    assert run.activities["1"].worker_id == "w1"
