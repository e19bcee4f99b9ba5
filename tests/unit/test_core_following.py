"""The run that follows another: by retry or as new, what it begins with, and how it is ended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from perdure_actors.core.decision import Decision, Due, Later, Limits, Step
from perdure_actors.core.execution import check_continued, decide_run_alarm
from perdure_actors.core.next_run import decide_next_run
from perdure_actors.core.rules import settle
from perdure_actors.core.state import Closing, Run
from perdure_schemas import events as ev
from perdure_schemas.commands import CancelWorkflow, TerminateWorkflow
from perdure_schemas.payloads import Failure, FailureCause, Payload, Record, RetryPolicy
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


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ({}, ev.WorkflowCancelRequested()),
        (
            {"reason": "why", "identity": "me"},
            ev.WorkflowCancelRequested(reason="why", identity="me"),
        ),
        ({"first_run_id": "run-1"}, ev.WorkflowCancelRequested()),
    ],
)
def test_a_cancel_ends_the_run_that_is_to_follow(
    world: CoreWorld, following: Run, given: dict[str, Any], asked: ev.Event
) -> None:
    waiting = following.actor.next_start
    assert waiting is not None

    verdict = world.do(CancelWorkflow(workflow_id="wf", **given))

    held = replace(waiting, first_activation_delay_ms=1)
    events: list[Record] = [held, asked, ev.WorkflowCanceled()]
    assert verdict == Decision([Step("run-2", events)], accepted("run-2"), "run-2")
    assert (following.actor.next_run_id, following.actor.next_start) == ("", None)
    assert world.runs["run-2"].state.status == "canceled"


def test_a_terminate_ends_the_run_that_is_to_follow(world: CoreWorld, following: Run) -> None:
    waiting = following.actor.next_start
    assert waiting is not None
    details = [Payload(data=b"2")]

    verdict = world.do(
        TerminateWorkflow(workflow_id="wf", reason="why", identity="me", details=details)
    )

    held = replace(waiting, first_activation_delay_ms=1)
    ended = ev.WorkflowTerminated(reason="why", details=details, identity="me")
    assert verdict == Decision([Step("run-2", [held, ended])], accepted("run-2"), "run-2")


@pytest.mark.parametrize(
    ("fields", "failure", "expected"),
    [
        ({}, BOOM, {"retry_state": "retry_policy_not_set"}),
        (
            {"retry_policy": POLICY},
            BOOM,
            {"retry_state": "in_progress", "next_run_id": "run-2", "next_run_delay_ms": 400},
        ),
        (
            {"retry_policy": RetryPolicy(maximum_attempts=1)},
            BOOM,
            {"retry_state": "maximum_attempts_reached"},
        ),
        (
            {"retry_policy": POLICY},
            Failure(chain=[FailureCause(type="Bad")]),
            {"retry_state": "non_retryable_failure"},
        ),
        (
            {"retry_policy": POLICY, "execution_timeout_ms": 400},
            BOOM,
            {"retry_state": "timeout"},
        ),
        (
            {"retry_policy": POLICY, "execution_timeout_ms": 401},
            BOOM,
            {"retry_state": "in_progress", "next_run_id": "run-2", "next_run_delay_ms": 400},
        ),
    ],
)
def test_a_failed_run_is_followed_when_its_policy_says_so(
    world: CoreWorld, fields: dict[str, Any], failure: Failure, expected: dict[str, Any]
) -> None:
    run = world.start(**fields)

    settled = settle(world, run, ev.WorkflowFailed(failure=failure), world.now_ms)

    assert settled == ev.WorkflowFailed(failure=failure, **expected)


def test_the_run_after_a_failed_one_is_the_same_again_with_the_failure(following: Run) -> None:
    actor = following.actor

    assert following.state.closing == Closing("failed", NOW_MS, failure=BOOM, next_run_id="run-2")
    assert (actor.next_run_id, actor.alarm_ms) == ("run-2", NOW_MS + 400)
    assert actor.next_start == replace(
        following.started,
        attempt=2,
        first_activation_delay_ms=0,
        continued_run_id="run-1",
        initiator="retry",
        last_failure=BOOM,
    )


def test_the_following_run_begins_when_it_is_due(world: CoreWorld, following: Run) -> None:
    actor, waiting = following.actor, following.actor.next_start
    assert waiting is not None
    assert decide_next_run(actor, NOW_MS + 399) == Later(NOW_MS + 400)
    assert decide_next_run(actor, NOW_MS + 400) == Step("run-2", [waiting])

    world.record("run-2", waiting)

    assert decide_next_run(actor, NOW_MS + 400) == Later()
    assert world.current("wf") is world.runs["run-2"]
    assert world.runs["run-2"].state.begun


def test_continue_as_new_keeps_what_it_does_not_change(world: CoreWorld) -> None:
    run = world.start(
        input=[Payload(data=b"1")],
        execution_timeout_ms=9_000,
        run_timeout_ms=500,
        task_timeout_ms=70,
        retry_policy=POLICY,
        memo={"m": Payload(data=b"2")},
        search_attributes={"s": Payload(data=b"3")},
        header={"h": Payload(data=b"4")},
    )

    world.record("run-1", ev.WorkflowContinuedAsNew(workflow_type="", delay_ms=60))

    actor = run.actor
    assert (actor.next_run_id, actor.alarm_ms) == ("run-2", NOW_MS + 60)
    assert actor.next_start == replace(
        run.started, input=[], continued_run_id="run-1", initiator="workflow"
    )
    assert run.state.closing == Closing("continued_as_new", NOW_MS, next_run_id="run-2")


def test_continue_as_new_changes_what_it_names_and_forgets_the_failure(
    world: CoreWorld, following: Run
) -> None:
    waiting = following.actor.next_start
    assert waiting is not None
    world.record("run-2", waiting)
    changed: dict[str, Any] = {
        "workflow_type": "Other",
        "input": [Payload(data=b"9")],
        "run_timeout_ms": 1,
        "task_timeout_ms": 2,
        "retry_policy": RetryPolicy(),
        "memo": {"m": Payload(data=b"8")},
        "search_attributes": {"s": Payload(data=b"7")},
        "header": {"h": Payload(data=b"6")},
    }

    world.record("run-2", ev.WorkflowContinuedAsNew(**changed))

    assert following.actor.next_start == replace(
        waiting,
        attempt=1,
        continued_run_id="run-2",
        initiator="workflow",
        last_failure=None,
        **changed,
    )
    assert following.actor.next_start.first_run_id == "run-1"


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({}, ""),
        ({"task_queue": "orders", "input": [Payload(data=b"12")]}, ""),
        (
            {"input": [Payload(data=b"12"), Payload(data=b"345")]},
            "the next run is given 5 bytes; 4 is the most (a.py:1)",
        ),
        (
            {"memo": {"m": Payload(data=b"12")}, "search_attributes": {"s": Payload(data=b"345")}},
            "the next run is given 5 bytes; 4 is the most (a.py:1)",
        ),
        (
            {"task_queue": "refunds"},
            (
                "the next run cannot move to task queue 'refunds': a workflow id stays on its"
                " queue, here 'orders'. Start a child there that is abandoned when its parent"
                " closes, and return (a.py:1)"
            ),
        ),
    ],
)
def test_a_next_run_that_cannot_be_had_is_refused(fields: dict[str, Any], problem: str) -> None:
    world = CoreWorld(limits=Limits(payload_bytes_max=4))
    run = world.start()
    asked = ev.WorkflowContinuedAsNew(workflow_type="", call_site="a.py:1", **fields)

    outputs = [ev.TimerCanceled(timer_id="1"), asked]

    assert check_continued(world, run, outputs) == problem


def test_a_run_that_timed_out_is_followed_by_its_policy(world: CoreWorld) -> None:
    run = world.start(run_timeout_ms=500, execution_timeout_ms=5_000, retry_policy=POLICY)
    assert alarm(world, run) == Later(NOW_MS + 500)
    world.pass_ms(500)

    verdict = alarm(world, run)

    event = ev.WorkflowTimedOut(
        timeout_type="run",
        retry_state="in_progress",
        next_run_id="run-2",
        next_run_delay_ms=400,
    )
    assert verdict == Due([event], refutable=True, at_ms=world.now_ms)
    world.record("run-1", event)
    cause = FailureCause(
        kind="timeout", message="workflow run timeout", timeout_type="start_to_close"
    )
    failure = Failure(chain=[cause])
    assert run.state.closing == Closing(
        "timed_out", NOW_MS + 500, failure=failure, next_run_id="run-2"
    )
    assert run.actor.alarm_ms == NOW_MS + 900
    assert run.actor.next_start == replace(
        run.started,
        attempt=2,
        continued_run_id="run-1",
        initiator="retry",
        last_failure=failure,
    )


def test_a_retried_run_keeps_the_time_of_all_runs(world: CoreWorld) -> None:
    run = world.start(run_timeout_ms=500, execution_timeout_ms=1_000, retry_policy=POLICY)
    world.record("run-1", ev.WorkflowFailed(failure=BOOM))
    assert run.actor.next_start is not None
    world.pass_ms(400)
    world.record("run-2", run.actor.next_start)

    state = world.runs["run-2"].state

    assert state.run_expires_ms == NOW_MS + 900
    assert state.execution_expires_ms == NOW_MS + 1_000
