"""A host's tables are a cache of the log: deleted, old or of another past, they are made anew."""

from __future__ import annotations

import asyncio
import shutil
from typing import Any

import msgspec
import pytest
from confluent_kafka.admin import AdminClient

from perdure.client import Client
from perdure_topics.names import topic_name
from perdure_topics.task_queue_topics import TOPIC_ROLES
from tests.broker.orders_app import Job
from tests.broker.processes import PARTITIONS, QUEUE, Crew, until

pytestmark = [pytest.mark.broker, pytest.mark.timeout(150)]

SLEEPER = "sleeper"
# Of who answers and when, not of the state.
SOFT = {"notices", "owner"}


async def state(client: Client) -> dict[str, Any]:
    """Every run as its partition describes it, with its whole history."""
    found = {}
    async for run in client.list_workflows(task_queue=QUEUE):
        handle = client.get_workflow_handle(run.id, run_id=run.run_id, task_queue=QUEUE)
        description = msgspec.to_builtins((await handle.describe()).raw_description)
        history = (await handle.fetch_history()).to_json_dict()
        kept = {name: value for name, value in description.items() if name not in SOFT}
        found[run.id] = {**kept, "history": history}
    return found


async def work(crew: Crew, client: Client, prefix: str) -> None:
    """Some chains, from their start to their end."""
    jobs = [Job(f"{prefix}-{number}", failures=number % 2) for number in range(8)]
    await asyncio.gather(*(crew.start(client, job) for job in jobs))
    await crew.finish(client, jobs)


async def test_tables_that_are_gone_or_old_are_rebuilt(crew: Crew) -> None:
    tables, copy = crew.tables_of("host"), crew.folder / "copy"
    host = crew.host()
    crew.worker()
    async with crew.client() as client:
        await client.start_workflow("Nap", 3600.0, id=SLEEPER, task_queue=QUEUE)
        await work(crew, client, "first")
        before = await state(client)
        assert len(before) == 9

        host.kill()
        shutil.copytree(tables, copy)
        shutil.rmtree(tables)
        host.start()
        assert await state(client) == before, "deleted"

        await work(crew, client, "second")
        before = await state(client)
        host.stop()
        shutil.rmtree(tables)
        shutil.copytree(copy, tables)
        host.start()
        assert await state(client) == before, "an old copy"

        # What is open goes on, from the rebuilt table.
        await work(crew, client, "third")
        sleeper = client.get_workflow_handle(SLEEPER, task_queue=QUEUE)
        assert (await sleeper.describe()).raw_description.pending_timers
        await sleeper.terminate()
    ledger = crew.check()
    assert len(ledger.runs) == 25


async def test_tables_ahead_of_the_log_are_wiped(crew: Crew) -> None:
    host = crew.host()
    worker = crew.worker()
    async with crew.client() as client:
        await work(crew, client, "before")
    host.stop()
    worker.stop()
    remake_topics(crew)

    host.start()
    worker.start()
    async with crew.client() as client:
        await work(crew, client, "after")
        runs = {run.id async for run in client.list_workflows(task_queue=QUEUE)}
    assert runs == {f"after-{number}" for number in range(8)}
    events = topic_name("events", crew.namespace, QUEUE)
    await until(lambda: f"topic {events} has been made anew" in host.said(), "it says why")
    crew.journal.unlink()
    crew.check()


def remake_topics(crew: Crew) -> None:
    """Delete all topics of the namespace and make them again, as an operator may by mistake."""
    names = [topic_name(role, crew.namespace, QUEUE) for role in TOPIC_ROLES]
    admin = AdminClient({"bootstrap.servers": crew.target, "log_level": 0})
    for gone in admin.delete_topics(names).values():
        gone.result(20)
    crew.create_topics(partitions=PARTITIONS)
