"""The broker of docker-compose.yml is the broker of the tests: same release, same settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest
import typer
import yaml

from perdure.cli import app
from tests.broker.kafka_broker import SETTINGS
from tests.broker.kafka_jars import kafka_version

ROOT: Final = Path(__file__).parents[2]
COMPOSE: Final = ROOT / "docker-compose.yml"
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
    assert found["advertised.listeners"] == ("PLAINTEXT://localhost:9092,INTERNAL://kafka:29092")


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


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text("utf-8"))["services"]
    return found


OURS: Final = [name for name, service in services().items() if service["image"] == "perdure"]


def test_the_profiles_build_on_each_other() -> None:
    by_profile = {
        profile: {n for n, s in services().items() if profile in s.get("profiles", [profile])}
        for profile in ("none", "small", "full")
    }

    assert by_profile["none"] == {"kafka", "jaeger"}
    assert by_profile["none"] < by_profile["small"] < by_profile["full"] == set(services())


@pytest.mark.parametrize("name", OURS)
def test_each_service_of_ours_runs_a_command_there_is(name: str) -> None:
    service = services()[name]
    if "entrypoint" in service:
        assert (ROOT / "examples/orders/traffic.py").is_file()
        return
    command = typer.main.get_command(app)
    context = command.make_context("perdure", list(service["command"]), resilient_parsing=True)
    words = list(service["command"])
    while isinstance(command, typer.core.TyperGroup):
        found = command.get_command(context, words.pop(0))
        assert found is not None, f"{name}: there is no such command"
        command = found
    # Unknown options and arguments raise here.
    command.make_context(name, words)


@pytest.mark.parametrize("name", OURS)
def test_each_service_of_ours_reaches_the_broker_inside(name: str) -> None:
    environment = services()[name]["environment"]

    assert environment["PERDURE_BROKER"] == "kafka:29092"
    assert environment["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://jaeger:4318"
    assert "INTERNAL://kafka:29092" in settings()["advertised.listeners"]


def test_each_service_says_whether_it_is_well() -> None:
    quiet = {name for name, service in services().items() if "healthcheck" not in service}

    # One ends, one only starts orders, and Jaeger's image holds no shell to ask with.
    assert quiet == {"topics", "orders", "jaeger"}


def test_what_is_mounted_is_there() -> None:
    for name, service in services().items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).exists(), f"{name} mounts {source}"


def test_nothing_is_published_beyond_this_machine() -> None:
    ports = [port for service in services().values() for port in service.get("ports", [])]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_every_image_is_of_a_named_release() -> None:
    images = {service["image"] for service in services().values()} - {"perdure"}

    assert all(":" in image and not image.endswith(":latest") for image in images)


def test_prometheus_reads_hosts_and_workers() -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus/compose.yml").read_text("utf-8"))
    targets = config["scrape_configs"][0]["static_configs"][0]["targets"]
    ports = {
        services()[target.partition(":")[0]]["environment"]["PERDURE_METRICS_PORT"]
        for target in targets
    }

    assert {target.partition(":")[2] for target in targets} == ports


def test_the_image_runs_without_root_and_holds_what_the_services_use() -> None:
    lines = (ROOT / "Dockerfile").read_text("utf-8").splitlines()

    assert [line for line in lines if line.startswith("USER")] == ["USER 10001"]
    assert lines.index("USER 10001") < lines.index('ENTRYPOINT ["perdure"]')
    copied = {
        line.split()[1] for line in lines if line.startswith("COPY ") and "--from" not in line
    }
    assert copied >= {"pyproject.toml", "schemas", "topics", "actors", "views", "sdk", "examples"}
    kept = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert {f"!{path}" for path in copied} <= set(kept)
