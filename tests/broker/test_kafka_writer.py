"""A writer whose producer fails for good says so in its reports, and raises nothing."""

from __future__ import annotations

import time
import uuid

import pytest

from perdure_topics.kafka import KafkaLog
from perdure_topics.names import topic_settings
from perdure_topics.ports import Report, TopicSpec

pytestmark = [pytest.mark.broker, pytest.mark.timeout(60)]


def test_a_purge_in_flight_is_reported_and_not_raised(kafka_bootstrap: str) -> None:
    log = KafkaLog(kafka_bootstrap)
    topic = f"w-{uuid.uuid4().hex}.orders.events"
    log.create_topics([TopicSpec(topic, 1, 1, topic_settings("events"))])
    failed = log.appender(on_ready=lambda: None)
    beside = log.appender(on_ready=lambda: None)
    try:
        failed.append(topic, 0, b"first", tag=-1)
        _reports(failed, 1)
        for number in range(5_000):
            failed.append(topic, 0, b"x" * 500, tag=number)
        beside.append(topic, 0, b"another writer's", tag="beside")
        (lane,) = failed._lanes.values()
        assert lane.pipe is not None

        # As the first failed report does it; what is in flight is lost with its order.
        lane.pipe.fail()

        reports = _reports(failed, 5_000)
        assert [report.tag for report in reports] == list(range(5_000))
        assert reports[-1].error
        assert _reports(beside, 1)[0].tag == "beside"
    finally:
        failed.close()
        beside.close()
        log.close()


def test_nobody_new_writes_through_a_producer_that_was_left_with_records_in_flight(
    kafka_bootstrap: str,
) -> None:
    log = KafkaLog(kafka_bootstrap)
    topic = f"w-{uuid.uuid4().hex}.orders.events"
    log.create_topics([TopicSpec(topic, 1, 1, topic_settings("events"))])
    left = log.appender(on_ready=lambda: None)
    try:
        for number in range(5_000):
            left.append(topic, 0, b"x" * 500, tag=number)
        (lane,) = left._lanes.values()
        was = lane.pipe
        assert lane.entries, "nothing is in flight, so nothing is tested"
        left.close()

        after = log.appender(on_ready=lambda: None)
        after.append(topic, 0, b"of the next", tag="next")
        (lane,) = after._lanes.values()

        assert lane.pipe is not was
        assert _reports(after, 1)[0].error is None
        after.close()
    finally:
        log.close()


def _reports(appender, count: int) -> list[Report]:
    deadline_s = time.monotonic() + 20
    found: list[Report] = []
    while len(found) < count:
        assert time.monotonic() < deadline_s, f"{len(found)} of {count} reports"
        found += appender.reports()
        time.sleep(0.001)
    return found
