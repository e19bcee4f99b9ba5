"""The test broker itself: it keeps acked records over a SIGKILL and answers after a pause."""

from __future__ import annotations

import time
import uuid

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.broker.conftest import MakeBroker, SharedKafka

pytestmark = [pytest.mark.broker, pytest.mark.timeout(180)]


def make_topic(bootstrap: str) -> str:
    name = f"t-{uuid.uuid4().hex}"
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    admin.create_topics([NewTopic(name, num_partitions=1)])[name].result(10)
    return name


def append(bootstrap: str, topic: str, values: list[bytes]) -> list[int]:
    offsets: list[int] = []

    def acked(error: object, message: object) -> None:
        assert error is None
        offsets.append(message.offset())  # type: ignore[attr-defined]

    settings = {"bootstrap.servers": bootstrap, "enable.idempotence": True, "log_level": 0}
    producer = Producer(settings)
    for value in values:
        producer.produce(topic, value, partition=0, on_delivery=acked)
    assert producer.flush(30) == 0
    return offsets


def read(bootstrap: str, topic: str, count: int) -> list[bytes]:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "unused",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "log_level": 0,
        }
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    values: list[bytes] = []
    deadline_s = time.monotonic() + 30
    while len(values) < count and time.monotonic() < deadline_s:
        message = consumer.poll(0.5)
        if message is not None and message.error() is None:
            values.append(message.value() or b"")
    consumer.close()
    return values


def test_the_shared_broker_takes_and_gives_records(kafka: SharedKafka) -> None:
    topic = make_topic(kafka.bootstrap)

    offsets = append(kafka.bootstrap, topic, [b"one", b"two"])

    assert offsets == [0, 1]
    assert read(kafka.bootstrap, topic, 2) == [b"one", b"two"]


def test_a_killed_broker_comes_back_with_its_records(own_broker: MakeBroker) -> None:
    broker = own_broker()
    topic = make_topic(broker.bootstrap)
    append(broker.bootstrap, topic, [b"before"])
    first_pid = broker.pid

    broker.kill()
    broker.start()

    assert broker.pid != first_pid
    assert append(broker.bootstrap, topic, [b"after"]) == [1]
    assert read(broker.bootstrap, topic, 2) == [b"before", b"after"]


def test_a_paused_broker_answers_again_when_resumed(own_broker: MakeBroker) -> None:
    broker = own_broker()
    topic = make_topic(broker.bootstrap)

    broker.pause()
    time.sleep(1)
    broker.resume()

    assert append(broker.bootstrap, topic, [b"late"]) == [0]


def test_topics_are_not_made_by_a_typing_error(kafka: SharedKafka) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap, "log_level": 0})

    admin.list_topics("never-made", timeout=10)

    # What was asked for before this one is made would be there before it.
    make_topic(kafka.bootstrap)
    assert "never-made" not in admin.list_topics(timeout=10).topics
