"""Children that a run leaves to the one after it: their reports find it, and it may stop them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from perdure_actors.core import rules
from perdure_actors.core.decision import Decision, Ignored, SendCommand
from perdure_actors.core.state import RecordId
from perdure_schemas import child_commands as cc
from perdure_schemas import child_events as ce
from perdure_schemas import events as ev
from perdure_schemas.commands import TerminateWorkflow
from perdure_schemas.payloads import CarriedChild, Failure, FailureCause, RunRef
from tests.unit.core_world import CoreWorld

AT = RecordId(1, b"n", 90, 1)
CHILD = RunRef(workflow_id="kid", run_id="kid-1", task_queue="other", workflow_type="Kid")
LEFT = CarriedChild(
    child_id="1",
    workflow_id="kid",
    workflow_type="Kid",
    task_queue="other",
    run_id="kid-1",
    parent_run_id="run-1",
    parent_close_policy="terminate",
    cancellation_type="wait_cancellation_completed",
)


@pytest.fixture
def world() -> Iterator[CoreWorld]:
    made = CoreWorld()
    yield made
    made.check()


def report(kind: Any, run_id: str = "run-1", **fields: Any) -> Any:
    made = {"workflow_id": "wf", "run_id": run_id, "child_id": "1", "child": CHILD}
    return kind(**{**made, **fields})


def leave(world: CoreWorld, *, keeps: bool = True) -> str:
    """A run with a child goes on as a new one, which has not begun; its id."""
    run = world.start()
    asked = ce.ChildWorkflowInitiated(
        child_id="1", workflow_id="kid", workflow_type="Kid", task_queue="other"
    )
    world.record(run.state.run_id, asked)
    world.do(report(cc.ReportChildStarted))
    ended = ev.WorkflowContinuedAsNew(
        workflow_type="Order", new_run_id="run-2", keeps_children=keeps
    )
    closing = rules.effects_of(run, ended, AT, world.now_ms)
    assert [type(one) for one in closing] == ([] if keeps else [SendCommand])
    world.record(run.state.run_id, ended)
    return run.state.run_id


def follow(world: CoreWorld) -> None:
    following = world.actors["wf"].next_start
    assert following is not None
    world.record("run-2", following)


def test_the_next_run_has_the_children_that_were_left_to_it(world: CoreWorld) -> None:
    leave(world)

    follow(world)

    run = world.runs["run-2"]
    assert run.started.children == [LEFT]
    assert run.children["1"].parent_run_id == "run-1"
    assert run.children["1"].run_id == "kid-1"


def test_without_being_told_to_nothing_is_left(world: CoreWorld) -> None:
    leave(world, keeps=False)

    follow(world)

    assert world.runs["run-2"].children == {}
    found = world.decide(report(cc.ReportChildClosed, status="completed"))
    assert isinstance(found, Ignored)


def test_a_report_to_the_run_before_is_taken_by_the_one_that_has_the_child(
    world: CoreWorld,
) -> None:
    leave(world)
    follow(world)

    decided = world.do(report(cc.ReportChildClosed, status="completed"))

    assert isinstance(decided, Decision)
    assert decided.steps[0].run_id == "run-2"
    assert decided.steps[0].events == [ce.ChildWorkflowCompleted(child_id="1", run_id="kid-1")]
    assert world.runs["run-2"].children == {}
    again = world.decide(report(cc.ReportChildClosed, status="completed"))
    assert isinstance(again, Ignored)


def test_a_report_that_comes_between_two_runs_begins_the_next_one(world: CoreWorld) -> None:
    leave(world)
    closed = report(cc.ReportChildClosed, status="completed")

    decided = world.decide(closed)

    assert isinstance(decided, Decision)
    assert decided.again == closed
    assert decided.steps[0].run_id == "run-2"
    assert isinstance(decided.steps[0].events[0], ev.WorkflowStarted)
    other = world.decide(report(cc.ReportChildClosed, run_id="run-0", status="completed"))
    assert isinstance(other, Ignored)
    follow(world)


def test_children_may_be_left_again_and_are_stopped_as_those_of_their_parent(
    world: CoreWorld,
) -> None:
    leave(world)
    follow(world)
    on = ev.WorkflowContinuedAsNew(workflow_type="Order", new_run_id="run-3", keeps_children=True)
    world.record("run-2", on)
    following = world.actors["wf"].next_start
    assert following is not None
    assert following.children == [LEFT]
    world.record("run-3", following)
    run = world.runs["run-3"]

    asked = ce.ChildCancelRequested(child_id="1", reason="late", terminate=True)
    (sent,) = rules.effects_of(run, asked, AT, world.now_ms)

    assert isinstance(sent, SendCommand)
    assert isinstance(sent.command, TerminateWorkflow)
    assert sent.command.child_of is not None
    assert sent.command.child_of.run_id == "run-1"
    world.do(report(cc.ReportChildClosed, status="terminated"))
    assert run.children == {}


def test_a_retry_of_the_run_does_not_get_them_again(world: CoreWorld) -> None:
    leave(world)
    follow(world)
    run = world.runs["run-2"]
    failed = ev.WorkflowFailed(
        failure=Failure(chain=[FailureCause(message="broken")]),
        retry_state="in_progress",
        next_run_id="run-3",
        next_run_delay_ms=0,
    )

    world.record(run.state.run_id, failed)

    following = world.actors["wf"].next_start
    assert following is not None
    assert following.children == []
    world.record("run-3", following)
