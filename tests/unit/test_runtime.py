"""Telemetry set up in code: what it really sets up. Metrics in a process of their own."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest

from perdure.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    PrometheusConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)

MEASURES = """
import socket, urllib.request
from perdure.runtime import PrometheusConfig, Runtime, TelemetryConfig
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
config = PrometheusConfig(f"127.0.0.1:{port}", histogram_bucket_overrides={"sizes": [1, 5]})
telemetry = TelemetryConfig(metrics=config, global_tags={"team": "orders"})
runtime = Runtime(telemetry=telemetry)
runtime.metric_meter.create_counter("orders").add(3)
runtime.metric_meter.create_histogram("sizes").record(4)
print(urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode())
try:
    Runtime(telemetry=telemetry)
except ValueError as error:
    print(error)
"""


@pytest.fixture(autouse=True)
def _engine_logger(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    engine = logging.getLogger("perdure")
    level, handlers = engine.level, list(engine.handlers)
    monkeypatch.setattr(Runtime, "_default", None)
    monkeypatch.setattr(Runtime, "_is_prevented", False)
    yield
    engine.setLevel(level)
    engine.handlers[:] = handlers


def test_metrics_can_be_read_by_prometheus() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURES], check=False, capture_output=True, text=True, timeout=50
    )

    assert done.returncode == 0, done.stderr
    assert 'team="orders"' in done.stdout
    assert "orders_total{" in done.stdout
    assert 'le="5' in done.stdout
    assert 'le="10' not in done.stdout
    assert "set up already" in done.stdout


class Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def test_logs_are_filtered_and_forwarded() -> None:
    mine, heard = logging.getLogger("perdure-test-mine"), Heard()
    mine.setLevel(logging.DEBUG)
    mine.addHandler(heard)
    engine = logging.getLogger("perdure.host")
    config = LoggingConfig(TelemetryFilter("INFO", "ERROR"), LogForwardingConfig(mine))

    Runtime(telemetry=TelemetryConfig(logging=config))
    engine.info("told")
    engine.debug("not told")

    assert heard.lines == ["told"]


def test_a_level_or_an_address_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="'LOUD' is no level"):
        Runtime(telemetry=TelemetryConfig(logging=LoggingConfig("LOUD")))
    metrics = PrometheusConfig("nowhere")
    with pytest.raises(ValueError, match="'nowhere': give host:port"):
        Runtime(telemetry=TelemetryConfig(logging=None, metrics=metrics))


def test_there_is_one_default_runtime() -> None:
    runtime = Runtime(telemetry=TelemetryConfig(logging=None))

    Runtime.set_default(runtime)

    assert Runtime.default() is runtime
    with pytest.raises(RuntimeError, match="already"):
        Runtime.set_default(runtime)
    with pytest.raises(RuntimeError, match="already"):
        Runtime.prevent_default()


def test_a_default_runtime_can_be_prevented() -> None:
    Runtime.prevent_default()

    with pytest.raises(RuntimeError, match="prevented"):
        Runtime.default()
