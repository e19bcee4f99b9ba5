"""After every turn of a host its table is what the log makes of an empty one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from perdure_topics.simulated.faults import FaultPlan
from tests.simulation.hosts import SimHost
from tests.simulation.ledger import Violation
from tests.simulation.rebuild import content, difference, rebuilt
from tests.simulation.swarm import FEATURES, draw
from tests.simulation.world import World

STARTS = 5


class CloseWorld(World):
    """One host, few runs, and a replay of everything after each turn that changed something."""

    compared = 0
    every = 1
    """How many records are compared at once: a long log is replayed in fewer steps."""

    def after_step(self, host: SimHost) -> None:
        if host.host is None:
            return
        for number, slot in host.host.slots.items():
            shard = slot.shard
            if shard is None:
                continue
            if 0 <= shard.meta.offset - self._seen.get(number, -self.every) < self.every:
                continue
            self._seen[number] = shard.meta.offset
            records = self.broker.partition(self.topic("events"), number).records
            theirs = rebuilt(records[: shard.meta.offset + 1], shard.meta)
            wrong = difference(content(shard.table), theirs, shard.meta.dispatched)
            self.compared += 1
            if wrong:
                where = f"partition {number} at offset {shard.meta.offset}"
                self.violations.append(Violation("R", f"{where}: {wrong}"))

    _seen: dict[int, int] = {}


@pytest.mark.seeds(8, fresh=2)
def test_replaying_the_log_gives_the_table_after_every_step(seed: int) -> None:
    settings = draw(seed)
    kept = {
        name: strength
        for name, strength in settings.faults.items()
        if name in ("parts", "small_cache", "host_crash", "bad_deploy", "worker_late", "poison")
    }
    plan = FaultPlan(ack_lost=0.02 if seed % 2 else 0.0)
    world = CloseWorld(
        replace(settings, hosts=1, partitions=1, starts=STARTS, faults=kept, plan=plan)
    )
    world._seen = {}

    world.run()

    assert world.violations[:5] == []
    assert world.compared > 20


@pytest.mark.seeds(2)
def test_so_it_is_with_schedules_local_activities_and_operators(seed: int) -> None:
    settings = draw(seed)
    kept = dict.fromkeys(("small_cache", "host_crash", "parts"), 1.0)
    features = ("locals", "operators") if seed % 2 else FEATURES
    alone = replace(settings, hosts=1, partitions=1, starts=STARTS, faults=kept, plan=FaultPlan())
    world = CloseWorld(replace(alone, features=features, busy_ms=20_000))
    world._seen = {}
    world.every = 2

    world.run()

    assert world.violations[:5] == []
    assert world.compared > 20
