"""The nemesis: what may go wrong, drawn by a seed, one or two at a time, and mended again."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.chaos.stage import BAD, GOOD, NEXT, Stage, now_ms

CLOCKS_MS: Final = (900, 20_000, 200_000, 3_600_000, 2 * 86_400_000)
"""How far a clock jumps, either way."""
GAP_S: Final = 4.0


@dataclass
class Blow:
    """One thing that went wrong, and until when."""

    fault: str
    name: str
    at_ms: int
    pid: int = 0
    """Of the process that lost what it owned by this; 0 where none did."""
    until_ms: int = 0
    facts: dict[str, object] = field(default_factory=dict)


class Nemesis:
    """Strikes for a while; everything it did is undone when it is over."""

    def __init__(self, stage: Stage, *, seed: int, longest_s: float, only: str = "") -> None:
        self._stage = stage
        self._rng = random.Random(f"nemesis {seed}")
        self._longest_s = longest_s
        self._copies: dict[str, Path] = {}
        self._busy: set[str] = set()
        self._next = GOOD
        self.blows: list[Blow] = []
        faults = {
            "host killed": (5, "host", self._kill),
            "host stopped": (2, "host", self._stop),
            "host frozen": (4, "host", self._freeze),
            "host cut off": (4, "host", self._cut),
            "host's clock wrong": (2, "host", self._clock),
            "table deleted": (1, "host", self._tables_deleted),
            "table of before": (1, "host", self._tables_stale),
            "table with flipped bytes": (1, "host", self._tables_flipped),
            "bad deploy": (1, "host", self._deploy_bad),
            "next release, host by host": (1, "all", self._deploy_next),
            "worker killed": (2, "worker", self._kill),
            "worker stopped": (1, "worker", self._stop),
            "worker frozen": (2, "worker", self._freeze),
            "worker cut off": (2, "worker", self._cut),
            "client killed": (1, "talker", self._kill),
            "client cut off": (1, "talker", self._cut),
            "broker frozen": (2, "broker", self._broker_frozen),
            "broker killed": (1, "broker", self._broker_killed),
        }
        self._faults = {name: row for name, row in faults.items() if only in name}

    async def rage(self, until_s: float) -> None:
        """Strike until the time is over, mostly once at a time, sometimes twice."""
        under_way: set[asyncio.Task[None]] = set()
        while time.monotonic() < until_s:
            under_way.add(asyncio.create_task(self._strike()))
            if self._rng.random() < 0.7:
                await asyncio.gather(*under_way)
                under_way.clear()
            await asyncio.sleep(self._rng.uniform(0.2, GAP_S))
            self._stage.watch()
        await asyncio.gather(*under_way)

    async def heal(self) -> None:
        """Everything runs the newest good code again, and nothing is in its way."""
        stage = self._stage
        for name in stage.names:
            stage.doors.open(name)
        for name in stage.of("host"):
            stage.clock_of(name).unlink(missing_ok=True)
            if stage.apps[name] != self._next:
                await self._deploy(name, self._next)
        stage.watch()

    async def _strike(self) -> None:
        rng = self._rng
        names = list(self._faults)
        fault = rng.choices(names, [self._faults[name][0] for name in names])[0]
        _, kind, act = self._faults[fault]
        stage = self._stage
        choice = stage.of(kind) if kind not in ("broker", "all") else [kind]
        name = rng.choice(choice)
        wanted = {name} if kind != "all" else set(stage.of("host"))
        if wanted & (self._busy | stage.down):
            return
        self._busy |= wanted
        blow = Blow(fault, name, now_ms())
        self.blows.append(blow)
        try:
            await act(blow)
        finally:
            self._busy -= wanted
            blow.until_ms = now_ms()

    def _span_s(self) -> float:
        # Short ones are as telling as long ones, and there is time for more of them.
        return 1.0 + (self._longest_s - 1.0) * self._rng.random() ** 2

    # -- processes --

    async def _kill(self, blow: Blow) -> None:
        await self._killed(blow, asyncio.sleep, self._rng.choice((0.0, 0.5, 3.0)))

    async def _killed(
        self, blow: Blow, meanwhile: Callable[..., Awaitable[object]], *what: object
    ) -> None:
        blow.pid = self._stage.pid_of(blow.name)
        self._stage.kill(blow.name)
        try:
            await meanwhile(*what)
        finally:
            self._stage.begin(blow.name)

    async def _stop(self, blow: Blow) -> None:
        blow.pid = self._stage.pid_of(blow.name)
        # One that is still being loaded ends as any program does, and has nothing to give back.
        serves = "worker on task queue" in self._stage.running[blow.name].said_lately()
        status = await asyncio.to_thread(self._stage.stop, blow.name)
        blow.facts["status"] = status
        if status != 0 and (serves or status != -signal.SIGTERM):
            self._stage.ended.append(f"{blow.name} was asked to stop and ended with {status}")
        self._stage.begin(blow.name)

    async def _freeze(self, blow: Blow) -> None:
        process, span_s = self._stage.running[blow.name], self._span_s()
        blow.pid, blow.facts["s"] = process.pid, round(span_s, 1)
        process.pause()
        await asyncio.sleep(span_s)
        process.resume()

    async def _cut(self, blow: Blow) -> None:
        way, span_s = self._rng.choice(("up", "down", "both")), self._span_s()
        blow.pid = self._stage.pid_of(blow.name)
        blow.facts |= {"way": way, "s": round(span_s, 1)}
        self._stage.doors.shut(blow.name, way)
        await asyncio.sleep(span_s)
        self._stage.doors.open(blow.name)

    async def _clock(self, blow: Blow) -> None:
        skew_ms, span_s = self._rng.choice(CLOCKS_MS) * self._rng.choice((-1, 1)), self._span_s()
        blow.facts |= {"ms": skew_ms, "s": round(span_s, 1)}
        file = self._stage.clock_of(blow.name)
        file.write_text(str(skew_ms))
        await asyncio.sleep(span_s)
        file.unlink()

    # -- tables --

    async def _tables_deleted(self, blow: Blow) -> None:
        tables = self._stage.tables_of(blow.name)
        await self._killed(blow, asyncio.to_thread, shutil.rmtree, tables, True)

    async def _tables_stale(self, blow: Blow) -> None:
        await self._killed(blow, asyncio.to_thread, self._put_back, blow.name)

    def _put_back(self, name: str) -> None:
        """Tables as they were when this happened last; kept as they are for the next time."""
        tables, copy = self._stage.tables_of(name), self._stage.folder / f"copy-{name}"
        fresh = copy.with_suffix(".new")
        if tables.exists():
            shutil.copytree(tables, fresh)
        if copy.exists():
            shutil.rmtree(tables, ignore_errors=True)
            copy.rename(tables)
        if fresh.exists():
            fresh.rename(copy)

    async def _tables_flipped(self, blow: Blow) -> None:
        await self._killed(blow, asyncio.to_thread, self._flip, blow)

    def _flip(self, blow: Blow) -> None:
        files = [
            path
            for path in sorted(self._stage.tables_of(blow.name).rglob("*"))
            if path.is_file() and path.stat().st_size and path.suffix in (".sst", ".log")
        ]
        if not files:
            return
        path = self._rng.choice(files)
        data = bytearray(path.read_bytes())
        for _ in range(self._rng.choice((1, 8))):
            data[self._rng.randrange(len(data))] ^= 1 << self._rng.randrange(8)
        path.write_bytes(data)
        blow.facts["file"] = path.name

    # -- releases --

    async def _deploy(self, name: str, app: str) -> None:
        self._stage.apps[name] = app
        await asyncio.to_thread(self._stage.stop, name)
        self._stage.begin(name)

    async def _deploy_bad(self, blow: Blow) -> None:
        blow.pid, before = self._stage.pid_of(blow.name), self._stage.apps[blow.name]
        await self._deploy(blow.name, BAD)
        await asyncio.sleep(self._span_s())
        await self._deploy(blow.name, before)

    async def _deploy_next(self, blow: Blow) -> None:
        """Once: what has gone on with the new release does not go back."""
        self._next = NEXT
        for name in self._stage.of("host"):
            await self._deploy(name, NEXT)
            await asyncio.sleep(self._rng.uniform(0.5, 3.0))

    # -- the broker --

    async def _broker_frozen(self, blow: Blow) -> None:
        span_s = self._span_s()
        blow.facts["s"] = round(span_s, 1)
        self._stage.broker.pause()
        await asyncio.sleep(span_s)
        self._stage.broker.resume()

    async def _broker_killed(self, blow: Blow) -> None:
        self._stage.broker.kill()
        await asyncio.sleep(self._rng.uniform(0.0, 3.0))
        await asyncio.to_thread(self._stage.broker.start)
