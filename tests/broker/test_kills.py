"""Processes die, freeze and come back under load; nothing is lost, and the log stays right."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.broker.conftest import MakeBroker
from tests.broker.orders_app import Job
from tests.broker.processes import PARTITIONS, Crew, until

pytestmark = [pytest.mark.broker, pytest.mark.timeout(120)]

TAKEOVER_S = 15.0


def jobs_named(prefix: str, count: int, **facts: int) -> list[Job]:
    return [Job(f"{prefix}-{number}", **facts) for number in range(count)]


async def two_hosts(crew: Crew) -> None:
    """Wait until both hosts own partitions."""
    async with crew.client() as client:

        async def shared() -> bool:
            owners = await crew.owners(client)
            return len(set(owners.values())) == 2

        await until(shared, "two hosts share the partitions")


async def test_killed_host_moves_its_partitions(crew: Crew) -> None:
    first = crew.host("first")
    crew.host("second")
    crew.worker()
    await two_hosts(crew)
    jobs = jobs_named("job", 40, steps=4, pause_ms=50, nap_ms=100)
    async with crew.client() as client:
        await asyncio.gather(*(crew.start(client, job) for job in jobs))
        await until(lambda: len(crew.lines()) >= 40, "activities run")

        killed_at = time.monotonic()
        first.kill()

        await until(lambda: moved(crew, client), "the other host owns all", timeout_s=TAKEOVER_S)
        assert time.monotonic() - killed_at < TAKEOVER_S
        await crew.finish(client, jobs)
    ledger = crew.check()
    assert len(ledger.runs) == len(jobs)
    assert ledger.bumps > PARTITIONS


async def moved(crew: Crew, client) -> bool:  # type: ignore[no-untyped-def]
    owners = await crew.owners(client)
    return len(owners) == PARTITIONS and len(set(owners.values())) == 1
