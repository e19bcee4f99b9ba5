"""What more workflows need: the cost of each part, measured here, and the machines that follow.

`scale` measures orders on one worker process and on two, each with the same small share of a core,
so that neither the broker nor this client is what stops them on a machine of few cores. From the
processor time and the bytes of a workflow it works out what 10^4, 10^5 and 10^6 workflows a minute
take, and what is used up first. The shares are set with Linux control groups, which takes root.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

from benchmarks.measures import run_many, warm
from benchmarks.stage import Stage

GROUPS: Final = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")
SHARE: Final = 0.3
"""Of a core, for each worker process."""
PERIOD_US: Final = 10_000
USED: Final = 0.6
"""How much of a core or a process is planned for: the rest is for peaks and take-overs."""
BROKER_CORES: Final = 8
BROKER_MB_S: Final = 100.0
"""What a broker of that many cores takes in, its copies included."""
COPIES: Final = 3
PARTITIONS_A_PROCESS: Final = 4
PARTITIONS_A_BROKER: Final = 4_000
TOPICS_BY_PARTITION: Final = 6
A_MINUTE: Final = (10_000, 100_000, 1_000_000)


class Cost(NamedTuple):
    """What one workflow takes."""

    worker_ms: float
    broker_ms: float
    bytes: float


@contextmanager
def share_of(pids: list[int], cores: float) -> Iterator[bool]:
    """Let processes together use so much of the cores; False where that cannot be had."""
    group = _made_group()
    if group is None:
        yield False
        return
    try:
        quota = str(int(PERIOD_US * cores))
        if (group / "cpu.cfs_quota_us").exists():
            (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(quota)
        else:
            (group / "cpu.max").write_text(f"{quota} {PERIOD_US}")
        for pid in pids:
            (group / "cgroup.procs").write_text(str(pid))
        yield True
    finally:
        for left in (group / "cgroup.procs").read_text().split():
            (group.parent / "cgroup.procs").write_text(left)
        group.rmdir()


def _made_group() -> Path | None:
    """A control group with a share of processor time, made for this; None without the right."""
    for root in GROUPS:
        group = root / f"perdure-bench-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        if (group / "cpu.cfs_quota_us").exists() or (group / "cpu.max").exists():
            return group
        group.rmdir()
    return None


def family(pid: int) -> list[int]:
    """A process and all that it has started."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += family(int(child))
    return found


async def cost(stage: Stage, count: int) -> Cost:
    """What an order takes on one worker process with 100 in flight."""
    with stage.another() as one:
        one.count_requests()
        one.start_all()
        client = await one.client()
        await warm(client, one, 500)
        asked, before = await one.requests(), one.cpu_by_process()
        await run_many(client, one, count, "many")
        after = one.cpu_by_process()
        asked = await one.requests() - asked
        await client.close()
    used = {name: 1000 * (after[name] - before[name]) / count for name in after}
    return Cost(used["all"], used.get("broker", 0.0), asked["bytes"] / count)


async def rate(stage: Stage, processes: int, count: int) -> float | None:
    """Workflows/s of so many worker processes, each with the same share of a core."""
    with stage.another() as one:
        one.start_all(processes=processes)
        client = await one.client()
        while len({info.owner for info in await client.describe_task_queue(one.queue)}) < processes:
            await asyncio.sleep(0.2)  # The second one is still joining.
        await warm(client, one, 300)
        pids = family(one.processes["all"].pid)
        with share_of(pids, SHARE * processes) as is_set:
            took = await run_many(client, one, count, "many") if is_set else 0.0
        await client.close()
    return count / took if took else None


def needs(one: Cost, a_minute: int) -> str:
    """What so many workflows a minute take, and what is used up first."""
    a_second = a_minute / 60
    processes = ceil(a_second * one.worker_ms / 1000 / USED)
    partitions = max(8, processes * PARTITIONS_A_PROCESS)
    broker_cores = a_second * one.broker_ms * COPIES / 1000 / USED
    mb_s = a_second * one.bytes * COPIES / 1e6
    by_cores, by_bytes = broker_cores / BROKER_CORES, mb_s / BROKER_MB_S
    by_partitions = partitions * TOPICS_BY_PARTITION * COPIES / PARTITIONS_A_BROKER
    brokers = max(COPIES, ceil(max(by_cores, by_bytes, by_partitions)))
    first = max(
        (by_cores, "the brokers' processors"),
        (by_bytes, "the brokers' disks and network"),
        (by_partitions, "partitions on a broker"),
    )[1]
    disk_gb = a_second * one.bytes * 86_400 / 1e9
    return (
        f"{processes} worker processes (a core each), {partitions} partitions, {brokers} brokers of"
        f" {BROKER_CORES} cores, {mb_s:.1f} MB/s with {COPIES} copies, {disk_gb:,.0f} GB a day"
        f" and copy; first used up beside the workers: {first}"
    )


async def scale(stage: Stage) -> dict[str, Any]:
    """One process against two, and what larger numbers take by the cost of a workflow."""
    count = int(os.environ.get("PERDURE_BENCH_ORDERS", "1500"))
    rounds = int(os.environ.get("PERDURE_BENCH_ROUNDS", "3"))
    single, double = [], []
    for _ in range(rounds):
        single.append(await rate(stage, 1, count // 3))
        double.append(await rate(stage, 2, count // 3))
    one = await cost(stage, count)
    figures: dict[str, Any] = {
        "a workflow: CPU ms of a worker, of the broker; bytes written": (
            f"{one.worker_ms:.2f}, {one.broker_ms:.2f}; {one.bytes:,.0f}"
        )
    }
    ratios = [two / alone for alone, two in zip(single, double, strict=True) if alone and two]
    figures[f"two processes against one, {SHARE:.0%} of a core each, times as many"] = (
        f"{median(ratios):.2f} [{min(ratios):.2f}-{max(ratios):.2f}]"
        if ratios
        else "needs Linux control groups, and root"
    )
    for a_minute in A_MINUTE:
        figures[f"{a_minute:,} workflows a minute take"] = needs(one, a_minute)
    return figures
