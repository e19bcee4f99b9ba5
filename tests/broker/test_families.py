"""Parents and children on two task queues of Kafka, while either's host is killed."""

from __future__ import annotations

import asyncio

import pytest

from perdure import _assembly as assembly
from perdure.client import Client
from perdure_topics.names import topic_name
from perdure_topics.task_queue_topics import create_topics
from tests.broker.families_app import KIDS, Family, family_outcome
from tests.broker.processes import DUMPED, QUEUE, Crew, Process, dump_topic, until
from tests.simulation.checker import check, ledger_of
from tests.simulation.families import check_families
from tests.simulation.ledger import Ledger

pytestmark = [pytest.mark.broker, pytest.mark.timeout(200)]
APP = "tests.broker.families_app"
FAMILIES = 8


def host_of(crew: Crew, queue: str, name: str) -> Process:
    tables = str(crew.tables_of(name))
    options = ["--task-queue", queue, "--state-dir", tables, "--verbose", "--workflows-only"]
    return crew.process(name, "worker", APP, *crew.where, *options)


def make_kids_topics(crew: Crew) -> None:
    log, close = assembly.open_log(crew.target)
    try:
        create_topics(log, crew.namespace, KIDS, partitions=3)
    finally:
        close()


def checked_ledger(crew: Crew, queue: str) -> Ledger:
    """What a task queue's log says, once it keeps every invariant.

    Without the answers: both queues' are in one topic, and each speaks of offsets of its own.
    """
    log, close = assembly.open_log(crew.target)
    try:
        roles = [role for role in DUMPED if role != "replies"]
        names = [topic_name(role, crew.namespace, queue) for role in roles]
        records = {name: dump_topic(log, name) for name in names}
    finally:
        close()
    found = check(records)
    assert not found, "\n".join(map(str, found[:20])) + "\n" + crew.report()
    return ledger_of(records)


async def ended(client: Client) -> int:
    """How many children have ended."""
    count = 0
    async for run in client.list_workflows(task_queue=KIDS):
        count += run.close_time is not None
    return count


async def test_each_child_runs_once_though_both_hosts_are_killed(crew: Crew) -> None:
    make_kids_topics(crew)
    parents = host_of(crew, QUEUE, "parents")
    kids = host_of(crew, KIDS, "kids")
    families = [Family(f"family-{n}") for n in range(FAMILIES)]
    total = sum(family.rounds * family.width for family in families)
    async with crew.client() as client:
        handles = [
            await client.start_workflow("Parent", family, id=family.name, task_queue=QUEUE)
            for family in families
        ]

        async def some() -> bool:
            return await ended(client) >= total // 6

        await until(some, "children come and go", timeout_s=60.0)
        kids.kill()
        host_of(crew, KIDS, "kids-again")

        async def half() -> bool:
            return await ended(client) >= total // 2

        await until(half, "children go on", timeout_s=60.0)
        parents.kill()
        host_of(crew, QUEUE, "parents-again")
        async with asyncio.timeout(90):
            results = await asyncio.gather(*(handle.result() for handle in handles))
    assert results == [family_outcome(family) for family in families]

    above, below = checked_ledger(crew, QUEUE), checked_ledger(crew, KIDS)
    assert check_families(above, below) == total
    assert above.violations == []
    assert len(below.runs) == total, "each child has one run"
