"""Deadlines in very small pages and turns: as if there were hundreds of thousands of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import pytest

from perdure_actors.partition import timer_service, watermark
from tests.simulation.swarm import draw, draw_whole
from tests.simulation.world import World

LATE = ("worker_late", "reader_lag", "worker_crash", "worker_pause")


@contextmanager
def small() -> Iterator[None]:
    with (
        patch.object(timer_service, "PAGE", 2),
        patch.object(timer_service, "FIRED_A_TURN", 2),
        patch.object(timer_service, "LOST_A_TURN", 1),
        patch.object(watermark, "HELD_BACK_MAX", 1),
    ):
        yield


@pytest.mark.seeds(16)
def test_worlds_whose_deadlines_never_fit_in_memory_keep_their_promises(seed: int) -> None:
    with small():
        world = World(draw_whole(seed).force(("worker_crash", "reader_lag")))

        assert world.run()[:5] == []


def test_to_forget_what_does_not_fit_is_noticed() -> None:
    def forgets(self: watermark.Watermark, alarm: object) -> None:
        if not self._held_back:
            self._held_back.append(alarm)  # type: ignore[arg-type]

    found = []
    for seed in range(12):
        with small(), patch.object(watermark.Watermark, "hold_back", forgets):
            found += World(draw(seed).force(LATE)).run()

    assert {violation.letter for violation in found} & set("HT")
