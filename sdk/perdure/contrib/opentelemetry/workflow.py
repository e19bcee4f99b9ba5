"""Spans from workflow code: created once, never in replay."""

from __future__ import annotations

import opentelemetry.util.types
from opentelemetry import trace

from perdure import workflow

__all__ = ["completed_span"]


def completed_span(
    name: str,
    *,
    attributes: opentelemetry.util.types.Attributes = None,
    exception: Exception | None = None,
) -> None:
    """Report a span that begins and ends now, in the trace that the workflow was started in.

    The time is the workflow's. A host that dies at the wrong moment may lose it or send it twice.
    """
    if workflow.unsafe.is_replaying():
        return
    info = workflow.info()
    now_ns = workflow.time_ns()
    facts = {"perdure.workflow.id": info.workflow_id, "perdure.run.id": info.run_id}
    with workflow.unsafe.sandbox_unrestricted():
        span = trace.get_tracer("perdure.contrib.opentelemetry").start_span(
            name, attributes={**facts, **(attributes or {})}, start_time=now_ns
        )
        if exception is not None:
            span.record_exception(exception, timestamp=now_ns)
            span.set_status(trace.StatusCode.ERROR, f"{type(exception).__name__}: {exception}")
        span.end(end_time=now_ns)
