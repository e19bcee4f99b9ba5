"""Children whose task queue nobody serves, stopped before their start could be sent."""

from __future__ import annotations

from typing import Any

import pytest

from perdure import workflow
from perdure_schemas.avro import decode
from perdure_schemas.commands import CancelWorkflow, StartWorkflow, TerminateWorkflow
from perdure_schemas.converters import DefaultPayloadConverter
from tests.unit.host_world import HostWorld

pytestmark = pytest.mark.timeout(60)
CONVERTER = DefaultPayloadConverter()


@workflow.defn(sandboxed=False)
class Parent:
    @workflow.run
    async def run(self, is_executed: bool) -> None:
        start = workflow.execute_child_workflow if is_executed else workflow.start_child_workflow
        for number in range(3):
            await start("Kid", id=f"kid-{number}", task_queue="nobody")


def commands_of_nobody(here: HostWorld) -> list[Any]:
    name = here.topic("commands").replace(".q.", ".nobody.")
    return [decode(record.value) for record in here.broker.partition(name, 0).given]


def made(*, is_executed: bool) -> HostWorld:
    here = HostWorld([Parent])
    here.run(1_000)
    here.start("Parent", "w", input=CONVERTER.to_payloads([is_executed]))
    here.run(1_000)
    return here


@pytest.mark.parametrize("is_executed", [False, True])
def test_a_child_that_was_cancelled_is_not_started_when_its_queue_is_made(
    is_executed: bool,
) -> None:
    here = made(is_executed=is_executed)

    here.send(CancelWorkflow(workflow_id="w"))
    here.run(2_000)
    assert here.describe("w").summary.status == "canceled"
    for role in ("commands", "tasks", "events"):
        here.make_topic(role, 1, task_queue="nobody")
    here.run(5_000)

    kinds = {type(command) for command in commands_of_nobody(here)}
    assert StartWorkflow not in kinds
    (slot,) = here.host.slots.values()
    assert slot.shard is not None
    assert slot.shard.outbox.is_idle


def test_nor_is_one_whose_parent_was_terminated() -> None:
    here = made(is_executed=True)
    here.send(TerminateWorkflow(workflow_id="w"))
    here.run(2_000)

    here.make_topic("commands", 1, task_queue="nobody")
    here.run(5_000)

    assert StartWorkflow not in {type(command) for command in commands_of_nobody(here)}


def test_one_that_was_not_stopped_starts_when_its_queue_is_made() -> None:
    here = made(is_executed=True)

    here.make_topic("commands", 1, task_queue="nobody")
    here.run(5_000)

    (start,) = commands_of_nobody(here)
    assert isinstance(start, StartWorkflow)
    assert start.workflow_id == "kid-0"
