"""Names cannot collide, and partitions are those that any Kafka producer computes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure_topics import names
from perdure_topics.names import InvalidNameError

# From Kafka's UtilsTest.testMurmur2, as signed numbers.
JAVA = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}
# From librdkafka's rdmurmur2.c.
LIBRDKAFKA = {
    b"kafka": 0xD067CF64,
    b"giberish123456789": 0x8F552B0C,
    b"1234": 0x9FC97B14,
    b"234": 0xE7C009CA,
    b"34": 0x873930DA,
    b"4": 0x5A4B5CA1,
}
PARTS = st.text(min_size=1, max_size=9)


@pytest.mark.parametrize(("data", "signed"), JAVA.items())
def test_murmur2_is_javas(data: bytes, signed: int) -> None:
    assert names.murmur2(data) == signed % 2**32


@pytest.mark.parametrize(("data", "unsigned"), LIBRDKAFKA.items())
def test_murmur2_is_librdkafkas(data: bytes, unsigned: int) -> None:
    assert names.murmur2(data) == unsigned


def test_a_partition_is_the_positive_hash_over_their_number() -> None:
    # Java's toPositive: the sign bit is cut off, the number is not negated.
    assert names.partition_of("21", 16) == ((-973932308) & 0x7FFFFFFF) % 16
    assert {names.partition_of(f"order-{n}", 16) for n in range(1000)} == set(range(16))
    assert names.partition_of("anything", 1) == 0


def test_the_topics_are_those_of_the_plan() -> None:
    made = {row.role: names.topic_name(row.role, "shop", "orders") for row in names.TOPICS}

    assert made == {
        "commands": "shop.orders.commands",
        "events": "shop.orders.events",
        "tasks": "shop.orders.tasks",
        "dead": "shop.orders.commands.dead",
        "replies": "shop.replies",
        "findings": "shop.findings",
        "marks": "shop.orders.marks",
    }
    assert names.group_name("hosts", "shop", "orders") == "shop.orders.hosts"


@given(PARTS, PARTS, PARTS, PARTS)
def test_no_two_queues_share_a_topic(ns: str, queue: str, other_ns: str, other_queue: str) -> None:
    def all_topics(namespace: str, task_queue: str) -> set[str]:
        return {names.topic_name(row.role, namespace, task_queue) for row in names.TOPICS}

    if ns != other_ns:
        assert not all_topics(ns, queue) & all_topics(other_ns, other_queue)
    elif queue != other_queue:
        shared = all_topics(ns, queue) & all_topics(ns, other_queue)
        assert shared == {names.topic_name("replies", ns), names.topic_name("findings", ns)}


@given(st.text(min_size=1, max_size=60))
def test_a_quoted_name_is_legal_in_kafka_and_comes_back(name: str) -> None:
    try:
        quoted = names.quote(name, "namespace")
    except InvalidNameError:
        assert len(name.encode()) * 3 > names.NAME_BYTES_MAX
        return

    assert re.fullmatch(r"[A-Za-z0-9_-]+", quoted)
    assert names.unquote(quoted) == name


@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        ("orders", "orders"),
        ("a.b", "a_2Eb"),
        ("a_b", "a_5Fb"),
        ("ü", "_C3_BC"),
        ("A-9", "A-9"),
        ("..", "_2E_2E"),
    ],
)
def test_what_is_no_letter_digit_or_dash_is_escaped(name: str, quoted: str) -> None:
    assert names.quote(name, "queue") == quoted


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(InvalidNameError, match="the task queue is empty"):
        names.topic_name("commands", "shop", "")
    with pytest.raises(InvalidNameError, match="the namespace is empty"):
        names.group_name("hosts", "", "orders")


def test_a_long_name_is_refused_with_its_size() -> None:
    names.topic_name("commands", "n", "q" * names.NAME_BYTES_MAX)
    with pytest.raises(InvalidNameError, match="takes 201 bytes; 200 is the most"):
        names.topic_name("commands", "n", "q" * 201)
    with pytest.raises(InvalidNameError, match="takes 201 bytes"):
        names.topic_name("commands", "ü" * 33 + "nnn", "q")


def test_two_names_that_are_too_long_together_are_refused() -> None:
    fits = names.topic_name("dead", "n" * 100, "q" * (249 - 100 - len("..commands.dead")))
    assert len(fits) == 249

    with pytest.raises(InvalidNameError, match="a topic name of 250 bytes; 249 is the most"):
        names.topic_name("dead", "n" * 100, "q" * (250 - 100 - len("..commands.dead")))


def test_a_queues_own_topic_does_not_need_a_queue() -> None:
    assert names.topic_name("replies", "shop") == "shop.replies"


def test_a_topics_role_is_read_from_its_name() -> None:
    for row in names.TOPICS:
        assert names.role_of(names.topic_name(row.role, "my.shop", "my_orders")) == row.role
    for foreign in ("orders", "a.b.c", "a.b.commands.alive", "__consumer_offsets", "a.b.c.d.e"):
        assert names.role_of(foreign) is None


@pytest.mark.parametrize("row", names.TOPICS, ids=lambda row: row.role)
def test_settings_say_what_the_table_says(row: names.TopicRow) -> None:
    settings = names.topic_settings(row.role)

    assert settings["cleanup.policy"] == ("compact" if row.role == "marks" else "delete")
    assert settings["message.timestamp.type"] == "LogAppendTime"
    assert settings["unclean.leader.election.enable"] == "false"
    assert settings["retention.ms"] == str(row.retention_ms)
    assert settings["retention.bytes"] == "-1"
    # The largest record, its longest key, and room for headers.
    needed = row.bytes_max + names.WORKFLOW_ID_BYTES_MAX + 8 * 1024
    assert int(settings["max.message.bytes"]) >= needed


def test_only_the_events_and_marks_are_kept_for_ever() -> None:
    assert [row.role for row in names.TOPICS if row.retention_ms < 0] == ["events", "marks"]


@pytest.mark.parametrize("workflow_id", ["order-1", "x" * 1000, "ü" * 500, "a b/c:d.e%", "🜁"])
def test_a_workflow_id_may_be_any_printable_text(workflow_id: str) -> None:
    names.check_workflow_id(workflow_id)


@pytest.mark.parametrize(
    ("workflow_id", "text"),
    [
        ("", "has 1 to 1000 bytes; this one has 0"),
        ("x" * 1001, "this one has 1001"),
        ("ü" * 501, "this one has 1002"),
        ("a\nb", "cannot be printed"),
        ("a\0", "cannot be printed"),
        ("a\u202eb", "cannot be printed"),
        ("a\ud800", "cannot be written as UTF-8"),
    ],
)
def test_a_workflow_id_that_cannot_be_kept_is_refused(workflow_id: str, text: str) -> None:
    with pytest.raises(InvalidNameError, match=text):
        names.check_workflow_id(workflow_id)


def test_half_a_character_is_refused_as_a_name_too() -> None:
    with pytest.raises(InvalidNameError, match="cannot be written as UTF-8"):
        names.quote("a\ud800", "namespace")
