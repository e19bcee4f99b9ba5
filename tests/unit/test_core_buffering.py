"""Signals that wait for a start: kept by the rules, taken whole by the run that begins."""

from __future__ import annotations

from typing import Any

import pytest

from perdure_actors.core.decision import Decision, Limits, Rejection
from perdure_actors.core.signal_buffer import BUFFER_MS_MAX, decide_expired
from perdure_schemas.commands import StartWorkflow
from perdure_schemas.events import (
    WorkflowCompleted,
    WorkflowContinuedAsNew,
    WorkflowFailed,
    WorkflowStarted,
)
from perdure_schemas.message_commands import SignalWorkflow
from perdure_schemas.message_events import SignalBuffered, SignalExpired, WorkflowSignaled
from perdure_schemas.payloads import (
    Failure,
    FailureCause,
    Payload,
    RetryPolicy,
    RunRef,
    SignalInput,
)
from perdure_schemas.replies import Accepted
from tests.unit.core_world import NOW_MS, CoreWorld, say

BOOM = Failure(chain=[FailureCause(message="boom")])


def signal(name: str = "go", **fields: Any) -> SignalWorkflow:
    made: dict[str, Any] = {"workflow_id": "wf", "buffer_ms": 5_000, "request_id": f"r-{name}"}
    return SignalWorkflow(signal_name=name, **{**made, **fields})


def kept(name: str = "go", data: bytes = b"") -> SignalInput:
    values = [Payload(data=data)] if data else []
    return SignalInput(signal_name=name, input=values, request_id=f"r-{name}")


def test_a_signal_waits_for_a_workflow_that_nobody_has_started() -> None:
    world = CoreWorld()

    verdict = world.do(signal(input=[Payload(data=b"1")]))

    word = SignalBuffered(workflow_id="wf", signal=kept(data=b"1"), expires_ms=NOW_MS + 5_000)
    assert verdict == Decision([], Accepted(workflow_id="wf"), words=[word])
    assert world.buffers.signals("wf") == [kept(data=b"1")]
    assert world.buffers.signals("other") == []
    world.check()


def test_the_run_that_starts_has_all_of_them_in_order_and_first() -> None:
    world = CoreWorld()
    for name in ("a", "b"):
        world.do(signal(name))
    world.do(signal("elsewhere", workflow_id="other"))
    own = SignalInput(signal_name="own")

    world.do(StartWorkflow(workflow_id="wf", workflow_type="Order", signals=[own]))

    assert world.runs["run-1"].started.signals == [kept("a"), kept("b"), own]
    assert world.buffers.signals("wf") == []
    assert world.buffers.sizes("wf") == (0, 0)
    assert world.buffers.count == 1
    world.check()


def test_an_open_run_takes_a_signal_that_could_have_waited() -> None:
    world = CoreWorld()
    world.start()

    verdict = world.do(signal())

    assert [type(event) for event in verdict.steps[0].events] == [WorkflowSignaled]
    assert world.words == []


@pytest.mark.parametrize(
    "end",
    [WorkflowContinuedAsNew(workflow_type="Order"), WorkflowFailed(failure=BOOM)],
    ids=["continued", "retried"],
)
def test_a_run_that_is_to_follow_takes_it_at_once(end: Any) -> None:
    world = CoreWorld()
    world.start(retry_policy=RetryPolicy(initial_interval_ms=5_000))
    world.record("run-1", end)

    world.do(signal())

    assert world.words == []
    assert [type(one[2]) for one in world.log if one[1] == "run-2"] == [
        WorkflowStarted,
        WorkflowSignaled,
    ]


def test_a_closed_run_lets_it_wait_for_the_next_start() -> None:
    world = CoreWorld()
    world.start()
    world.record("run-1", WorkflowCompleted())
    assert isinstance(world.decide(signal(buffer_ms=0)), Rejection)

    world.do(signal())
    world.start()

    assert world.runs["run-2"].started.signals == [kept()]
    world.record("run-2", WorkflowCompleted())
    world.start()
    assert world.runs["run-3"].started.signals == []


def test_a_refused_start_leaves_what_waits() -> None:
    world = CoreWorld()
    world.start()
    world.record("run-1", WorkflowCompleted())
    world.do(signal())

    verdict = world.do(
        StartWorkflow(workflow_id="wf", workflow_type="Order", id_reuse_policy="reject_duplicate")
    )

    assert isinstance(verdict, Rejection)
    assert world.buffers.signals("wf") == [kept()]


def test_the_end_of_its_time_is_an_event_and_a_start_that_came_before_makes_it_void() -> None:
    world = CoreWorld()
    world.do(signal("a"))
    world.do(signal("b"))

    expired = decide_expired(world, "wf", 1)

    assert expired == SignalExpired(workflow_id="wf", signal_name="a", request_id="r-a", pseq=1)
    say(world, expired)
    assert decide_expired(world, "wf", 1) is None
    assert world.buffers.signals("wf") == [kept("b")]
    world.start()
    assert decide_expired(world, "wf", 2) is None


def test_one_workflow_has_room_for_so_many_and_so_many_bytes() -> None:
    world = CoreWorld(limits=Limits(buffered_max=2, buffered_bytes_max=100))
    world.do(signal("a"))
    too_large = world.decide(signal(input=[Payload(data=b"x" * 98)]))
    assert isinstance(too_large, Rejection)
    assert too_large.message.startswith("a full signal buffer: 1 signals with 1 bytes wait for")
    world.do(signal("b"))

    refused = world.decide(signal("c"))

    assert refused == Rejection(
        "buffer_full",
        "a full signal buffer: 2 signals with 2 bytes wait for workflow 'wf' to be started, and"
        " this one has 1 bytes; 2 signals and 100 bytes are the most: start the workflow, or send"
        " the signal when it runs",
    )
    assert isinstance(world.decide(signal("c", workflow_id="other")), Decision)


@pytest.mark.parametrize("limits", [{"buffered_all_max": 1}, {"buffered_all_bytes_max": 1}])
def test_a_partition_has_room_for_so_many_and_so_many_bytes(limits: dict[str, int]) -> None:
    world = CoreWorld(limits=Limits(**limits))
    world.do(signal("a"))

    refused = world.decide(signal("b", workflow_id="other"))

    assert isinstance(refused, Rejection)
    assert refused.code == "buffer_full"
    assert "wait for the workflows of its partition to be started" in refused.message
    world.start()
    assert isinstance(world.decide(signal("b", workflow_id="other")), Decision)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"buffer_ms": -1}, "buffer_ms is -1: give 0 to 2592000000 (30 days)"),
        ({"buffer_ms": BUFFER_MS_MAX + 1}, "give 0 to 2592000000 (30 days)"),
        ({"run_id": "run-1"}, "for whichever run starts: name no run"),
        ({"first_run_id": "run-1"}, "for whichever run starts: name no run"),
        (
            {"child_of": RunRef(workflow_id="p", run_id="r", task_queue="q", workflow_type="P")},
            "for whichever run starts: name no run",
        ),
    ],
)
def test_a_wait_that_makes_no_sense_is_refused(fields: dict[str, Any], said: str) -> None:
    verdict = CoreWorld().decide(signal(**fields))

    assert isinstance(verdict, Rejection)
    assert verdict.code == "invalid"
    assert said in verdict.message
