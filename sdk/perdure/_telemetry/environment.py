"""Telemetry configured by OpenTelemetry's environment variables."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import metrics, trace
from opentelemetry.trace import ProxyTracerProvider

from perdure_schemas.version import VERSION

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace.export import SpanExporter

    from perdure_views.tracing.span_queue import SpanQueue

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
INSTANCE: Final = "service.instance.id"
INSTALL: Final = "pip install 'perdure[telemetry]'"


class TelemetryError(ImportError):
    """Telemetry is asked for, and what it needs is not installed."""


def traces_address() -> str:
    """Where spans go by the environment; empty when they go nowhere."""
    off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if off or os.environ.get("OTEL_TRACES_EXPORTER", "otlp") not in ("otlp", "otlp_proto_http"):
        return ""
    return next((os.environ[name] for name in ENDPOINTS if os.environ.get(name)), "")


def resource_of(task_queue: str) -> Resource:
    """Who the spans and metrics are of: by OTEL_SERVICE_NAME, or else by the task queue."""
    from opentelemetry.sdk.resources import Resource

    named = os.environ.get("OTEL_SERVICE_NAME", "")
    attributes: dict[str, Any] = {} if named else {"service.name": task_queue}
    return Resource.create(attributes)


def resource_of_log(task_queue: str) -> Resource:
    """Whose the spans of a log are: of no process, so that whoever sends one sends the same."""
    from opentelemetry.sdk.resources import Resource

    whole = resource_of(task_queue)
    attributes = dict(whole.attributes)
    if INSTANCE not in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        attributes.pop(INSTANCE, None)
    return Resource(attributes, whole.schema_url)


def span_exporter(endpoint: str = "") -> SpanExporter:
    """OpenTelemetry's exporter over OTLP and HTTP: to an endpoint, or as the environment says.

    Raises TelemetryError when it is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise TelemetryError(
            f"spans are to be exported, and the OTLP exporter is not installed: {INSTALL}"
        ) from error
    if not endpoint:
        return OTLPSpanExporter()
    path = "" if endpoint.rstrip("/").endswith("/v1/traces") else "/v1/traces"
    return OTLPSpanExporter(endpoint=endpoint.rstrip("/") + path)


def has_meter_provider() -> bool:
    """Whether anything is made of what is measured: the API's own providers measure nothing."""
    return not type(metrics.get_meter_provider()).__module__.startswith("opentelemetry.metrics")


def host_spans(namespace: str, task_queue: str) -> SpanQueue | None:
    """What looks at a host's transitions: sends spans, measures, both, or None where neither is on.

    Raises TelemetryError when what it needs is not installed.
    """
    address = traces_address()
    measures = has_meter_provider()
    if not address and not measures:
        return None
    from perdure_views.tracing.span_metrics import SpanMetrics
    from perdure_views.tracing.span_queue import SpanQueue

    export = None
    if address:
        from perdure_views.tracing.otlp import OtlpSpans

        export = OtlpSpans(span_exporter(), resource_of_log(task_queue))
    meter = metrics.get_meter("perdure", VERSION)
    return SpanQueue(
        export,
        measures=SpanMetrics(meter, namespace=namespace, task_queue=task_queue)
        if measures
        else None,
        address=address,
    )


def serve_metrics(port: int, task_queue: str, *, host: str = "") -> str:
    """Serve this process's metrics to Prometheus; the address.

    On loopback unless PERDURE_METRICS_HOST says otherwise. Raises TelemetryError when what it
    needs is not installed, OSError when the port is taken.
    """
    try:
        from opentelemetry.exporter.prometheus import PrometheusMetricReader
        from prometheus_client import start_http_server
    except ImportError as error:
        raise TelemetryError(
            f"metrics are to be served, and the exporter is not installed: {INSTALL}"
        ) from error
    from opentelemetry.sdk.metrics import MeterProvider

    listen = host or os.environ.get("PERDURE_METRICS_HOST") or "127.0.0.1"
    server, _ = start_http_server(port, addr=listen)
    if not has_meter_provider():
        reader = PrometheusMetricReader()
        provider = MeterProvider([reader], resource=resource_of(task_queue))
        metrics.set_meter_provider(provider)
    return f"http://{listen}:{server.server_port}/metrics"


def set_up_tracing(task_queue: str) -> None:
    """Let spans of users' own code go where the engine's go, unless they have seen to it.

    Raises TelemetryError when what it needs is not installed.
    """
    if not traces_address() or not isinstance(trace.get_tracer_provider(), ProxyTracerProvider):
        return
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=resource_of(task_queue))
    provider.add_span_processor(BatchSpanProcessor(span_exporter()))
    trace.set_tracer_provider(provider)
