"""Setting telemetry up from the environment, by OpenTelemetry's own variables."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import trace
from opentelemetry.trace import ProxyTracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from perdure_topics.ports import Headers

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace.export import SpanExporter

    from perdure_views.span_queue import SpanQueue

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
INSTANCE: Final = "service.instance.id"
INSTALL: Final = "pip install 'perdure[telemetry]'"


_PROPAGATOR: Final = TraceContextTextMapPropagator()


class TelemetryError(ImportError):
    """Telemetry is asked for, and what it needs is not installed."""


def trace_headers() -> Headers:
    """The caller's place in a trace, as headers of a record: W3C names and forms."""
    if not trace.get_current_span().get_span_context().is_valid:
        return ()
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return tuple((name, value.encode()) for name, value in carrier.items())


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


def host_spans(task_queue: str) -> SpanQueue | None:
    """The way of a host's spans, where the environment names one.

    Raises TelemetryError when what it needs is not installed.
    """
    address = traces_address()
    if not address:
        return None
    from perdure_views.otlp import OtlpSpans
    from perdure_views.span_queue import SpanQueue

    return SpanQueue(OtlpSpans(span_exporter(), resource_of_log(task_queue)), address=address)


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
