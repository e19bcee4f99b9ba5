"""Golden histories of messages: signals and updates, before the code, after it, and at its end."""

from __future__ import annotations

from collections.abc import Callable

from perdure_schemas.payloads import SignalInput, UpdateInput
from tests.histories import workflows
from tests.unit.player import CONVERTER, Player


def _entity_signaled() -> Player:
    """Signals before the code and after it; two handlers take turns at a lock."""
    player = Player(
        workflows.Entity,
        ["z"],
        signals=[SignalInput(signal_name="tell", input=CONVERTER.to_payloads(["a"]))],
    )
    player.signal("tell", "b")
    player.complete("1")
    player.signal("finish")
    player.complete("2")
    return player


def _entity_updated() -> Player:
    """An update waits for a signal's handler; one fails; the run ends when both have ended."""
    player = Player(workflows.Entity, [])
    player.signal("tell", "a")
    player.update("tell_and_wait", "b", update_id="u1")
    player.update("tell_and_wait", "bad", update_id="u2")
    player.signal("finish")
    player.complete("1")
    player.fire("1", after_s=1)
    player.fire("2", after_s=1)
    return player


def _entity_opened() -> Player:
    """The update that starts it is handled before the run method, behind a signal that waited."""
    player = Player(
        workflows.Entity,
        ["z"],
        signals=[SignalInput(signal_name="tell", input=CONVERTER.to_payloads(["a"]))],
        update=UpdateInput(update_name="tell_and_wait", update_id="u1"),
    )
    player.update("tell_and_wait", "b", update_id="u1")
    player.complete("1")
    player.fire("1", after_s=1)
    player.signal("finish")
    return player


def _entity_continued() -> Player:
    """The fourth thing told is the last of this run; a signal that comes while it ends counts."""
    player = Player(workflows.Entity, ["x", "y"])
    player.signal("tell", "a")
    player.signal("tell", "b")
    player.complete("1")
    player.signal("tell", "c")
    player.complete("2")
    player.complete("3")
    return player


CASES: dict[str, Callable[[], Player]] = {
    "entity_signaled": _entity_signaled,
    "entity_updated": _entity_updated,
    "entity_opened": _entity_opened,
    "entity_continued": _entity_continued,
}
