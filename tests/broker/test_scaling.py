"""Hosts and workers join and leave under load: partitions move, nothing is lost or done twice."""

from __future__ import annotations

import asyncio

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions
from confluent_kafka.admin import AdminClient

from perdure.client import Client
from perdure_topics.names import group_name, topic_name
from tests.broker.orders_app import Job
from tests.broker.processes import PARTITIONS, QUEUE, Crew, until

pytestmark = pytest.mark.broker


async def hosts_are(crew: Crew, client: Client, count: int) -> None:
    """Wait until so many hosts share all partitions."""

    async def holds() -> bool:
        owners = await crew.owners(client)
        return len(owners) == PARTITIONS and len(set(owners.values())) == count

    await until(holds, f"{count} hosts share the partitions", timeout_s=40.0)


async def flow(crew: Crew, client: Client, stop: asyncio.Event, jobs: list[Job]) -> None:
    """Start chains, one after another, until told to stop."""
    while not stop.is_set():
        job = Job(f"flow-{len(jobs)}", steps=3, nap_ms=20)
        jobs.append(job)
        await crew.start(client, job)
        await asyncio.sleep(0.02)


@pytest.mark.timeout(240)
async def test_processes_join_and_leave_under_load(crew: Crew) -> None:
    hosts = [crew.host("host-1")]
    workers = [crew.worker("worker-1")]
    async with crew.client() as client:
        await hosts_are(crew, client, 1)
        stop, jobs = asyncio.Event(), list[Job]()
        load = asyncio.create_task(flow(crew, client, stop, jobs))
        hosts.append(crew.host("host-2"))
        workers.append(crew.worker("worker-2"))
        await hosts_are(crew, client, 2)
        hosts += [crew.host("host-3"), crew.host("host-4")]
        await hosts_are(crew, client, 4)
        for leaving in hosts[:2]:
            assert await asyncio.to_thread(leaving.stop) == 0
        await hosts_are(crew, client, 2)
        assert await asyncio.to_thread(workers[0].stop) == 0
        await until(lambda: len(jobs) > 20, "the load goes on", timeout_s=40.0)
        stop.set()
        await load
        await crew.finish(client, jobs, timeout_s=90.0)
    crew.check()


@pytest.mark.timeout(120)
async def test_ordinary_tools_see_how_far_commands_are_read(crew: Crew) -> None:
    crew.host()
    crew.worker()
    topic = topic_name("commands", crew.namespace, QUEUE)
    admin = AdminClient({"bootstrap.servers": crew.target, "log_level": 0})
    wanted = ConsumerGroupTopicPartitions(group_name("hosts", crew.namespace, QUEUE))

    async with crew.client() as client:
        jobs = [Job(f"seen-{number}") for number in range(20)]
        await asyncio.gather(*(crew.start(client, job) for job in jobs))
        await crew.finish(client, jobs)
        ends = {info.partition: info.upto + 1 for info in await crew.stand(client)}

        def has_caught_up() -> bool:
            future = admin.list_consumer_group_offsets([wanted])[wanted.group_id]
            found = {
                part.partition: part.offset
                for part in future.result(10.0).topic_partitions
                if part.topic == topic
            }
            return all(found.get(number, 0) >= end for number, end in ends.items() if end)

        await until(has_caught_up, "the group's offsets reach what was read")
