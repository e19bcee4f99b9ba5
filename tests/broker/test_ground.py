"""What a queue cannot stand on is refused by name, and who waits in vain is told so at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from perdure.client import Client, RPCError
from perdure_schemas.replies import Notice
from perdure_topics.names import topic_name
from tests.broker.kafka_broker import free_port
from tests.broker.orders_app import Job
from tests.broker.processes import APP, QUEUE, Crew, until

pytestmark = [pytest.mark.broker, pytest.mark.timeout(90)]


def run_worker(crew: Crew) -> tuple[int, str]:
    """Start a worker that should refuse; its status and what it said."""
    done = crew.run("worker", APP, *crew.where, "--task-queue", QUEUE)
    return done.returncode, " ".join(done.stderr.split())


def admin(crew: Crew) -> AdminClient:
    return AdminClient({"bootstrap.servers": crew.target, "log_level": 0})


def test_partitions_that_do_not_match_are_refused(crew: Crew) -> None:
    commands = topic_name("commands", crew.namespace, QUEUE)
    again = crew.run("topics", "create", *crew.where, "-q", QUEUE, "--partitions", "8")
    assert again.returncode == 1
    assert f"{commands} on {crew.target} has 4 partitions where 8 belong" in " ".join(
        again.stderr.split()
    )

    broker = admin(crew)
    broker.create_partitions([NewPartitions(commands, 8)])[commands].result(20)
    status, said = run_worker(crew)

    assert status == 1
    assert "differ in their number of partitions" in said
    assert f"{commands} has 8" in said
    assert f"{topic_name('events', crew.namespace, QUEUE)} has 4" in said


@pytest.mark.parametrize(
    ("role", "setting", "value"),
    [
        ("events", "retention.ms", "86400000"),
        ("events", "cleanup.policy", "compact"),
        ("commands", "message.timestamp.type", "CreateTime"),
    ],
)
def test_foreign_settings_are_refused_by_name(
    crew: Crew, role: str, setting: str, value: str
) -> None:
    topic = topic_name(role, crew.namespace, QUEUE)
    entry = ConfigEntry(setting, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    broker = admin(crew)
    for altered in broker.incremental_alter_configs([resource]).values():
        altered.result(20)

    status, said = run_worker(crew)

    assert status == 1
    assert topic in said
    assert f"{setting}={value}" in said
    assert "kafka-configs.sh" in said


def test_missing_topics_are_named_with_the_command_that_makes_them(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    status, said = run_worker(Crew(kafka_bootstrap, tmp_path))

    assert status == 1
    assert "perdure topics create --broker" in said


async def test_a_queue_without_a_worker_is_said_to_who_waits(crew: Crew) -> None:
    told: list[Notice] = []
    async with crew.client() as client:
        client.connection.on_notice = told.append
        start = asyncio.create_task(crew.start(client, Job("job")))
        await until(lambda: told, "the waiting client is told")
        assert told[0].code == "no_host"
        assert f"task queue '{QUEUE}'" in told[0].message

        # With a host, and nobody for the activities.
        crew.host()
        handle = await start
        told.clear()
        result = asyncio.create_task(handle.result())
        await until(lambda: told, "the waiting client is told again")
        assert told[-1].code == "no_worker"
        assert "forge" in told[-1].message
        notices = (await handle.describe()).raw_description.notices
        assert [notice.code for notice in notices] == ["no_worker"]

        crew.worker()
        await until(result.done, "the worker takes it", timeout_s=30.0)
        await crew.finish(client, [Job("job")])
    crew.check()


async def test_a_client_without_a_broker_says_where_and_for_how_long() -> None:
    address = f"127.0.0.1:{free_port()}"

    with pytest.raises(RPCError, match=rf"{address}.*\d(\.\d)? s"):
        await Client.connect(address)
