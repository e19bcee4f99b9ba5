"""How many partitions, and what compression: the same orders on each, in turns."""

from __future__ import annotations

import os
from collections import defaultdict
from statistics import median
from typing import Any, NamedTuple

from benchmarks.measures import run_many, warm
from benchmarks.requests import COMPRESSION
from benchmarks.stage import Stage


class Layout(NamedTuple):
    """One way to lay a queue out."""

    partitions: int
    compression: str

    def __str__(self) -> str:
        return f"{self.partitions} partitions, {self.compression}"


LAYOUTS = (
    Layout(4, "none"),
    Layout(8, "none"),
    Layout(16, "none"),
    Layout(8, "lz4"),
    Layout(8, "zstd"),
)


async def _burst(stage: Stage, count: int) -> dict[str, float]:
    """What a workflow took: processor time, requests to write and to read, bytes sent."""
    with stage:
        stage.count_requests()
        stage.start_all()
        client = await stage.client()
        await warm(client, stage, 200)
        asked_before, before = await stage.requests(), stage.cpu_by_process()
        await run_many(client, stage, count, "many")
        after, asked = stage.cpu_by_process(), await stage.requests() - asked_before
        await client.close()
    return {
        "CPU ms": 1000 * sum(after[name] - before[name] for name in after) / count,
        "the broker's": 1000 * (after.get("broker", 0) - before.get("broker", 0)) / count,
        "Produce": asked["Produce"] / count,
        "Fetch": asked["Fetch"] / count,
        "bytes written": asked["bytes"] / count,
    }


async def layouts(stage: Stage) -> dict[str, Any]:
    """Orders with 100 in flight on queues of several layouts: a workflow's median of the rounds."""
    count = int(os.environ.get("PERDURE_BENCH_ORDERS", "1500"))
    rounds = int(os.environ.get("PERDURE_BENCH_ROUNDS", "3"))
    found: dict[Layout, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for _ in range(rounds):
        for layout in LAYOUTS:
            os.environ[COMPRESSION] = layout.compression
            one = stage.another(partitions=layout.partitions)
            for name, value in (await _burst(one, count)).items():
                found[layout][name].append(value)
    return {
        str(layout): ", ".join(
            f"{name} {median(values):.2f} [{min(values):.2f}-{max(values):.2f}]"
            for name, values in by_name.items()
        )
        for layout, by_name in found.items()
    }
