"""How the golden histories of a run's life, and of handlers that take anything, were played."""

from __future__ import annotations

from collections.abc import Callable

from perdure_schemas.payloads import Failure, FailureCause, ResetOrigin, SeedSpan, SignalInput
from tests.histories import life
from tests.unit.player import CONVERTER, Player


def _opened() -> Player:
    """One signal waited for its handler, which then takes the others; an update seats one more."""
    early = SignalInput(signal_name="enter", input=CONVERTER.to_payloads(["ada"]))
    player = Player(life.Opened, life.Room("hall", 3), signals=[early])
    player.update("bring", "bob", update_id="u1")
    player.signal("grace")
    player.complete("1")
    player.signal("leave", "ada")
    return player


def _anything() -> Player:
    """A dynamic workflow, started by a name of its own."""
    player = Player(life.Anything, 1, "two")
    player.complete("1", 12)
    return player


def _retried_first() -> Player:
    """The first attempt fails."""
    player = Player(life.Persistent)
    player.fire("1", after_s=1)
    return player


def _retried_again() -> Player:
    """The second begins later, and knows why the first has failed."""
    failure = Failure(chain=[FailureCause(message="once more", type="Again")])
    player = Player(
        life.Persistent,
        attempt=2,
        last_failure=failure,
        initiator="retry",
        continued_run_id="run-0",
        first_activation_delay_ms=1000,
    )
    player.fire("", after_s=1)
    player.fire("1", after_s=1)
    return player


def _cron_next() -> Player:
    """The run of the next hour, with the result of the last one that completed."""
    player = Player(
        life.Persistent,
        cron_schedule="0 * * * *",
        last_result=CONVERTER.to_payload(41),
        initiator="cron",
        continued_run_id="run-0",
        first_activation_delay_ms=3_600_000,
    )
    player.fire("", after_s=3600)
    player.fire("1", after_s=1)
    return player


def _impatient() -> Player:
    """The timeout of a condition ends the run."""
    player = Player(life.Impatient)
    player.fire("1", after_s=30)
    return player


def _reset() -> Player:
    """What two resets have kept, each drawn by the run it came from; then the run's own."""
    seeds = [SeedSpan(run_id="run-a", until=3), SeedSpan(run_id="run-b", until=5)]
    origin = ResetOrigin(run_id="run-b", seq=5, seeds=seeds, reason="a wrong turn", identity="ann")
    player = Player(life.Drawing, reset=origin, initiator="reset", continued_run_id="run-b")
    for number in ("1", "2", "3"):
        player.complete(number, "done")
    return player


def _marking() -> Player:
    """Only what changes is recorded again."""
    player = Player(life.Marking)
    player.fire("1", after_s=1)
    return player


CASES: dict[str, Callable[[], Player]] = {
    "opened": _opened,
    "anything": _anything,
    "retried_first": _retried_first,
    "retried_again": _retried_again,
    "cron_next": _cron_next,
    "impatient": _impatient,
    "marking": _marking,
    "reset_twice": _reset,
}
