"""Worlds whose runs have children in other partitions: each is begun once, and told once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from msgspec.structs import replace as replace_of

from perdure_actors.core import child_reports
from perdure_actors.core.decision import Ignored
from perdure_actors.core.state import ChildState
from perdure_actors.partition import outbox, outbox_resend, recovery
from perdure_actors.partition.dedup import DedupEntries
from tests.simulation import bugs
from tests.simulation.checker import ledger_of
from tests.simulation.families import check_families
from tests.simulation.swarm import Settings, draw
from tests.simulation.world import World

SHOWN_MAX = 10
OWNERS = ("host_crash", "host_pause", "rebalance", "zombie", "table_loss", "ack_lost")
TRIED = 12


def settings_of(seed: int, faults: Sequence[str] = ()) -> Settings:
    drawn = draw(seed)
    made = replace(
        drawn,
        features=("children",),
        partitions=max(2, drawn.partitions),
        starts=min(drawn.starts, 12),
    )
    return made.force(tuple(faults)) if faults else made


@pytest.mark.seeds(20, fresh=4)
def test_a_world_of_families_keeps_its_promises(seed: int) -> None:
    world = World(settings_of(seed))

    assert world.run()[:SHOWN_MAX] == []
    assert check_families(ledger_of(world.dump())) > 0, "there were no children"


# -- bugs that it must find --


def _own_epoch(data: bytes) -> Any:
    """Sent again under another epoch: an old command looks new."""
    epoch, effect = _kept_effect(data)
    return epoch + 1_000_000, effect


_kept_effect = outbox.kept_effect


def _unfolded(found: Any, time_ms: int, ops: Any) -> Any:
    """Recovery does not learn which commands of other actors were taken."""
    return bugs._rows_of([replace_of(one, source=None) for one in found], time_ms, ops)


def _any_report(world: Any, command: Any, now_ms: int) -> Any:
    """A report counts whether its child is known to have ended or not."""
    found = _child(world, command, now_ms)
    run = world.run(command.run_id)
    if isinstance(found, Ignored) and run is not None and run.state.is_open:
        known = ChildState(command.child_id, "", "", "", "", "", 0, run_id="r")
        return run, known
    return found


_child = child_reports._child


BUGS: dict[str, tuple[Any, ...]] = {
    "a child's end is applied twice": (
        bugs.patched(DedupEntries, "has_source", lambda _self, _source: False),
        bugs.patched(child_reports, "_child", _any_report),
    ),
    "commands of actors are not held against what was taken": (
        bugs.patched(DedupEntries, "has_source", lambda _self, _source: False),
    ),
    "last-seen is not folded": (bugs.patched(recovery, "outcome_rows", _unfolded),),
    "an effect's id has the epoch of who sends it": (
        bugs.patched(outbox_resend, "kept_effect", _own_epoch),
    ),
    "commands are lost at a take-over": (bugs.patched(recovery, "effect_rows", lambda *_args: []),),
}


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found(name: str) -> None:
    for seed in range(TRIED):
        with bugs.together(*BUGS[name]):
            violations = World(settings_of(seed, OWNERS)).run()
        if violations:
            return
    pytest.fail(f"nothing noticed that {name}")


def test_without_bugs_the_same_worlds_are_right() -> None:
    for seed in range(3):
        assert World(settings_of(seed, OWNERS)).run()[:SHOWN_MAX] == []
