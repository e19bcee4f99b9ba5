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
