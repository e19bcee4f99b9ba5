"""Of two publishers of one name the later one publishes, and the earlier one is told so."""

from __future__ import annotations

import uuid

import pytest
from confluent_kafka.admin import AdminClient

from perdure_topics.kafka.kafka_log import KafkaLog
from perdure_topics.kafka.publisher import KafkaPublisher
from perdure_topics.ports import TopicSpec
from perdure_topics.publisher_port import Emission, FencedError, Mark

pytestmark = [pytest.mark.broker, pytest.mark.timeout(60)]


def forget_offsets(bootstrap: str, group: str) -> None:
    """What Kafka does by itself a week after the last commit."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    (forgetting,) = admin.delete_consumer_groups([group]).values()
    forgetting.result(20)


def test_a_publisher_that_is_fenced_is_told_so_and_goes_on_when_it_begins_again(
    kafka_bootstrap: str,
) -> None:
    name, topic = f"relay-{uuid.uuid4().hex}", f"sales-{uuid.uuid4().hex}"
    log = KafkaLog(kafka_bootstrap)
    marks = TopicSpec(f"{name}-marks", 1, 1, {"cleanup.policy": "compact"})
    log.create_topics([TopicSpec(topic, 3, 1, {}), marks])
    log.close()
    first, second = (KafkaPublisher(kafka_bootstrap, {}, name, marks=marks.name) for _ in range(2))
    places, emissions = [(topic, 0)], [Emission(topic, b"k", b"v", {}, n % 3) for n in range(30)]
    first.begin(places)
    first.publish(emissions, [Mark(topic, 0, 1, "first")])

    assert [mark.note for mark in second.begin(places)] == ["first"]

    with pytest.raises(FencedError, match="another relay took over"):
        first.publish(emissions, [Mark(topic, 0, 2, "late")])
    second.publish(emissions, [Mark(topic, 0, 3, "second")])
    assert [mark.note for mark in first.begin(places)] == ["second"]
    forget_offsets(kafka_bootstrap, name)
    assert [mark.note for mark in first.begin(places)] == ["second"], "they outlive the group"
    for publisher in (first, second):
        publisher.close()
