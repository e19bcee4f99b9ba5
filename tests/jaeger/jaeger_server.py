"""A real Jaeger in a process of its own: started on ports of its own, asked by its query API."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

from tests.broker.kafka_broker import free_port

RELEASE: Final = "1.48.0"
BINARY: Final = Path(__file__).parents[2] / ".cache" / f"jaeger-{RELEASE}"
START_S: Final = 30.0
# Every door of it, so that two may run side by side; those of no use here are open all the same.
_DOORS: Final = (
    "admin.http.host-port",
    "collector.grpc-server.host-port",
    "collector.http-server.host-port",
    "collector.otlp.grpc.host-port",
    "http-server.host-port",
    "processor.jaeger-binary.server-host-port",
    "processor.jaeger-compact.server-host-port",
    "processor.zipkin-compact.server-host-port",
    "query.grpc-server.host-port",
)


def jaeger_binary() -> Path | None:
    """PERDURE_TEST_JAEGER, or what `make jaeger` has built; None when there is none."""
    named = os.environ.get("PERDURE_TEST_JAEGER")
    found = Path(named) if named else BINARY
    return found if found.exists() else None


class Jaeger:
    """Jaeger with its spans in memory."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self._binary = binary
        self._log = folder / "jaeger.log"
        taken: list[int] = []
        for _ in range(len(_DOORS) + 2):
            taken.append(free_port(taken=taken))
        self.otlp = f"http://127.0.0.1:{taken[0]}"
        self.query = f"http://127.0.0.1:{taken[1]}"
        self._command = [
            str(binary),
            f"--collector.otlp.http.host-port=127.0.0.1:{taken[0]}",
            f"--query.http-server.host-port=127.0.0.1:{taken[1]}",
            *(f"--{door}=127.0.0.1:{port}" for door, port in zip(_DOORS, taken[2:], strict=True)),
        ]
        if shutil.which("setpriv"):
            self._command = ["setpriv", "--pdeathsig", "KILL", *self._command]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdout=log,
                stderr=log,
                env={**os.environ, "SPAN_STORAGE_TYPE": "memory"},
            )
        ends_s = time.monotonic() + START_S
        while time.monotonic() < ends_s:
            try:
                self._get("/api/services")
            except (urllib.error.URLError, ConnectionError):
                assert self._process.poll() is None, self._log.read_text("utf-8", "replace")
                time.sleep(0.1)
            else:
                return
        raise AssertionError(f"no answer in {START_S} s\n{self._log.read_text('utf-8', 'replace')}")

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def trace(self, trace_id: int) -> list[dict[str, Any]]:
        """The spans of a trace as the query API has them, each with whose it is; none without one.

        Copies of one span are all there: their warnings, which this release alone adds, are not.
        """
        try:
            found = self._get(f"/api/traces/{trace_id:032x}")
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return []
        [trace] = found["data"]
        spans: list[dict[str, Any]] = trace["spans"]
        for span in spans:
            span["process"] = trace["processes"][span.pop("processID")]
            del span["warnings"]
        return spans

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(self.query + path, timeout=5.0) as answer:
            return json.load(answer)
