"""The metric meter of workflow code: silent in replay."""

from __future__ import annotations

from perdure._telemetry.meters import OpenTelemetryMeter
from perdure._telemetry.metrics import MetricMeter
from perdure_actors.replay.runtime import current


def metric_meter() -> MetricMeter:
    """A meter for metrics of the workflow's own. Replay measures nothing a second time."""
    run = current()
    started, facts = run.started, run.facts
    assert started is not None, "user code runs only after WorkflowStarted"
    return OpenTelemetryMeter(
        {
            "namespace": facts.namespace,
            "task_queue": facts.task_queue,
            "workflow_type": started.workflow_type,
        },
        speaks=lambda: not run.is_replaying and not run.is_closed,
    )
