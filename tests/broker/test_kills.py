"""Processes die, freeze and come back under load; nothing is lost, and the log stays right."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path

import pytest

from perdure.client import Client
from perdure_schemas import events as ev
from tests.broker.conftest import MakeBroker
from tests.broker.orders_app import Job
from tests.broker.processes import PARTITIONS, Crew, until

pytestmark = [pytest.mark.broker, pytest.mark.timeout(150)]

TAKEOVER_S = 15.0
"""A session of 6 s, and room for a machine whose two cores have other work."""
FROZEN_S = 15.0


def jobs_named(prefix: str, count: int, **facts: int) -> list[Job]:
    return [Job(f"{prefix}-{number}", **facts) for number in range(count)]


async def two_hosts(crew: Crew, client: Client) -> None:
    """Wait until both hosts own partitions."""

    async def shared() -> bool:
        return len(set((await crew.owners(client)).values())) == 2

    await until(shared, "two hosts share the partitions", timeout_s=40.0)


async def one_host(crew: Crew, client: Client) -> None:
    """Wait until one host owns all partitions."""

    async def moved() -> bool:
        owners = await crew.owners(client)
        return len(owners) == PARTITIONS and len(set(owners.values())) == 1

    await until(moved, "one host owns all partitions", timeout_s=TAKEOVER_S)


async def test_killed_host_moves_its_partitions(crew: Crew) -> None:
    first = crew.host("first")
    crew.host("second")
    crew.worker()
    jobs = jobs_named("job", 40, steps=4, pause_ms=50, nap_ms=100)
    async with crew.client() as client:
        await two_hosts(crew, client)
        await asyncio.gather(*(crew.start(client, job) for job in jobs))
        await until(lambda: len(crew.lines()) >= 40, "activities run")

        first.kill()

        await one_host(crew, client)
        await crew.finish(client, jobs)
    ledger = crew.check()
    assert len(ledger.runs) == len(jobs)
    assert ledger.bumps > PARTITIONS


async def test_frozen_host_comes_back_and_is_refused(crew: Crew) -> None:
    first = crew.host("first")
    crew.host("second")
    crew.worker()
    # Naps that end while the host is frozen: what it does first when it wakes is too late.
    jobs = jobs_named("nap", 12, steps=2, nap_ms=2_500)
    busy = jobs_named("busy", 60, steps=4)
    async with crew.client() as client:
        await two_hosts(crew, client)
        await asyncio.gather(*(crew.start(client, job) for job in jobs))
        await until(lambda: len(crew.lines()) >= len(jobs), "all runs nap")
        starts = [asyncio.create_task(crew.start(client, job)) for job in busy]
        await until(lambda: len(crew.lines()) >= 40, "the hosts are busy")

        first.pause()
        frozen_at = time.monotonic()
        await one_host(crew, client)
        await asyncio.gather(*starts)
        await crew.finish(client, [*jobs, *busy])
        # How long it is frozen is the fault itself.
        await asyncio.sleep(max(0.0, FROZEN_S - (time.monotonic() - frozen_at)))
        first.resume()

        await two_hosts(crew, client)
        after = jobs_named("after", 8)
        await asyncio.gather(*(crew.start(client, job) for job in after))
        await crew.finish(client, after)
    assert first.status is None
    stale = crew.check().stale
    assert stale > 0, "the frozen host never tried to write"


async def test_killed_worker_is_replaced(crew: Crew) -> None:
    crew.host()
    first = crew.worker("first")
    long = jobs_named("long", 4, steps=1, pause_ms=4_000)
    short = jobs_named("short", 4, steps=1, pause_ms=700)
    async with crew.client() as client:
        await asyncio.gather(*(crew.start(client, job) for job in long))

        async def promoted() -> bool:
            handles = [client.get_workflow_handle(j.name, task_queue="orders") for j in long]
            found = await asyncio.gather(*(handle.describe() for handle in handles))
            states = [a.state for d in found for a in d.raw_description.pending_activities]
            return states == ["started"] * len(long)

        await until(promoted, "the long activities are reported as started", timeout_s=40.0)
        await asyncio.gather(*(crew.start(client, job) for job in short))
        await until(lambda: len(crew.lines()) == 8, "the short activities run")

        first.kill()
        crew.worker("second")

        await crew.finish(client, [*long, *short])
    ledger = crew.check()
    attempts = Counter((line["workflow_id"], line["attempt"]) for line in crew.lines())
    # A promoted attempt died with its worker and is retried; what was only delivered comes again.
    assert all(attempts[job.name, 1] == 1 and attempts[job.name, 2] == 1 for job in long)
    assert all(attempts[job.name, 1] + attempts[job.name, 2] == 2 for job in short)
    for job in long:
        (run,) = ledger.of_workflow(job.name)
        (retry,) = [f.event for f in run.facts if isinstance(f.event, ev.ActivityRetryScheduled)]
        assert retry.failure.chain[0].type == "WorkerLost"


async def test_broker_away_at_the_start_and_killed_under_load(
    own_broker: MakeBroker, tmp_path: Path
) -> None:
    broker = own_broker()
    crew = Crew(broker.bootstrap, tmp_path)
    try:
        crew.create_topics()
        broker.kill()
        host, worker = crew.host(), crew.worker()

        await until(lambda: broker.bootstrap in host.said(), "the host says what it waits for")
        await until(lambda: broker.bootstrap in worker.said(), "the worker says so, too")
        broker.start()

        jobs = jobs_named("job", 20, steps=4, pause_ms=100, nap_ms=200)
        async with crew.client() as client:
            await asyncio.gather(*(crew.start(client, job) for job in jobs))
            await until(lambda: len(crew.lines()) >= 20, "activities run", timeout_s=40.0)
            broker.kill()
            broker.start()
            await crew.finish(client, jobs)
        assert host.status is None
        assert worker.status is None
        crew.check()
    finally:
        crew.end()
