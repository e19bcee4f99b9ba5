"""The fixture that plays workflows, and checks at the end that every history replays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.player import Play, Player


@pytest.fixture
def play() -> Iterator[Play]:
    """Plays workflows; at the end every history must replay."""
    players: list[Player] = []

    def begin(kind: type, *args: Any, **started: Any) -> Player:
        players.append(Player(kind, *args, **started))
        return players[-1]

    yield begin
    for player in players:
        player.check()
