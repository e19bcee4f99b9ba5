"""A broker that is known to be away is not waited for again."""

from __future__ import annotations

import threading

import pytest

from perdure_topics.kafka.kafka_log import KafkaLog
from perdure_topics.kafka.watch import BrokerWatch
from perdure_topics.ports import LogUnavailableError

pytestmark = pytest.mark.timeout(30)


def is_away(watch: BrokerWatch) -> bool:
    return watch.away_s is not None


def test_a_watch_knows_since_when_the_broker_is_away() -> None:
    answers = [False, False, True]
    asked, back = threading.Event(), threading.Event()

    def probe(_timeout_s: float) -> bool:
        answer = answers.pop(0)
        if len(answers) == 1:
            asked.set()
            back.wait(20)
        return answer

    watch = BrokerWatch("127.0.0.1:9092", probe)
    assert not is_away(watch)

    watch.suspect("no answer")
    assert asked.wait(20)
    assert is_away(watch)

    back.set()
    while is_away(watch):
        threading.Event().wait(0.01)
    watch.close()


def test_a_topic_is_not_asked_for_while_the_broker_is_away() -> None:
    # No call of it could end before its time is over.
    log = KafkaLog("127.0.0.1:1", call_timeout_s=600.0)
    try:
        log._watch._away_since = 0.0
        with pytest.raises(LogUnavailableError, match="cannot describe topic 'orders'"):
            log.topic("orders")
    finally:
        log.close()
