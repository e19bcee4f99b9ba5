"""A host whose clock is behind the log's reads on before it lets a deadline pass (rule 9)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from perdure_topics.simulated_faults import FaultPlan
from tests.simulation.swarm import draw
from tests.simulation.world import World

BEHIND_MS = -60_000
PAUSE_EVERY_MS = 5_500
PAUSE_MS = 4_500


class BehindWorld(World):
    """One host, a minute behind, that is stopped for seconds again and again."""

    def _live(self) -> None:
        (host,) = self.hosts
        host.clock.skew_ms = BEHIND_MS
        for at_ms in range(2_000, self.settings.busy_ms, PAUSE_EVERY_MS):
            self.broker.at(at_ms, self._stop_a_while)
        super()._live()

    def _stop_a_while(self) -> None:
        node = self.hosts[0].log.node
        self.broker.pause(node)
        self.broker.at(PAUSE_MS, partial(self.broker.resume, node))


@pytest.mark.seeds(12)
def test_no_deadline_passes_over_an_unread_report(seed: int) -> None:
    settings = replace(draw(seed), hosts=1, partitions=1, faults={}, plan=FaultPlan())

    world = BehindWorld(settings)

    assert world.run()[:5] == []


class LateReaderWorld(World):
    """One host with a true clock, whose reader is seconds late, or held by others' transactions."""

    def __init__(self, seed: int, plan: FaultPlan) -> None:
        drawn = draw(seed)
        super().__init__(replace(drawn, hosts=1, partitions=1, faults={}, plan=plan))

    clock_slack_ms = 300
    """Nothing written is late here, so a report counts as early to the tick."""


@pytest.mark.seeds(12)
def test_no_deadline_passes_over_a_report_that_the_reader_is_late_with(seed: int) -> None:
    world = LateReaderWorld(seed, FaultPlan(reader_lag=0.3, lag_ms=15_000))

    assert world.run()[:5] == []


@pytest.mark.seeds(12)
def test_no_deadline_passes_over_a_report_behind_an_open_transaction(seed: int) -> None:
    world = LateReaderWorld(seed, FaultPlan(stall=0.3, stall_ms=15_000))

    assert world.run()[:5] == []


def test_inputs_behind_an_open_transaction_are_a_finding_and_come_when_it_ends() -> None:
    world = LateReaderWorld(1, FaultPlan())
    world.broker.at(5_000, partial(world.broker.stall, world.topic("commands"), 0, 90_000))

    assert world.run()[:5] == []

    found = [text for text in world.hosts[0].findings if text.startswith("inputs_held")]
    # After ten seconds, and once more after a minute.
    assert len(found) == 2
    assert "sim.q.commands-0 can be read to offset" in found[0]
