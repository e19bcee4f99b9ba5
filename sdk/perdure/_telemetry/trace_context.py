"""The caller's place in a trace, as headers of a record: W3C names and forms."""

from __future__ import annotations

import sys

from perdure_topics.ports import Headers


def trace_headers() -> Headers:
    """The headers of the span that the caller is in, if it is in one."""
    # Who is in a span has loaded OpenTelemetry; nobody else needs it.
    if "opentelemetry.trace" not in sys.modules:
        return ()
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    if not trace.get_current_span().get_span_context().is_valid:
        return ()
    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return tuple((name, value.encode()) for name, value in carrier.items())
