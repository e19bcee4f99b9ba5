"""Runs: start policies, cancel, terminate, timeouts, blocked code, and the run that follows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from perdure_actors.core.decision import Decision, Due, Later, Rejection, Step
from perdure_actors.core.execution import decide_run_alarm
from perdure_actors.core.next_run import decide_next_run
from perdure_schemas import events as ev
from perdure_schemas.commands import CancelWorkflow, StartWorkflow, TerminateWorkflow
from perdure_schemas.payloads import Failure, FailureCause, Payload, RetryPolicy
from perdure_schemas.replies import Accepted
from tests.unit.core_world import NOW_MS, CoreWorld

ENDS: dict[str, ev.Event] = {
    "completed": ev.WorkflowCompleted(),
    "failed": ev.WorkflowFailed(failure=Failure(chain=[FailureCause(message="no")])),
    "canceled": ev.WorkflowCanceled(),
    "terminated": ev.WorkflowTerminated(),
    "timed_out": ev.WorkflowTimedOut(),
}


@pytest.fixture
def world() -> Iterator[CoreWorld]:
    made = CoreWorld()
    yield made
    made.check()


def start(**fields: Any) -> StartWorkflow:
    return StartWorkflow(workflow_id="wf", workflow_type="Order", request_id="r2", **fields)


def test_a_first_start_begins_a_run(world: CoreWorld) -> None:
    verdict = world.do(start(run_timeout_ms=500, execution_timeout_ms=900))

    begun = ev.WorkflowStarted(
        workflow_type="Order",
        task_queue="orders",
        request_id="r2",
        run_timeout_ms=500,
        execution_timeout_ms=900,
        execution_expires_ms=NOW_MS + 900,
        first_run_id="run-1",
        original_run_id="run-1",
    )
    answer = Accepted(workflow_id="wf", run_id="run-1", first_run_id="run-1", started=True)
    assert verdict == Decision([Step("run-1", [begun])], answer, "run-1")


@pytest.mark.parametrize("status", ENDS)
@pytest.mark.parametrize(
    ("policy", "refused_after"),
    [
        ("allow_duplicate", set()),
        ("allow_duplicate_failed_only", {"completed"}),
        ("reject_duplicate", set(ENDS)),
    ],
)
def test_a_start_after_a_closed_run_follows_the_reuse_policy(
    world: CoreWorld, status: str, policy: str, refused_after: set[str]
) -> None:
    run = world.start()
    world.record(run.state.run_id, ENDS[status])

    verdict = world.do(start(id_reuse_policy=policy))

    if status in refused_after:
        assert isinstance(verdict, Rejection)
        assert (verdict.code, verdict.run_id) == ("already_started", "run-1")
        assert verdict.status == status
    else:
        assert isinstance(verdict, Decision)
        assert world.current("wf") is world.runs["run-2"]


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({}, "refused"),
        ({"id_conflict_policy": "fail"}, "refused"),
        ({"id_conflict_policy": "use_existing"}, "existing"),
        ({"id_conflict_policy": "terminate_existing"}, "replaced"),
        ({"id_reuse_policy": "terminate_if_running"}, "replaced"),
        ({"id_reuse_policy": "reject_duplicate"}, "refused"),
    ],
)
def test_a_start_over_an_open_run_follows_the_conflict_policy(
    world: CoreWorld, fields: dict[str, str], outcome: str
) -> None:
    run = world.start()

    verdict = world.do(start(**fields))

    if outcome == "refused":
        assert isinstance(verdict, Rejection)
        assert (verdict.code, verdict.run_id, verdict.status) == (
            "already_started",
            "run-1",
            "running",
        )
    elif outcome == "existing":
        found = Accepted(workflow_id="wf", run_id="run-1", first_run_id="run-1")
        assert verdict == Decision([], found, "run-1")
    else:
        assert run.state.status == "terminated"
        assert world.runs["run-2"].state.is_open


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"workflow_id": ""}, "1 to 1000 bytes"),
        ({"workflow_id": "x" * 1001}, "1 to 1000 bytes"),
        ({"workflow_type": ""}, "names no workflow type"),
        ({"cron_schedule": "* * * *"}, "wrong number of fields"),
    ],
)
def test_a_start_that_cannot_be_had_is_refused(
    world: CoreWorld, fields: dict[str, Any], what: str
) -> None:
    made: dict[str, Any] = {"workflow_id": "wf", "workflow_type": "Order"}
    verdict = world.decide(StartWorkflow(**{**made, **fields}))

    assert isinstance(verdict, Rejection)
    assert verdict.code == "invalid"
    assert what in verdict.message


def test_a_cancel_is_asked_once(world: CoreWorld) -> None:
    run = world.start()

    first = world.do(CancelWorkflow(workflow_id="wf", reason="why", identity="me"))
    again = world.do(CancelWorkflow(workflow_id="wf"))

    asked = ev.WorkflowCancelRequested(reason="why", identity="me")
    assert first.steps == [Step("run-1", [asked])]
    assert again.steps == []
    assert again.answer == first.answer
    assert run.state.is_open


def test_a_run_that_has_not_begun_is_cancelled_at_once(world: CoreWorld) -> None:
    run = world.start(start_delay_ms=1_000)

    world.do(CancelWorkflow(workflow_id="wf"))

    assert run.state.status == "canceled"


@pytest.mark.parametrize("kind", [CancelWorkflow, TerminateWorkflow])
@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"workflow_id": "other"}, "not_found"),
        ({"run_id": "run-9"}, "not_found"),
        ({"workflow_id": "other", "run_id": "run-1"}, "not_found"),
        ({"first_run_id": "run-9"}, "not_found"),
        ({}, "closed"),
        ({"run_id": "run-1"}, "closed"),
    ],
)
def test_what_has_no_open_run_is_refused(
    world: CoreWorld, kind: Any, fields: dict[str, str], code: str
) -> None:
    run = world.start()
    world.record(run.state.run_id, ev.WorkflowCompleted())

    verdict = world.decide(kind(**{"workflow_id": "wf", **fields}))

    assert isinstance(verdict, Rejection)
    assert verdict.code == code


def test_terminate_ends_a_run_and_all_that_is_pending(world: CoreWorld) -> None:
    run = world.start()
    world.schedule(run)
    world.record(run.state.run_id, ev.TimerStarted(timer_id="1", duration_ms=5))

    world.do(TerminateWorkflow(workflow_id="wf", reason="enough"))

    assert run.state.status == "terminated"
    assert run.state.closing is not None
    assert run.state.closing.failure is not None
    assert run.state.closing.failure.chain[0].message == "enough"


@pytest.mark.parametrize(
    ("fields", "after_ms", "event"),
    [
        ({"run_timeout_ms": 500}, 499, None),
        ({"run_timeout_ms": 500}, 500, ev.WorkflowTimedOut(timeout_type="run",
                                                           retry_state="retry_policy_not_set")),
        ({"execution_timeout_ms": 500}, 500, ev.WorkflowTimedOut(timeout_type="execution",
                                                                 retry_state="timeout")),
    ],
)  # fmt: skip
def test_a_run_times_out_when_it_is_due(
    world: CoreWorld, fields: dict[str, Any], after_ms: int, event: ev.Event | None
) -> None:
    run = world.start(**fields)
    world.pass_ms(after_ms)

    verdict = decide_run_alarm(world, run, "", world.now_ms)

    if event is None:
        assert verdict == Later(run.state.alarm_ms)
    else:
        assert verdict == Due([event], refutable=True, at_ms=world.now_ms)


def test_a_delayed_start_begins_when_its_timer_fires(world: CoreWorld) -> None:
    run = world.start(start_delay_ms=1_000)
    begun = run.state.begun
    assert decide_run_alarm(world, run, "", world.now_ms) == Later(NOW_MS + 1_000)

    world.pass_ms(1_000)
    verdict = decide_run_alarm(world, run, "", world.now_ms)
    assert verdict == Due([ev.TimerFired(timer_id="")])
    world.record(run.state.run_id, ev.TimerFired(timer_id=""))

    assert (begun, run.state.begun) == (False, True)
    assert run.state.alarm_ms == 0


def test_a_failed_run_is_followed_by_another(world: CoreWorld) -> None:
    policy = RetryPolicy(initial_interval_ms=400, maximum_attempts=2)
    run = world.start(retry_policy=policy)
    failed = ev.WorkflowFailed(failure=Failure(chain=[FailureCause(message="no")]))

    world.record(run.state.run_id, failed)

    actor = world.actors["wf"]
    assert decide_next_run(actor, world.now_ms) == Later(NOW_MS + 400)
    world.pass_ms(400)
    following = decide_next_run(actor, world.now_ms)
    assert isinstance(following, Step)
    begun = following.events[0]
    assert isinstance(begun, ev.WorkflowStarted)
    assert (begun.attempt, begun.continued_run_id, begun.initiator) == (2, "run-1", "retry")
    assert begun.first_run_id == "run-1"
    last = world.record(following.run_id, *following.events)
    world.record(following.run_id, failed)
    assert last.state.closing is not None
    assert last.state.closing.next_run_id == ""


def test_continue_as_new_brings_the_next_run(world: CoreWorld) -> None:
    run = world.start(input=[Payload(data=b"1")])

    asked = ev.WorkflowContinuedAsNew(workflow_type="", input=[Payload(data=b"2")])
    world.record(run.state.run_id, asked)

    following = decide_next_run(world.actors["wf"], world.now_ms)
    assert isinstance(following, Step)
    begun = following.events[0]
    assert isinstance(begun, ev.WorkflowStarted)
    assert (begun.workflow_type, begun.input) == ("Order", [Payload(data=b"2")])
    assert run.state.status == "continued_as_new"


def test_the_run_that_is_to_follow_can_be_terminated(world: CoreWorld) -> None:
    run = world.start(retry_policy=RetryPolicy(initial_interval_ms=400))
    world.record(
        run.state.run_id, ev.WorkflowFailed(failure=Failure(chain=[FailureCause(message="no")]))
    )
    next_id = world.actors["wf"].next_run_id

    verdict = world.do(TerminateWorkflow(workflow_id="wf"))

    assert verdict.run_id == next_id
    assert world.runs[next_id].state.status == "terminated"
    assert world.actors["wf"].next_run_id == ""


def test_inputs_of_a_blocked_run_wait_in_order(world: CoreWorld) -> None:
    run = world.start()
    world.schedule(run)
    run_id = run.state.run_id
    world.record(run_id, ev.TimerStarted(timer_id="1", duration_ms=1))
    world.record(
        run_id, ev.TimerFired(timer_id="1"), ev.WorkflowBlocked(cause="error", input_seq=4)
    )
    world.record(run_id, ev.ActivityCompleted(activity_id="1", attempt=1))
    world.do(CancelWorkflow(workflow_id="wf"))

    assert run.state.shown_status == "blocked"
    assert run.state.waiting == [4, 6, 7]

    for seq in (4, 6, 7):
        assert run.state.block is not None
        world.record(run_id, ev.WorkflowResumed(input_seq=seq))

    assert run.state.block is None
    assert run.state.shown_status == "running"
