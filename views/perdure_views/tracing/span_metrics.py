"""Latencies and failures measured from spans, once for each accepted transition."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.metrics import Meter

from perdure_views import metrics
from perdure_views.tracing.spans import Span


class SpanMetrics:
    """Measures the spans of one task queue."""

    def __init__(self, meter: Meter, *, namespace: str, task_queue: str) -> None:
        self._facts = {"namespace": namespace, "task_queue": task_queue}
        self._workflow = metrics.histogram(meter, metrics.WORKFLOW_LATENCY)
        self._blocked = metrics.counter(meter, metrics.WORKFLOW_BLOCKED)
        self._activity = metrics.histogram(meter, metrics.ACTIVITY_LATENCY)
        self._waited = metrics.histogram(meter, metrics.SCHEDULE_TO_START)
        self._attempt = metrics.histogram(meter, metrics.ATTEMPT_LATENCY)
        self._late = metrics.histogram(meter, metrics.TIMER_LATENESS)
        self._transition = metrics.histogram(meter, metrics.TRANSITION_LATENCY)
        self._kinds = {
            "workflow": self._measure_workflow,
            "activity": self._measure_activity,
            "attempt": self._measure_attempt,
            "timer": self._measure_timer,
        }

    def measure(self, spans: Sequence[Span]) -> None:
        """Measure spans, each once."""
        for span in spans:
            kind = str(span.attributes.get("perdure.kind", ""))
            if kind == "blocked":
                name = span.attributes["perdure.workflow.type"]
                self._blocked.add(1, {**self._facts, "workflow_type": name})
            elif "perdure.mark" not in span.attributes and kind in self._kinds:
                self._kinds[kind](span, (span.end_ms - span.start_ms) / 1000)

    def took(self, seconds: float) -> None:
        """Measure a transition's way through the log."""
        self._transition.record(seconds, self._facts)

    def _measure_workflow(self, span: Span, seconds: float) -> None:
        found = span.attributes
        facts = {"workflow_type": found["perdure.workflow.type"]}
        self._workflow.record(seconds, {**self._facts, **facts, "outcome": _outcome(span)})

    def _measure_activity(self, span: Span, seconds: float) -> None:
        facts = {"activity_type": span.attributes["perdure.activity.type"]}
        self._activity.record(seconds, {**self._facts, **facts, "outcome": _outcome(span)})

    def _measure_attempt(self, span: Span, seconds: float) -> None:
        facts = {**self._facts, "activity_type": span.attributes["perdure.activity.type"]}
        outcome = "ok" if span.error is None else "failed"
        self._attempt.record(seconds, {**facts, "outcome": outcome})
        self._waited.record(int(span.attributes["perdure.waited_ms"]) / 1000, facts)

    def _measure_timer(self, span: Span, seconds: float) -> None:
        if _outcome(span) == "fired":
            planned_s = int(span.attributes["perdure.duration_ms"]) / 1000
            self._late.record(max(seconds - planned_s, 0.0), self._facts)


def _outcome(span: Span) -> str:
    return str(span.attributes["perdure.outcome"])
