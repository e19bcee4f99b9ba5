"""Starts: what every pair of policies does over an open, a closed, and a following run."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from msgspec.structs import replace

from perdure_actors.core.decision import Decision, Rejection, Step
from perdure_actors.core.state import Run
from perdure_actors.core.timers import TIMER_MS_MAX
from perdure_schemas import events as ev
from perdure_schemas.commands import StartWorkflow
from perdure_schemas.payloads import (
    Failure,
    FailureCause,
    Payload,
    Priority,
    RetryPolicy,
    RunRef,
    SignalInput,
    UpdateInput,
)
from perdure_schemas.replies import Accepted
from tests.unit.core_world import NOW_MS, CoreWorld

REUSE = (
    "allow_duplicate",
    "allow_duplicate_failed_only",
    "reject_duplicate",
    "terminate_if_running",
)
CONFLICT = ("fail", "use_existing", "terminate_existing")
PAIRS = list(product(REUSE, CONFLICT))
BOOM = Failure(chain=[FailureCause(message="boom", type="Boom")])
REPLACED = ev.WorkflowTerminated(reason="replaced by a new start", identity="me")


@pytest.fixture
def world() -> Iterator[CoreWorld]:
    made = CoreWorld()
    yield made
    made.check()


def start(**fields: Any) -> StartWorkflow:
    made = {"workflow_id": "wf", "workflow_type": "Refund", "request_id": "r", "identity": "me"}
    return StartWorkflow(**{**made, **fields})


def begun(run_id: str) -> ev.WorkflowStarted:
    """What a plain start by `start` begins."""
    return ev.WorkflowStarted(
        workflow_type="Refund",
        task_queue="orders",
        request_id="r",
        identity="me",
        first_run_id=run_id,
        original_run_id=run_id,
    )


def new(run_id: str) -> Accepted:
    return Accepted(workflow_id="wf", run_id=run_id, first_run_id=run_id, started=True)


def refused(run_id: str, status: str) -> Rejection:
    message = "workflow id 'wf' is already running"
    return Rejection("already_started", message, run_id, status)


@pytest.fixture
def following(world: CoreWorld) -> Run:
    """A run that failed and is to be followed by another."""
    run = world.start(retry_policy=RetryPolicy(initial_interval_ms=400), run_timeout_ms=900)
    world.record(run.state.run_id, ev.WorkflowFailed(failure=BOOM))
    return run


@pytest.mark.parametrize(("reuse", "conflict"), PAIRS)
def test_a_start_over_an_open_run_is_decided_by_both_policies(
    world: CoreWorld, reuse: str, conflict: str
) -> None:
    world.start()

    verdict = world.do(start(id_reuse_policy=reuse, id_conflict_policy=conflict))

    if conflict == "use_existing":
        found = Accepted(workflow_id="wf", run_id="run-1", first_run_id="run-1")
        assert verdict == Decision([], found, "run-1")
    elif conflict == "terminate_existing" or reuse == "terminate_if_running":
        steps = [Step("run-1", [REPLACED]), Step("run-2", [begun("run-2")])]
        assert verdict == Decision(steps, new("run-2"), "run-2")
    else:
        assert verdict == refused("run-1", "running")


@pytest.mark.parametrize(("reuse", "conflict"), PAIRS)
def test_a_start_while_a_run_is_to_follow_is_decided_as_over_an_open_one(
    world: CoreWorld, following: Run, reuse: str, conflict: str
) -> None:
    waiting = following.actor.next_start
    assert waiting is not None

    verdict = world.do(start(id_reuse_policy=reuse, id_conflict_policy=conflict))

    if conflict == "use_existing":
        found = Accepted(workflow_id="wf", run_id="run-2", first_run_id="run-1")
        assert verdict == Decision([], found, "run-2")
    elif conflict == "terminate_existing" or reuse == "terminate_if_running":
        held = replace(waiting, first_activation_delay_ms=1)
        steps = [Step("run-2", [held, REPLACED]), Step("run-3", [begun("run-3")])]
        assert verdict == Decision(steps, new("run-3"), "run-3")
        assert not world.runs["run-2"].state.begun
        assert world.runs["run-2"].state.status == "terminated"
        assert following.actor.next_start is None
    else:
        assert verdict == refused("run-2", "running")


@pytest.mark.parametrize(("reuse", "conflict"), PAIRS)
@pytest.mark.parametrize("ended", [ev.WorkflowCompleted(), ev.WorkflowCanceled()])
def test_a_start_over_a_closed_run_asks_only_the_reuse_policy(
    world: CoreWorld, ended: ev.Event, reuse: str, conflict: str
) -> None:
    run = world.start()
    world.record("run-1", ended)
    status = run.state.status

    verdict = world.do(start(id_reuse_policy=reuse, id_conflict_policy=conflict))

    only_failed = reuse == "allow_duplicate_failed_only" and status == "completed"
    if reuse == "reject_duplicate" or only_failed:
        message = f"workflow id 'wf' has a run that is {status}, and the id reuse policy is {reuse}"
        assert verdict == Rejection("already_started", message, "run-1", status)
    else:
        assert verdict == Decision([Step("run-2", [begun("run-2")])], new("run-2"), "run-2")


def test_a_refusal_says_that_the_open_run_is_blocked(world: CoreWorld) -> None:
    world.start()
    world.record("run-1", ev.WorkflowBlocked(cause="error", input_seq=1))

    assert world.do(start()) == refused("run-1", "blocked")


def test_a_start_over_a_later_run_names_the_first_of_its_chain(
    world: CoreWorld, following: Run
) -> None:
    assert following.actor.next_start is not None
    world.record("run-2", following.actor.next_start)

    verdict = world.do(start(id_conflict_policy="use_existing"))

    found = Accepted(workflow_id="wf", run_id="run-2", first_run_id="run-1")
    assert verdict == Decision([], found, "run-2")


def test_a_run_begins_with_all_that_its_start_says(world: CoreWorld) -> None:
    fields: dict[str, Any] = {
        "input": [Payload(data=b"1")],
        "execution_timeout_ms": 9_000,
        "run_timeout_ms": 5_000,
        "task_timeout_ms": 700,
        "retry_policy": RetryPolicy(maximum_attempts=3),
        "memo": {"a": Payload(data=b"2")},
        "search_attributes": {"b": Payload(data=b"3")},
        "header": {"c": Payload(data=b"4")},
        "static_summary": Payload(data=b"5"),
        "static_details": Payload(data=b"6"),
        "priority": Priority(priority_key=1),
        "parent": RunRef(workflow_id="parent"),
        "parent_initiated_seq": 4,
        "root": RunRef(workflow_id="root"),
        "parent_close_policy": "terminate",
    }

    verdict = world.do(start(start_delay_ms=1_000, **fields))

    event = replace(
        begun("run-1"),
        first_activation_delay_ms=1_000,
        execution_expires_ms=NOW_MS + 10_000,
        **fields,
    )
    assert verdict == Decision([Step("run-1", [event])], new("run-1"), "run-1")
    state = world.runs["run-1"].state
    assert not state.begun
    assert (state.begin_ms, state.run_expires_ms) == (NOW_MS + 1_000, NOW_MS + 6_000)


@pytest.mark.parametrize("workflow_id", ["x" * 1_000, "é" * 500])
def test_an_id_may_have_a_thousand_bytes(world: CoreWorld, workflow_id: str) -> None:
    assert isinstance(world.do(start(workflow_id=workflow_id)), Decision)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"workflow_id": ""}, "a workflow id has 1 to 1000 bytes; this one has 0"),
        ({"workflow_id": "x" * 1_001}, "a workflow id has 1 to 1000 bytes; this one has 1001"),
        ({"workflow_id": "é" * 501}, "a workflow id has 1 to 1000 bytes; this one has 1002"),
        (
            {"workflow_id": "a\nb"},
            "workflow id 'a\\nb' holds a character that cannot be printed",
        ),
        ({"workflow_type": ""}, "the start of workflow 'wf' names no workflow type"),
        (
            {"cron_schedule": "@daily", "start_delay_ms": 1},
            "start_delay cannot be given with a cron schedule: that says when the first run is",
        ),
        (
            {"signals": [SignalInput(signal_name="")]},
            "the name of a signal has 1 to 1000 bytes; this one has 0",
        ),
        (
            {"update": UpdateInput(update_name="u")},
            "an update id has 1 to 1000 bytes; this one has 0",
        ),
    ],
)
def test_a_start_that_cannot_be_had_is_refused_even_over_an_open_run(
    world: CoreWorld, fields: dict[str, Any], message: str
) -> None:
    world.start()

    verdict = world.do(start(id_conflict_policy="terminate_existing", **fields))

    assert verdict == Rejection("invalid", message)


@pytest.mark.parametrize(
    "name", ["execution_timeout_ms", "run_timeout_ms", "task_timeout_ms", "start_delay_ms"]
)
@pytest.mark.parametrize("time_ms", [-1, TIMER_MS_MAX + 1, 2**63 - 1])
def test_a_time_that_no_record_could_hold_is_refused(
    world: CoreWorld, name: str, time_ms: int
) -> None:
    verdict = world.do(start(**{name: time_ms}))

    message = f"{name} is {time_ms}: give 0 to {TIMER_MS_MAX} (100 years)"
    assert verdict == Rejection("invalid", message)
    assert world.runs == {}


@pytest.mark.parametrize("name", ["id_reuse_policy", "id_conflict_policy", "parent_close_policy"])
def test_a_word_that_a_field_does_not_know_is_refused_and_nothing_starts(
    world: CoreWorld, name: str
) -> None:
    verdict = world.do(start(**{name: "reject_duplicates"}))

    assert isinstance(verdict, Rejection)
    assert verdict.message.startswith(f"{name} is 'reject_duplicates': give one of ")
    assert world.runs == {}


def test_the_longest_times_are_taken(world: CoreWorld) -> None:
    run = world.start(execution_timeout_ms=TIMER_MS_MAX, start_delay_ms=TIMER_MS_MAX)

    assert run.state.alarm_ms == NOW_MS + TIMER_MS_MAX
