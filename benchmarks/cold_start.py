"""What it takes to start: importing a client, commands, and `perdure dev` to its first result."""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.stage import ROOT, Stage
from perdure import workflow
from perdure.client import Client

TASK_QUEUE = "cold-start"
TIMES: Final = 5
CLI: Final = ("-m", "perdure.cli")


class Cost(NamedTuple):
    """What a process took from its start to its end."""

    cpu_ms: float
    wall_ms: float


@workflow.defn
class Hello:
    """The first workflow that a new process runs."""

    @workflow.run
    async def run(self) -> str:
        """Say something."""
        return "hello"


async def dev(client: Client) -> None:
    """Beside `perdure dev`: end its process with the first result."""
    await client.execute_workflow(Hello.run, id="first", task_queue=TASK_QUEUE)
    os.kill(os.getpid(), signal.SIGKILL)


def cost_of(*words: str, expected: int = 0) -> Cost:
    """Run Python with some arguments until it ends."""
    began_s = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *words], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != expected:
        raise RuntimeError(f"{' '.join(words)} ended with {process.returncode}")
    wall_s = time.perf_counter() - began_s
    return Cost((usage.ru_utime + usage.ru_stime) * 1000, wall_s * 1000)


async def cold_start(stage: Stage) -> dict[str, Any]:
    """CPU and wall milliseconds of processes from their start to their end, medians."""
    stage.start_all()
    client = await stage.client()
    await client.describe_task_queue(stage.queue)
    await client.close()
    where = "--broker" if stage.log == "kafka" else "--engine"
    of = (where, stage.target, "--namespace", stage.namespace)
    runs: dict[str, tuple[tuple[str, ...], int]] = {
        "python -c pass": (("-c", "pass"), 0),
        "import perdure.client": (("-c", "import perdure.client"), 0),
        "import perdure.worker": (("-c", "import perdure.worker"), 0),
        "perdure --version": ((*CLI, "--version"), 0),
        "perdure --help": ((*CLI, "--help"), 0),
        "perdure workflow list": ((*CLI, "workflow", "list", *of), 0),
    }
    figures: dict[str, Any] = {}
    for name, (words, expected) in runs.items():
        costs = [await asyncio.to_thread(cost_of, *words, expected=expected) for _ in range(TIMES)]
        figures |= _medians(name, costs)
    if stage.log == "embedded":
        costs = [await asyncio.to_thread(_dev, stage.directory / f"dev-{n}") for n in range(TIMES)]
        figures |= _medians("perdure dev, to the first result", costs)
    return figures


def _dev(data: Path) -> Cost:
    words = (*CLI, "dev", "benchmarks.cold_start", "--data", str(data), "--port", "0")
    return cost_of(*words, expected=-signal.SIGKILL)


def _medians(name: str, costs: list[Cost]) -> dict[str, Any]:
    return {
        f"{name}, CPU ms": round(statistics.median(one.cpu_ms for one in costs)),
        f"{name}, wall ms": round(statistics.median(one.wall_ms for one in costs)),
    }
