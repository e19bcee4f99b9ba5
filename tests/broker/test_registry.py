"""Commands written by a registry's serialiser, on a real broker with a real schema registry."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Producer

from perdure.client import Client
from perdure_schemas.avro import schema_text
from perdure_topics.names import partition_of, topic_name
from tests.broker.kafka_jars import BrokerUnavailableError
from tests.broker.processes import PARTITIONS, QUEUE, ROOT, Crew, until
from tests.broker.registry_server import RegistryServer, registry_folder
from tests.simulation.checker import ledger_of
from tests.unit.test_pages import WITHOUT_US

pytest.importorskip("authlib", reason="the extra `registry` is not installed")
pytestmark = [pytest.mark.broker, pytest.mark.timeout(180)]
APP = "tests.broker.triggered_app"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    """The registry of these tests; a test that kills it starts it again."""
    try:
        registry_folder()
    except BrokerUnavailableError as missing:
        pytest.skip(f"no schema registry here: {missing}")
    made = RegistryServer(tmp_path_factory.mktemp("registry"))
    made.start()
    yield made
    made.kill()


@pytest.fixture
def registry(server: RegistryServer, monkeypatch: pytest.MonkeyPatch) -> RegistryServer:
    """The registry; what runs finds it by the environment."""
    monkeypatch.setenv("PERDURE_KAFKA_SCHEMA_REGISTRY_URL", server.url)
    return server


@pytest.fixture
def shop(crew: Crew, registry: RegistryServer) -> Iterator[Shop]:
    made = Shop(crew, registry)
    yield made
    made.close()


class Shop:
    """A producer as any shop has it: a serialiser with a registry, and nothing of ours."""

    def __init__(self, crew: Crew, registry: RegistryServer) -> None:
        from confluent_kafka.schema_registry import SchemaRegistryClient

        self.topic = topic_name("commands", crew.namespace, QUEUE)
        self._registry = SchemaRegistryClient({"url": registry.url})
        self._producer = Producer({"bootstrap.servers": crew.target, "partitioner": "murmur2"})
        self._serializers: dict[str, Any] = {}

    def close(self) -> None:
        self._registry.close()

    def send(self, record: dict[str, Any], schema: str = "", **configuration: Any) -> None:
        """Send a command with its schema, or with the one that its subject has."""
        from confluent_kafka.schema_registry.avro import AvroSerializer
        from confluent_kafka.serialization import MessageField, SerializationContext

        settings = {"auto.register.schemas": False, "use.latest.version": True, **configuration}
        if schema not in self._serializers:
            self._serializers[schema] = AvroSerializer(
                self._registry, schema or None, conf=settings
            )
        where = SerializationContext(self.topic, MessageField.VALUE)
        value = self._serializers[schema](record, where)
        assert value[:1] == b"\x00"
        self.put(record["workflow_id"], value)

    def put(self, key: str, value: bytes) -> None:
        self._producer.produce(self.topic, key=key, value=value)
        assert self._producer.flush(20) == 0


def start_of(workflow_id: str) -> dict[str, Any]:
    order = json.dumps({"order_id": 1}).encode()
    return {
        "workflow_id": workflow_id,
        "workflow_type": "Order",
        "request_id": f"request-{workflow_id}",
        "input": [{"data": order}],
    }


def signal_of(workflow_id: str) -> dict[str, Any]:
    text = [{"data": b'"thanks"'}]
    return {"workflow_id": workflow_id, "signal_name": "remark", "input": text}


def neighbours(count: int, *, partition: int) -> list[str]:
    """Workflow ids of one partition."""
    names = (f"order-{number}" for number in range(1_000))
    return [name for name in names if partition_of(name, PARTITIONS) == partition][:count]


async def test_the_recipe_starts_a_workflow(crew: Crew, registry: RegistryServer) -> None:
    page = (ROOT / "docs/recipes/use-a-schema-registry.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (registering,) = re.findall(r"^perdure (schemas .*)$", page, re.MULTILINE)
    code = code.replace("localhost:9092", crew.target).replace(
        "http://localhost:8081", registry.url
    )
    code = code.replace("default.orders", f"{crew.namespace}.{QUEUE}")
    registering = registering.replace("http://localhost:8081", registry.url)
    crew.host(app=APP)

    # Twice each: what is registered stays, and a request id starts once.
    for _ in range(2):
        done = crew.run(*registering.split(), *crew.where[2:])
        assert done.returncode == 0, done.stderr
        assert f"{crew.namespace}.{QUEUE}.commands-value" in done.stdout
        command = [sys.executable, "-c", WITHOUT_US + code]
        await asyncio.to_thread(subprocess.run, command, check=True, timeout=50)

    async with crew.client() as client:

        async def started() -> bool:
            return (await client.count_workflows("WorkflowType = 'OrderWorkflow'")).count == 1

        await until(started, "the order has started")
    forbid(registry, f"{crew.namespace}.{QUEUE}.commands-value")
    refused = crew.run("schemas", "UpdateWorkflow", *registering.split()[1:], *crew.where[2:])
    assert refused.returncode == 1
    assert f"refused {crew.namespace}.{QUEUE}.commands-value" in refused.stderr
    assert "not compatible" in refused.stderr


def forbid(registry: RegistryServer, subject: str) -> None:
    """Let a subject take only what is compatible."""
    request = urllib.request.Request(
        f"{registry.url}/config/{subject}",
        data=b'{"compatibility": "BACKWARD"}',
        headers={"Content-Type": "application/vnd.schemaregistry.v1+json"},
        method="PUT",
    )
    with urllib.request.urlopen(request, timeout=10):
        pass


BY_RECORD = {"subject.name.strategy": lambda context, name: f"{context.topic}-{name}"}
SIGNAL = schema_text("SignalWorkflow")


async def outcome(client: Client, workflow_id: str) -> object:
    """The result of a run that the shop started, once it is there."""

    async def started() -> bool:
        return bool((await client.count_workflows(f"WorkflowId = '{workflow_id}'")).count)

    await until(started, f"{workflow_id} has started", timeout_s=40.0)
    async with asyncio.timeout(60):
        return await client.get_workflow_handle(workflow_id, task_queue=QUEUE).result()


async def remarked(client: Client, workflow_id: str, remark: str) -> object:
    """The result of a run that a client of ours starts and signals at once."""
    handle = await client.start_workflow(
        "Order",
        {"order_id": 2},
        id=workflow_id,
        task_queue=QUEUE,
        start_signal="remark",
        start_signal_args=[remark],
    )
    return await handle.result()


async def test_commands_of_a_registry_wait_for_it_in_order_and_are_done_once(
    crew: Crew, registry: RegistryServer, shop: Shop
) -> None:
    registered = crew.run("schemas", "--register", "--task-queue", QUEUE, *crew.where[2:])
    assert registered.returncode == 0, registered.stderr
    first, held, behind = neighbours(3, partition=0)
    (elsewhere,) = neighbours(1, partition=1)
    crew.host("first", app=APP)
    async with crew.client() as client:
        shop.send(start_of(first))
        shop.send(signal_of(first), SIGNAL, **BY_RECORD)
        assert await outcome(client, first) == ["thanks"]

        # Away, and the host knows no schema any more.
        registry.kill()
        crew.processes[0].stop()
        host = crew.host("second", app=APP)
        shop.send(start_of(held))
        shop.send(signal_of(held), SIGNAL, **BY_RECORD)
        shop.send(start_of(held))
        await until(lambda: "registry_away" in host.said(), "the host says what it waits for")
        assert f"127.0.0.1:{registry.port}" in host.said()
        assert await remarked(client, elsewhere, "mine") == ["mine"]  # other partitions go on
        assert crew.dump()[topic_name("dead", crew.namespace, QUEUE)] == []

        registry.start()
        assert await outcome(client, held) == ["thanks"]
        assert await remarked(client, behind, "late") == ["late"]
    # The checker reads our framing only: to it the registry's commands are not there.
    ledger = ledger_of(crew.dump())
    assert [len(ledger.of_workflow(name)) for name in (first, held, behind)] == [1, 1, 1]


async def test_what_a_registry_does_not_know_or_does_not_fit_is_a_dead_letter(
    crew: Crew, registry: RegistryServer, shop: Shop
) -> None:
    crew.host(app=APP)
    theirs = {
        "type": "record",
        "name": "StartWorkflow",
        "namespace": "perdure",
        "fields": [
            {"name": "workflow_id", "type": "string"},
            {"name": "workflow_type", "type": "string"},
            {"name": "at_noon", "type": "boolean"},
        ],
    }
    own = {"auto.register.schemas": True, "use.latest.version": False}
    wrong = {"workflow_id": "wrong", "workflow_type": "Order", "at_noon": True}
    (_, good, *_) = neighbours(5, partition=partition_of("wrong", PARTITIONS))
    shop.send(wrong, json.dumps(theirs), **own)
    shop.put("wrong", b"\x00" + (77_777).to_bytes(4) + b"\x02")
    del theirs["fields"][2]  # type: ignore[attr-defined]
    shop.send({"workflow_id": good, "workflow_type": "Late"}, json.dumps(theirs), **own)
    dead = topic_name("dead", crew.namespace, QUEUE)

    found = await until(
        lambda: len(letters := crew.dump()[dead]) == 2 and letters, "both are put aside"
    )

    reasons = [dict(record.headers)["perdure-error"].decode() for record in found]
    assert "StartWorkflow.at_noon is not ours" in reasons[0]
    assert registry.url in reasons[0]
    assert f"{registry.url} has no schema with id 77777" in reasons[1]
    assert found[1].value == b"\x00" + (77_777).to_bytes(4) + b"\x02"
    # A schema with less than ours is one of ours.
    async with crew.client() as client:
        handle = client.get_workflow_handle(good, task_queue=QUEUE)

        async def started() -> bool:
            return bool((await client.count_workflows(f"WorkflowId = '{good}'")).count)

        await until(started, "the one that fits has started")
        assert (await handle.describe()).raw_description.summary.status == "blocked"


async def test_a_host_without_a_registry_says_so_in_the_dead_letter(crew: Crew) -> None:
    crew.host(app=APP)
    crew.produce(0, b"\x00\x00\x00\x00\x07\x02", key=b"x")
    dead = topic_name("dead", crew.namespace, QUEUE)

    (found,) = await until(lambda: crew.dump()[dead], "it is put aside")

    reason = dict(found.headers)["perdure-error"].decode()
    assert (
        "schema 7 of a schema registry, and this host has none: set schema.registry.url" in reason
    )
