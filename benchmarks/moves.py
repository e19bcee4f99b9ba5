"""Hosts that join and leave under load: orders a second, and the pause of each move."""

from __future__ import annotations

import asyncio
import itertools
import time

from benchmarks.measures import IN_FLIGHT, Figures, run_many, run_order, warm
from benchmarks.stage import Stage
from perdure.client import Client

ORDERS = 2_000
SETTLED_S = 30.0


class Flow:
    """Orders that flow all the time, and when each ended, by the half second."""

    def __init__(self, client: Client, stage: Stage) -> None:
        self._client = client
        self._stage = stage
        self._stops = asyncio.Event()
        self._number = 0
        self.ends: list[float] = []
        self.slowest_s = 0.0
        self._lanes = [asyncio.create_task(self._lane()) for _ in range(IN_FLIGHT)]

    async def _lane(self) -> None:
        while not self._stops.is_set():
            self._number += 1
            took_s = await run_order(self._client, self._stage, self._number, "flow")
            self.slowest_s = max(self.slowest_s, took_s)
            self.ends.append(time.perf_counter())

    async def stop(self) -> None:
        """Let what is under way end."""
        self._stops.set()
        await asyncio.gather(*self._lanes)

    def gap_s(self, since: float) -> float:
        """The longest time in which no order ended."""
        ends = sorted([since, *(end for end in self.ends if end >= since)])
        return max((b - a for a, b in itertools.pairwise(ends)), default=0.0)


async def moves(stage: Stage) -> Figures:
    """Orders a second with one host process and with two; how long a move holds orders back."""
    stage.start_host("host-1")
    stage.start_worker()
    client = await stage.client()
    await warm(client, stage)
    one_s = await run_many(client, stage, ORDERS, "one-host")
    flow = Flow(client, stage)
    began = time.perf_counter()
    stage.start_host("host-2")
    await _owned_by(client, stage, 2)
    join_gap_s, join_slowest_s = flow.gap_s(began), flow.slowest_s
    await flow.stop()
    two_s = await run_many(client, stage, ORDERS, "two-hosts")
    flow = Flow(client, stage)
    began = time.perf_counter()
    await asyncio.to_thread(stage.stop, "host-1")
    await _owned_by(client, stage, 1)
    leave_gap_s, leave_slowest_s = flow.gap_s(began), flow.slowest_s
    await flow.stop()
    return {
        "one host process, workflows/s": ORDERS / one_s,
        "two host processes, workflows/s": ORDERS / two_s,
        "two against one": one_s / two_s,
        "a host joins: no order ends for, s": join_gap_s,
        "a host joins: slowest order, s": join_slowest_s,
        "a host leaves: no order ends for, s": leave_gap_s,
        "a host leaves: slowest order, s": leave_slowest_s,
    }


async def _owned_by(client: Client, stage: Stage, hosts: int) -> None:
    """Wait until so many hosts share the partitions."""
    async with asyncio.timeout(SETTLED_S):
        while True:
            infos = await client.describe_task_queue(stage.queue)
            if len({info.owner for info in infos}) == hosts and len(infos) == stage.partitions:
                return
            await asyncio.sleep(0.05)
