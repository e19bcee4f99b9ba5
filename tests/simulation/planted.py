"""python -m tests.simulation.planted [--seeds N]: plant bugs, see which invariant finds them."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from dataclasses import replace
from typing import NamedTuple

from tests.simulation.mutant import Mutant
from tests.simulation.mutants import MUTANTS, NOT_THERE
from tests.simulation.swarm import draw
from tests.simulation.world import World

SEEDS = 150


class Catch(NamedTuple):
    """Where a planted bug was found, and by what."""

    seed: int
    letters: str
    text: str


def hunt(mutant: Mutant, seeds: range) -> Catch | None:
    """The first seed at which a planted bug breaks a promise that it should."""
    for seed in seeds:
        found = try_seed(mutant, seed)
        if found is not None:
            return found
    return None


def try_seed(mutant: Mutant, seed: int) -> Catch | None:
    """One world with the bug in it."""
    settings = replace(draw(seed).force(mutant.faults), features=mutant.features)
    with mutant.plant():
        violations = World(settings).run()
    letters = "".join(sorted({violation.letter for violation in violations}))
    if not set(letters) & set(mutant.letters):
        return None
    first = next(one for one in violations if one.letter in mutant.letters)
    return Catch(seed, letters, first.text)


def main(argv: list[str] | None = None) -> int:
    """Plant every bug; fails when one that can be caught is not."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.planted", description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"most a bug (default {SEEDS})")
    parser.add_argument("--only", default="", help="a part of the name")
    options = parser.parse_args(argv)
    logging.disable(logging.CRITICAL)
    missed = 0
    width = max(len(mutant.name) for mutant in MUTANTS)
    print(f"{'planted bug':{width}}  seed  invariants    seconds  what was seen first")
    for mutant in MUTANTS:
        if options.only not in mutant.name:
            continue
        began = time.monotonic()
        found = hunt(mutant, range(options.seeds))
        took_s = time.monotonic() - began
        if found is None:
            missed += 1
            print(f"{mutant.name:{width}}  -     NOT CAUGHT    {took_s:7.1f}", flush=True)
        else:
            text = found.text.partition("\n")[0][:90]
            print(
                f"{mutant.name:{width}}  {found.seed:4}  {found.letters:12}  {took_s:7.1f}  {text}",
                flush=True,
            )
    for name, why in NOT_THERE.items():
        print(f"{name:{width}}  not in this world: {why}")
    print(f"{len(MUTANTS) - missed} of {len(MUTANTS)} caught" if not options.only else "")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
