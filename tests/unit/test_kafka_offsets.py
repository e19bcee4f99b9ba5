"""A question for a partition's ends: yes, no or unknown, and never an offset that nobody said."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from perdure_topics.kafka import offsets
from perdure_topics.kafka.offsets import OffsetQueries
from perdure_topics.ports import LogError, LogUnavailableError

pytestmark = pytest.mark.timeout(30)
Answer = int | tuple[int, int] | None
"""An error's code, the two ends, or what the library gives when its time is over."""


class ScriptedConsumer:
    """Answers as the library does while a broker is away, moves or starts."""

    def __init__(self, answers: Callable[[str], Answer]) -> None:
        self._answers = answers
        self.said: list[str] = []
        self.is_closed = threading.Event()

    def poll(self, timeout: float) -> None:
        pass

    def get_watermark_offsets(self, where: TopicPartition, *, timeout: float) -> Any:
        self.said.append(f"ask {where.partition}")
        answer = self._answers(f"{where.topic}-{where.partition}")
        if isinstance(answer, int):
            raise KafkaException(KafkaError(answer))
        return answer

    def list_topics(self, topic: str, *, timeout: float) -> None:
        self.said.append(f"metadata {topic}")

    def close(self) -> None:
        self.is_closed.set()


@contextmanager
def queries_of(*consumers: ScriptedConsumer, timeout_s: float = 10.0) -> Iterator[OffsetQueries]:
    left = list(consumers)

    def make() -> Any:
        return left.pop(0) if len(left) > 1 else left[0]

    queries = OffsetQueries(make, address="127.0.0.1:9092", timeout_s=timeout_s)
    try:
        yield queries
    finally:
        queries.close()


def in_turn(*answers: Answer) -> ScriptedConsumer:
    left = list(answers)
    return ScriptedConsumer(lambda _: left.pop(0) if len(left) > 1 else left[0])


@pytest.mark.parametrize(
    "code",
    [
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError._TRANSPORT,
        KafkaError._TIMED_OUT,
    ],
)
def test_metadata_is_fetched_before_what_passes_is_asked_again(code: int) -> None:
    consumer = in_turn(code, code, (2, 7))
    with queries_of(consumer) as queries:
        assert queries.offsets("events", 3) == (2, 7)
    assert consumer.said == ["ask 3", "metadata events"] * 2 + ["ask 3"]


@pytest.mark.parametrize("nothing", [(-1001, -1001), (0, -1001), (-1001, 7), (5, 3), None])
def test_what_the_library_does_not_know_is_no_offset(nothing: Answer) -> None:
    consumer = in_turn(nothing, (0, 7))
    with queries_of(consumer) as queries:
        assert queries.offsets("events", 3) == (0, 7)
    assert "metadata events" in consumer.said


def test_what_stays_unknown_is_said_and_is_no_offset() -> None:
    with queries_of(in_turn((-1001, -1001)), timeout_s=0.2) as queries:
        probe = queries.ask("events", 3, lambda: None)
        with pytest.raises(LogUnavailableError, match="events-3"):
            probe.wait(20)
        for ask in (probe.end, probe.span):
            with pytest.raises(LogUnavailableError):
                ask()


def test_what_does_not_pass_is_said_at_once() -> None:
    with (
        queries_of(in_turn(KafkaError.TOPIC_AUTHORIZATION_FAILED)) as queries,
        pytest.raises(LogError, match="events-3"),
    ):
        queries.offsets("events", 3)


def test_partitions_without_a_leader_hold_up_no_other() -> None:
    gone = threading.Event()

    def answers(where: str) -> Answer:
        if where == "events-0":
            return (0, 9)
        gone.wait(5)
        return KafkaError.LEADER_NOT_AVAILABLE

    with queries_of(ScriptedConsumer(answers), timeout_s=0.1) as queries:
        for number in range(1, 40):
            queries.ask("events", number, lambda: None)
        # Each of them takes its time once; from then on they wait behind all others.
        gone.set()
        assert queries.offsets("events", 0) == (0, 9)


def test_a_client_that_nothing_answers_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offsets, "SILENT_S", 0.2)
    deaf, fresh = in_turn(KafkaError._TIMED_OUT), in_turn((0, 7))
    with queries_of(deaf, fresh) as queries:
        assert queries.offsets("events", 3) == (0, 7)
        assert queries.replaced == 1
        assert deaf.is_closed.wait(10)


def test_a_client_that_is_answered_now_and_then_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offsets, "SILENT_S", 0.5)
    asked: list[str] = []

    def answers(where: str) -> Answer:
        asked.append(where)
        return (0, 7) if where == "events-0" else KafkaError.LEADER_NOT_AVAILABLE

    with queries_of(ScriptedConsumer(answers), timeout_s=1.0) as queries:
        probe = queries.ask("events", 1, lambda: None)
        while True:
            assert queries.offsets("events", 0) == (0, 7)
            try:
                assert probe.end() is None
            except LogUnavailableError:
                break
        assert queries.replaced == 0


def test_nothing_is_left_waiting_by_a_log_that_is_closed() -> None:
    with queries_of(in_turn(KafkaError._TRANSPORT)) as queries:
        probe = queries.ask("events", 3, lambda: None)
        queries.close()
        with pytest.raises(LogUnavailableError):
            probe.wait(20)
        with pytest.raises(LogUnavailableError):
            queries.offsets("events", 3)
