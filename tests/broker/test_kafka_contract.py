"""The Kafka adapter keeps what every log keeps, on a real broker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from perdure_topics.kafka.kafka_log import KafkaLog
from perdure_topics.ports import Log
from tests.log_contract import GroupContract, MakeLog, ReadingContract, WritingContract
from tests.log_rig import wait_for

pytestmark = pytest.mark.broker


@pytest.fixture
def make_log(kafka_bootstrap: str) -> Iterator[MakeLog]:
    """Opens the shared broker once more at each call."""
    opened: list[Log] = []

    def make() -> Log:
        opened.append(KafkaLog(kafka_bootstrap))
        return opened[-1]

    yield make
    for log in opened:
        log.close()


class TestWriting(WritingContract):
    """Writers on Kafka."""


class TestReading(ReadingContract):
    """Readers on Kafka."""


class TestGroups(GroupContract):
    """Groups on Kafka, by the classic protocol."""


@pytest.fixture
def make_new_log(kafka_bootstrap: str) -> Iterator[MakeLog]:
    """As make_log, for groups in which the broker assigns (KIP-848)."""
    opened: list[Log] = []

    def make() -> Log:
        opened.append(KafkaLog(kafka_bootstrap, group_protocol="consumer"))
        return opened[-1]

    yield make
    for log in opened:
        log.close()


def test_the_brokers_own_group_protocol_shares_and_hands_over(make_new_log):
    GroupContract().test_shares_are_even_and_a_leaver_hands_over(  # type: ignore[no-untyped-call]
        make_new_log, wait_for
    )
