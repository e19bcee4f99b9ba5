"""What is Kafka's own: a broker that is away or dies, shared producers, pauses, the ground."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer

from perdure_topics.kafka import reader
from perdure_topics.kafka.kafka_log import KafkaLog
from perdure_topics.kafka.reader import KafkaTail
from perdure_topics.names import topic_settings
from perdure_topics.ports import (
    Appender,
    LogError,
    LogUnavailableError,
    Report,
    StoredRecord,
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


@pytest.fixture
def small_tail(log: KafkaLog, monkeypatch: pytest.MonkeyPatch) -> Iterator[KafkaTail]:
    """A tail that holds some thousand small records."""
    monkeypatch.setattr(reader, "TAIL_BYTES_MAX", 2_000_000)
    tail = log.tail(on_ready=no_bell, committed=False)
    yield tail
    tail.close()


def _write_small(log: KafkaLog, topic: str, counts: dict[int, int]) -> None:
    appender = log.appender(on_ready=no_bell)
    for partition, count in counts.items():
        for n in range(count):
            appender.append(topic, partition, b"%d" % n)
    assert len(collect_reports(appender, wait_for, sum(counts.values()))) == sum(counts.values())
    appender.close()


def test_a_reader_that_is_not_emptied_stops_polling_pauses_nothing_and_loses_nothing(
    log: KafkaLog, small_tail: KafkaTail
) -> None:
    topic = new_topic(log, "events")
    _write_small(log, topic, {0: 20_000})
    small_tail.assign(topic, 0, 0)
    assert wait_for(lambda: small_tail._is_full)
    (queue,) = small_tail._queues.values()
    assert queue.bytes() < 2 * 2_000_000

    got: list[StoredRecord] = []
    while len(got) < 20_000:
        assert not queue.paused
        assert wait_for(lambda: queue.messages), f"{len(got)} records, and no more"
        got += small_tail.take(topic, 0, 500)

    assert [record.offset for record in got] == list(range(20_000))


def test_a_full_partition_does_not_hold_others_up(log: KafkaLog, small_tail: KafkaTail) -> None:
    topic = new_topic(log, "events")
    _write_small(log, topic, {0: 20_000, 1: 10, 2: 10})
    small_tail.assign(topic, 0, 0)
    assert wait_for(lambda: small_tail._is_full)

    small_tail.assign(topic, 1, 0)
    small_tail.assign(topic, 2, 0)

    # Nobody takes anything of the full one meanwhile.
    assert len(collect(small_tail, wait_for, topic, 1, 10)) == 10
    assert len(collect(small_tail, wait_for, topic, 2, 10)) == 10
    _write_small(log, topic, {1: 10})
    assert len(collect(small_tail, wait_for, topic, 1, 10)) == 10
    got = collect(small_tail, wait_for, topic, 0, 20_000)
    assert [record.offset for record in got] == list(range(20_000))


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
