"""What traces and metrics add to a workflow: the same orders on a host without and with them."""

from __future__ import annotations

import asyncio
import os
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from benchmarks.measures import Figures, run_many, warm
from benchmarks.stage import Stage
from tests.broker.kafka_broker import free_port

COUNT = 1_500
ROUNDS = 3
SCRAPE_S = 5.0


async def telemetry(stage: Stage) -> Figures:
    """Processor time of the host a workflow: off, with traces, with both; in turns, and summed."""
    stage.start_host()
    stage.start_worker()
    spent = {"off": 0.0, "traces": 0.0, "traces and metrics": 0.0}
    with _collector() as collector:
        settings = {
            "off": {},
            "traces": {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint},
            "traces and metrics": {
                "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
                "PERDURE_METRICS_PORT": str(free_port()),
            },
        }
        for number in range(ROUNDS):
            for name, environment in settings.items():
                stage.stop("host")
                with _environment(environment):
                    stage.start_host()
                spent[name] += await _round(stage, f"{name[0:9]}-{number}", environment)
        spans = collector.requests
    runs = COUNT * ROUNDS
    return {
        "telemetry: host CPU ms a workflow, off": spent["off"] / runs * 1000,
        "telemetry: the same with traces, ratio": spent["traces"] / spent["off"],
        "telemetry: with traces and metrics, ratio": spent["traces and metrics"] / spent["off"],
        "telemetry: requests that the collector took": spans,
    }


async def _round(stage: Stage, tag: str, environment: dict[str, str]) -> float:
    """The host's processor time for so many orders, the spans they leave behind included."""
    client = await stage.client()
    stop = asyncio.Event()
    scraping = asyncio.create_task(_scrape(environment.get("PERDURE_METRICS_PORT", ""), stop))
    try:
        await warm(client, stage, 200, tag=f"warm-{tag}")
        before = stage.cpu_by_process()["host"]
        await run_many(client, stage, COUNT, tag)
        # What has gathered is sent within a second or so.
        await asyncio.sleep(3)
        return stage.cpu_by_process()["host"] - before
    finally:
        stop.set()
        await scraping
        await client.close()


async def _scrape(port: str, stop: asyncio.Event) -> None:
    """Read the metrics now and then, as Prometheus does."""
    while port and not stop.is_set():
        with suppress(OSError):
            await asyncio.to_thread(_read, f"http://127.0.0.1:{port}/metrics")
        with suppress(TimeoutError):
            async with asyncio.timeout(SCRAPE_S):
                await stop.wait()


def _read(url: str) -> None:
    with urllib.request.urlopen(url, timeout=5) as answer:
        answer.read()


@contextmanager
def _environment(more: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(more)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class _Collector:
    """Takes spans and throws them away."""

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self.requests = 0


@contextmanager
def _collector() -> Iterator[_Collector]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            made.requests += 1
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = _Collector(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
