"""The broker of docker-compose.yml is the broker of the tests: same release, same settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

from tests.broker.kafka_broker import SETTINGS
from tests.broker.kafka_jars import kafka_version

COMPOSE: Final = Path(__file__).parents[2] / "docker-compose.yml"
# Where the broker is reached and keeps its data differs, and nothing else may.
OF_THE_PLACE: Final = {
    "listeners",
    "advertised.listeners",
    "controller.quorum.voters",
    "log.dirs",
}


def kafka_service() -> dict[str, Any]:
    service: dict[str, Any] = yaml.safe_load(COMPOSE.read_text("utf-8"))["services"]["kafka"]
    return service


def settings() -> dict[str, str]:
    environment: dict[str, str] = kafka_service()["environment"]
    return {
        name.removeprefix("KAFKA_").lower().replace("_", "."): value
        for name, value in environment.items()
    }


def test_compose_runs_the_release_that_the_tests_run() -> None:
    assert kafka_service()["image"] == f"apache/kafka:{kafka_version()}"


def test_compose_sets_what_the_test_broker_sets_and_nothing_else() -> None:
    assert {k: v for k, v in settings().items() if k not in OF_THE_PLACE} == dict(SETTINGS)


def test_compose_says_where_the_broker_is_and_keeps_its_data_in_the_volume() -> None:
    service, found = kafka_service(), settings()

    assert set(found) >= OF_THE_PLACE
    assert service["volumes"] == [f"kafka-data:{found['log.dirs']}"]
    assert service["ports"] == ["127.0.0.1:9092:9092"]
    assert found["advertised.listeners"] == "PLAINTEXT://localhost:9092"


def test_compose_asks_the_broker_itself_whether_it_is_healthy() -> None:
    check = kafka_service()["healthcheck"]["test"]

    assert check[0] == "CMD"
    assert check[1].endswith("kafka-broker-api-versions.sh")
    assert check[-1] == "localhost:9092"


def test_compose_runs_a_jaeger_that_takes_spans_and_shows_them_on_this_machine_only() -> None:
    jaeger = yaml.safe_load(COMPOSE.read_text("utf-8"))["services"]["jaeger"]

    name, _, release = jaeger["image"].partition(":")
    assert name == "jaegertracing/jaeger"
    # From 2 on, and older ones from 1.62 on, a span that was sent twice is shown once.
    assert int(release.split(".")[0]) >= 2
    assert jaeger["ports"] == [f"127.0.0.1:{port}:{port}" for port in (4317, 4318, 16686)]
