"""What parents and children may send each other, and what happens to more."""

from __future__ import annotations

from msgspec.structs import replace

from perdure_actors.core import child_reports, rules
from perdure_actors.core.decision import Limits, SendCommand
from perdure_actors.core.state import RecordId
from perdure_schemas import child_events as ce
from perdure_schemas import events as ev
from perdure_schemas.avro import COMMAND_BYTES_MAX, encode
from perdure_schemas.child_commands import ReportChildClosed
from perdure_schemas.payloads import Failure, FailureCause, Payload, RunRef
from tests.unit.core_world import NOW_MS, CoreWorld

AT = RecordId(1, b"n", 90, 1)
PARENT = RunRef(workflow_id="up", run_id="up-1", task_queue="above", workflow_type="Up")


def test_what_a_child_is_given_has_a_limit_and_so_have_children() -> None:
    world = CoreWorld(limits=Limits(children_max=1))
    run = world.start()
    small = ce.ChildWorkflowInitiated(child_id="1", workflow_id="k", workflow_type="K")
    most = Payload(data=b"x" * child_reports.REPORT_BYTES_MAX)

    problems = [
        [problem for check in rules.CHECKS if (problem := check(world, run, list(outputs)))]
        for outputs in (
            (small,),
            (replace(small, input=[most]),),
            (replace(small, memo={"m": most}, input=[Payload(data=b"1")], call_site="here"),),
            (small, replace(small, child_id="2")),
        )
    ]

    assert problems == [
        [],
        [],
        ["child workflow K is given 921601 bytes; 921600 is the most: pass references (here)"],
        [
            (
                "the code has 0 children pending and asks for 2; 1 is the most: await some before"
                " asking for more"
            )
        ],
    ]


def test_the_largest_report_is_a_command_that_may_be_sent() -> None:
    world = CoreWorld()
    run = world.start(parent=PARENT, child_id="7")
    most = Payload(data=b"x" * child_reports.REPORT_BYTES_MAX)
    kept = rules.settle(world, run, ev.WorkflowCompleted(result=most), NOW_MS)
    over = Payload(data=most.data + b"x")
    failed = rules.settle(world, run, ev.WorkflowCompleted(result=over), NOW_MS)

    (effect,) = rules.effects_of(run, kept, AT, NOW_MS)
    assert isinstance(effect, SendCommand)
    assert len(encode(effect.command)) < COMMAND_BYTES_MAX - 4096
    assert isinstance(failed, ev.WorkflowFailed)
    assert failed.failure.chain[0].message.startswith("the workflow returned 921601 bytes")


def test_a_failure_too_large_to_be_told_loses_its_details() -> None:
    world = CoreWorld()
    run = world.start(parent=PARENT, child_id="7")
    cause = FailureCause(message="boom", type="T", details=[Payload(data=b"x" * 1_000_000)])
    failed = ev.WorkflowFailed(failure=Failure(chain=[cause]))

    settled = rules.settle(world, run, failed, NOW_MS)

    (effect,) = rules.effects_of(run, settled, AT, NOW_MS)
    assert isinstance(effect, SendCommand)
    assert isinstance(effect.command, ReportChildClosed)
    told = effect.command.failure
    assert told is not None
    assert told.chain[0].message.startswith("boom (its details, 1000000 bytes, were too large")
    assert told.chain[0].type == "T"
    assert len(encode(effect.command)) < COMMAND_BYTES_MAX - 4096


def test_a_termination_is_told_however_long_its_reason_is() -> None:
    world = CoreWorld()
    run = world.start(parent=PARENT, child_id="7")
    ended = ev.WorkflowTerminated(reason="x" * 1_000_000)

    (effect,) = rules.effects_of(run, ended, AT, NOW_MS)

    assert isinstance(effect, SendCommand)
    assert len(encode(effect.command)) < 100_000
