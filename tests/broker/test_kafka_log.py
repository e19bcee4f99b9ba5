"""What is Kafka's own: a broker that is away or dies, shared producers, pauses, the ground."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer

from perdure_topics.kafka import KafkaLog
from perdure_topics.kafka.reader import QUEUED_RECORDS_MAX
from perdure_topics.names import topic_settings
from perdure_topics.ports import (
    Appender,
    LogError,
    LogUnavailableError,
    Report,
    Tail,
    TopicMismatchError,
    TopicSpec,
)
from perdure_topics.requirements import check_topic, mismatches
from tests.broker.conftest import MakeBroker
from tests.log_contract import collect, collect_reports, new_topic, no_bell, wait_for

pytestmark = pytest.mark.broker


@pytest.fixture
def log(kafka_bootstrap: str) -> Iterator[KafkaLog]:
    opened = KafkaLog(kafka_bootstrap)
    yield opened
    opened.close()


def test_a_broker_that_is_not_there_is_named_with_the_time_waited() -> None:
    log = KafkaLog("127.0.0.1:19199", call_timeout_s=1.0)
    for call in (lambda: log.topic("x"), log.topic_names, log.broker_count):
        with pytest.raises(LogUnavailableError, match=r"127\.0\.0\.1:19199 for [0-9.]+ s"):
            call()
    log.close()


@pytest.mark.timeout(120)
def test_writers_outlive_a_killed_broker_and_the_log_says_that_it_is_away(
    own_broker: MakeBroker, caplog: pytest.LogCaptureFixture
) -> None:
    broker = own_broker()
    log = KafkaLog(broker.bootstrap)
    topic = new_topic(log, "events")
    patient = log.appender(on_ready=no_bell, timeout_ms=0)
    patient.append(topic, 0, b"0", tag=0)
    assert collect_reports(patient, wait_for, 1)[0].offset == 0
    hasty = log.appender(on_ready=no_bell, timeout_ms=2_000)
    hasty.append(topic, 1, b"before", tag="before")
    assert collect_reports(hasty, wait_for, 1)[0].error is None
    with caplog.at_level(logging.WARNING, "perdure_topics.kafka.watch"):
        broker.kill()
        for n in range(1, 50):
            patient.append(topic, 0, b"%d" % n, tag=n)
        hasty.append(topic, 1, b"lost", tag="lost")
        (failed,) = collect_reports(hasty, wait_for, 1)
        assert failed.error is not None
        assert failed.offset is None
        # Behind a failed record nothing is sent any more.
        hasty.append(topic, 1, b"behind", tag="behind")
        assert collect_reports(hasty, wait_for, 1)[0].error is not None
        hasty.close()
        assert wait_for(lambda: "is away" in caplog.text, 10)
        broker.start()
        reports = collect_reports(patient, lambda look: wait_for(look, 60), 49)
        assert wait_for(lambda: "is back after" in caplog.text)
    assert [report.tag for report in reports] == list(range(1, 50))
    assert {report.error for report in reports} == {None}
    tail = log.tail(on_ready=no_bell, committed=False)
    tail.assign(topic, 0, 0)
    values = [record.value for record in collect(tail, wait_for, topic, 0, 50)]
    assert values == [b"%d" % n for n in range(50)]
    # A new incarnation goes on where the failed one ended.
    again = log.appender(on_ready=no_bell)
    again.append(topic, 1, b"after", tag="after")
    assert collect_reports(again, wait_for, 1)[0].offset == 1
    for opened in (patient, again, tail):
        opened.close()
    log.close()


def ack(appender: Appender, topic: str, partition: int) -> Report:
    appender.append(topic, partition, b"x", tag=partition)
    return collect_reports(appender, wait_for, 1)[0]


def test_a_partition_refused_for_good_does_not_take_the_others_along_twice(log: KafkaLog) -> None:
    topic = new_topic(log, "events")
    healthy, sick = (log.appender(on_ready=no_bell) for _ in range(2))
    assert ack(healthy, topic, 0).error is None
    # No such partition: the broker will never take it.
    try:
        sick.append(topic, 99, b"x", tag="x")
        assert collect_reports(sick, wait_for, 1)[0].error is not None
    except LogError:
        pass
    sick.close()
    # Nothing was in flight: it moves to another producer and never knew.
    assert ack(healthy, topic, 0).error is None
    sick = log.appender(on_ready=no_bell)
    healthy.append(topic, 1, b"y", tag="y")
    try:
        sick.append(topic, 99, b"x", tag="x")
        assert collect_reports(sick, wait_for, 1)[0].error is not None
    except LogError:
        pass
    assert collect_reports(healthy, wait_for, 1)[0].error is None
    sick.close()
    healthy.close()


def test_a_reader_that_is_not_emptied_pauses_and_loses_nothing(log: KafkaLog) -> None:
    topic = new_topic(log, "events")
    count = 5 * QUEUED_RECORDS_MAX
    appender = log.appender(on_ready=no_bell)
    for n in range(count):
        appender.append(topic, 0, b"%d" % n)
    appender.append(topic, 1, b"other")
    assert len(collect_reports(appender, wait_for, count + 1)) == count + 1
    tail = log.tail(on_ready=no_bell, committed=False)
    tail.assign(topic, 0, 0)
    time.sleep(1.5)
    tail.assign(topic, 1, 0)
    # The full partition does not hold the other one up.
    assert [r.value for r in collect(tail, wait_for, topic, 1, 1)] == [b"other"]
    got = collect(tail, wait_for, topic, 0, count)
    assert [record.offset for record in got] == list(range(count))
    tail.close()
    appender.close()


def test_the_ground_is_checked_setting_by_setting(log: KafkaLog) -> None:
    good = new_topic(log, "events")
    info = log.topic(good)
    assert info is not None
    check_topic(log, "events", info)
    wrong = {
        "cleanup.policy": "compact",
        "retention.ms": "604800000",
        "message.timestamp.type": "CreateTime",
        "max.message.bytes": "1000000",
        "unclean.leader.election.enable": "true",
    }
    bad = f"{good}x"
    log.create_topics([TopicSpec(bad, 1, 1, {**topic_settings("events"), **wrong})])
    info = log.topic(bad)
    assert info is not None
    assert {found.setting for found in mismatches(log, "events", info)} == set(wrong)
    with pytest.raises(TopicMismatchError) as refused:
        check_topic(log, "events", info)
    for setting, value in wrong.items():
        assert f"{setting}={value}" in str(refused.value)
        wanted = topic_settings("events")[setting]
        assert f"--entity-name {bad} --add-config {setting}={wanted}" in str(refused.value)
    # Longer retention and larger records than ours do no harm.
    roomy = {"retention.ms": "-1", "max.message.bytes": "20000000"}
    name = f"{good}y"
    log.create_topics([TopicSpec(name, 1, 1, {**topic_settings("tasks"), **roomy})])
    info = log.topic(name)
    assert info is not None
    check_topic(log, "tasks", info)


def test_a_position_passes_what_transactions_leave_and_stands_before_one_that_is_open(
    log: KafkaLog,
) -> None:
    topic = new_topic(log, "commands")
    tail = log.tail(on_ready=no_bell, committed=True)
    tail.assign(topic, 0, 0)
    foreign = Producer(
        {"bootstrap.servers": log.address, "transactional.id": f"foreign-{topic}", "linger.ms": 0}
    )
    foreign.init_transactions(10)
    foreign.begin_transaction()
    foreign.produce(topic, b"kept", partition=0)
    foreign.commit_transaction(10)
    assert [record.offset for record in collect(tail, wait_for, topic, 0, 1)] == [0]
    assert end_of(tail, topic) == 2
    assert wait_for(lambda: tail.position(topic, 0) == 2), "behind the mark"

    foreign.begin_transaction()
    foreign.produce(topic, b"rolled back", partition=0)
    assert foreign.flush(10) == 0
    appender = log.appender(on_ready=no_bell)
    assert ack(appender, topic, 0).offset == 3
    assert end_of(tail, topic) == 4, "it was appended, whoever may read it"
    assert tail.take(topic, 0, 9) == []
    assert tail.position(topic, 0) == 2
    foreign.abort_transaction(10)

    assert [record.offset for record in collect(tail, wait_for, topic, 0, 1)] == [3]
    assert end_of(tail, topic) == 5
    assert wait_for(lambda: tail.position(topic, 0) == 5), "behind the mark"
    for opened in (appender, tail):
        opened.close()


def end_of(tail: Tail, topic: str) -> int | None:
    probe = tail.probe_end(topic, 0)
    wait_for(lambda: probe.end() is not None)
    return probe.end()
