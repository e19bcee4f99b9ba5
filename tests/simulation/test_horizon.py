"""A host whose clock is behind the log's reads on before it lets a deadline pass (rule 9)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from perdure_topics.simulated.faults import FaultPlan
from perdure_topics.simulated.probes import SimulatedEndProbe
from tests.simulation import bugs
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


UNKNOWN = FaultPlan(reader_lag=0.3, lag_ms=15_000, probe_unknown=0.7)


@pytest.mark.seeds(6)
def test_no_deadline_passes_while_nobody_knows_where_the_log_ends(seed: int) -> None:
    world = LateReaderWorld(seed, UNKNOWN)

    assert world.run()[:5] == []


def test_an_end_that_nobody_knows_and_is_taken_for_one_is_noticed() -> None:
    plant = bugs.patched(SimulatedEndProbe, "span", bugs.unknown_is_an_offset)

    with plant():
        found = [v for seed in range(3) for v in LateReaderWorld(seed, UNKNOWN).run()]

    assert "T" in {violation.letter for violation in found}
