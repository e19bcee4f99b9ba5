"""The measures: each runs one kind of work on a stage and says what it took."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.app import (
    FanOutWorkflow,
    OrderWorkflow,
    RetryWorkflow,
    SequenceWorkflow,
    SleeperWorkflow,
)
from benchmarks.history import write_history
from benchmarks.listing import listing
from benchmarks.pages import pages
from benchmarks.peers.load import order, percentile
from benchmarks.stage import Stage, resident_kib
from perdure._assembly import open_log
from perdure.client import Client
from perdure_actors.host.thread import CHECKPOINT_EVERY
from perdure_topics.names import partition_of

Figures = dict[str, Any]
Measure = Callable[[Stage], Awaitable[Figures]]
IN_FLIGHT = 100


async def run_order(client: Client, stage: Stage, number: int, tag: str) -> float:
    """One order from start to result; the seconds it took."""
    began = time.perf_counter()
    await client.execute_workflow(
        OrderWorkflow.run, order(number), id=f"{tag}-{number}", task_queue=stage.queue
    )
    return time.perf_counter() - began


async def warm(client: Client, stage: Stage, count: int = 300, *, tag: str = "warm") -> None:
    """Orders before the clock runs, so that every partition and cache has been used."""
    await run_many(client, stage, count, tag)


async def run_many(client: Client, stage: Stage, count: int, tag: str) -> float:
    """Orders with so many in flight; the seconds they took."""
    gate = asyncio.Semaphore(IN_FLIGHT)

    async def one(number: int) -> None:
        async with gate:
            await run_order(client, stage, number, tag)

    began = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(count)))
    return time.perf_counter() - began


async def orders(stage: Stage) -> Figures:
    """The order workflow one at a time, then 100 in flight, with the processor time of all."""
    stage.count_requests()
    stage.start_host()
    stage.start_worker()
    return await _orders(stage)


async def together(stage: Stage) -> Figures:
    """The same with one process for workflows and activities, whose tasks pass the log by."""
    stage.start_all()
    figures = await _orders(stage)
    return {f"{label}, one process": value for label, value in figures.items()}


async def _orders(stage: Stage) -> Figures:
    client = await stage.client()
    await warm(client, stage)
    one_by_one = [await run_order(client, stage, number, "one") for number in range(200)]
    asked_before = await stage.requests()
    before = stage.cpu_by_process()
    count = int(os.environ.get("PERDURE_BENCH_ORDERS", "5000"))
    took = await run_many(client, stage, count, "many")
    after = stage.cpu_by_process()
    asked = await stage.requests() - asked_before
    cpu = {name: (after[name] - before[name]) / count * 1000 for name in after}
    return {
        "one at a time, p50 ms": percentile(one_by_one, 0.5) * 1000,
        "one at a time, p99 ms": percentile(one_by_one, 0.99) * 1000,
        "100 in flight, workflows/s": count / took,
        "CPU ms a workflow, all processes": sum(cpu.values()),
        "CPU ms a workflow, by process": ", ".join(f"{k} {v:.2f}" for k, v in cpu.items()),
        "requests to the broker, a workflow; wake-ups of and bytes by producers": ", ".join(
            f"{kind} {number / count:.2f}" for kind, number in asked.items()
        ),
    }


async def fan_out(stage: Stage) -> Figures:
    """500 activities in parallel from one workflow."""
    stage.start_host()
    stage.start_worker(slots=500)
    client = await stage.client()
    await warm(client, stage)
    times = []
    for number in range(5):
        began = time.perf_counter()
        await client.execute_workflow(
            FanOutWorkflow.run, args=[500, 0.0], id=f"fan-{number}", task_queue=stage.queue
        )
        times.append(time.perf_counter() - began)
    return {"500 activities in parallel, s (median of 5)": percentile(times, 0.5)}


async def spread(stage: Stage) -> Figures:
    """500 activities of 100 ms with 50 slots a worker: four workers against one."""
    stage.start_host()
    times = {}
    client = None
    for workers in (1, 4):
        for number in range(workers):
            if f"worker-{number}" not in stage.processes:
                stage.start_worker(f"worker-{number}", slots=50)
        client = client or await stage.client()
        await warm(client, stage, 200)
        await asyncio.sleep(8)  # The group settles; not a part of what is measured.
        began = time.perf_counter()
        await client.execute_workflow(
            FanOutWorkflow.run, args=[500, 0.1], id=f"spread-{workers}", task_queue=stage.queue
        )
        times[workers] = time.perf_counter() - began
    return {
        "500 x 100 ms: 1 worker, s": times[1],
        "500 x 100 ms: 4 workers, s": times[4],
        "4 workers against 1, times faster": times[1] / times[4],
    }


async def sequence(stage: Stage) -> Figures:
    """2,000 activities in sequence, then the host killed in such a run and its recovery."""
    stage.start_host()
    stage.start_worker()
    client = await stage.client()
    await warm(client, stage)
    times = await client.execute_workflow(
        SequenceWorkflow.run, 2000, id="sequence", task_queue=stage.queue
    )
    first, last = (times[200] - times[0]) / 200, (times[-1] - times[-201]) / 200
    return {
        "2,000 in sequence, s": (times[-1] - times[0]) / 1000,
        "2,000 in sequence, ms a step: first 200": first,
        "2,000 in sequence, ms a step: last 200": last,
        "last 200 / first 200": last / first,
    }


async def retry(stage: Stage) -> Figures:
    """An activity that fails twice, beyond its 300 ms of back-off."""
    stage.start_host()
    stage.start_worker()
    client = await stage.client()
    await warm(client, stage)
    times = []
    for number in range(20):
        began = time.perf_counter()
        await client.execute_workflow(
            RetryWorkflow.run, id=f"retry-{number}", task_queue=stage.queue
        )
        times.append(time.perf_counter() - began)
    return {"fails twice, ms beyond the back-off": percentile(times, 0.5) * 1000 - 300}


async def cold_start(stage: Stage) -> Figures:
    """Worker and client started, until the first result."""
    began = time.perf_counter()
    stage.start_host()
    stage.start_worker()
    client = await stage.client()
    await run_order(client, stage, 0, "cold")
    return {"cold start to first result, s": time.perf_counter() - began}


async def sleepers(stage: Stage) -> Figures:
    """10,000 sleeping workflows: what each adds to the host's resident memory."""
    stage.start_host()
    stage.start_worker()
    client = await stage.client()
    await warm(client, stage, 1500)
    pid = stage.processes["host"].pid
    before = resident_kib(pid)
    count = 10_000
    gate = asyncio.Semaphore(200)

    async def one(number: int) -> None:
        async with gate:
            await client.start_workflow(
                SleeperWorkflow.run, id=f"sleeper-{number}", task_queue=stage.queue
            )

    await asyncio.gather(*(one(number) for number in range(count)))
    return {"KiB a sleeping workflow (10,000)": (resident_kib(pid) - before) / count}


async def recovery(stage: Stage) -> Figures:
    """A run of 2,000 steps whose host is killed near its end: from its take-over to going on."""
    stage.start_host()
    stage.start_worker()
    client = await stage.client()
    await warm(client, stage)
    handle = await client.start_workflow(
        SequenceWorkflow.run, 2000, id="recovered", task_queue=stage.queue
    )
    while (await handle.describe()).history_length < 3600:
        await asyncio.sleep(0.05)
    home = partition_of("recovered", len(await client.describe_task_queue(stage.queue)))
    stage.stop("host", kill=True)
    stage.start_host(verbose=True)
    await stage.taken_over_ms("host", home)
    began = time.perf_counter()
    stopped = (await handle.describe()).history_length
    while (await handle.describe()).history_length <= stopped:
        await asyncio.sleep(0.01)
    took = time.perf_counter() - began
    await handle.result()
    return {"recovery of a 2,000-step run, s from its take-over to its next step": took}


async def take_over(stage: Stage) -> Figures:
    """A million transitions in one partition, taken over: from nothing, warm, from a checkpoint.

    The checkpoint is older than the log by as many transitions as a host lets pass between two.
    """
    count = int(os.environ.get("PERDURE_BENCH_TRANSITIONS", "1000000"))
    older = count - min(CHECKPOINT_EVERY, count // 2)
    target = stage.target
    if stage.log == "embedded":
        target = stage.target = f"file:{stage.directory / 'data'}"
        stage.make_topics()

    def write(numbers: range, epoch: int) -> None:
        log, close = open_log(target)
        write_history(log, stage.namespace, stage.queue, numbers, epoch=epoch)
        close()

    write(range(older), 1)
    figures: Figures = {}
    behind = f"from a checkpoint {count - older:,} behind"
    for label in ("from offset 0", "warm table", behind):
        if label == behind:
            write(range(older, count), int(time.time() * 1000))
            for table in stage.directory.rglob("slot-*/*"):
                shutil.rmtree(table)
        stage.start_host(verbose=True)
        held = count if label == behind else older
        figures[f"take-over of {held:,} transitions, s: {label}"] = (
            await stage.taken_over_ms("host") / 1000
        )
        # A second look at the log moves the verified cursor; a checkpoint is written by then.
        await asyncio.sleep(25 if label == "from offset 0" else 1)
        stage.stop("host", kill=True)
    return figures


MEASURES: dict[str, Measure] = {
    "orders": orders,
    "together": together,
    "fan_out": fan_out,
    "spread": spread,
    "sequence": sequence,
    "retry": retry,
    "cold_start": cold_start,
    "recovery": recovery,
    "take_over": take_over,
    "sleepers": sleepers,
    "pages": pages,
    "listing": listing,
}
