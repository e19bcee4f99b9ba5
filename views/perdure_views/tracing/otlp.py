"""Export of spans by an exporter of OpenTelemetry, in its form."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags, TraceState
from opentelemetry.trace.status import Status, StatusCode

from perdure_schemas.version import VERSION
from perdure_views.tracing.spans import Span

_SCOPE = InstrumentationScope("perdure", VERSION)
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_UNSET = Status(StatusCode.UNSET)
_NS = 1_000_000


class OtlpSpans:
    """Sends spans of ours by an exporter of the OpenTelemetry SDK."""

    def __init__(self, exporter: SpanExporter, resource: Resource) -> None:
        self._exporter = exporter
        self._resource = _HashedOnce(resource.attributes, resource.schema_url)

    def __call__(self, spans: Sequence[Span]) -> bool:
        """Send spans; whether they have arrived."""
        readable = [readable_span(span, self._resource) for span in spans]
        return self._exporter.export(readable) is SpanExportResult.SUCCESS

    def close(self) -> None:
        """Let go of the connection."""
        self._exporter.shutdown()


class _HashedOnce(Resource):
    """A resource that the exporter may ask for its hash with every span: the SDK's writes JSON."""

    _hash: int | None = None

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = super().__hash__()
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or super().__eq__(other)


def readable_span(span: Span, resource: Resource) -> ReadableSpan:
    """A span as OpenTelemetry's exporters take it."""
    state = TraceState.from_header([span.trace_state]) if span.trace_state else None

    def context(span_id: int, trace_id: int = span.trace_id) -> SpanContext:
        return SpanContext(
            trace_id, span_id, is_remote=False, trace_flags=_SAMPLED, trace_state=state
        )

    return ReadableSpan(
        name=span.name,
        context=context(span.span_id),
        parent=context(span.parent_id) if span.parent_id else None,
        resource=resource,
        attributes=span.attributes,
        events=[
            Event(event.name, event.attributes, timestamp=event.time_ms * _NS)
            for event in span.events
        ],
        links=[Link(context(link.span_id, link.trace_id)) for link in span.links],
        kind=SpanKind.INTERNAL,
        status=_UNSET if span.error is None else Status(StatusCode.ERROR, span.error),
        start_time=span.start_ms * _NS,
        end_time=span.end_ms * _NS,
        instrumentation_scope=_SCOPE,
    )
