"""A receiver of OTLP over HTTP in this process: the wire is real, what is kept is a list."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class OtlpSink:
    """What has been received, span by span, in the order it came."""

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self._spans: list[Any] = []
        self._condition = threading.Condition()

    def take(self, spans: list[Any]) -> None:
        with self._condition:
            self._spans += spans
            self._condition.notify_all()

    def named(self, name: str) -> list[Any]:
        with self._condition:
            return [span for span in self._spans if span.name == name]

    def wait_for(self, *names: str, timeout_s: float = 20.0) -> list[Any]:
        """All spans, once there is one of each of these names."""
        with self._condition:
            found = self._condition.wait_for(
                lambda: set(names) <= {span.name for span in self._spans}, timeout_s
            )
            assert found, f"only {[span.name for span in self._spans]} came"
            return list(self._spans)


@contextmanager
def otlp_sink() -> Iterator[OtlpSink]:
    """A receiver on a free port, until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            request = ExportTraceServiceRequest.FromString(data)
            sink.take(
                [
                    span
                    for resource in request.resource_spans
                    for scope in resource.scope_spans
                    for span in scope.spans
                ]
            )
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    sink = OtlpSink(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield sink
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
