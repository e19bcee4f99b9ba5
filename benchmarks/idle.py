"""What a system costs that does nothing: the processor time and the wake-ups of each thread."""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.stage import Stage, cpu_s

SETTLE_S = 8.0
"""Until groups, caches and compilers have come to rest."""


class Thread(NamedTuple):
    """What a thread has used so far."""

    cpu_s: float
    switches: int


def threads_of(pid: int) -> dict[tuple[str, str], Thread]:
    """The threads of a process by (id, name)."""
    found: dict[tuple[str, str], Thread] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            name = (task / "comm").read_text().strip()
            spent_ns = int((task / "schedstat").read_text().split()[0])
            status = (task / "status").read_text()
        except OSError:
            continue
        lines = [line.split() for line in status.splitlines() if "ctxt_switches" in line]
        found[task.name, name] = Thread(spent_ns / 1e9, sum(int(line[1]) for line in lines))
    return found


async def idle(stage: Stage) -> dict[str, Any]:
    """Nothing to do: % of a core of the process that does all, and by which threads."""
    name = stage.start_all()
    client = await stage.client()
    await client.describe_task_queue(stage.queue)
    await client.close()
    await asyncio.sleep(SETTLE_S)
    seconds = float(os.environ.get("PERDURE_BENCH_IDLE_S", "15"))
    pid = stage.processes[name].pid
    before, broker = threads_of(pid), cpu_s(stage.broker_pid) if stage.broker_pid else 0.0
    await asyncio.sleep(seconds)
    after = threads_of(pid)
    broker = cpu_s(stage.broker_pid) - broker if stage.broker_pid else 0.0
    used: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    for key, now in after.items():
        then = before.get(key, Thread(0.0, 0))
        one = used[key[1]]
        one[0] += 1
        one[1] += 100 * (now.cpu_s - then.cpu_s) / seconds
        one[2] += (now.switches - then.switches) / seconds
    ranked = sorted(used.items(), key=lambda item: -item[1][1])
    figures: dict[str, Any] = {
        "idle, % of a core": sum(one[1] for one in used.values()),
        "idle, wake-ups a second": sum(one[2] for one in used.values()),
        "idle, by thread: number, %, wake-ups a second": "; ".join(
            f"{thread} {one[0]:.0f}, {one[1]:.2f}, {one[2]:.0f}" for thread, one in ranked[:14]
        ),
    }
    if stage.log == "kafka" and stage.broker_pid:
        figures["idle, % of a core: the broker"] = 100 * broker / seconds
    return figures
