"""A question for a partition's end outlives what a broker says while it starts."""

from __future__ import annotations

import time
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from perdure_topics.kafka_admin import KafkaEndProbe
from perdure_topics.ports import LogError


def probe_that_hears(*answers: int) -> KafkaEndProbe:
    """A probe whose questions are answered with errors of these codes, then with offset 7."""
    left = list(answers)

    def ask() -> Future[Any]:
        asked: Future[Any] = Future()
        if left:
            asked.set_exception(KafkaException(KafkaError(left.pop(0))))
        else:
            asked.set_result(SimpleNamespace(offset=7))
        return asked

    return KafkaEndProbe("replies-3", "127.0.0.1:9092", 10.0, ask)


@pytest.mark.parametrize(
    "code",
    [
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.FENCED_LEADER_EPOCH,
    ],
)
def test_what_passes_by_itself_is_asked_again(code: int) -> None:
    probe = probe_that_hears(code, code)
    deadline_s = time.monotonic() + 5

    while (end := probe.end()) is None:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)

    assert end == 7


def test_what_does_not_pass_is_said() -> None:
    with pytest.raises(LogError, match="replies-3"):
        probe_that_hears(KafkaError.TOPIC_AUTHORIZATION_FAILED).end()
