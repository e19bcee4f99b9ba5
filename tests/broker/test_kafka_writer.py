"""A writer whose producer fails for good says so in its reports, and raises nothing."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from unittest.mock import ANY

import pytest

from perdure_topics.kafka import producers
from perdure_topics.kafka.kafka_log import KafkaLog
from perdure_topics.kafka.producers import Pipe
from perdure_topics.kafka.settings import MESSAGE_BYTES_MAX, REQUEST_RECORDS
from perdure_topics.kafka.writer import KafkaAppender
from perdure_topics.names import topic_settings
from perdure_topics.ports import TOO_LARGE, LogFullError, Report, TopicSpec

pytestmark = [pytest.mark.broker, pytest.mark.timeout(60)]


@pytest.fixture
def log(kafka_bootstrap: str) -> Iterator[KafkaLog]:
    made = KafkaLog(kafka_bootstrap)
    yield made
    made.close()


@pytest.fixture
def topic(log: KafkaLog) -> str:
    name = f"w-{uuid.uuid4().hex}.orders.events"
    log.create_topics([TopicSpec(name, 2, 1, topic_settings("events"))])
    return name


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


def test_what_gathers_before_the_gate_keeps_its_order_and_leaves_in_few_requests(
    log: KafkaLog, topic: str
) -> None:
    first, second = log.appender(on_ready=_no_bell), log.appender(on_ready=_no_bell)
    for number in range(20_000):
        first.append(topic, 0, b"1-%d" % number, tag=number)
        second.append(topic, 0, b"2-%d" % number, tag=number)
    pipe = _pipe(first)
    assert pipe is _pipe(second)
    assert pipe._backlog_records > REQUEST_RECORDS, "all was sent at once, so nothing is tested"

    for writer in (first, second):
        reports = _reports(writer, 20_000)
        assert [report.tag for report in reports] == list(range(20_000))
        assert {report.error for report in reports} == {None}
        offsets = [report.offset for report in reports if report.offset is not None]
        assert offsets == sorted(offsets)
        writer.close()
    assert (pipe._backlog_records, pipe._backlog_bytes) == (0, 0)


def test_a_full_backlog_refuses_and_takes_again_when_it_has_emptied(
    log: KafkaLog, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producers, "BACKLOG_RECORDS_MAX", 10)
    writer = log.appender(on_ready=_no_bell)
    taken, refusal = 0, ""
    while not refusal:
        try:
            writer.append(topic, 0, b"x" * 100_000, tag=taken)
            taken += 1
        except LogFullError as error:
            refusal = str(error)
    assert "the writer's queue is full" in refusal
    assert taken > 10

    reports = _reports(writer, taken)
    writer.append(topic, 0, b"after", tag="after")

    assert [report.tag for report in reports] == list(range(taken))
    assert _reports(writer, 1) == [Report("after", taken, ANY, None)]
    writer.close()


def test_a_full_queue_of_the_library_holds_a_partition_up_and_loses_nothing(
    kafka_bootstrap: str, topic: str
) -> None:
    log = KafkaLog(kafka_bootstrap, client_settings={"queue.buffering.max.messages": 50})
    writer = log.appender(on_ready=_no_bell)
    sent = 0
    for number in range(2_000):
        with suppress(LogFullError):
            writer.append(topic, number % 2, b"%d" % number, tag=number)
            sent += 1

    reports = _reports(writer, sent)

    assert {report.error for report in reports} == {None}
    assert sent > 500
    writer.close()
    log.close()


def test_a_close_with_time_flushes_the_backlog_and_one_without_drops_it(
    log: KafkaLog, topic: str
) -> None:
    flushed = log.appender(on_ready=_no_bell)
    for number in range(20_000):
        flushed.append(topic, 0, b"%d" % number)
    flushed.close(flush_s=30)
    assert log.offsets(topic, 0) == (0, 20_000)

    dropped = log.appender(on_ready=_no_bell)
    beside = log.appender(on_ready=_no_bell)
    appended = 0
    while appended < 2_000 and (not appended or _pipe(dropped)._backlog_records < 200):
        dropped.append(topic, 1, b"x" * 100_000)
        appended += 1
    entries = list(next(iter(dropped._lanes.values())).entries)
    beside.append(topic, 1, b"another writer's", tag="beside")
    dropped.close()

    unsent = sum(not entry.sent_at for entry in entries)
    assert unsent, "nothing was waiting, so nothing is tested"
    assert _reports(beside, 1) == [Report("beside", appended - unsent, ANY, None)]
    beside.close()


def test_a_refused_record_fails_what_waits_behind_it_in_order(
    log: KafkaLog, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KafkaAppender, "_check_size", lambda *_: None)
    writer = log.appender(on_ready=_no_bell)
    writer.append(topic, 0, b"good", tag="good")
    # The library refuses it when it leaves the gate.
    writer.append(topic, 0, b"x" * (MESSAGE_BYTES_MAX + 1), tag="large")
    for number in range(100):
        writer.append(topic, 0, b"behind", tag=number)

    reports = _reports(writer, 102)

    assert [report.tag for report in reports] == ["good", "large", *range(100)]
    assert reports[0].error is None
    assert (reports[1].error or "").startswith(TOO_LARGE)
    assert {report.offset for report in reports[1:]} == {None}
    assert log.offsets(topic, 0) == (0, 1)
    writer.close()


def _no_bell() -> None:
    """For writers that are asked again and again."""


def _pipe(writer: KafkaAppender) -> Pipe:
    (lane,) = writer._lanes.values()
    assert lane.pipe is not None
    return lane.pipe


def _reports(appender, count: int) -> list[Report]:
    deadline_s = time.monotonic() + 20
    found: list[Report] = []
    while len(found) < count:
        assert time.monotonic() < deadline_s, f"{len(found)} of {count} reports"
        found += appender.reports()
        time.sleep(0.001)
    return found
