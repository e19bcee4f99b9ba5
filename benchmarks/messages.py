"""What messages, timers and replay take: signals of one run, updates, many timers, the guards."""

from __future__ import annotations

import asyncio
import importlib.util
import time
from pathlib import Path
from typing import Any

from benchmarks import plain_code
from benchmarks.app import ListenerWorkflow, TimersWorkflow
from benchmarks.measures import Figures, run_many, warm
from benchmarks.peers.load import order, percentile
from benchmarks.replaying import replay
from benchmarks.stage import Stage, cpu_s
from perdure_actors.definitions.registry import WorkflowRegistry, workflow_definition
from perdure_actors.replay.coroutine import Coroutine, RunFacts
from perdure_schemas.converters import DefaultPayloadConverter
from perdure_schemas.events import ActivityCompleted, WorkflowStarted

SIGNALS = 3_000
SIGNALS_AT_ONCE = 64
UPDATES = 300
TIMERS, RUNS = 1_000, 10
TIMER_LEAD_S = 8.0
GUARDED_RUNS, GUARD_TURNS = 20, 300
ORDERS = 1_000
FACTS = RunFacts("bench", "bench", "order", "run")


async def messages(stage: Stage) -> Figures:
    """One run that is signalled and updated: signals a second, and what an update takes."""
    stage.start_host()
    client = await stage.client()
    handle = await client.start_workflow(
        ListenerWorkflow.run, id="listener", task_queue=stage.queue
    )
    gate = asyncio.Semaphore(SIGNALS_AT_ONCE)

    async def tell(number: int) -> None:
        async with gate:
            await handle.signal(ListenerWorkflow.tell, number)

    await asyncio.gather(*(tell(number) for number in range(300)))
    began = time.perf_counter()
    await asyncio.gather(*(tell(number) for number in range(SIGNALS)))
    signals_s = time.perf_counter() - began
    assert await handle.query(ListenerWorkflow.heard) == 300 + SIGNALS
    times = []
    for number in range(UPDATES):
        began = time.perf_counter()
        await handle.execute_update(ListenerWorkflow.change, number)
        times.append((time.perf_counter() - began) * 1000)
    await client.close()
    return {
        f"signals/s taken by one run, {SIGNALS_AT_ONCE} under way": SIGNALS / signals_s,
        "an update from call to result, ms p50": percentile(times, 0.5),
        "an update from call to result, ms p99": percentile(times, 0.99),
    }


async def timers(stage: Stage) -> Figures:
    """10,000 timers of ten runs, all due within one second: the worst lateness, and none early."""
    stage.start_host()
    client = await stage.client()
    await warm_timers(client, stage)
    due_s = time.time() + TIMER_LEAD_S
    handles = [
        await client.start_workflow(
            TimersWorkflow.run, args=[due_s, TIMERS], id=f"timers-{run}", task_queue=stage.queue
        )
        for run in range(RUNS)
    ]
    set_s = time.time()
    late = [await handle.result() for handle in handles]
    await client.close()
    assert set_s < due_s, "the runs were not started in time"
    return {
        f"{TIMERS * RUNS:,} timers within 1 s: worst lateness, s": max(one[1] for one in late),
        f"{TIMERS * RUNS:,} timers within 1 s: earliest, s": min(one[0] for one in late),
    }


async def warm_timers(client: Any, stage: Stage) -> None:
    """A few timers before the clock runs."""
    await client.execute_workflow(
        TimersWorkflow.run, args=[time.time(), 10], id="warm", task_queue=stage.queue
    )


async def guards(stage: Stage) -> Figures:
    """Code with six guarded names a step, guarded and bare, by turns; beside a whole workflow.

    The audit hook is there in both, for it cannot be taken out again.
    """
    stage.start_host()
    stage.start_worker()
    client = await stage.client()
    await warm(client, stage)
    before = cpu_s(stage.processes["host"].pid)
    await run_many(client, stage, ORDERS, "guards")
    host_ms = (cpu_s(stage.processes["host"].pid) - before) * 1000 / ORDERS
    await client.close()
    bare = _bare_copy()
    WorkflowRegistry([plain_code.PlainCodeWorkflow])
    pairs = [
        (_cpu_ms(bare.PlainCodeWorkflow), _cpu_ms(plain_code.PlainCodeWorkflow))
        for _ in range(GUARD_TURNS)
    ]
    guards_ms = percentile([guarded - plain for plain, guarded in pairs], 0.5)
    return {
        "a workflow's code, ms of processor: bare": percentile([one for one, _ in pairs], 0.5),
        "its guards, ms of processor": guards_ms,
        "a workflow on its host, ms of processor": host_ms,
        "guards' share of the host's, %": 100 * guards_ms / host_ms,
    }


def _bare_copy() -> Any:
    """The module once more, under a name that nobody registers."""
    file = Path(plain_code.__file__)
    spec = importlib.util.spec_from_file_location("benchmarks.bare_code", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _cpu_ms(workflow: type, count: int = GUARDED_RUNS) -> float:
    """The processor time of one run of a workflow's code, its activities answered at once."""
    definition, converter = workflow_definition(workflow), DefaultPayloadConverter()
    given = converter.to_payloads([order(1)])
    done = converter.to_payload("done")
    began = time.process_time()
    for _ in range(count):
        run = Coroutine(definition, FACTS, converter=converter)
        started = WorkflowStarted(workflow_type="PlainCodeWorkflow", input=given)
        run.advance(started, seq=1, time_ms=1_700_000_000_000)
        for step in (1, 2, 3):
            event = ActivityCompleted(activity_id=str(step), attempt=1, result=done)
            run.advance(event, seq=2 * step + 1, time_ms=1_700_000_000_000 + step)
        assert run.is_ended
        run.close()
    return (time.process_time() - began) * 1000 / count


MEASURES = {"messages": messages, "replay": replay, "timers": timers, "guards": guards}
