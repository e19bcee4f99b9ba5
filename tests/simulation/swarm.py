"""What a seed draws: which faults are on and how strong, who is there, and what is asked."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from random import Random
from typing import Any

import msgspec

from perdure_schemas.payloads import RetryPolicy
from perdure_topics.simulated.faults import FaultPlan
from tests.simulation.workflows import Plan, Step

FAULTS = (
    "host_crash",
    "host_pause",
    "table_loss",
    "table_damage",
    "clock_skew",
    "clock_jump",
    "worker_crash",
    "worker_pause",
    "worker_late",
    "worker_double",
    "handed_back",
    "bad_deploy",
    "poison",
    "parts",
    "small_cache",
    "foreign_txn",
)
"""The world's own faults; those of the log stand in FaultPlan."""

STRONG = {
    "ack_lost": 0.03,
    "never_written": 0.03,
    "late_written": 0.03,
    "queue_timeout": 0.01,
    "no_offset": 0.3,
    "slow_append": 0.1,
    "reader_lag": 0.2,
    "rebalance": 0.05,
    "zombie": 0.03,
    "outage": 0.02,
    "probe_unknown": 0.5,
}
"""Faults of the log at their strongest."""

FEATURES = (
    *("locals", "operators", "schedules", "notes", "following", "children"),
    *("savages", "killers", "stalls"),
    *("stops", "eager", "forgets"),
)
"""What only some worlds have: each is in a share of the seeds."""
FEATURE_SHARE = 0.25


@dataclass(frozen=True)
class Settings:
    """One world. A fault is a probability (mostly a second), 0 when it is off."""

    seed: int
    partitions: int
    hosts: int
    workers: int
    clients: int
    workflow_ids: int
    starts: int
    busy_ms: int
    plan: FaultPlan
    faults: dict[str, float] = field(default_factory=dict)
    features: tuple[str, ...] = ()
    """Those of FEATURES that this world has."""

    def strength(self, fault: str) -> float:
        """How strong a fault is; 0 when it is off."""
        return self.faults.get(fault, 0.0)

    def only(self, names: set[str]) -> Settings:
        """The same world with no other faults than those named."""
        plan = self.plan
        for name in plan.on():
            if name not in names:
                plan = plan.without(name)
        kept = {name: value for name, value in self.faults.items() if name in names}
        return replace(self, plan=plan, faults=kept)

    def force(self, names: tuple[str, ...]) -> Settings:
        """The same world with these faults on, and strong."""
        strong = {name: most for name, most in STRONG.items() if name in names}
        kept = {field.name: getattr(self.plan, field.name) for field in fields(self.plan)}
        plan = FaultPlan(**{**kept, **strong})
        forced = {name: 3.0 for name in names if name not in STRONG}
        return replace(self, plan=plan, faults={**self.faults, **forced})

    @property
    def clock_slack_ms(self) -> int:
        """How far a host's seconds and the log's may be apart in this world."""
        slow = {"slow_append", "outage", "stall", "reader_lag", "probe_delay", "queue_timeout"}
        slow |= {"probe_unknown"}
        return 6_000 if slow & set(self.plan.on()) else 300


def draw(seed: int, *, truncation: bool = False) -> Settings:
    """The world of a seed, without features."""
    rng = Random(f"world {seed}")
    plan = FaultPlan.draw(rng)
    if rng.random() < 0.15:
        plan = FaultPlan()
    faults = {"truncation": 1.0} if truncation else {}
    for name in FAULTS:
        on, strength = rng.random() < 0.4, rng.random()
        if on:
            faults[name] = 0.2 + 0.8 * strength
    return Settings(
        seed=seed,
        partitions=rng.choice((1, 2, 3)),
        hosts=rng.choice((2, 2, 3)),
        workers=rng.choice((2, 3)),
        clients=2,
        workflow_ids=rng.choice((3, 6, 10)),
        starts=rng.randrange(8, 24),
        busy_ms=rng.choice((20_000, 40_000, 60_000)),
        plan=plan,
        faults=faults,
    )


def draw_whole(seed: int, *, truncation: bool = False) -> Settings:
    """The world of a seed, with the features that it draws; its faults are the same without."""
    rng = Random(f"features {seed}")
    drawn = tuple(name for name in FEATURES if rng.random() < FEATURE_SHARE)
    return replace(draw(seed, truncation=truncation), features=drawn)


def draw_plan(rng: Random, number: int, *, bugs: bool) -> Plan:
    """What one run does."""
    steps = [_draw_step(rng) for _ in range(rng.randrange(1, 6))]
    if bugs and rng.random() < 0.5:
        steps.insert(rng.randrange(len(steps) + 1), Step("bug", run_ms=30))
    return Plan(
        salt=f"salt {number}",
        steps=steps,
        tidies=rng.random() < 0.5,
        again=rng.choice((0, 0, 0, 0, 1, 2)),
        fails=rng.random() < 0.1,
    )


KINDS = (
    *("act", "act", "act", "fan", "timer", "flaky"),
    *("once", "beat", "race", "long", "prompt", "overall"),
)


def _draw_step(rng: Random) -> Step:
    kind = rng.choice(KINDS)
    run_ms = rng.randrange(1, 300)
    if kind == "fan":
        return Step(kind, count=rng.randrange(2, 9), run_ms=run_ms)
    if kind == "timer":
        return Step(kind, wait_ms=rng.randrange(1, 8_000))
    if kind == "flaky":
        return Step(
            kind, run_ms=run_ms, fails=rng.randrange(1, 4), attempts=rng.choice((0, 0, 2, 3))
        )
    if kind == "once":
        return Step(kind, run_ms=rng.choice((run_ms, 3_000)), attempts=1)
    if kind == "beat":
        return Step(kind, run_ms=rng.randrange(1_000, 9_000), wait_ms=rng.randrange(1_000, 4_000))
    if kind == "race":
        return Step(kind, run_ms=rng.randrange(100, 4_000), wait_ms=rng.randrange(200, 4_000))
    if kind == "long":
        return Step(kind, run_ms=rng.randrange(1_500, 12_000), attempts=rng.choice((0, 3)))
    if kind in ("prompt", "overall"):
        return Step(kind, run_ms=run_ms, wait_ms=rng.randrange(300, 6_000))
    return Step(kind, run_ms=run_ms)


def with_children(rng: Random, plan: Plan, *, depth: int = 0) -> Plan:
    """The same plan with children here and there, who may have children."""
    steps = list(plan.steps[:3])
    for _ in range(rng.choice((1, 1, 2))):
        of_child = [Step("act", run_ms=rng.randrange(1, 200)) for _ in range(rng.randrange(3))]
        child = Plan("", of_child, fails=rng.random() < 0.15, again=rng.choice((0, 0, 0, 1)))
        if depth == 0 and rng.random() < 0.3:
            child = with_children(rng, child, depth=1)
        step = Step("child", plan=msgspec.to_builtins(child), policy=rng.choice((1, 1, 3)))
        steps.insert(rng.randrange(len(steps) + 1), step)
    return replace(plan, steps=steps)


def with_locals(rng: Random, plan: Plan) -> Plan:
    """The same plan with some of its activities run by the host."""
    steps = []
    for step in plan.steps:
        is_work = step.kind not in ("timer", "child", "bug")
        steps.append(replace(step, local=is_work and rng.random() < 0.5))
        if rng.random() < 0.15:
            run_ms, wait_ms = rng.randrange(500, 6_000), rng.randrange(500, 6_000)
            slow = Step("slow", run_ms=run_ms, wait_ms=wait_ms, attempts=rng.choice((1, 2, 3)))
            steps.append(replace(slow, local=True))
    return replace(plan, steps=steps)


def with_notes(rng: Random, plan: Plan) -> Plan:
    """The same plan with notes of the run's own between its steps."""
    steps = list(plan.steps)
    for _ in range(rng.randrange(1, 4)):
        steps.insert(rng.randrange(len(steps) + 1), Step("note"))
    return replace(plan, steps=steps)


def followed(rng: Random, plan: Plan) -> tuple[Plan, dict[str, Any]]:
    """A plan and its start, such that other runs may follow: other attempts, or by a clock."""
    kind = rng.choice(("no", "retry", "retry", "cron"))
    if kind == "no":
        return plan, {}
    policy = RetryPolicy(
        initial_interval_ms=rng.choice((1, 300, 2_000)),
        maximum_interval_ms=3_000,
        maximum_attempts=rng.randrange(1, 4),
    )
    plan = replace(plan, fails_first=rng.randrange(4))
    if kind == "retry":
        return plan, {"retry_policy": policy}
    start = {
        "cron_schedule": f"@every {rng.randrange(1, 8)}s",
        "execution_timeout_ms": rng.randrange(8_000, 30_000),
        "start_delay_ms": 0,
    }
    return plan, start | {"retry_policy": policy} if rng.random() < 0.4 else start


def with_parking(rng: Random, plan: Plan) -> Plan:
    """The same plan with activities that wait for a person when they are out of attempts.

    Some are so long that there is time to do something to them.
    """
    steps = []
    for step in plan.steps:
        may_end = step.attempts > 0 and not step.local
        steps.append(replace(step, parks=may_end and rng.random() < 0.7))
        if rng.random() < 0.15:
            steps.append(Step("long", run_ms=rng.randrange(2_000, 9_000), fails=rng.randrange(2)))
    return replace(plan, steps=steps)
