"""`python -m tests.fuzz`: foreign bytes for every decoder and a live shard; 1,000,000 by default.

`python -m tests.fuzz.guided SECONDS` has atheris choose the bytes by what they reach.
"""

from __future__ import annotations

import argparse
import gc
import logging
import resource
import sys
import time
from pathlib import Path
from random import Random

from tests.fuzz.decoders import DECODERS, any_input, try_one
from tests.fuzz.live_shard import LiveShard

SHARD_SHARE = 0.2
BATCH = 500
INPUT_S_MAX = 1.0
MEMORY_MAX = 256 * 1024 * 1024
SLOW_AGAIN = 3
"""An input that was slow is tried so often more, because the machine may have been."""


class Run:
    """One run of a seed."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(f"fuzz {seed}")
        self.problems: list[str] = []
        self.inputs = 0
        self.worst_s = 0.0
        self.shard = LiveShard(Random(f"shard {seed}"))

    def decode(self) -> None:
        """One input for one decoder."""
        decoder = self.rng.choice(DECODERS)
        data = any_input(self.rng, decoder)
        began_s = time.perf_counter()
        problem = try_one(decoder, data)
        took_s = time.perf_counter() - began_s
        for _ in range(SLOW_AGAIN if took_s > INPUT_S_MAX else 0):
            began_s = time.perf_counter()
            try_one(decoder, data)
            took_s = min(took_s, time.perf_counter() - began_s)
        if took_s > INPUT_S_MAX:
            problem = f"{decoder.name}: {took_s:.1f} s for {data[:200]!r}"
        self.worst_s = max(self.worst_s, took_s)
        self.inputs += 1
        if problem:
            self.problems.append(problem)

    def run(self, inputs: int, *, quiet: bool) -> None:
        """So many inputs, a share of them for the live shard."""
        began_s = said_s = time.monotonic()
        while self.inputs < inputs and len(self.problems) < 50:
            for _ in range(BATCH):
                self.decode()
            records = int(BATCH * SHARD_SHARE / (1 - SHARD_SHARE))
            self.shard.take(records)
            self.inputs += records
            self.problems += self.shard.problems
            self.shard.problems.clear()
            if not quiet and time.monotonic() - said_s > 10:
                said_s = time.monotonic()
                rate = self.inputs / (said_s - began_s)
                print(f"{self.inputs:,} inputs, {rate:,.0f} a second", flush=True)
        self.shard.finish()
        self.problems += self.shard.problems


def limit_memory() -> None:
    """From now on, no more than so much may be taken: what asks for it gets a MemoryError."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    most = pages * resource.getpagesize() + MEMORY_MAX
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def main() -> int:
    """Run; whether nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--quiet", action="store_true")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    run = Run(arguments.seed)
    run.run(2_000, quiet=True)
    if sys.platform == "linux":
        limit_memory()
    run.run(arguments.inputs, quiet=arguments.quiet)
    for text in sorted(run.shard.contained):
        print(f"contained: {text[:500]}")
    for problem in dict.fromkeys(run.problems):
        print(f"PROBLEM: {problem[:500]}")
    print(
        f"seed {arguments.seed}: {run.inputs:,} inputs, {len(run.problems)} problems,"
        f" {len(run.shard.contained)} kinds of faults that the fence held; slowest"
        f" {max(run.worst_s, run.shard.worst_s):.2f} s"
    )
    return 1 if run.problems else 0


if __name__ == "__main__":
    sys.exit(main())
