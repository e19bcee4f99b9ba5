"""Runs that begin at one moment in several partitions, each partition's record of the same number.

Ids are derived from moment, number and owner's nonce: without the nonce these would be one.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from unittest.mock import patch

import msgspec

from perdure_actors.partition.context import PartitionContext
from perdure_schemas.avro import encode
from perdure_schemas.commands import StartWorkflow
from perdure_schemas.payloads import Payload
from perdure_topics.names import partition_of
from perdure_topics.simulated.faults import FaultPlan
from tests.simulation.checker import ledger_of
from tests.simulation.swarm import draw
from tests.simulation.workflows import TYPE, Plan, Step
from tests.simulation.world import World

PARTITIONS = 3
TIMES = 5


class MomentsWorld(World):
    """One host with a good disk and a true clock, and a start in each partition at once."""

    def __init__(self) -> None:
        quiet = replace(draw(1), partitions=PARTITIONS, hosts=1, starts=0)
        super().__init__(replace(quiet, faults={}, plan=FaultPlan(), busy_ms=20_000))

    def _live(self) -> None:
        for number in range(TIMES):
            self.broker.at(10_000 + 1_000 * number, partial(self._start_everywhere, number))
        super()._live()

    def _start_everywhere(self, number: int) -> None:
        value = msgspec.json.encode(Plan("salt", [Step("act", run_ms=10)]))
        for partition in range(PARTITIONS):
            names = (f"at-{number}-{n}" for n in range(1_000))
            name = next(one for one in names if partition_of(one, PARTITIONS) == partition)
            start = StartWorkflow(workflow_id=name, workflow_type=TYPE, input=[Payload(data=value)])
            self.broker.write(self.topic("commands"), partition, encode(start), key=name.encode())


def test_runs_of_one_moment_have_ids_of_their_own() -> None:
    world = MomentsWorld()

    assert world.run()[:5] == []

    runs = ledger_of(world.dump()).runs
    assert len(runs) == TIMES * PARTITIONS
    begun = {(run.started.entry.time_ms, run.started.entry.pseq) for run in runs.values()}
    assert len(begun) < len(runs), "none began at the moment of another"


def test_the_checker_sees_ids_without_the_nonce() -> None:
    with_nonce = PartitionContext.new_run_id

    def without(self: PartitionContext) -> str:
        with patch.object(self, "_nonce", b""):
            return with_nonce(self)

    with patch.object(PartitionContext, "new_run_id", without):
        found = MomentsWorld().run()

    assert any("is in partition" in one.text for one in found if one.letter == "C"), found[:5]
