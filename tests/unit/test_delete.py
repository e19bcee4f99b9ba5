"""Deleting closed runs: gone for whoever asks or rebuilds, refused while anything is on its way."""

from __future__ import annotations

from typing import Any

import pytest

from perdure_schemas.avro import decode, decode_as
from perdure_schemas.commands import DeleteWorkflow, TerminateWorkflow
from perdure_schemas.partition_events import RunsForgotten
from perdure_schemas.replies import Accepted, Refused
from perdure_schemas.transition import Transition, TransitionBody
from tests.unit.reset_world import ANSWERED_MS, ResetWorld, refused
from tests.unit.test_reset import Steps

pytestmark = pytest.mark.timeout(60)


def delete(world: ResetWorld, workflow_id: str = "wf", **fields: Any) -> Any:
    world.asked += 1
    name = fields.pop("request_id", f"delete {world.asked}")
    reply = world.reply_to(name)
    world.send(DeleteWorkflow(workflow_id=workflow_id, request_id=name, reply=reply, **fields))
    world.run(ANSWERED_MS)
    return world.answer(name)


def closed() -> tuple[ResetWorld, str]:
    """A run that was terminated, and all of that is sent."""
    world = ResetWorld([Steps])
    run_id = world.begin("Steps")
    world.send(TerminateWorkflow(workflow_id="wf"))
    world.run(2_000)
    return world, run_id


def words(world: ResetWorld) -> list[RunsForgotten]:
    found = []
    for record in world.records("events"):
        envelope = decode(record.value)
        if isinstance(envelope, Transition):
            body = decode_as(TransitionBody, envelope.body)
            found += [decode(data) for data in body.events]
    return [one for one in found if isinstance(one, RunsForgotten)]


def test_a_closed_run_is_known_no_more_and_the_log_says_why() -> None:
    world, run_id = closed()

    answer = delete(world, reason="asked to", identity="ann")

    assert isinstance(answer, Accepted)
    assert answer.run_id == run_id
    assert world.runs("wf") == 0
    refused(world.describe("wf"), "not_found")
    refused(world.describe("wf", run_id), "not_found")
    assert words(world) == [
        RunsForgotten(runs=[run_id], reason="deleted: asked to", identity="ann")
    ]
    world.check()


def test_who_asks_again_is_told_that_it_is_done() -> None:
    world, _ = closed()

    first = delete(world, request_id="d")
    second = delete(world, request_id="d")
    third = delete(world)

    assert isinstance(first, Accepted)
    assert isinstance(second, Accepted)
    refused(third, "not_found")
    assert len(words(world)) == 1


def test_an_open_run_is_not_deleted() -> None:
    world = ResetWorld([Steps])
    run_id = world.begin("Steps")

    answer = refused(delete(world), "open")

    assert answer.message == (
        f"workflow 'wf' run {run_id} is running: cancel or terminate it first, then delete it"
    )
    assert world.describe("wf").summary.run_id == run_id
    assert words(world) == []
    world.check()


def test_a_run_whose_end_is_on_its_way_is_left_alone_for_now() -> None:
    world = ResetWorld([Steps])
    world.begin("Steps")

    world.send(TerminateWorkflow(workflow_id="wf"))
    answer = delete(world)

    assert isinstance(answer, Refused), "the end is not accepted yet as this is decided"
    assert answer.code == "busy"
    assert isinstance(delete(world), Accepted)
    world.check()


def test_one_run_of_several_is_deleted() -> None:
    world = ResetWorld([Steps])
    old = world.begin("Steps")
    new = world.reset(1).run_id
    world.run(2_000)

    assert isinstance(delete(world, run_id=old), Accepted)

    assert world.runs("wf") == 1
    assert world.describe("wf").summary.run_id == new
    for place, name in enumerate(("one", "two", "three")):
        world.complete(new, name, place)
    assert world.result(new)[:3] == [0, 1, 2]
    world.check()


def test_the_new_run_of_a_reset_keeps_its_history_when_the_old_one_is_deleted() -> None:
    world = ResetWorld([Steps])
    old = world.begin("Steps")
    world.complete(old, "one", 1)
    new = world.reset(3).run_id
    world.run(2_000)

    assert isinstance(delete(world, run_id=old), Accepted)
    world.die()
    world.run(30_000)

    world.complete(new, "two", 2)
    world.complete(new, "three", 3)
    assert world.result(new)[:3] == [1, 2, 3]
    assert len(world.history(new)) == 8
    world.check()
