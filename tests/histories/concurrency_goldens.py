"""How the golden histories of asyncio and of calls were played."""

from __future__ import annotations

from collections.abc import Callable

from perdure_schemas.child_events import ExternalSignaled, ExternalStarted
from tests.histories import concurrency
from tests.unit.player import Player


def _locking() -> Player:
    """One after the other, then two at a time; the second of two comes in first."""
    player = Player(concurrency.Locking)
    for number in ("1", "2", "3", "5", "4", "6", "7"):
        player.complete(number, f"r{number}")
    return player


def _queueing() -> Player:
    """The second worker is done first, and takes the third job."""
    player = Player(concurrency.Queueing)
    for number in ("2", "3", "1"):
        player.complete(number, f"r{number}")
    return player


def _grouping() -> Player:
    """The hasty one fails, and the patient one is cancelled."""
    player = Player(concurrency.Grouping)
    player.fail("1", "hasty broke")
    return player


def _timing() -> Player:
    """The inner timeout, the outer one, and a sleep within one that was moved."""
    player = Player(concurrency.Timing)
    player.fire("2", after_s=5)
    player.fire("3", after_s=3)
    player.fire("7", after_s=10)
    return player


def _shielding() -> Player:
    """The wait times out; paying goes on and ends after the apology."""
    player = Player(concurrency.Shielding)
    player.fire("1", after_s=2)
    player.complete("2", "sorry")
    player.complete("1", 5)
    return player


def _completing() -> Player:
    """The parts out of order, the second racer first, then two who become ready."""
    player = Player(concurrency.Completing)
    for number in ("3", "1", "2"):
        player.complete(number, int(number))
    player.complete("5", "won")
    player.confirm_canceled("4")
    player.fire("2", after_s=1)
    player.fire("3", after_s=1)
    return player


def _calling() -> Player:
    """The other workflow was started, and took the second signal."""
    player = Player(concurrency.Calling, "cart-1")
    player.give(ExternalStarted(call_id="1", run_id="cart-run"))
    player.give(ExternalSignaled(call_id="2", run_id="cart-run"))
    return player


CASES: dict[str, Callable[[], Player]] = {
    "locking": _locking,
    "queueing": _queueing,
    "grouping": _grouping,
    "timing": _timing,
    "shielding": _shielding,
    "completing": _completing,
    "calling": _calling,
}
