"""The index of the core is whole, and the errands of every row are exactly these."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import get_args

import pytest

from perdure_actors import table_layout
from perdure_actors.core import rules
from perdure_actors.core.decision import Limits, PushOrders, SendTask
from perdure_actors.core.state import ENTITIES, ActivityState, RecordId
from perdure_actors.partition.queries import READS
from perdure_schemas import avro, child_events, events, operator_events
from perdure_schemas.command_headers import Command, ReadCommand
from perdure_schemas.payloads import Failure, FailureCause, Payload, Record
from perdure_schemas.tracing import trace_of
from tests.unit.core_world import NOW_MS, CoreWorld

BOOM = Failure(chain=[FailureCause(message="boom")])
AT = RecordId(1, b"n", 90, 1)
CLOSING = (
    events.WorkflowCompleted(),
    events.WorkflowFailed(failure=BOOM),
    events.WorkflowCanceled(),
    events.WorkflowTerminated(),
    events.WorkflowTimedOut(),
    events.WorkflowContinuedAsNew(workflow_type=""),
)
STOPS = (
    (events.ActivityCancelRequested(activity_id="1"), "cancel_requested"),
    (events.ActivityTimedOut(activity_id="1", attempt=1, timeout_type="heartbeat"), "timed_out"),
    (
        events.ActivityRetryScheduled(activity_id="1", attempt=1, failure=BOOM, due_ms=1),
        "timed_out",
    ),
)


# Records whose rows are still to come: this only shrinks.
RESERVED_COMMANDS: set[str] = set()
RESERVED_EVENTS: set[str] = set()


def _names_in(modules: tuple[ModuleType, ...]) -> set[str]:
    return {
        cls.__name__
        for cls in avro.framed_records()
        if cls.__module__ in {module.__name__ for module in modules}
    }


def _names(kinds: Iterable[type[Record]]) -> set[str]:
    return {kind.__name__ for kind in kinds}


def test_every_event_of_a_run_has_its_apply() -> None:
    assert set(rules.APPLY) == set(get_args(events.Event))


def test_every_event_is_of_one_kind() -> None:
    kinds = [
        set(get_args(kind))
        for kind in (events.Input, events.Output, events.Neutral, events.PartitionEvent)
    ]

    assert sum(len(kind) for kind in kinds) == len(set().union(*kinds))
    assert not _names(set().union(*kinds)) & RESERVED_EVENTS
    assert _names(set().union(*kinds)) | RESERVED_EVENTS == _names_in(avro.EVENT_MODULES)


def test_every_command_is_decided_or_read() -> None:
    # These are about the partition itself: its inbox takes them, and no run hears of it.
    partitions = {"SkipInput", "SetRetention", "RunRetention"}
    taken = _names(rules.COMMANDS) | _names(READS) | partitions
    assert not taken & RESERVED_COMMANDS
    assert taken | RESERVED_COMMANDS == _names_in(avro.COMMAND_MODULES)
    assert not set(rules.COMMANDS) & set(READS)


def test_every_command_has_a_header_and_those_that_only_read_are_read() -> None:
    for module in avro.COMMAND_MODULES:
        for kind in (value for value in vars(module).values() if isinstance(value, type)):
            if kind.__module__ == module.__name__:
                assert issubclass(kind, Command), kind
                assert issubclass(kind, ReadCommand) == (kind in READS), kind


def test_only_outputs_become_other_events_and_only_events_bring_errands() -> None:
    assert set(rules.OUTPUTS) <= events.OUTPUTS
    assert set(rules.EFFECTS) <= set(rules.APPLY)


def test_every_entity_has_its_rows() -> None:
    assert set(ENTITIES) == set(table_layout.KINDS)


def test_alarms_are_those_that_rows_can_hold() -> None:
    assert set(rules.ALARMS) == {"run", "activity", "timer"}


def claimed_world(reply_partition: int) -> CoreWorld:
    """A run with one activity that a worker runs, and one that waits for a worker."""
    world = CoreWorld()
    run = world.start()
    world.schedule(run)
    world.schedule(run, "2")
    started = events.ActivityStarted(
        activity_id="1", attempt=1, worker_id="w1", reply_partition=reply_partition
    )
    world.record("run-1", started)
    return world


def test_the_first_task_says_what_the_event_will_have_made() -> None:
    world = CoreWorld()
    run = world.start()
    event = events.ActivityScheduled(activity_id="1", activity_type="charge", task_queue="q")

    effects = rules.effects_of(run, event, AT, NOW_MS)

    made = ActivityState(event, 2, NOW_MS, 1, AT, NOW_MS)
    trace = trace_of(run.started, "run-1")
    assert effects == [SendTask("wf", "run-1", "Order", made, trace=trace)]
    rules.apply(run, event, AT, NOW_MS)
    assert run.activities == {"1": made}


def test_the_next_task_has_its_own_attempt_and_token() -> None:
    world = claimed_world(3)
    run = world.runs["run-1"]
    event = events.ActivityAttemptScheduled(activity_id="1", attempt=2)

    (task,) = rules.effects_of(run, event, AT, NOW_MS + 9)

    assert isinstance(task, SendTask)
    assert (task.activity.attempt, task.activity.issued) == (2, AT)
    assert task.activity.attempt_ms == NOW_MS + 9
    assert run.activities["1"].attempt == 1


@pytest.mark.parametrize(("event", "reason"), STOPS)
def test_the_worker_of_an_attempt_that_should_stop_is_told(event: Record, reason: str) -> None:
    run = claimed_world(3).runs["run-1"]

    effects = rules.effects_of(run, event, AT, NOW_MS)

    assert effects == [PushOrders("w1", 3, run.activities["1"].issued, reason)]


@pytest.mark.parametrize(("event", "_reason"), STOPS)
def test_nobody_is_told_of_an_attempt_that_nobody_can_be_reached_for(
    event: Record, _reason: str
) -> None:
    unreached = claimed_world(-1).runs["run-1"]
    assert rules.effects_of(unreached, event, AT, NOW_MS) == []

    waiting = claimed_world(3).runs["run-1"]
    waiting.activities["1"] = waiting.activities.pop("2")
    assert rules.effects_of(waiting, event, AT, NOW_MS) == []

    del waiting.activities["1"]
    assert rules.effects_of(waiting, event, AT, NOW_MS) == []


@pytest.mark.parametrize("event", CLOSING)
def test_the_workers_of_a_run_that_closes_are_told(event: Record) -> None:
    run = claimed_world(3).runs["run-1"]
    effects = rules.effects_of(run, event, AT, NOW_MS)
    assert effects == [PushOrders("w1", 3, run.activities["1"].issued, "not_found")]

    unreached = claimed_world(-1).runs["run-1"]
    assert rules.effects_of(unreached, event, AT, NOW_MS) == []


def test_every_event_that_brings_errands_was_asked_for_them_here() -> None:
    asked = {type(event) for event in CLOSING} | {type(event) for event, _ in STOPS}

    assert set(rules.EFFECTS) == asked | {
        events.ActivityScheduled,
        events.ActivityAttemptScheduled,
        events.WorkflowStarted,
        child_events.ChildWorkflowInitiated,
        child_events.ChildCancelRequested,
        child_events.ExternalCancelInitiated,
        child_events.ExternalSignalInitiated,
        child_events.ExternalStartInitiated,
        # Asked for in test_core_operating.
        events.ActivityFailed,
        operator_events.ActivityPaused,
        operator_events.ActivityReset,
    }


def test_an_event_without_a_row_brings_nothing() -> None:
    run = claimed_world(3).runs["run-1"]
    event = events.ActivityCompleted(activity_id="1", attempt=1)

    assert rules.effects_of(run, event, AT, NOW_MS) == []


def test_what_has_no_row_becomes_itself_and_an_activity_gets_a_queue() -> None:
    world = CoreWorld()
    run = world.start()
    timer = events.TimerStarted(timer_id="1", duration_ms=5)
    plain = events.ActivityScheduled(activity_id="1", activity_type="charge")
    routed = events.ActivityScheduled(activity_id="1", activity_type="charge", task_queue="q")

    assert rules.settle(world, run, timer, NOW_MS) is timer
    assert rules.settle(world, run, routed, NOW_MS) is routed
    assert rules.settle(world, run, plain, NOW_MS) == events.ActivityScheduled(
        activity_id="1", activity_type="charge", task_queue="orders"
    )


def test_every_check_lets_pass_what_is_within_the_limits() -> None:
    world = CoreWorld(limits=Limits(activities_max=1, timers_max=1, payload_bytes_max=3))
    run = world.start()
    outputs: list[Record] = [
        events.ActivityScheduled(
            activity_id="1", activity_type="charge", input=[Payload(data=b"123")]
        ),
        events.TimerStarted(timer_id="1", duration_ms=5),
    ]

    assert not any(check(world, run, outputs) for check in rules.CHECKS)


def test_all_inputs_of_an_activation_are_weighed_together() -> None:
    world = CoreWorld(limits=Limits(activation_bytes_max=5))
    fitting = CoreWorld(limits=Limits(activation_bytes_max=6))
    run = world.start()
    outputs: list[Record] = [
        events.ActivityScheduled(
            activity_id=str(number), activity_type="charge", input=[Payload(data=b"123")]
        )
        for number in range(2)
    ]

    problems = [check(world, run, outputs) for check in rules.CHECKS]

    expected = (
        "the code asks at once for activities with over 5 bytes of input:"
        " await some before asking for more, or pass references"
    )
    assert [problem for problem in problems if problem] == [expected]
    assert not any(check(fitting, run, outputs) for check in rules.CHECKS)
