"""The life of a run: cancels, terminations, its times, and code that is blocked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from perdure_actors.core.decision import Decision, Due, Later, Limits, Rejection, Step
from perdure_actors.core.execution import decide_run_alarm
from perdure_actors.core.rules import settle
from perdure_actors.core.state import Closing, Run
from perdure_schemas import events as ev
from perdure_schemas.commands import CancelWorkflow, TerminateWorkflow
from perdure_schemas.payloads import Failure, FailureCause, Payload, RetryPolicy, RunRef
from perdure_schemas.replies import Accepted
from tests.unit.core_world import NOW_MS, CoreWorld

BOOM = Failure(chain=[FailureCause(message="boom", type="Boom")])
POLICY = RetryPolicy(initial_interval_ms=400, maximum_attempts=2, non_retryable_error_types=["Bad"])


@pytest.fixture
def world() -> Iterator[CoreWorld]:
    made = CoreWorld()
    yield made
    made.check()


@pytest.fixture
def following(world: CoreWorld) -> Run:
    """A run that failed and is to be followed by another."""
    run = world.start(retry_policy=POLICY, header={"h": Payload(data=b"1")}, start_delay_ms=10)
    world.record("run-1", ev.TimerFired(timer_id=""))
    world.record("run-1", ev.WorkflowFailed(failure=BOOM))
    return run


def alarm(world: CoreWorld, run: Run) -> Due | Later:
    return decide_run_alarm(world, run, "", world.now_ms)


def accepted(run_id: str, first_run_id: str = "run-1") -> Accepted:
    return Accepted(workflow_id="wf", run_id=run_id, first_run_id=first_run_id)


def test_a_cancel_says_who_asked_and_why(world: CoreWorld) -> None:
    parent = RunRef(workflow_id="parent", run_id="p")
    world.start(parent=parent)

    verdict = world.do(
        CancelWorkflow(workflow_id="wf", reason="why", identity="me", child_of=parent)
    )

    asked = ev.WorkflowCancelRequested(reason="why", identity="me", external=parent)
    assert verdict == Decision([Step("run-1", [asked])], accepted("run-1"), "run-1")


def test_a_second_cancel_is_accepted_and_changes_nothing(world: CoreWorld) -> None:
    world.start()
    world.do(CancelWorkflow(workflow_id="wf"))

    verdict = world.do(CancelWorkflow(workflow_id="wf", reason="again"))

    assert verdict == Decision([], accepted("run-1"), "run-1")


def test_a_run_that_has_not_begun_answers_a_cancel_in_the_same_step(world: CoreWorld) -> None:
    run = world.start(start_delay_ms=1_000)

    verdict = world.do(CancelWorkflow(workflow_id="wf"))

    steps = [Step("run-1", [ev.WorkflowCancelRequested(), ev.WorkflowCanceled()])]
    assert verdict == Decision(steps, accepted("run-1"), "run-1")
    cause = FailureCause(kind="canceled", message="workflow cancelled")
    assert run.state.closing == Closing("canceled", NOW_MS, failure=Failure(chain=[cause]))


@pytest.mark.parametrize("kind", [CancelWorkflow, TerminateWorkflow])
def test_a_closed_run_that_is_named_is_closed_whatever_follows_it(
    world: CoreWorld, following: Run, kind: Any
) -> None:
    verdict = world.do(kind(workflow_id="wf", run_id="run-1"))

    assert verdict == Rejection("closed", "workflow 'wf' is failed already", "run-1", "failed")
    assert following.actor.next_run_id == "run-2"


@pytest.mark.parametrize("kind", [CancelWorkflow, TerminateWorkflow])
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"workflow_id": "wf2"}, "no workflow 'wf2' on task queue 'orders'"),
        ({"run_id": "run-9"}, "no workflow 'wf' run run-9 on task queue 'orders'"),
        (
            {"workflow_id": "wf2", "run_id": "run-1"},
            "no workflow 'wf2' run run-1 on task queue 'orders'",
        ),
        (
            {"first_run_id": "run-9"},
            "workflow 'wf' is not of the chain that began with run run-9",
        ),
    ],
)
def test_a_word_to_another_run_leaves_this_one_alone(
    world: CoreWorld, kind: Any, fields: dict[str, str], message: str
) -> None:
    run = world.start()

    verdict = world.do(kind(**{"workflow_id": "wf", **fields}))

    assert verdict == Rejection("not_found", message)
    assert (run.state.is_open, run.state.cancel_requested) == (True, False)


@pytest.mark.parametrize("fields", [{}, {"run_id": "run-2"}, {"first_run_id": "run-1"}])
def test_a_later_run_is_found_by_its_id_and_by_its_chain(
    world: CoreWorld, following: Run, fields: dict[str, Any]
) -> None:
    assert following.actor.next_start is not None
    world.record("run-2", following.actor.next_start)

    verdict = world.do(TerminateWorkflow(workflow_id="wf", **fields))

    ended = ev.WorkflowTerminated()
    assert verdict == Decision([Step("run-2", [ended])], accepted("run-2"), "run-2")
    cause = FailureCause(kind="terminated", message="workflow terminated")
    assert world.runs["run-2"].state.closing == Closing(
        "terminated", NOW_MS, failure=Failure(chain=[cause])
    )


def test_a_result_as_large_as_may_be_is_kept_and_a_larger_one_fails_the_run() -> None:
    world = CoreWorld(limits=Limits(result_bytes_max=4))
    run = world.start()
    fits = ev.WorkflowCompleted(result=Payload(data=b"1234"))
    too_large = ev.WorkflowCompleted(result=Payload(data=b"12345"), call_site="a.py:1")

    assert settle(world, run, ev.WorkflowCompleted(), world.now_ms) == ev.WorkflowCompleted()
    assert settle(world, run, fits, world.now_ms) is fits
    cause = FailureCause(
        message=(
            "the workflow returned 5 bytes; 4 is the most: return a reference to where the data is"
        ),
        type="PayloadTooLarge",
        non_retryable=True,
    )
    assert settle(world, run, too_large, world.now_ms) == ev.WorkflowFailed(
        failure=Failure(chain=[cause]), retry_state="retry_policy_not_set", call_site="a.py:1"
    )


def test_a_run_that_is_closed_has_no_time_left(world: CoreWorld) -> None:
    run = world.start(run_timeout_ms=500)
    world.record("run-1", ev.WorkflowCompleted())
    world.pass_ms(500)

    assert alarm(world, run) == Later()


def test_a_run_without_times_has_no_alarm(world: CoreWorld) -> None:
    run = world.start()

    assert alarm(world, run) == Later()


def test_the_time_of_all_runs_ends_the_chain(world: CoreWorld) -> None:
    run = world.start(run_timeout_ms=500, execution_timeout_ms=500, retry_policy=POLICY)
    world.pass_ms(500)

    verdict = alarm(world, run)

    event = ev.WorkflowTimedOut(timeout_type="execution", retry_state="timeout")
    assert verdict == Due([event], refutable=True, at_ms=world.now_ms)
    world.record("run-1", event)
    assert run.actor.next_start is None


def test_a_run_that_is_blocked_again_was_blocked_since_the_first_time(world: CoreWorld) -> None:
    run = world.start()
    world.record("run-1", ev.WorkflowBlocked(cause="error", input_seq=1))
    world.pass_ms(50)

    world.record("run-1", ev.WorkflowBlocked(cause="nondeterminism", input_seq=1))

    assert run.state.block == ev.WorkflowBlocked(cause="nondeterminism", input_seq=1)
    assert (run.state.blocked_ms, run.state.waiting) == (NOW_MS, [1])


def test_what_the_code_does_not_see_does_not_wait_for_it(world: CoreWorld) -> None:
    run = world.start()
    world.schedule(run)
    world.record("run-1", ev.WorkflowBlocked(cause="error", input_seq=1))

    world.record("run-1", ev.ActivityStarted(activity_id="1", attempt=1, worker_id="w1"))

    assert run.state.waiting == [1]


def test_a_blocked_run_can_be_ended(world: CoreWorld) -> None:
    run = world.start()
    world.record("run-1", ev.WorkflowBlocked(cause="error", input_seq=1))

    world.do(TerminateWorkflow(workflow_id="wf"))

    assert run.state.shown_status == "terminated"


def test_a_cancel_of_a_blocked_run_waits_for_its_code(world: CoreWorld) -> None:
    run = world.start()
    world.record("run-1", ev.WorkflowBlocked(cause="error", input_seq=1))

    world.do(CancelWorkflow(workflow_id="wf"))

    assert run.state.waiting == [1, 3]
    world.record("run-1", ev.WorkflowResumed(input_seq=1))
    assert (run.state.waiting, run.state.block is None) == ([3], False)
    world.record("run-1", ev.WorkflowResumed(input_seq=3))
    assert (run.state.waiting, run.state.block, run.state.blocked_ms) == ([], None, 0)
