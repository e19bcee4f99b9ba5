"""python -m tests.simulation [--seeds 100] [--from N] [--faults a,b]: run worlds, and say how."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections import Counter
from dataclasses import fields, replace

from perdure_topics.simulated.faults import FaultPlan
from tests.simulation.swarm import FAULTS, FEATURES, Settings, draw_whole
from tests.simulation.world import World

SHOWN_MAX = 8


def main(argv: list[str] | None = None) -> int:
    """Run the seeds; the number of those that broke a promise is the exit code's reason."""
    names = sorted({*FAULTS, *(field.name for field in fields(FaultPlan))})
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many (default 100)")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed")
    parser.add_argument("--faults", default="", help=f"only these, or none: {', '.join(names)}")
    parser.add_argument("--features", default="", help=f"these, or none: {', '.join(FEATURES)}")
    parser.add_argument("--truncate", action="store_true", help="let the log lose what it acked")
    parser.add_argument("--hash", action="store_true", help="print each seed's log hash")
    options = parser.parse_args(argv)
    logging.disable(logging.CRITICAL)
    began = time.monotonic()
    totals: Counter[str] = Counter()
    failed: list[int] = []
    for seed in range(options.first, options.first + options.seeds):
        settings = draw_whole(seed, truncation=options.truncate)
        if options.features:
            chosen = options.features.split(",")
            settings = replace(settings, features=tuple(n for n in FEATURES if n in chosen))
        if options.faults:
            settings = settings.only(set(options.faults.split(",")))
        world = World(settings)
        violations = world.run()
        _add(totals, world)
        if options.hash:
            print(f"seed {seed}: {world.log_hash()}")
        if violations:
            failed.append(seed)
            _show(seed, settings, world)
    _summary(totals, failed, options.seeds, time.monotonic() - began)
    return 1 if failed else 0


def _add(totals: Counter[str], world: World) -> None:
    totals.update(world.counts)
    totals["of the log"] += world.broker.drawn
    totals["= records"] += sum(len(records) for records in world.dump().values())
    totals["= steps"] += world.steps
    totals["= activity runs"] += len(world.effects)
    totals["= client operations"] += len(world.ops)
    totals["= simulated ms"] += world.broker.now_ms


def _show(seed: int, settings: Settings, world: World) -> None:
    on = ",".join([*settings.plan.on(), *settings.faults])
    has = ",".join(settings.features) or "no features"
    print(f"seed {seed}: {len(world.violations)} violations; {has}; faults on: {on}")
    for violation in world.violations[:SHOWN_MAX]:
        print(f"  {violation.letter}: {violation.text[:600]}")
    print(f"  again: python -m tests.simulation --from {seed} --seeds 1")


def _summary(totals: Counter[str], failed: list[int], seeds: int, took_s: float) -> None:
    faults = {name: n for name, n in totals.items() if not name.startswith(("=", "finding"))}
    findings = {name: n for name, n in totals.items() if name.startswith("finding")}
    hours = totals["= simulated ms"] / 3_600_000
    injected = sum(faults.values())
    print(
        f"{seeds} seeds in {took_s:.1f} s ({seeds / took_s:.2f}/s): {hours:.1f} simulated hours,"
        f" {totals['= steps']} steps, {totals['= records']} records,"
        f" {totals['= activity runs']} activity runs,"
        f" {totals['= client operations']} client operations"
    )
    print(f"{injected} faults: " + ", ".join(f"{n} {name}" for name, n in sorted(faults.items())))
    print(
        "findings: " + (", ".join(f"{n} {name[8:]}" for name, n in sorted(findings.items())) or "-")
    )
    print(f"seeds that broke a promise: {failed or 'none'}")


if __name__ == "__main__":
    sys.exit(main())
