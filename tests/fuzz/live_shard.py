"""The command path of a live shard: a real host on a simulated log, given records of anybody's."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from random import Random
from typing import Final

from perdure import workflow
from perdure_actors.core.rules import COMMANDS
from perdure_actors.partition.queries import READS
from perdure_schemas.commands import TerminateWorkflow
from perdure_schemas.payloads import Record
from perdure_schemas.replies import RunDescription
from tests.fuzz.mutations import any_bytes, any_headers
from tests.unit.host_world import HostWorld

KINDS: Final[tuple[type[Record], ...]] = (*COMMANDS, *READS)
RECORDS_A_WORLD: Final = 2_000
RECORDS_A_TURN: Final = 8
SETTLE_MS: Final = 4_000
FAULTS: Final = ("given_back", "not_done", "unreadable", "table_wiped")
"""Findings of what must not come of a record."""
CONTAINED: Final = ("input_failed", "ask_failed", "deadline_failed", "effect_parked")
"""Findings of faults that the fence held: nothing stopped, and the cause is to be mended."""


@workflow.defn(sandboxed=False)
class Quiet:
    """Waits, and takes what it is told."""

    def __init__(self) -> None:
        self.told = 0

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_condition(lambda: self.told > 50)
        return self.told

    @workflow.signal
    def poke(self) -> None:
        self.told += 1

    @workflow.query
    def count(self) -> int:
        return self.told

    @workflow.update
    def add(self, number: int) -> int:
        self.told += number
        return self.told


@workflow.defn(sandboxed=False)
class Busy:
    """Has activities, timers and children pending."""

    @workflow.run
    async def run(self) -> None:
        pending = [
            workflow.execute_activity("a", start_to_close_timeout=timedelta(minutes=5))
            for _ in range(3)
        ]
        await asyncio.gather(*pending, workflow.sleep(3_600), return_exceptions=True)


class LiveShard:
    """A host that is fuzzed, world after world."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._left = 0
        self.problems: list[str] = []
        self.contained: set[str] = set()
        self.worst_s = 0.0
        self._world = self._fresh()

    def _fresh(self) -> HostWorld:
        world = HostWorld([Quiet, Busy])
        world.run(500)
        for name in ("w", "open", "ended", "blocked"):
            world.start("Nowhere" if name == "blocked" else "Quiet", name)
        world.start("Busy", "busy")
        world.run(500)
        world.send(TerminateWorkflow(workflow_id="ended"))
        world.run(500)
        self._left = RECORDS_A_WORLD
        return world

    def take(self, records: int) -> None:
        """Give it so many records, a few a turn; look at what came of them."""
        for _ in range(records):
            self._world.write(
                any_bytes(self._rng, KINDS),
                key=self._rng.choice((None, b"w", b"\xff")),
                headers=any_headers(self._rng),
            )
            self._left -= 1
            if self._left % RECORDS_A_TURN == 0:
                self._turn()
            if self._left <= 0:
                self._end()
        self._turn()

    def finish(self) -> None:
        """Look at the last world."""
        self._end()

    def _turn(self) -> None:
        began_s = time.perf_counter()
        try:
            self._world.turn()
        except Exception as error:
            self.problems.append(f"the host died: {type(error).__name__}: {error}")
            self._world = self._fresh()
        self.worst_s = max(self.worst_s, (time.perf_counter() - began_s) / RECORDS_A_TURN)

    def _end(self) -> None:
        """Its host must be well: honest asks are answered, and nothing was given back."""
        world = self._world
        world.run(SETTLE_MS)
        honest = world.start("Quiet", f"honest {self._rng.random()}")
        world.run(1_000)
        if world.answer(honest) is None:
            self.problems.append("an honest start was not answered")
        if not isinstance(world.describe("open"), RunDescription):
            self.problems.append("an honest describe was not answered")
        self.problems += [text for text in world.findings if text.startswith(FAULTS)]
        self.contained |= {text for text in world.findings if text.startswith(CONTAINED)}
        self._world = self._fresh()
