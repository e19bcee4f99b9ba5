"""A command of another actor is taken once, however often and however close it comes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import msgspec
import pytest

from perdure_schemas.avro import encode
from perdure_schemas.commands import StartWorkflow
from perdure_schemas.payloads import EffectId, Payload
from perdure_topics.simulated.faults import FaultPlan
from tests.simulation.checker import ledger_of
from tests.simulation.swarm import draw
from tests.simulation.workflows import TYPE, Plan
from tests.simulation.world import World


def _start(index: int) -> bytes:
    plan = Payload(data=msgspec.json.encode(Plan(salt="s")))
    source = EffectId(topic_id="elsewhere", partition=0, epoch=7, pseq=3, index=index)
    command = StartWorkflow(workflow_id="wf", workflow_type=TYPE, input=[plan], source=source)
    return encode(command)


def _write(world: World, index: int) -> None:
    world.broker.write(world.topic("commands"), 0, _start(index), key=b"wf")


@pytest.mark.parametrize("apart_ms", [0, 3_000], ids=["in the pipeline", "accepted"])
def test_two_copies_of_an_actor_command_are_taken_once(apart_ms: int) -> None:
    settings = replace(draw(1), partitions=1, hosts=1, starts=0, faults={}, plan=FaultPlan())
    world = World(settings)
    for at_ms, index in ((6_000, 0), (6_000 + apart_ms, 0), (9_500, 1), (9_500 + apart_ms, 0)):
        world.broker.at(at_ms, partial(_write, world, index))

    violations = world.run()

    assert violations == []
    assert len(ledger_of(world.dump()).of_workflow("wf")) == 2
