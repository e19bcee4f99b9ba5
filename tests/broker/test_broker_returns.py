"""A broker that was stopped, cut off or killed: every partition goes on soon after it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from perdure.client import Client
from perdure_topics.names import partition_of
from tests.broker.conftest import MakeBroker
from tests.broker.kafka_broker import KafkaBroker
from tests.broker.orders_app import Job
from tests.broker.processes import PARTITIONS, Crew, until

pytestmark = [pytest.mark.broker, pytest.mark.timeout(240)]

GOES_ON_S = 30.0
"""Long enough for a member to join anew; one that never finds back takes minutes."""


def jobs_for_each_partition(prefix: str) -> list[Job]:
    found: dict[int, Job] = {}
    number = 0
    while len(found) < PARTITIONS:
        job = Job(f"{prefix}-{number}", steps=1)
        found.setdefault(partition_of(job.name, PARTITIONS), job)
        number += 1
    return [found[partition] for partition in sorted(found)]


async def shared_by(crew: Crew, client: Client, hosts: int) -> None:
    async def shared() -> bool:
        owners = await crew.owners(client)
        return len(owners) == PARTITIONS and len(set(owners.values())) == hosts

    await until(shared, f"{hosts} hosts share the partitions", timeout_s=40.0)


def stopped(broker: KafkaBroker, away_s: float) -> None:
    broker.pause()
    # How long it is away is the fault itself.
    time.sleep(away_s)
    broker.resume()


def killed(broker: KafkaBroker, away_s: float) -> None:
    broker.kill()
    time.sleep(away_s)
    broker.start()


@pytest.mark.parametrize(
    ("fault", "away_s"),
    [(stopped, 15.0), (stopped, 60.0), (killed, 1.0)],
    ids=["stopped for 15 s", "stopped for 60 s", "killed"],
)
async def test_every_partition_goes_on_when_the_broker_is_back(
    own_broker: MakeBroker,
    tmp_path: Path,
    fault: Callable[[KafkaBroker, float], None],
    away_s: float,
) -> None:
    broker = own_broker()
    crew = Crew(broker.bootstrap, tmp_path)
    try:
        crew.create_topics()
        hosts = [crew.host(f"host-{number}") for number in range(2)]
        worker = crew.worker()
        async with crew.client() as client:
            await shared_by(crew, client, 2)
            before = jobs_for_each_partition("before")
            await asyncio.gather(*(crew.start(client, job) for job in before))
            await crew.finish(client, before)

            await asyncio.to_thread(fault, broker, away_s)

            after = jobs_for_each_partition("after")
            await asyncio.gather(*(crew.start(client, job) for job in after))
            await crew.finish(client, after, timeout_s=GOES_ON_S)
        assert [process.status for process in (*hosts, worker)] == [None] * 3, crew.report()
        crew.check()
    finally:
        crew.end()
