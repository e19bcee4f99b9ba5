"""What code asks for is weighed against where it goes, before any of it happens."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from perdure_actors.core import rules, weights
from perdure_actors.core.decision import Limits, SendCommand
from perdure_actors.core.state import RecordId
from perdure_schemas import child_events as ce
from perdure_schemas import events as ev
from perdure_schemas.avro import COMMAND_BYTES_MAX, RECORD_BYTES_MAX, decode, encode, write
from perdure_schemas.fact_events import MarkerRecorded, MemoUpserted, RecordEmitted
from perdure_schemas.payloads import Failure, FailureCause, Payload, Record, RunRef
from tests.unit.core_world import NOW_MS, CoreWorld

AT = RecordId(1, b"n", 90, 1)
MIB = 1024 * 1024
TARGET = RunRef(workflow_id="other", task_queue="orders")


def heavy(size: int) -> Payload:
    return Payload(data=b"x" * size)


def problem_of(*outputs: Record, limits: Limits | None = None) -> str:
    world = CoreWorld(limits=limits)
    run = world.start()
    asked = [write(rules.settle(world, run, output, NOW_MS)) for output in outputs]
    return weights.check_weights(
        world.limits, asked, lambda event: rules.effects_of(run, event, AT, NOW_MS)
    )


CHILD: dict[str, Any] = {"child_id": "1", "workflow_id": "k", "workflow_type": "K"}
TO_COMMANDS = {
    "memo": ce.ChildWorkflowInitiated(**CHILD, memo={"m": heavy(MIB)}),
    "details": ce.ChildWorkflowInitiated(**CHILD, static_details=heavy(MIB)),
    "header": ce.ChildWorkflowInitiated(**CHILD, header={"h": heavy(MIB)}),
    "last result": ce.ChildWorkflowInitiated(**CHILD, last_result=heavy(MIB)),
    "last failure": ce.ChildWorkflowInitiated(
        **CHILD, last_failure=Failure(chain=[FailureCause(details=[heavy(MIB)])])
    ),
    "all together": ce.ChildWorkflowInitiated(
        **CHILD,
        input=[heavy(MIB // 2)],
        static_details=heavy(MIB // 4),
        last_result=heavy(MIB // 4),
    ),
    "metadata": ce.ChildWorkflowInitiated(**CHILD, input=[Payload(metadata={"k": b"x" * MIB})]),
    "signal": ce.ExternalSignalInitiated(
        call_id="1", target=TARGET, signal_name="s", header={"h": heavy(MIB)}
    ),
    "start": ce.ExternalStartInitiated(
        call_id="1",
        workflow_id="k",
        workflow_type="K",
        task_queue="orders",
        static_details=heavy(MIB),
    ),
    "reason": ce.ExternalCancelInitiated(call_id="1", target=TARGET, reason="x" * MIB),
}


@pytest.mark.parametrize("output", TO_COMMANDS.values(), ids=TO_COMMANDS)
def test_a_command_to_another_actor_is_weighed_whole(output: Record) -> None:
    assert f"{COMMAND_BYTES_MAX} is the most: pass references" in problem_of(output)


TO_EVENTS = {
    "header": ev.ActivityScheduled(
        activity_id="1", activity_type="A", task_queue="", header={"h": heavy(6 * MIB)}
    ),
    "marker": MarkerRecorded(kind="side_effect", name="x" * 6 * MIB),
    "memo key": MemoUpserted(memo={"k" * 6 * MIB: heavy(1)}),
    "emitted": RecordEmitted(topic="t" * 6 * MIB),
    "next run": ev.WorkflowContinuedAsNew(
        workflow_type="K", input=[heavy(3 * MIB)], header={"h": heavy(3 * MIB)}
    ),
}


@pytest.mark.parametrize("output", TO_EVENTS.values(), ids=TO_EVENTS)
def test_an_event_is_weighed_whole(output: Record) -> None:
    assert f"{weights.EVENT_BYTES_MAX} is the most: pass references" in problem_of(output)


def test_an_activation_is_weighed_whole() -> None:
    many = [MarkerRecorded(kind="side_effect", name=str(n), value=heavy(MIB)) for n in range(70)]

    assert problem_of(*many).startswith("the code asks at once for what takes over 67108864 bytes")
    assert not problem_of(*many[:60])


def test_what_is_let_through_fits_where_it_goes() -> None:
    world = CoreWorld()
    run = world.start()
    room = COMMAND_BYTES_MAX - weights.SENDER_BYTES - 1_000
    child = ce.ChildWorkflowInitiated(**CHILD, static_details=heavy(room))
    assert not problem_of(child)

    (effect,) = rules.effects_of(run, child, AT, NOW_MS)
    assert isinstance(effect, SendCommand)
    assert len(encode(effect.command)) <= COMMAND_BYTES_MAX - weights.SENDER_BYTES


def test_the_start_of_the_next_run_can_be_read_whatever_it_carries() -> None:
    world = CoreWorld()
    run = world.start()
    failure = Failure(chain=[FailureCause(details=[heavy(world.limits.result_bytes_max)])])
    children = ["é" * 500 + str(number) for number in range(world.limits.children_max)]
    for number, workflow_id in enumerate(children):
        world.record(
            run.state.run_id,
            ce.ChildWorkflowInitiated(
                child_id=str(number), workflow_id=workflow_id, workflow_type="K" * 900
            ),
        )
    ended = ev.WorkflowContinuedAsNew(
        workflow_type="K",
        input=[heavy(4 * MIB)],
        header={"h": heavy(MIB - 1_000)},
        keeps_children=True,
    )
    assert not problem_of(ended)
    world.record(run.state.run_id, ended)

    start = run.actor.next_start
    assert start is not None
    start = replace(start, last_failure=failure)
    assert len(encode(start)) > RECORD_BYTES_MAX
    assert decode(encode(start)) == start
