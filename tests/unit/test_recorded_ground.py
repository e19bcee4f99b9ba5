"""A task queue is what its log says it was begun as; topics that differ are named one by one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure_actors.host.partition_count import check_recorded
from perdure_actors.partition.checkpoints import Checkpoints
from perdure_schemas.avro import encode
from perdure_schemas.transition import EpochBump
from perdure_topics.embedded.embedded_log import EmbeddedLog
from perdure_topics.ports import TopicMismatchError
from perdure_topics.tables.memory_tables import MemoryTableStore
from perdure_topics.task_queue_topics import check_topics, create_topics, topic_specs
from tests.log_rig import collect_reports, wait_for

EVENTS = "default.q.events"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EmbeddedLog]:
    made = EmbeddedLog.open(tmp_path)
    yield made
    made.close()


def write_bump(log: EmbeddedLog, partition: int, partitions: int) -> None:
    bump = EpochBump(
        epoch=1, nonce=b"n", input_topic_id="t", owner="o", time_ms=1, partitions=partitions
    )
    appender = log.appender(on_ready=lambda: None)
    appender.append(EVENTS, partition, encode(bump))
    assert collect_reports(appender, wait_for, 1)[0].error is None
    appender.close()


@pytest.mark.parametrize("partition", [0, 2])
def test_a_queue_that_was_begun_with_fewer_partitions_is_refused(
    log: EmbeddedLog, partition: int
) -> None:
    create_topics(log, "default", "q", partitions=4)
    write_bump(log, partition, 2)
    events = log.topic(EVENTS)
    assert events is not None

    with pytest.raises(TopicMismatchError, match=r"has 4 .* begun with 2.*perdure topics create"):
        check_recorded(log, events)


@pytest.mark.parametrize("said", [None, 0, 4])
def test_a_new_queue_and_one_of_that_number_are_taken(log: EmbeddedLog, said: int | None) -> None:
    create_topics(log, "default", "q", partitions=4)
    if said is not None:
        write_bump(log, 1, said)
    events = log.topic(EVENTS)
    assert events is not None

    check_recorded(log, events)


def test_topics_that_differ_in_their_number_are_named_one_by_one(log: EmbeddedLog) -> None:
    two, three = (topic_specs("default", "q", partitions=count) for count in (2, 3))
    others = {role: spec for role, spec in two.items() if role not in ("events", "tasks")}
    log.create_topics([*others.values(), three["events"], three["tasks"]])

    with pytest.raises(TopicMismatchError) as refused:
        check_topics(log, "default", "q")

    for each in ("default.q.commands has 2", "default.q.events has 3", "default.q.tasks has 3"):
        assert each in str(refused.value)


def test_a_copy_of_a_topic_that_is_no_more_does_not_stand_before_new_ones(tmp_path: Path) -> None:
    table = MemoryTableStore().open("t")
    copies = Checkpoints(str(tmp_path), "cluster", "t")
    for pseq in (100_000, 200_000):
        assert copies.write(table, pseq)

    # The topic is made anew, and counts from 1 again.
    table.write([(b"new", b"1")], ())
    assert copies.write(table, 5_000)
    assert copies.write(table, 200_000), "one of the same number is replaced"

    store = MemoryTableStore()
    assert copies.install(store)
    assert store.open("t").get(b"new") == b"1"
