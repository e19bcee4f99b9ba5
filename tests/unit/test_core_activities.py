"""Activities: reports with right and stale tokens, retries, cancels, deadlines and lost workers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from perdure_actors.core.activities import check_activities
from perdure_actors.core.deadlines import decide_activity_alarm, decide_worker_lost
from perdure_actors.core.decision import (
    Decision,
    Due,
    Ignored,
    Later,
    Limits,
    PushOrders,
    SendTask,
    Step,
)
from perdure_actors.core.liveness import Heard, Liveness
from perdure_actors.core.state import Run
from perdure_schemas import commands as cmd
from perdure_schemas import events as ev
from perdure_schemas.payloads import Failure, FailureCause, Payload, ReplyTo, RetryPolicy
from perdure_schemas.replies import CanceledAttempt, WorkerOrders
from tests.unit.core_world import NOW_MS, CoreWorld

BOOM = Failure(chain=[FailureCause(message="boom", type="Boom")])
REPORTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "complete": (cmd.CompleteActivity, {"result": Payload(data=b"1")}),
    "fail": (cmd.FailActivity, {"failure": BOOM}),
    "confirm": (cmd.ConfirmActivityCanceled, {}),
    "heartbeat": (cmd.HeartbeatActivity, {"details": [Payload(data=b"2")]}),
    "claim": (cmd.ClaimActivity, {"reply": ReplyTo(partition=3, correlation_id="c")}),
}
EXPECTED: dict[str, ev.Event] = {
    "complete": ev.ActivityCompleted(activity_id="1", attempt=1, result=Payload(data=b"1")),
    "fail": ev.ActivityRetryScheduled(
        activity_id="1", attempt=1, failure=BOOM, due_ms=NOW_MS + 1_000
    ),
    "confirm": ev.ActivityRetryScheduled(
        activity_id="1",
        attempt=1,
        failure=Failure(
            chain=[
                FailureCause(
                    message="the attempt cancelled itself though nobody had asked it to",
                    type="CancelledError",
                )
            ]
        ),
        due_ms=NOW_MS + 1_000,
    ),
    "heartbeat": ev.ActivityHeartbeat(activity_id="1", attempt=1, details=[Payload(data=b"2")]),
    "claim": ev.ActivityStarted(activity_id="1", attempt=1, worker_id="w1", reply_partition=3),
}


@pytest.fixture
def world() -> Iterator[CoreWorld]:
    made = CoreWorld()
    yield made
    made.check()


@pytest.fixture
def run(world: CoreWorld) -> Run:
    found = world.start()
    world.schedule(found)
    return found


def claim(world: CoreWorld, run: Run, worker_id: str = "w1") -> Any:
    reply = ReplyTo(partition=3, correlation_id="c")
    return world.do(world.report(cmd.ClaimActivity, run, worker_id=worker_id, reply=reply))


def alarm(world: CoreWorld, run: Run) -> Due | Later:
    return decide_activity_alarm(world, run, "1", world.now_ms)


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_of_the_current_attempt_is_taken(world: CoreWorld, run: Run, name: str) -> None:
    kind, fields = REPORTS[name]

    verdict = world.do(world.report(kind, run, **fields))

    assert isinstance(verdict, Decision)
    assert verdict.steps == [Step(run.state.run_id, [EXPECTED[name]])]


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"token": b"forged"}, "a token that is not the attempt's"),
        ({"attempt": 2}, "an older attempt"),
        ({"attempt": 0}, "an older attempt"),
        ({"run_id": "run-9"}, "unknown run"),
        ({"workflow_id": "other"}, "unknown run"),
        ({"activity_id": "9"}, "no such activity is pending"),
    ],
)
def test_a_report_of_any_other_attempt_is_dropped(
    world: CoreWorld, run: Run, name: str, wrong: dict[str, Any], reason: str
) -> None:
    kind, fields = REPORTS[name]
    made = world.report(kind, run, **fields)
    stale = kind(**{field: getattr(made, field) for field in kind.__struct_fields__} | wrong)

    verdict = world.decide(stale)

    assert isinstance(verdict, Ignored)
    assert verdict.reason == reason
    if name == "claim":
        token = wrong.get("token", made.token)
        assert verdict.answer == WorkerOrders(token=token, granted=False, reason="not_found")


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_after_the_attempt_failed_is_dropped(
    world: CoreWorld, run: Run, name: str
) -> None:
    kind, fields = REPORTS[name]
    late = world.report(kind, run, **fields)
    world.do(world.report(cmd.FailActivity, run, failure=BOOM))

    verdict = world.decide(late)

    assert isinstance(verdict, Ignored)
    assert verdict.reason == "an older attempt"


def test_a_task_handed_back_goes_out_again_and_is_no_history(world: CoreWorld, run: Run) -> None:
    length = run.state.seq

    verdict = world.do(world.report(cmd.HandBackActivity, run, reason="no_slot"))

    assert verdict == Decision([], None, "run-1", handed_back="1")
    assert run.state.seq == length
    # Whoever takes it claims it by the same token.
    assert isinstance(claim(world, run, "w2"), Decision)


def test_a_hand_back_that_comes_twice_takes_nothing_from_who_has_it(
    world: CoreWorld, run: Run
) -> None:
    back = world.report(cmd.HandBackActivity, run, reason="no_slot")
    world.do(back)
    claim(world, run)

    assert world.do(back) == Ignored("handed back by the worker that runs it")
    assert run.activities["1"].state == "started"


def test_an_attempt_that_was_granted_and_not_begun_gets_a_new_token(
    world: CoreWorld, run: Run
) -> None:
    claim(world, run)
    old = world.report(cmd.CompleteActivity, run)
    world.do(world.report(cmd.HandBackActivity, run, reason="worker_shutdown"))

    assert isinstance(world.decide(old), Ignored)
    assert isinstance(world.decide(world.report(cmd.CompleteActivity, run)), Decision)
    assert run.activities["1"].attempt == 1
    assert [type(effect) for effect in world.effects] == [SendTask, SendTask]


def test_one_worker_an_attempt(world: CoreWorld, run: Run) -> None:
    first, again = claim(world, run), claim(world, run)
    other = claim(world, run, "w2")

    token = world.token(run.activities["1"].issued)
    assert first.answer == WorkerOrders(token=token, granted=True)
    assert (again.steps, again.answer) == ([], first.answer)
    assert isinstance(other, Ignored)
    assert other.answer == WorkerOrders(token=token, granted=False, reason="claimed_by_another")
    assert run.activities["1"].worker_id == "w1"


def test_a_heartbeat_without_details_is_not_logged(world: CoreWorld, run: Run) -> None:
    claim(world, run)

    verdict = world.do(world.report(cmd.HeartbeatActivity, run))

    assert verdict == Ignored("", liveness=(Heard("run-1", "1", NOW_MS),))
    assert world.liveness.heartbeat_ms("run-1", "1") == NOW_MS


def test_details_reach_the_next_attempt(world: CoreWorld, run: Run) -> None:
    details = [Payload(data=b"half")]
    world.do(world.report(cmd.HeartbeatActivity, run, details=details))
    world.do(world.report(cmd.FailActivity, run, failure=BOOM))
    world.pass_ms(1_000)

    verdict = alarm(world, run)
    assert isinstance(verdict, Due)
    world.record(run.state.run_id, *verdict.events)

    task = world.effects[-1]
    assert isinstance(task, SendTask)
    assert (task.activity.attempt, task.activity.heartbeat_details) == (2, details)


def test_the_next_attempt_waits_for_its_back_off(world: CoreWorld, run: Run) -> None:
    world.do(world.report(cmd.FailActivity, run, failure=BOOM))

    world.pass_ms(999)
    assert alarm(world, run) == Later(NOW_MS + 1_000)
    world.pass_ms(1)
    assert alarm(world, run) == Due([ev.ActivityAttemptScheduled(activity_id="1", attempt=2)])


@pytest.mark.parametrize(
    ("policy", "failure", "state"),
    [
        (RetryPolicy(maximum_attempts=1), BOOM, "maximum_attempts_reached"),
        (RetryPolicy(non_retryable_error_types=["Boom"]), BOOM, "non_retryable_failure"),
        (
            RetryPolicy(),
            Failure(chain=[FailureCause(non_retryable=True)]),
            "non_retryable_failure",
        ),
        (RetryPolicy(initial_interval_ms=60_000), BOOM, "timeout"),
    ],
)
def test_an_activity_fails_for_good_when_nothing_may_follow(
    world: CoreWorld, policy: RetryPolicy, failure: Failure, state: str
) -> None:
    run = world.start()
    world.schedule(run, retry_policy=policy, schedule_to_close_ms=50_000)

    late = world.report(cmd.CompleteActivity, run)
    verdict = world.do(world.report(cmd.FailActivity, run, failure=failure))

    event = ev.ActivityFailed(activity_id="1", attempt=1, failure=failure, retry_state=state)
    assert verdict.steps == [Step("run-1", [event])]
    assert run.activities == {}
    assert world.decide(late) == Ignored("no such activity is pending")


@pytest.mark.parametrize(
    ("fields", "claims", "after_ms", "kind"),
    [
        ({"start_to_close_ms": 100}, True, 100, "start_to_close"),
        ({"start_to_close_ms": 100}, False, 10_000, ""),
        ({"schedule_to_start_ms": 100}, False, 100, "schedule_to_start"),
        ({"schedule_to_start_ms": 100}, True, 100, ""),
        ({"schedule_to_close_ms": 100}, False, 100, "schedule_to_close"),
        ({"schedule_to_close_ms": 100}, True, 100, "schedule_to_close"),
        ({"heartbeat_ms": 100}, True, 100, "heartbeat"),
        ({"heartbeat_ms": 100}, False, 100, ""),
    ],
)
def test_deadlines_come_when_they_are_due_and_an_unread_word_may_refute_them(
    world: CoreWorld, fields: dict[str, Any], claims: bool, after_ms: int, kind: str
) -> None:
    run = world.start()
    world.schedule(run, retry_policy=RetryPolicy(maximum_attempts=1), **fields)
    if claims:
        claim(world, run)
    world.pass_ms(after_ms - 1)
    assert isinstance(alarm(world, run), Later)

    world.pass_ms(1)
    verdict = alarm(world, run)

    if not kind:
        assert isinstance(verdict, Later)
        return
    assert isinstance(verdict, Due)
    assert verdict.refutable
    (event,) = verdict.events
    assert isinstance(event, ev.ActivityTimedOut)
    assert event.timeout_type == kind


def test_a_heartbeat_moves_its_deadline(world: CoreWorld) -> None:
    run = world.start()
    world.schedule(run, heartbeat_ms=100)
    claim(world, run)
    world.pass_ms(90)
    world.do(world.report(cmd.HeartbeatActivity, run))
    world.pass_ms(90)

    assert alarm(world, run) == Later(NOW_MS + 190)


def test_a_take_over_renews_heartbeats_once(world: CoreWorld) -> None:
    run = world.start()
    world.schedule(run, heartbeat_ms=100)
    claim(world, run)
    world.pass_ms(500)
    world.liveness = Liveness(world.now_ms)

    assert alarm(world, run) == Later(world.now_ms + 100)


def test_a_cancel_reaches_the_worker_and_each_of_its_leases(world: CoreWorld, run: Run) -> None:
    claim(world, run)
    world.record(run.state.run_id, ev.ActivityCancelRequested(activity_id="1"))

    issued = run.activities["1"].issued
    assert world.effects[-1] == PushOrders("w1", 3, issued, "cancel_requested")
    lease = cmd.WorkerLease(worker_id="w1", task_queue="orders", reply_partition=5, lease_ms=6_000)
    for _ in range(2):
        told = world.do(lease)
        canceled = [CanceledAttempt(token=world.token(issued), reason="cancel_requested")]
        assert told.answer == WorkerOrders(canceled=canceled)
        assert told.reply == ReplyTo(partition=5, correlation_id="w1")
    again = claim(world, run)
    assert again.answer.canceled == canceled

    verdict = world.do(world.report(cmd.ConfirmActivityCanceled, run))
    assert verdict.steps[0].events == [ev.ActivityCanceled(activity_id="1", attempt=1)]
    ended = world.do(lease)
    assert (ended.reason, ended.answer, ended.reply) == ("", None, None)


def test_a_cancelled_attempt_is_not_tried_again(world: CoreWorld, run: Run) -> None:
    claim(world, run)
    world.record(run.state.run_id, ev.ActivityCancelRequested(activity_id="1"))

    verdict = world.do(world.report(cmd.FailActivity, run, failure=BOOM))

    (event,) = verdict.steps[0].events
    assert isinstance(event, ev.ActivityFailed)
    assert event.retry_state == "cancel_requested"


def test_a_cancelled_activity_that_nobody_runs_ends_by_itself(world: CoreWorld, run: Run) -> None:
    world.record(run.state.run_id, ev.ActivityCancelRequested(activity_id="1"))
    assert isinstance(alarm(world, run), Later)

    world.pass_ms(1_500)

    event = ev.ActivityCanceled(activity_id="1", attempt=1)
    assert alarm(world, run) == Due([event], refutable=True, at_ms=world.now_ms)


def test_a_lost_worker_fails_its_attempt(world: CoreWorld, run: Run) -> None:
    claim(world, run)
    assert world.liveness.lost_workers(NOW_MS + 5_999) == []
    assert world.liveness.lost_workers(NOW_MS + 6_000) == ["w1"]

    verdict = decide_worker_lost(run, "1", "w1", NOW_MS + 6_000)

    assert isinstance(verdict, Due)
    assert verdict.refutable
    (event,) = verdict.events
    assert isinstance(event, ev.ActivityRetryScheduled)
    assert event.failure.chain[0].type == "WorkerLost"


def test_forgetting_a_lost_worker_leaves_the_next_attempts_heartbeat(
    world: CoreWorld, run: Run
) -> None:
    claim(world, run)
    world.do(world.report(cmd.FailActivity, run, failure=BOOM))
    world.pass_ms(1_000)
    world.record(run.state.run_id, ev.ActivityAttemptScheduled(activity_id="1", attempt=2))
    claim(world, run, "w2")

    verdict = decide_worker_lost(run, "1", "w1", world.now_ms)

    assert isinstance(verdict, Later)
    world.liveness.forget("w1", "run-1", "1")
    assert world.liveness.heartbeat_ms("run-1", "1") == world.now_ms


@pytest.mark.parametrize(
    ("limits", "asked", "what"),
    [
        (Limits(), [ev.ActivityScheduled(activity_id="2", activity_type="a")], ""),
        (
            Limits(activities_max=1),
            [ev.ActivityScheduled(activity_id="2", activity_type="a")],
            "1 is the most",
        ),
        (
            Limits(payload_bytes_max=3),
            [
                ev.ActivityScheduled(
                    activity_id="2", activity_type="a", input=[Payload(data=b"1234")]
                )
            ],
            "3 is the most",
        ),
        (
            Limits(),
            [ev.ActivityScheduled(activity_id="1", activity_type="a")],
            "already pending",
        ),
    ],
)
def test_what_the_code_asks_for_is_weighed(limits: Limits, asked: list[Any], what: str) -> None:
    world = CoreWorld(limits=limits)
    run = world.start()
    world.schedule(run)

    problem = check_activities(world, run, asked)

    assert what in problem
    assert bool(what) == bool(problem)
