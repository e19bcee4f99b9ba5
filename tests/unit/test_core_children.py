"""Children: what a parent sends, hears, and leaves behind; what a child tells its parent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from perdure_actors.core import rules
from perdure_actors.core.decision import Decision, Ignored, Rejection, SendCommand, Step
from perdure_actors.core.state import ChildState, RecordId, Run
from perdure_schemas import child_commands as cc
from perdure_schemas import child_events as ce
from perdure_schemas import events as ev
from perdure_schemas.avro import decode
from perdure_schemas.command_headers import Command
from perdure_schemas.commands import CancelWorkflow, StartWorkflow, TerminateWorkflow
from perdure_schemas.payloads import ExternalCall, Failure, FailureCause, Payload, Record, RunRef
from perdure_schemas.tracing import carried, span_id_of
from tests.unit.core_world import NOW_MS, CoreWorld

AT = RecordId(1, b"n", 90, 1)
ME = RunRef(workflow_id="wf", run_id="run-1", task_queue="orders", workflow_type="Order")
PARENT = RunRef(workflow_id="up", run_id="up-1", task_queue="above", workflow_type="Up")
CHILD = RunRef(workflow_id="kid", run_id="kid-1", task_queue="other", workflow_type="Kid")
BOOM = Failure(chain=[FailureCause(message="boom")])


@pytest.fixture
def world() -> Iterator[CoreWorld]:
    made = CoreWorld()
    yield made
    made.check()


def ask(run: Run, world: CoreWorld, child_id: str = "1", **fields: Any) -> None:
    event = ce.ChildWorkflowInitiated(
        child_id=child_id,
        workflow_id=f"kid-{child_id}",
        workflow_type="Kid",
        task_queue="other",
        **fields,
    )
    world.record(run.state.run_id, event)


def report(kind: Any, **fields: Any) -> Any:
    made = {"workflow_id": "wf", "run_id": "run-1", "child_id": "1"}
    return kind(**{**made, **fields})


def started() -> Any:
    return report(cc.ReportChildStarted, child=CHILD)


def closed(status: str = "completed", **fields: Any) -> Any:
    return report(cc.ReportChildClosed, child=CHILD, status=status, **fields)


def sent(world: CoreWorld, kind: type[Record]) -> list[SendCommand]:
    found = [one for one in world.effects if isinstance(one, SendCommand)]
    return [one for one in found if isinstance(one.command, kind)]


def test_a_child_is_started_by_a_command_that_says_whose_it_is(world: CoreWorld) -> None:
    run = world.start()
    ask(run, world, run_timeout_ms=7, memo={"a": Payload()}, cron_schedule="@daily")

    (effect,) = sent(world, StartWorkflow)

    start = effect.command
    assert isinstance(start, StartWorkflow)
    place = carried(start.header)
    assert place is not None, "a child's spans stand beneath its parent's"
    assert start.parent is not None
    assert place.span_id == span_id_of(start.parent.run_id, start.parent_initiated_seq)
    assert (effect.task_queue, replace(start, header={})) == (
        "other",
        StartWorkflow(
            workflow_id="kid-1",
            workflow_type="Kid",
            identity="wf/run-1",
            run_timeout_ms=7,
            memo={"a": Payload()},
            cron_schedule="@daily",
            parent=ME,
            parent_initiated_seq=2,
            root=ME,
            parent_close_policy="terminate",
            child_id="1",
        ),
    )
    assert run.children == {
        "1": ChildState("1", "kid-1", "Kid", "other", "terminate", "wait_cancellation_completed", 2)
    }


def test_a_childs_child_has_the_first_of_the_parents_as_its_root(world: CoreWorld) -> None:
    root = RunRef(workflow_id="top", run_id="t")
    ask(world.start(parent=PARENT, root=root), world)

    start = sent(world, StartWorkflow)[0].command
    assert isinstance(start, StartWorkflow)
    assert (start.root, start.parent) == (root, ME)


def test_a_child_without_a_queue_goes_to_its_parents(world: CoreWorld) -> None:
    run = world.start()
    output = ce.ChildWorkflowInitiated(child_id="1", workflow_id="k", workflow_type="K")

    assert rules.settle(world, run, output, NOW_MS) == replace(output, task_queue="orders")


def test_a_parent_hears_once_that_its_child_runs_and_once_how_it_ended(world: CoreWorld) -> None:
    run = world.start()
    ask(run, world)

    assert world.do(started()) == Decision(
        [Step("run-1", [ce.ChildWorkflowStarted(child_id="1", run_id="kid-1")])], run_id="run-1"
    )
    assert run.children["1"].run_id == "kid-1"
    assert isinstance(world.do(started()), Ignored)

    result = Payload(data=b"1")
    assert world.do(closed(result=result)) == Decision(
        [Step("run-1", [ce.ChildWorkflowCompleted(child_id="1", run_id="kid-1", result=result)])],
        run_id="run-1",
    )
    assert run.children == {}
    assert isinstance(world.do(closed(result=result)), Ignored)
    assert isinstance(world.do(started()), Ignored)


def test_an_end_that_comes_first_tells_that_the_child_ran(world: CoreWorld) -> None:
    run = world.start()
    ask(run, world)

    verdict = world.do(closed())

    began = ce.ChildWorkflowStarted(child_id="1", run_id="kid-1")
    ended = ce.ChildWorkflowCompleted(child_id="1", run_id="kid-1")
    assert verdict == Decision([Step("run-1", [began]), Step("run-1", [ended])], run_id="run-1")
    assert run.children == {}


@pytest.mark.parametrize(
    ("told", "event"),
    [
        (
            closed("failed", failure=BOOM, retry_state="timeout"),
            ce.ChildWorkflowFailed(
                child_id="1", run_id="kid-1", failure=BOOM, retry_state="timeout"
            ),
        ),
        (
            closed("timed_out", retry_state="timeout"),
            ce.ChildWorkflowTimedOut(child_id="1", run_id="kid-1", retry_state="timeout"),
        ),
        (
            closed(
                "canceled",
                failure=Failure(chain=[FailureCause(kind="canceled", details=[Payload()])]),
            ),
            ce.ChildWorkflowCanceled(child_id="1", run_id="kid-1", details=[Payload()]),
        ),
        (
            closed("terminated", failure=BOOM),
            ce.ChildWorkflowTerminated(child_id="1", run_id="kid-1", reason="boom"),
        ),
        (closed("terminated"), ce.ChildWorkflowTerminated(child_id="1", run_id="kid-1")),
    ],
)
def test_each_end_of_a_child_is_an_event_of_its_own(
    world: CoreWorld, told: Command, event: Record
) -> None:
    ask(world.start(), world)
    world.do(started())

    assert world.do(told) == Decision([Step("run-1", [event])], run_id="run-1")


def test_a_refused_start_is_told_and_one_of_a_child_that_runs_is_no_news(world: CoreWorld) -> None:
    run = world.start()
    ask(run, world)
    ask(run, world, "2")
    refused = report(cc.ReportChildRefused, code="already_started", message="it is there")

    failed = ce.ChildWorkflowStartFailed(
        child_id="1", code="already_started", message="it is there"
    )
    assert world.do(refused) == Decision([Step("run-1", [failed])], run_id="run-1")
    world.do(replace(started(), child_id="2"))
    assert isinstance(world.do(replace(refused, child_id="2")), Ignored)
    assert set(run.children) == {"2"}


@pytest.mark.parametrize("told", [started(), closed()])
def test_reports_for_nobody_change_nothing(world: CoreWorld, told: Any) -> None:
    run = world.start()
    ask(run, world)

    assert isinstance(world.do(replace(told, run_id="run-9")), Ignored)
    assert isinstance(world.do(replace(told, workflow_id="elsewhere")), Ignored)
    assert isinstance(world.do(replace(told, child_id="9")), Ignored)
    world.record("run-1", ev.WorkflowCompleted())
    assert isinstance(world.do(told), Ignored)


def test_a_child_tells_its_parent_that_it_runs_but_not_of_runs_that_follow(
    world: CoreWorld,
) -> None:
    run = world.start(parent=PARENT, child_id="7")
    assert sent(world, cc.ReportChildStarted) == [
        SendCommand(
            "above",
            cc.ReportChildStarted(workflow_id="up", run_id="up-1", child_id="7", child=ME),
        )
    ]
    world.effects.clear()

    again = replace(run.started, continued_run_id="run-1")
    assert rules.effects_of(run, again, AT, NOW_MS) == []


ENDS = (
    (ev.WorkflowCompleted(result=Payload()), {"status": "completed", "result": Payload()}),
    (
        ev.WorkflowFailed(failure=BOOM, retry_state="timeout"),
        {"status": "failed", "failure": BOOM, "retry_state": "timeout"},
    ),
    (
        ev.WorkflowCanceled(details=[Payload()]),
        {
            "status": "canceled",
            "failure": Failure(
                chain=[
                    FailureCause(kind="canceled", message="workflow cancelled", details=[Payload()])
                ]
            ),
        },
    ),
    (
        ev.WorkflowTerminated(reason="why"),
        {
            "status": "terminated",
            "failure": Failure(chain=[FailureCause(kind="terminated", message="why")]),
        },
    ),
    (ev.WorkflowTimedOut(retry_state="timeout"), {"status": "timed_out", "retry_state": "timeout"}),
)


@pytest.mark.parametrize(("event", "told"), ENDS)
def test_a_child_tells_its_parent_how_it_ended(
    world: CoreWorld, event: Record, told: dict[str, Any]
) -> None:
    run = world.start(parent=PARENT, child_id="7")

    effects = rules.effects_of(run, event, AT, NOW_MS)

    closing = cc.ReportChildClosed(workflow_id="up", run_id="up-1", child_id="7", child=ME, **told)
    assert effects == [SendCommand("above", closing)]
    orphan = world.start("orphan")
    assert rules.effects_of(orphan, event, AT, NOW_MS) == []


@pytest.mark.parametrize(
    "event",
    [
        ev.WorkflowContinuedAsNew(workflow_type=""),
        ev.WorkflowFailed(failure=BOOM, next_run_id="run-2", next_run_delay_ms=5),
        ev.WorkflowTimedOut(next_run_id="run-2", next_run_delay_ms=5),
        ev.WorkflowCompleted(next_run_id="run-2", next_run_delay_ms=5),
    ],
)
def test_an_end_that_another_run_follows_is_no_news_to_the_parent(
    world: CoreWorld, event: Record
) -> None:
    run = world.start(parent=PARENT, child_id="7")

    assert rules.effects_of(run, event, AT, NOW_MS) == []


CLOSING = [event for event, _ in ENDS] + [
    ev.WorkflowContinuedAsNew(workflow_type=""),
    ev.WorkflowFailed(failure=BOOM, next_run_id="run-2"),
]


@pytest.mark.parametrize("event", CLOSING)
def test_a_parent_that_closes_ends_cancels_or_leaves_its_children(
    world: CoreWorld, event: Record
) -> None:
    run = world.start()
    for child_id, policy in (("1", "terminate"), ("2", "request_cancel"), ("3", "abandon")):
        ask(run, world, child_id, parent_close_policy=policy)

    effects = rules.effects_of(run, event, AT, NOW_MS)

    reason, identity = "its parent has closed", "wf/run-1"
    assert effects == [
        SendCommand(
            "other",
            TerminateWorkflow(workflow_id="kid-1", reason=reason, identity=identity, child_of=ME),
        ),
        SendCommand(
            "other",
            CancelWorkflow(workflow_id="kid-2", reason=reason, identity=identity, child_of=ME),
        ),
    ]


def test_a_child_is_asked_to_cancel_by_its_parent(world: CoreWorld) -> None:
    run = world.start()
    ask(run, world)
    ask(run, world, "2", cancellation_type="wait_cancellation_requested")
    for child_id in ("1", "2", "9"):
        world.record("run-1", ce.ChildCancelRequested(child_id=child_id, reason="why"))

    plain = CancelWorkflow(workflow_id="kid-1", reason="why", identity="wf/run-1", child_of=ME)
    call = ExternalCall(run=ME, call_id="cancel-child-2")
    told = replace(plain, workflow_id="kid-2", external=call)
    assert sent(world, CancelWorkflow) == [
        SendCommand("other", plain),
        SendCommand("other", told),
    ]
    assert [child.cancel_requested for child in run.children.values()] == [True, True]
    answer = cc.ReportCall(
        workflow_id="wf", run_id="run-1", call_id="cancel-child-2", target_run_id="kid-1"
    )
    asked = ce.ExternalCancelRequested(call_id="cancel-child-2", run_id="kid-1")
    assert world.do(answer) == Decision([Step("run-1", [asked])], run_id="run-1")
    assert isinstance(world.do(answer), Ignored)


@pytest.mark.parametrize("kind", [CancelWorkflow, TerminateWorkflow])
def test_only_its_own_parent_ends_a_child(world: CoreWorld, kind: Any) -> None:
    world.start(parent=PARENT, child_id="7")
    other = replace(PARENT, run_id="up-2")

    assert isinstance(world.do(kind(workflow_id="wf", child_of=other)), Rejection)
    assert isinstance(world.do(kind(workflow_id="wf", child_of=PARENT)), Decision)


def test_a_parent_is_told_that_its_child_was_refused(world: CoreWorld) -> None:
    world.start()
    start = StartWorkflow(workflow_id="wf", workflow_type="Kid", parent=PARENT, child_id="7")

    (errand,) = rules.errands_of(world, start, world.decide(start))

    assert errand.task_queue == "above"
    assert decode(errand.command) == cc.ReportChildRefused(
        workflow_id="up",
        run_id="up-1",
        child_id="7",
        code="already_started",
        message="workflow id 'wf' is already running",
    )
    fresh = replace(start, workflow_id="fresh")
    assert rules.errands_of(world, fresh, world.decide(fresh)) == (), "its first event tells"
