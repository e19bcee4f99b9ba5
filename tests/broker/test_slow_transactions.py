"""An end of a transaction that arrives late strikes none of the relay's later ones."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, TopicPartition

from perdure_topics.kafka.kafka_log import KafkaLog
from perdure_topics.kafka.publisher import KafkaPublisher
from perdure_topics.ports import TopicSpec
from perdure_topics.publisher_port import Emission, Mark, PublishError
from tests.broker.conftest import MakeBroker
from tests.broker.holding_proxy import END_TXN, TXN_OFFSET_COMMIT, HoldingProxy
from tests.broker.kafka_broker import free_port

pytestmark = [pytest.mark.broker, pytest.mark.timeout(120)]
# The client gives a request up after this long, and sends it again on another connection.
IMPATIENT = {"socket.timeout.ms": "1500"}


@pytest.fixture
def proxied(own_broker: MakeBroker) -> Iterator[tuple[KafkaLog, HoldingProxy]]:
    """A broker whose clients come by way of a proxy."""
    port = free_port()
    upstream = free_port(taken={port})
    proxy = HoldingProxy(port, upstream)
    own_broker(port=upstream, settings={"advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}"})
    log = KafkaLog(f"127.0.0.1:{port}", client_settings=IMPATIENT)
    yield log, proxy
    log.close()
    proxy.close()


def emission(topic: str, partition: int, value: bytes) -> Emission:
    return Emission(topic, b"k", value, {}, partition)


def committed(log: KafkaLog, topic: str) -> list[bytes]:
    """What readers of committed records see, over both partitions."""
    consumer = Consumer(
        {
            "bootstrap.servers": log.address,
            "group.id": uuid.uuid4().hex,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    consumer.assign([TopicPartition(topic, number, 0) for number in range(2)])
    found: list[bytes] = []
    ended = 0
    while ended < 2:
        message = consumer.poll(15.0)
        assert message is not None, "a transaction is open"
        if message.error() is not None:
            ended += 1
        else:
            found.append(message.value() or b"")
    consumer.close()
    return sorted(found)


def test_a_late_end_of_a_transaction_strikes_no_later_one(
    proxied: tuple[KafkaLog, HoldingProxy],
) -> None:
    log, proxy = proxied
    source, topic = "source", "sales"
    log.create_topics([TopicSpec(name, 2, 1, {}) for name in (source, topic)])
    marks = [f"slow-{what}-marks" for what in ("commits", "rollbacks")]
    log.create_topics([TopicSpec(name, 1, 1, {"cleanup.policy": "compact"}) for name in marks])
    places = [(source, 0)]

    # A commit: slow, and done all the same; what was published is in the marks.
    publisher = KafkaPublisher(log.address, dict(IMPATIENT), "slow-commits", marks=marks[0])
    assert publisher.begin(places) == []
    proxy.hold(END_TXN, until=TXN_OFFSET_COMMIT)
    with pytest.raises(PublishError, match="a commit took"):
        publisher.publish([emission(topic, 0, b"one")], [Mark(source, 0, 1, "first")])
    assert proxy.has_held.is_set()
    (mark,) = publisher.begin(places)
    assert mark == Mark(source, 0, 1, "first")
    publisher.publish(
        [emission(topic, 0, b"two"), emission(topic, 1, b"three")], [Mark(source, 0, 2, "second")]
    )
    assert proxy.has_released.is_set()
    assert publisher.begin(places) == [Mark(source, 0, 2, "second")]
    publisher.close()

    # A rollback, of what the broker refused: late, it would take half of the next one with it.
    publisher = KafkaPublisher(log.address, dict(IMPATIENT), "slow-rollbacks", marks=marks[1])
    publisher.begin(places)
    proxy.hold(END_TXN, until=TXN_OFFSET_COMMIT)
    with pytest.raises(PublishError, match="topic sales: "):
        publisher.publish(
            [emission(topic, 0, b"never"), emission(topic, 7, b"never")],
            [Mark(source, 0, 1, "never")],
        )
    assert proxy.has_held.is_set()
    assert publisher.begin(places) == []
    publisher.publish(
        [emission(topic, 0, b"four"), emission(topic, 1, b"five")], [Mark(source, 0, 3, "third")]
    )
    assert proxy.has_released.is_set()
    assert publisher.begin(places) == [Mark(source, 0, 3, "third")]
    publisher.close()

    assert committed(log, topic) == [b"five", b"four", b"one", b"three", b"two"]
