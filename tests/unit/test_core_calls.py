"""Calls of other workflows: what is sent, how it is answered, and that an answer counts once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from perdure_actors.core import rules
from perdure_actors.core.decision import Decision, Ignored, Limits, SendCommand, Step
from perdure_actors.core.state import CANCEL, SIGNAL, START, CallState
from perdure_schemas import child_events as ce
from perdure_schemas.avro import decode
from perdure_schemas.child_commands import ReportCall
from perdure_schemas.commands import CancelWorkflow, StartWorkflow
from perdure_schemas.events import WorkflowCompleted
from perdure_schemas.message_commands import SignalWorkflow
from perdure_schemas.payloads import ExternalCall, Payload, RunRef, SignalInput
from tests.unit.core_world import NOW_MS, CoreWorld

ME = RunRef(workflow_id="wf", run_id="run-1", task_queue="orders", workflow_type="Order")
TARGET = RunRef(workflow_id="other", run_id="o-1", task_queue="far")
CALLER = ExternalCall(run=RunRef(workflow_id="up", run_id="u", task_queue="above"), call_id="7")
SIGNALLED = ce.ExternalSignalInitiated(
    call_id="1", target=TARGET, signal_name="note", input=[Payload(data=b"1")]
)
STARTED = ce.ExternalStartInitiated(
    call_id="3",
    workflow_id="new",
    workflow_type="Cart",
    task_queue="far",
    input=[Payload(data=b"1")],
    id_conflict_policy="use_existing",
    signals=[SignalInput(signal_name="add", input=[Payload(data=b"2")])],
)
CANCELLED = ce.ExternalCancelInitiated(call_id="2", target=TARGET, reason="why")


@pytest.fixture
def world() -> Iterator[CoreWorld]:
    made = CoreWorld()
    yield made
    made.check()


def answer(call_id: str, **fields: Any) -> ReportCall:
    return ReportCall(workflow_id="wf", run_id="run-1", call_id=call_id, **fields)


def test_calls_go_to_the_other_workflow_and_say_where_the_answer_goes(world: CoreWorld) -> None:
    run = world.start()
    world.effects.clear()
    world.record("run-1", SIGNALLED, CANCELLED)

    signal = SignalWorkflow(
        workflow_id="other",
        run_id="o-1",
        signal_name="note",
        input=[Payload(data=b"1")],
        identity="wf/run-1",
        external=ExternalCall(run=ME, call_id="1"),
    )
    cancel = CancelWorkflow(
        workflow_id="other",
        run_id="o-1",
        reason="why",
        identity="wf/run-1",
        external=ExternalCall(run=ME, call_id="2"),
    )
    assert world.effects == [SendCommand("far", signal), SendCommand("far", cancel)]
    assert run.calls == {
        "1": CallState("1", SIGNAL, TARGET, 2),
        "2": CallState("2", CANCEL, TARGET, 3),
    }


def test_a_start_of_another_workflow_is_no_childs_and_says_where_the_answer_goes(
    world: CoreWorld,
) -> None:
    run = world.start()
    world.effects.clear()
    world.record("run-1", STARTED)

    start = StartWorkflow(
        workflow_id="new",
        workflow_type="Cart",
        input=[Payload(data=b"1")],
        identity="wf/run-1",
        id_conflict_policy="use_existing",
        signals=STARTED.signals,
        external=ExternalCall(run=ME, call_id="3"),
    )
    assert world.effects == [SendCommand("far", start)]
    target = RunRef(workflow_id="new", task_queue="far")
    assert run.calls == {"3": CallState("3", START, target, 2)}


def test_a_signal_to_a_child_is_for_no_other_workflow_of_its_id(world: CoreWorld) -> None:
    world.start()
    world.effects.clear()
    world.record("run-1", replace(SIGNALLED, child_id="3"))

    (effect,) = world.effects
    assert isinstance(effect, SendCommand)
    assert isinstance(effect.command, SignalWorkflow)
    assert effect.command.child_of == ME


def test_a_call_without_a_queue_goes_to_the_runs_own(world: CoreWorld) -> None:
    run = world.start()
    bare = replace(TARGET, task_queue="")
    for output in (SIGNALLED, CANCELLED):
        found = rules.settle(world, run, replace(output, target=bare), NOW_MS)
        assert found == replace(output, target=replace(TARGET, task_queue="orders"))
    start = rules.settle(world, run, replace(STARTED, task_queue=""), NOW_MS)
    assert start == replace(STARTED, task_queue="orders")


@pytest.mark.parametrize(
    ("told", "event"),
    [
        (answer("1", target_run_id="o-1"), ce.ExternalSignaled(call_id="1", run_id="o-1")),
        (
            answer("1", code="closed", message="gone"),
            ce.ExternalSignalFailed(call_id="1", code="closed", message="gone"),
        ),
        (answer("2", target_run_id="o-1"), ce.ExternalCancelRequested(call_id="2", run_id="o-1")),
        (
            answer("2", code="not_found"),
            ce.ExternalCancelFailed(call_id="2", code="not_found"),
        ),
        (answer("3", target_run_id="n-1"), ce.ExternalStarted(call_id="3", run_id="n-1")),
        (
            answer("3", code="already_started", message="used"),
            ce.ExternalStartFailed(call_id="3", code="already_started", message="used"),
        ),
    ],
)
def test_each_answer_is_heard_once(world: CoreWorld, told: Any, event: Any) -> None:
    world.start()
    world.record("run-1", SIGNALLED, CANCELLED, STARTED)

    assert world.do(told) == Decision([Step("run-1", [event])], run_id="run-1")
    assert isinstance(world.do(told), Ignored)


def test_code_that_cancels_what_has_ended_is_told_that_all_is_well(world: CoreWorld) -> None:
    world.start()
    world.record("run-1", WorkflowCompleted())
    cancel = CancelWorkflow(workflow_id="wf", external=CALLER)

    verdict = world.decide(cancel)

    assert isinstance(verdict, Decision)
    assert verdict.steps == []
    (errand,) = rules.errands_of(world, cancel, verdict)
    report = decode(errand.command)
    assert isinstance(report, ReportCall)
    assert (report.code, report.target_run_id) == ("", "run-1")


def test_the_one_who_was_called_answers_whatever_came_of_it(world: CoreWorld) -> None:
    world.start()
    for command, code in (
        (SignalWorkflow(workflow_id="wf", signal_name="s", external=CALLER), ""),
        (CancelWorkflow(workflow_id="wf", external=CALLER), ""),
        (SignalWorkflow(workflow_id="no", signal_name="s", external=CALLER), "not_found"),
        (CancelWorkflow(workflow_id="no", external=CALLER), "not_found"),
    ):
        (errand,) = rules.errands_of(world, command, world.decide(command))
        report = decode(errand.command)
        assert isinstance(report, ReportCall)
        assert errand.task_queue == "above"
        assert (report.workflow_id, report.run_id, report.call_id) == ("up", "u", "7")
        assert report.code == code
        assert report.target_run_id == ("" if code else "run-1")
    plain = CancelWorkflow(workflow_id="wf")
    assert rules.errands_of(world, plain, world.decide(plain)) == ()


def test_calls_and_what_they_carry_have_limits() -> None:
    world = CoreWorld(limits=Limits(calls_max=1))
    run = world.start()
    large = replace(SIGNALLED, input=[Payload(data=b"x" * 1_000_000)], call_site="here")

    def problems(*outputs: Any) -> list[str]:
        return [text for check in rules.CHECKS if (text := check(world, run, list(outputs)))]

    assert problems(SIGNALLED) == []
    assert problems(large) == [
        "signal 'note' is given 1000000 bytes; 921600 is the most: pass references (here)"
    ]
    signals = [SignalInput(signal_name="s", input=[Payload(data=b"x" * 921_600)])]
    assert problems(replace(STARTED, signals=signals, call_site="here")) == [
        "workflow 'new' is given 921601 bytes; 921600 is the most: pass references (here)"
    ]
    assert problems(SIGNALLED, CANCELLED) == [
        (
            "the code has 0 calls of other workflows pending and asks for 2; 1 is the most: await"
            " some first"
        )
    ]
