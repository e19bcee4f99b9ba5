"""What people do to pending activities."""

from __future__ import annotations

import pytest

from perdure_actors.core import rules
from perdure_actors.core.decision import Due, Later, PushOrders, Rejection
from perdure_schemas import commands as cmd
from perdure_schemas import events as ev
from perdure_schemas import operator_commands as op
from perdure_schemas import operator_events as oe
from perdure_schemas.payloads import Payload, RetryPolicy
from perdure_schemas.replies import Accepted, CanceledAttempt, WorkerOrders
from tests.unit.core_world import NOW_MS
from tests.unit.operating_world import (
    AT,
    BOOM,
    TWICE,
    alarm,
    ask,
    claim,
    fail,
    pending,
)

# Which ones.


@pytest.mark.parametrize(
    ("fields", "code", "message"),
    [
        ({"workflow_id": "x"}, "not_found", "no workflow 'x' on task queue 'orders'"),
        ({"run_id": "x"}, "not_found", "no workflow 'wf' run x on task queue 'orders'"),
        (
            {"activity_id": "9"},
            "not_found",
            "workflow 'wf' has no pending activity with id '9'; pending: 1 (charge)",
        ),
        (
            {"activity_id": "", "activity_type": "ship"},
            "not_found",
            "workflow 'wf' has no pending activity of type 'ship'; pending: 1 (charge)",
        ),
        (
            {"activity_type": "charge"},
            "invalid",
            "name activities by an id or by a type: one of the two",
        ),
    ],
)
def test_a_command_about_nothing_says_what_there_is(
    fields: dict[str, str], code: str, message: str
) -> None:
    world, _, _ = pending()

    verdict = ask(world, op.PauseActivity, **fields)

    assert isinstance(verdict, Rejection)
    assert (verdict.code, verdict.message) == (code, message)


def test_a_closed_run_has_nothing_to_operate_on() -> None:
    world, _, _ = pending()
    world.record("run-1", ev.WorkflowTerminated())

    verdict = ask(world, op.ResetActivity)

    assert verdict == Rejection(
        "closed", "workflow 'wf' is terminated already", "run-1", "terminated"
    )


def test_a_type_names_all_of_its_activities() -> None:
    world, run, _ = pending()
    world.schedule(run, "2")

    verdict = ask(world, op.PauseActivity, activity_id="", activity_type="charge", reason="why")

    assert verdict.steps[0].events == [
        oe.ActivityPaused(activity_id=one, reason="why", identity="ann") for one in "12"
    ]
    assert verdict.answer == Accepted(workflow_id="wf", run_id="run-1", first_run_id="run-1")


# Pause and unpause.


def test_what_backs_off_is_parked_at_once_and_goes_on_when_unpaused() -> None:
    world, run, activity = pending()
    fail(world, run)

    ask(world, op.PauseActivity, reason="why")
    assert (activity.state, activity.paused, activity.paused_ms) == ("paused", True, NOW_MS)
    assert (activity.pause_reason, activity.pause_identity) == ("why", "ann")
    assert activity.alarm_ms == 0
    world.pass_ms(1_000_000)
    assert alarm(world, run) == Later()
    assert ask(world, op.PauseActivity).steps == [], "pausing twice is pausing once"

    ask(world, op.UnpauseActivity)
    assert (activity.state, activity.paused, activity.retry_ms) == (
        "backing_off",
        False,
        world.now_ms,
    )
    assert alarm(world, run) == Due([ev.ActivityAttemptScheduled(activity_id="1", attempt=2)])
    world.check()


def test_what_fails_while_it_is_paused_is_parked() -> None:
    world, run, activity = pending()
    ask(world, op.PauseActivity)
    assert activity.state == "scheduled", "its task is out"

    fail(world, run)

    assert (activity.state, activity.attempt) == ("paused", 1)
    ask(world, op.UnpauseActivity, reset_attempts=True, reset_heartbeat=True)
    assert alarm(world, run) == Due([ev.ActivityAttemptScheduled(activity_id="1", attempt=1)])
    world.check()


def test_a_grant_is_refused_while_it_is_paused_and_the_attempt_is_not_counted() -> None:
    world, run, activity = pending()
    ask(world, op.PauseActivity, reason="why")

    verdict = claim(world, run, wants_grant=True)

    orders = verdict.answer
    assert (orders.granted, orders.reason) == (False, "paused")
    assert (activity.state, activity.attempt) == ("paused", 0)
    ask(world, op.UnpauseActivity)
    assert alarm(world, run) == Due([ev.ActivityAttemptScheduled(activity_id="1", attempt=1)])
    world.check()


def test_what_runs_is_told_and_what_it_says_is_not_held_against_it() -> None:
    world, run, activity = pending(retry_policy=RetryPolicy(maximum_attempts=1))
    claim(world, run)

    ask(world, op.PauseActivity)
    assert world.effects[-1] == PushOrders("w1", 3, activity.issued, "paused")
    stop = CanceledAttempt(token=world.token(activity.issued), reason="paused")
    lease = cmd.WorkerLease(worker_id="w1", task_queue="orders", reply_partition=3, lease_ms=6_000)
    assert world.decide(lease).answer == WorkerOrders(canceled=[stop])
    assert claim(world, run).answer.canceled == [stop]

    world.do(world.report(cmd.ConfirmActivityCanceled, run))
    assert (activity.state, activity.attempt) == ("paused", 0)
    world.check()


def test_what_is_handed_back_while_it_is_paused_stays() -> None:
    world, run, activity = pending()
    ask(world, op.PauseActivity)

    world.do(world.report(cmd.HandBackActivity, run))

    assert (activity.state, activity.attempt) == ("paused", 0)


def test_jitter_is_no_longer_than_asked_and_the_same_for_the_same_id() -> None:
    world, run, activity = pending()
    fail(world, run)
    ask(world, op.PauseActivity)

    ask(world, op.UnpauseActivity, jitter_ms=500)

    assert NOW_MS < activity.retry_ms < NOW_MS + 500
    first = activity.retry_ms
    ask(world, op.ResetActivity, jitter_ms=500)
    assert activity.retry_ms == first


def test_unpausing_what_is_not_paused_is_refused() -> None:
    world, _, _ = pending()

    verdict = ask(world, op.UnpauseActivity)

    assert (verdict.code, verdict.message) == (
        "invalid",
        "activity charge (id 1) is not paused",
    )


def test_a_paused_activity_can_be_cancelled_and_still_times_out() -> None:
    world, run, _ = pending(schedule_to_close_ms=60_000)
    fail(world, run)
    ask(world, op.PauseActivity)
    assert alarm(world, run) == Later(NOW_MS + 60_000)
    world.record("run-1", ev.ActivityCancelRequested(activity_id="1"))

    assert alarm(world, run) == Due([ev.ActivityCanceled(activity_id="1", attempt=1)])
    world.pass_ms(60_000)
    due = alarm(world, run)
    assert isinstance(due, Due)
    assert isinstance(due.events[0], ev.ActivityTimedOut)


# Reset.


def test_reset_starts_over_at_once_where_nothing_runs() -> None:
    world, run, activity = pending()
    activity.heartbeat_details = [Payload(data=b"1")]
    fail(world, run)

    ask(world, op.ResetActivity, reset_heartbeat=True)

    assert activity.heartbeat_details == []
    assert alarm(world, run) == Due([ev.ActivityAttemptScheduled(activity_id="1", attempt=1)])
    world.check()


def test_reset_keeps_what_is_paused_where_it_is_asked_to() -> None:
    world, run, activity = pending()
    fail(world, run)
    ask(world, op.PauseActivity)

    ask(world, op.ResetActivity, keep_paused=True)
    assert (activity.state, activity.paused) == ("paused", True)
    ask(world, op.ResetActivity)

    assert (activity.state, activity.paused, activity.attempt) == ("backing_off", False, 0)


def test_the_attempt_under_way_is_the_last_of_the_old_count() -> None:
    world, run, activity = pending(retry_policy=TWICE)
    fail(world, run)
    world.pass_ms(1_000)
    world.record("run-1", ev.ActivityAttemptScheduled(activity_id="1", attempt=2))
    claim(world, run)

    ask(world, op.ResetActivity)
    assert world.effects[-1] == PushOrders("w1", 3, activity.issued, "reset")
    fail(world, run)

    assert (activity.state, activity.attempt, activity.starts_over) == ("backing_off", 0, False)
    world.check()


def test_what_ends_because_it_starts_over_does_so_at_once() -> None:
    world, run, activity = pending()
    claim(world, run)
    ask(world, op.ResetActivity)

    world.do(world.report(cmd.ConfirmActivityCanceled, run))

    assert (activity.attempt, activity.retry_ms) == (0, NOW_MS)


# Retry and fail.


def test_retrying_now_needs_something_that_waits() -> None:
    world, run, _ = pending()
    assert ask(world, op.RetryActivityNow).message == (
        "attempt 1 of activity charge (id 1) is scheduled already"
    )
    fail(world, run)
    ask(world, op.PauseActivity)
    assert ask(world, op.RetryActivityNow).message == (
        "activity charge (id 1) is paused: unpause it"
    )
    ask(world, op.UnpauseActivity)

    verdict = ask(world, op.RetryActivityNow)

    assert verdict.steps[0].events == [
        ev.ActivityAttemptScheduled(activity_id="1", attempt=2, reason="operator")
    ]


def test_failing_by_type_needs_one_of_that_type() -> None:
    world, run, _ = pending()
    world.schedule(run, "2")

    verdict = ask(world, op.FailActivityNow, failure=BOOM, activity_id="", activity_type="charge")

    assert verdict.message == "several activities are of that type: name one of 1, 2"


def test_who_runs_what_a_person_fails_is_told() -> None:
    world, run, activity = pending()
    claim(world, run)
    told = PushOrders("w1", 3, activity.issued, "not_found")

    by_worker = ev.ActivityFailed(activity_id="1", attempt=1, failure=BOOM)
    assert rules.effects_of(run, by_worker, AT, NOW_MS) == []
    ask(world, op.FailActivityNow, failure=BOOM)

    assert world.effects[-1] == told
    assert rules.effects_of(run, by_worker, AT, NOW_MS) == [], "it is gone"


# Options.


def test_new_options_count_from_the_next_attempt_and_can_be_taken_back() -> None:
    world, _run, activity = pending()
    asked = activity.scheduled

    ask(world, op.UpdateActivityOptions, start_to_close_ms=5, heartbeat_ms=0, task_queue="big")
    assert activity.scheduled.start_to_close_ms == 5
    assert activity.scheduled.task_queue == "big"
    assert activity.scheduled.retry_policy == asked.retry_policy
    ask(world, op.UpdateActivityOptions, retry_policy=TWICE)
    assert (activity.scheduled.start_to_close_ms, activity.scheduled.retry_policy) == (5, TWICE)

    ask(world, op.UpdateActivityOptions, restore_original=True)

    assert activity.scheduled == asked
    world.check()


def test_an_attempt_under_way_keeps_the_times_that_its_worker_knows() -> None:
    world, run, activity = pending()
    claim(world, run)

    ask(world, op.UpdateActivityOptions, start_to_close_ms=2_000, heartbeat_ms=1_000)

    world.pass_ms(9_999)
    assert isinstance(alarm(world, run), Later)
    assert activity.alarm_ms == NOW_MS + 10_000
    world.pass_ms(1)
    due = alarm(world, run)
    assert isinstance(due, Due)
    world.record("run-1", *due.events)
    world.record("run-1", ev.ActivityAttemptScheduled(activity_id="1", attempt=2))
    claim(world, run)
    assert activity.alarm_ms == world.now_ms + 1_000


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"start_to_close_ms": 0}, "needs a start-to-close or a schedule-to-close time"),
        ({"heartbeat_ms": 10**16}, "heartbeat_ms is 10000000000000000: 3153600000000 is the most"),
    ],
)
def test_options_that_cannot_be_are_refused(fields: dict[str, int], message: str) -> None:
    world, _, _ = pending()

    verdict = ask(world, op.UpdateActivityOptions, **fields)

    assert verdict.code == "invalid"
    assert message in verdict.message


def test_a_local_activity_has_no_queue_to_change() -> None:
    world, _, _ = pending(local=True)

    assert "is local" in ask(world, op.UpdateActivityOptions, task_queue="big").message
