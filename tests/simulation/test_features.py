"""What only some worlds have is there where it is drawn, and goes through what it is meant to."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from perdure_schemas import events as ev
from perdure_schemas import operator_events as op
from tests.simulation.checker import ledger_of
from tests.simulation.ledger import Ledger
from tests.simulation.schedules import ScheduleCheck
from tests.simulation.swarm import FEATURES, draw, draw_whole
from tests.simulation.world import World

WORLDS_MAX = 30
"""In so many worlds all of it happens; in which, any change of what is drawn may change."""
FOLLOWED = (2, 5, 6)
"""Seeds in whose worlds runs have children, and others follow them."""


def test_each_feature_is_in_a_share_of_the_seeds() -> None:
    drawn = Counter(name for seed in range(200) for name in draw_whole(seed).features)

    assert all(30 < drawn[name] < 70 for name in FEATURES), drawn


def test_worlds_with_features_go_through_what_they_are_for() -> None:
    met: Counter[str] = Counter()
    wanted = ("host lost", "paused", "parked", "unused", "by an operator", "went on")
    for seed in range(WORLDS_MAX):
        met.update(_met_in_a_world_of_all(seed))
        if all(met[name] for name in (*wanted, "missed", "skipped", "taken")):
            return
    raise AssertionError(f"not all of it was met in {WORLDS_MAX} worlds: {met}")


def test_hosts_hand_tasks_to_the_worker_of_their_process() -> None:
    world = World(replace(draw(2).force(("ack_lost", "host_crash")), features=("eager",)))

    assert world.run()[:5] == []
    assert world.counts["tasks handed over"] > 0


def _met_in_a_world_of_all(seed: int) -> Counter[str]:
    features = ("locals", "operators", "schedules")
    world = World(replace(draw(seed).force(("host_crash", "worker_pause")), features=features))

    assert world.run()[:5] == []

    ledger = ledger_of(world.dump())
    schedules = ScheduleCheck(ledger)
    schedules.check_all()
    shown = [chain.shown for chain in schedules.chains if chain.shown is not None]
    met = _met(ledger)
    met["missed"] = sum(one.num_missed for one in shown)
    met["skipped"] = sum(one.num_skipped for one in shown)
    met["taken"] = sum(one.num_actions for one in shown)
    return met


def test_runs_note_things_and_are_followed_and_have_children() -> None:
    met: Counter[str] = Counter()
    for seed in FOLLOWED:
        met.update(_met_in_a_world_of_families(seed))
    noted = ("MarkerRecorded", "MemoUpserted", "SearchAttributesUpserted")
    assert all(met[name] for name in ("retry", "cron", "child", "later attempt", *noted)), met


def _met_in_a_world_of_families(seed: int) -> Counter[str]:
    features = ("notes", "following", "children")
    world = World(replace(draw(seed).force(("host_crash",)), features=features))

    assert world.run()[:5] == []

    met: Counter[str] = Counter()
    for run in ledger_of(world.dump()).runs.values():
        started: Any = run.started.event
        met[started.initiator] += 1
        met["child"] += started.parent is not None
        met["later attempt"] += started.attempt > 1
        met.update(type(fact.event).__name__ for fact in run.facts)
    return met


def _met(ledger: Ledger) -> Counter[str]:
    """What happened, and how often."""
    found: Counter[str] = Counter()
    for run in ledger.runs.values():
        for fact in run.facts:
            event: Any = fact.event
            if isinstance(event, ev.ActivityRetryScheduled | ev.ActivityTimedOut):
                chain = event.failure.chain if event.failure is not None else []
                found["host lost"] += bool(chain) and chain[0].type == "HostLost"
            elif isinstance(event, op.ActivityPaused):
                kind = "parked" if event.failure else "unused" if event.attempt else "paused"
                found[kind] += 1
            elif isinstance(event, ev.ActivityAttemptScheduled):
                found["by an operator"] += event.reason == "operator"
            elif isinstance(event, ev.WorkflowContinuedAsNew):
                found["went on"] += event.keeps_children
    return found
