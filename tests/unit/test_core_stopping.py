"""What follows an attempt that was told to stop, or was not made, because of what people did."""

from __future__ import annotations

from perdure_actors.core.decision import Due, Later
from perdure_schemas import commands as cmd
from perdure_schemas import events as ev
from perdure_schemas import operator_commands as op
from perdure_schemas.payloads import RetryPolicy
from tests.unit.operating_world import alarm, ask, claim, fail, pending


def test_an_attempt_that_stopped_for_a_pause_which_is_over_goes_out_again_uncounted() -> None:
    world, run, activity = pending(retry_policy=RetryPolicy(maximum_attempts=1))
    claim(world, run)
    ask(world, op.PauseActivity)
    ask(world, op.UnpauseActivity)

    world.do(world.report(cmd.ConfirmActivityCanceled, run))

    assert (activity.state, activity.attempt) == ("scheduled", 1)
    assert world.log[-1][2] == ev.ActivityAttemptScheduled(
        activity_id="1", attempt=1, reason="handed_back"
    )
    world.do(world.report(cmd.ConfirmActivityCanceled, run))
    assert "1" not in run.activities, "nobody told the new one to stop: it has failed"


def test_a_paused_activity_does_not_fail_for_want_of_a_worker() -> None:
    world, run, activity = pending(schedule_to_start_ms=100)
    ask(world, op.PauseActivity)
    assert activity.alarm_ms == 0
    world.pass_ms(200)
    assert alarm(world, run) == Later()

    ask(world, op.UnpauseActivity)

    assert activity.alarm_ms == world.now_ms + 100, "the wait begins anew"
    world.pass_ms(100)
    assert isinstance(alarm(world, run), Due)


def test_a_local_attempt_is_told_of_no_pause_so_one_that_cancels_itself_counts() -> None:
    world, run, activity = pending(local=True)
    ask(world, op.PauseActivity)
    ask(world, op.UnpauseActivity)

    world.do(world.report(cmd.ConfirmActivityCanceled, run))

    assert (activity.state, activity.attempt) == ("backing_off", 1)


def test_an_attempt_that_goes_unused_after_a_reset_is_followed_by_the_first() -> None:
    world, run, activity = pending()
    fail(world, run)
    world.record("run-1", ev.ActivityAttemptScheduled(activity_id="1", attempt=2))
    claim(world, run)
    ask(world, op.PauseActivity)
    ask(world, op.ResetActivity, keep_paused=True)

    world.do(world.report(cmd.ConfirmActivityCanceled, run))

    assert (activity.state, activity.attempt, activity.starts_over) == ("paused", 0, False)


def test_an_attempt_that_is_handed_back_after_a_reset_is_the_first() -> None:
    world, run, activity = pending()
    fail(world, run)
    world.record("run-1", ev.ActivityAttemptScheduled(activity_id="1", attempt=2))
    ask(world, op.ResetActivity)

    world.do(world.report(cmd.HandBackActivity, run))

    assert world.log[-1][2] == ev.ActivityAttemptScheduled(
        activity_id="1", attempt=1, reason="handed_back"
    )
    assert (activity.state, activity.attempt, activity.starts_over) == ("scheduled", 1, False)
