"""What signals and updates decide and change: taken by the run that is open, or that follows."""

from __future__ import annotations

from typing import Any

import pytest

from perdure_actors.core.decision import Decision, Limits, Rejection, Step
from perdure_actors.core.messages import digest_of
from perdure_actors.core.state import UpdateState
from perdure_schemas.commands import StartWorkflow
from perdure_schemas.events import (
    TimerFired,
    WorkflowBlocked,
    WorkflowCompleted,
    WorkflowContinuedAsNew,
    WorkflowFailed,
    WorkflowStarted,
)
from perdure_schemas.message_commands import SignalWorkflow, UpdateWorkflow
from perdure_schemas.message_events import (
    WorkflowSignaled,
    WorkflowUpdateAccepted,
    WorkflowUpdateCompleted,
)
from perdure_schemas.payloads import (
    Failure,
    FailureCause,
    Payload,
    ReplyTo,
    RetryPolicy,
    SignalInput,
    UpdateInput,
)
from perdure_schemas.replies import Accepted
from tests.unit.core_world import CoreWorld

TAKEN = Accepted(workflow_id="wf", run_id="run-1", first_run_id="run-1")
BOOM = Failure(chain=[FailureCause(message="boom")])
ONE = [Payload(data=b"1")]


def signal(**fields: Any) -> SignalWorkflow:
    made: dict[str, Any] = {"workflow_id": "wf", "signal_name": "go", "input": ONE}
    return SignalWorkflow(**{**made, **fields})


def update(**fields: Any) -> UpdateWorkflow:
    made: dict[str, Any] = {
        "workflow_id": "wf",
        "update_name": "set",
        "update_id": "u",
        "input": ONE,
    }
    return UpdateWorkflow(**{**made, **fields})


def test_an_open_run_takes_a_signal_and_its_code_is_asked_whether_it_can() -> None:
    world = CoreWorld()
    run = world.start()

    verdict = world.do(signal(identity="me", request_id="r"))

    event = WorkflowSignaled(signal_name="go", input=ONE, identity="me", request_id="r")
    assert verdict == Decision([Step("run-1", [event])], TAKEN, "run-1", is_checked=True)
    assert run.state.signals == 1
    world.check()


def test_a_blocked_run_takes_signals_until_too_many_wait() -> None:
    world = CoreWorld(limits=Limits(waiting_max=2))
    run = world.start()
    world.record("run-1", WorkflowBlocked(cause="error", input_seq=1))

    assert world.do(signal()) == Decision(
        [Step("run-1", [WorkflowSignaled(signal_name="go", input=ONE)])], TAKEN, "run-1"
    )
    assert run.state.waiting == [1, 3]
    assert world.do(signal()) == Rejection(
        "too_many",
        "workflow 'wf' is blocked (error), and 2 inputs wait for it; 2 is the most: send the"
        " signal again when it goes on",
        "run-1",
    )
    world.check()


def test_a_run_takes_so_many_signals_and_no_more() -> None:
    world = CoreWorld(limits=Limits(signals_max=1))
    world.start()
    world.do(signal())

    assert world.decide(signal()) == Rejection(
        "too_many",
        "workflow 'wf' run run-1 has taken 1 signals; 1 is the most for one run: let it continue"
        " as new",
        "run-1",
    )


@pytest.mark.parametrize("command", [signal(), update()])
def test_what_nobody_can_take_is_refused_in_words(command: Any) -> None:
    world = CoreWorld()
    unknown = Rejection("not_found", "no workflow 'wf' on task queue 'orders'")
    assert world.decide(command) == unknown

    world.start()
    world.record("run-1", WorkflowCompleted())
    closed = Rejection("closed", "workflow 'wf' is completed already", "run-1", "completed")
    assert world.decide(command) == closed


def test_a_message_has_a_name() -> None:
    world = CoreWorld()
    world.start()

    assert world.decide(signal(signal_name="")) == Rejection(
        "invalid", "the name of a signal has 1 to 1000 bytes; this one has 0"
    )
    assert world.decide(update(update_name="x" * 1001)) == Rejection(
        "invalid", "the name of an update has 1 to 1000 bytes; this one has 1001"
    )
    assert world.decide(update(update_id="")) == Rejection(
        "invalid", "an update id has 1 to 1000 bytes; this one has 0"
    )


@pytest.mark.parametrize("run_id", ["", "run-2"])
def test_between_two_runs_the_next_one_starts_and_takes_the_signal(run_id: str) -> None:
    world = CoreWorld()
    world.start()
    world.record("run-1", WorkflowContinuedAsNew(workflow_type="Order"))
    command = signal(run_id=run_id)

    first = world.decide(command)
    verdict = world.do(command)

    assert isinstance(first, Decision)
    assert first.again == command
    assert [type(step.events[0]) for step in first.steps] == [WorkflowStarted]
    answer = Accepted(workflow_id="wf", run_id="run-2", first_run_id="run-1")
    event = WorkflowSignaled(signal_name="go", input=ONE)
    assert verdict == Decision([Step("run-2", [event])], answer, "run-2", is_checked=True)
    assert [type(entry[2]) for entry in world.log if entry[1] == "run-2"] == [
        WorkflowStarted,
        WorkflowSignaled,
    ]
    world.check()


def test_a_run_to_be_retried_is_signaled_while_it_is_held_back() -> None:
    world = CoreWorld()
    world.start(retry_policy=RetryPolicy(initial_interval_ms=5_000))
    world.record("run-1", WorkflowFailed(failure=BOOM))
    world.pass_ms(1_000)

    verdict = world.do(signal())

    run = world.runs["run-2"]
    assert isinstance(verdict, Decision)
    assert not verdict.is_checked
    assert not run.state.begun
    assert run.state.begin_ms == world.now_ms + 4_000
    assert world.decide(update()) == Rejection(
        "not_ready",
        "workflow 'wf' run run-2 waits for its start delay or its next attempt, so its code cannot"
        " be asked: send the update again when it runs",
        "run-2",
    )
    world.check()


def test_a_signal_ends_a_start_delay() -> None:
    world = CoreWorld()
    run = world.start(start_delay_ms=60_000)

    verdict = world.do(signal())

    event = WorkflowSignaled(signal_name="go", input=ONE)
    begin = TimerFired(timer_id="")
    steps = [Step("run-1", [event, begin])]
    assert verdict == Decision(steps, TAKEN, "run-1")
    assert run.state.begun
    world.check()


def test_an_update_is_accepted_completed_and_known_for_ever() -> None:
    world = CoreWorld()
    run = world.start()

    verdict = world.do(update(identity="me"))

    event = WorkflowUpdateAccepted(update_id="u", update_name="set", input=ONE, identity="me")
    assert verdict == Decision(
        [Step("run-1", [event])], run_id="run-1", waits_for="u", is_checked=True
    )
    assert run.updates == {"u": UpdateState("u", digest_of(event), 2)}
    assert run.state.updates_in_flight == 1
    world.record("run-1", WorkflowUpdateCompleted(update_id="u", update_name="set"))
    assert run.updates["u"].completed_seq == 3
    assert run.state.updates_in_flight == 0
    known = Decision([], None, "run-1", waits_for="u")
    assert world.decide(update()) == known
    world.record("run-1", WorkflowCompleted())
    assert world.decide(update()) == known
    world.check()


@pytest.mark.parametrize("fields", [{"update_name": "other"}, {"input": [Payload(data=b"2")]}])
def test_an_update_id_means_one_update(fields: dict[str, Any]) -> None:
    world = CoreWorld()
    world.start()
    world.do(update())

    assert world.decide(update(**fields)) == Rejection(
        "update_id_reused",
        "update id 'u' of workflow 'wf' run run-1 was used for another update or with other"
        " arguments: give each update an id of its own",
        "run-1",
    )


def test_encrypted_arguments_tell_nothing_apart() -> None:
    world = CoreWorld()
    world.start()
    sealed = [[Payload(encoding="binary/encrypted", data=data)] for data in (b"a", b"b")]
    world.do(update(input=sealed[0]))

    assert world.decide(update(input=sealed[1])) == Decision([], None, "run-1", waits_for="u")


def test_a_run_takes_no_update_while_it_is_blocked_or_has_too_many() -> None:
    world = CoreWorld(limits=Limits(updates_in_flight_max=1, updates_max=2))
    world.start()
    world.do(update())
    in_flight = Rejection(
        "too_many",
        "workflow 'wf' has 1 updates under way; 1 is the most: send it again when some have ended",
        "run-1",
    )
    assert world.decide(update(update_id="v")) == in_flight
    world.record("run-1", WorkflowUpdateCompleted(update_id="u"))
    world.do(update(update_id="v"))
    world.record("run-1", WorkflowUpdateCompleted(update_id="v"))
    assert world.decide(update(update_id="w")) == Rejection(
        "too_many",
        "workflow 'wf' run run-1 has taken 2 updates; 2 is the most for one run: let it continue"
        " as new",
        "run-1",
    )
    world.record("run-1", WorkflowBlocked(cause="error", message="a bug", input_seq=1))
    assert world.decide(update(update_id="w")) == Rejection(
        "blocked",
        "workflow 'wf' is blocked (error), so its code cannot be asked: a bug",
        "run-1",
        "blocked",
    )


def test_an_update_result_too_large_to_be_answered_fails_the_update() -> None:
    world = CoreWorld(limits=Limits(result_bytes_max=3))
    world.start()
    world.do(update())
    done = WorkflowUpdateCompleted(
        update_id="u", update_name="set", result=Payload(data=b"1234"), call_site="here"
    )

    world.record("run-1", done)

    cause = FailureCause(
        message="update 'set' returned 4 bytes; 3 is the most: return a reference to where the"
        " data is",
        type="PayloadTooLarge",
        non_retryable=True,
    )
    assert world.log[-1][2] == WorkflowUpdateCompleted(
        update_id="u", update_name="set", failure=Failure(chain=[cause]), call_site="here"
    )


def start(**fields: Any) -> StartWorkflow:
    made: dict[str, Any] = {"workflow_id": "wf", "workflow_type": "Order", "request_id": "r"}
    return StartWorkflow(**{**made, **fields})


def test_a_start_brings_its_signal_to_a_new_run() -> None:
    world = CoreWorld()
    signals = [SignalInput(signal_name="a")]

    world.do(start(signals=signals))

    assert world.runs["run-1"].started.signals == signals
    world.record("run-1", WorkflowContinuedAsNew(workflow_type=""))
    following = world.actors["wf"].next_start
    assert following is not None
    assert following.signals == []


def test_an_open_run_takes_the_signal_of_a_start() -> None:
    world = CoreWorld()
    world.start()

    verdict = world.do(start(signals=[SignalInput(signal_name="a")]))

    event = WorkflowSignaled(signal_name="a", request_id="r")
    assert verdict == Decision([Step("run-1", [event])], TAKEN, "run-1", is_checked=True)


def test_a_start_brings_no_second_signal() -> None:
    world = CoreWorld()
    two = [SignalInput(signal_name="a"), SignalInput(signal_name="b")]

    refused = world.decide(start(signals=two))

    assert refused == Rejection("invalid", "a start brings one signal; this one has 2")


def test_a_start_that_was_cut_off_before_its_update_goes_on_with_it() -> None:
    world = CoreWorld()
    command = start(update=UpdateInput(update_name="set", update_id="u"))
    first = world.decide(command)
    assert isinstance(first, Decision)
    for step in first.steps:
        world.record(step.run_id, *step.events)

    again = world.decide(command)

    assert isinstance(again, Decision)
    assert again.answer == Accepted(
        workflow_id="wf", run_id="run-1", first_run_id="run-1", started=True
    )
    assert isinstance(again.again, UpdateWorkflow)


def test_an_update_comes_after_the_start_it_travelled_with() -> None:
    world = CoreWorld()
    reply = ReplyTo(partition=1, correlation_id="c")
    brought = UpdateInput(update_name="set", update_id="u", wait_stage="completed")
    command = start(update=brought, reply=reply)

    verdict = world.decide(command)

    assert isinstance(verdict, Decision)
    assert verdict.answer == Accepted(
        workflow_id="wf", run_id="run-1", first_run_id="run-1", started=True
    )
    assert verdict.again == UpdateWorkflow(
        workflow_id="wf",
        run_id="run-1",
        update_name="set",
        update_id="u",
        request_id="r",
        reply=ReplyTo(partition=1, correlation_id="c", wait="completed"),
    )


def test_an_update_with_start_needs_leave_to_use_an_open_run_but_for_one_it_knows() -> None:
    world = CoreWorld()
    world.start()
    brought = UpdateInput(update_name="set", update_id="u")

    refused = world.decide(start(update=brought))
    assert isinstance(refused, Rejection)
    assert refused.code == "already_started"

    used = world.do(start(update=brought, id_conflict_policy="use_existing"))
    assert isinstance(used, Decision)
    assert used.waits_for == "u"
    again = world.do(start(update=brought))
    assert again == Decision([], None, "run-1", waits_for="u")


def test_a_start_brings_signals_or_an_update() -> None:
    world = CoreWorld()
    both = start(
        signals=[SignalInput(signal_name="a")], update=UpdateInput(update_name="u", update_id="u")
    )

    text = "a start brings signals or an update, not both"
    assert world.decide(both) == Rejection("invalid", text)
