"""The recipe for any producer, run as it is printed, on a real broker without us on its side."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from perdure_schemas import avro
from perdure_schemas.commands import StartWorkflow
from perdure_topics.names import partition_of, topic_name
from tests.unit.test_pages import WITHOUT_US, recipe

PARTITIONS = 16


@pytest.mark.broker
def test_the_recipe_lands_in_the_partition_of_its_workflow_id(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    # A namespace of its own, on a broker that others use too.
    namespace = f"recipe-{uuid4().hex[:8]}"
    topic = topic_name("commands", namespace, "orders")
    admin = AdminClient({"bootstrap.servers": kafka_bootstrap})
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(timeout=30)
    (tmp_path / "StartWorkflow.avsc").write_text(avro.schema_text("StartWorkflow"))
    code = recipe()
    assert "localhost:9092" in code
    code = code.replace("localhost:9092", kafka_bootstrap)
    code = code.replace(topic_name("commands", "default", "orders"), topic)

    subprocess.run([sys.executable, "-c", WITHOUT_US + code], cwd=tmp_path, check=True, timeout=50)

    consumer = Consumer({"bootstrap.servers": kafka_bootstrap, "group.id": namespace})
    expected = partition_of("order-4711", PARTITIONS)
    consumer.assign([TopicPartition(topic, n, OFFSET_BEGINNING) for n in range(PARTITIONS)])
    message = consumer.poll(30)
    consumer.close()
    assert message is not None
    assert message.error() is None
    assert (message.partition(), message.key()) == (expected, b"order-4711")
    assert avro.decode_as(StartWorkflow, message.value()).workflow_id == "order-4711"
