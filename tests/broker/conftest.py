"""The real Kafka of the tests: `kafka` is shared by all, `own_broker` makes one that may be killed.

PERDURE_TEST_KAFKA=host:port uses a broker that already runs as the shared one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.broker.kafka_broker import KafkaBroker, answers
from tests.broker.kafka_jars import BrokerUnavailableError, kafka_libs
from tests.broker.processes import Crew

MakeBroker = Callable[..., KafkaBroker]


@dataclass(frozen=True)
class SharedKafka:
    """A broker that many tests use: each makes topics of its own and kills nothing."""

    bootstrap: str


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedKafka]:
    """The shared broker of the session: PERDURE_TEST_KAFKA, or one of our own."""
    named = os.environ.get("PERDURE_TEST_KAFKA")
    if named:
        if not answers(named, timeout_s=10.0):
            pytest.fail(f"PERDURE_TEST_KAFKA={named} does not answer within 10 s")
        yield SharedKafka(named)
        return
    _require_jars()
    broker = KafkaBroker(tmp_path_factory.mktemp("kafka"))
    broker.start()
    try:
        yield SharedKafka(broker.bootstrap)
    finally:
        broker.stop()


@pytest.fixture(scope="session")
def kafka_bootstrap(kafka: SharedKafka) -> str:
    """The address of the shared broker."""
    return kafka.bootstrap


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[MakeBroker]:
    """Makes a started broker that the test may stop, kill, pause and start again.

    `own_broker(settings={...})` adds broker settings; every one made is stopped afterwards.
    """
    _require_jars()
    made: list[KafkaBroker] = []

    def make(*, settings: Mapping[str, str] | None = None, port: int = 0) -> KafkaBroker:
        broker = KafkaBroker(tmp_path / f"kafka-{len(made)}", settings=settings, port=port)
        made.append(broker)
        broker.start()
        return broker

    try:
        yield make
    finally:
        for broker in made:
            broker.stop(timeout_s=10.0)


@pytest.fixture
def crew(kafka_bootstrap: str, tmp_path: Path) -> Iterator[Crew]:
    """The processes of a task queue on the shared broker; they end with the test."""
    made = Crew(kafka_bootstrap, tmp_path)
    try:
        made.create_topics()
        yield made
    finally:
        made.end()


@pytest.fixture(scope="session")
def standing(kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    """A host and a worker that many tests share: each ends its runs, and kills nothing."""
    made = Crew(kafka_bootstrap, tmp_path_factory.mktemp("standing"))
    try:
        made.shared = True
        made.create_topics()
        made.host()
        made.worker()
        yield made
    finally:
        made.end()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, pytest.TestReport]:
    """A failure elsewhere cannot be looked into later: keep what the processes said."""
    report: pytest.TestReport = yield
    if call.when == "call" and report.failed:
        for crew in list(Crew.all):
            if not crew.is_over:
                report.sections.append((f"processes of {crew.namespace}", crew.autopsy()))
    return report


def _require_jars() -> None:
    try:
        kafka_libs()
    except BrokerUnavailableError as missing:
        pytest.skip(f"no Kafka broker here: {missing}")
