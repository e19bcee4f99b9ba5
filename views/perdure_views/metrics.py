"""The table of metrics: names, units, descriptions and attributes.

The table in docs/operations.md is made from it, and dashboards and alerts may name nothing else.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from opentelemetry.metrics import Counter, Histogram, Meter, UpDownCounter

COUNTER, HISTOGRAM, GAUGE = "counter", "histogram", "gauge"
BUCKETS_S = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 6 * 3600, 86_400),
)
_QUEUE = ("namespace", "task_queue")
_ACTIVITY = (*_QUEUE, "activity_type")
_WORKFLOW = (*_QUEUE, "workflow_type")
_PARTITION = (*_QUEUE, "partition")


class Metric(NamedTuple):
    """One metric, as OpenTelemetry names it."""

    name: str
    kind: str
    unit: str
    what: str
    attributes: tuple[str, ...] = _QUEUE

    @property
    def prometheus(self) -> str:
        """Its name at the Prometheus endpoint; a histogram has _bucket, _count and _sum of it."""
        name = self.name.replace(".", "_")
        unit = {"s": "_seconds", "By": "_bytes"}.get(self.unit, "")
        return name + unit + ("_total" if self.kind == COUNTER else "")


WORKFLOW_LATENCY = Metric(
    "perdure.workflow.latency",
    HISTOGRAM,
    "s",
    "from a run's start to its end, by outcome",
    (*_WORKFLOW, "outcome"),
)
WORKFLOW_BLOCKED = Metric(
    "perdure.workflow.blocked", COUNTER, "1", "runs whose code could not go on", _WORKFLOW
)
ACTIVITY_LATENCY = Metric(
    "perdure.activity.latency",
    HISTOGRAM,
    "s",
    "from the wish for an activity to its outcome, retries included",
    (*_ACTIVITY, "outcome"),
)
SCHEDULE_TO_START = Metric(
    "perdure.activity.schedule_to_start",
    HISTOGRAM,
    "s",
    "from an attempt's task to its start on a worker",
    _ACTIVITY,
)
ATTEMPT_LATENCY = Metric(
    "perdure.activity.attempt",
    HISTOGRAM,
    "s",
    "how long attempts ran; outcome is ok or failed",
    (*_ACTIVITY, "outcome"),
)
TIMER_LATENESS = Metric(
    "perdure.timer.lateness", HISTOGRAM, "s", "how long after its time a timer fired"
)
TRANSITION_LATENCY = Metric(
    "perdure.transition.latency", HISTOGRAM, "s", "from the append of a transition to acceptance"
)
SPANS = Metric("perdure.spans", COUNTER, "1", "spans by what became of them", (*_QUEUE, "state"))
TRANSITIONS = Metric("perdure.transitions", COUNTER, "1", "transitions accepted")
TAKEOVERS = Metric("perdure.takeovers", COUNTER, "1", "partitions that this process took over")
STALE = Metric(
    "perdure.stale_records", COUNTER, "1", "records of former owners that take-overs rejected"
)
INPUTS = Metric(
    "perdure.inputs",
    COUNTER,
    "1",
    "inputs that were not simply taken: dead (a dead letter), forwarded, ignored, doubled",
    (*_QUEUE, "outcome"),
)
ACTIVATIONS = Metric("perdure.activations", COUNTER, "1", "times that workflow code took an event")
CACHE_HITS = Metric(
    "perdure.workflow_cache.hits", COUNTER, "1", "activations whose code was still in memory"
)
REPLAYS = Metric("perdure.replays", COUNTER, "1", "times that code was made anew from its history")
REPLAYED_EVENTS = Metric("perdure.replayed_events", COUNTER, "1", "events that replays read")
PARTITIONS = Metric("perdure.partitions", GAUGE, "1", "partitions that this process owns")
RUNS = Metric(
    "perdure.runs",
    GAUGE,
    "1",
    "open runs of the partitions that this process owns: open, and of those blocked, retrying (an"
    " activity failed and will be tried again) and exhausted (one is out of attempts)",
    (*_QUEUE, "state"),
)
PENDING = Metric(
    "perdure.activities.pending",
    GAUGE,
    "1",
    "activities without an outcome, of the partitions that this process owns",
)
LAG = Metric("perdure.lag", GAUGE, "1", "commands that are written and not yet taken", _PARTITION)
TABLE_SIZE = Metric("perdure.table.size", GAUGE, "By", "room of a partition's table", _PARTITION)
UNACKED = Metric(
    "perdure.in_flight", GAUGE, "1", "transitions proposed and not yet accepted", _PARTITION
)
SLOTS = Metric("perdure.worker.slots", GAUGE, "1", "activity slots", (*_QUEUE, "state"))
TASKS = Metric(
    "perdure.worker.tasks",
    COUNTER,
    "1",
    "activity tasks by what happened: started, claimed, promoted, completed, failed and so on",
    (*_QUEUE, "event"),
)

GATEWAY_REQUESTS = Metric(
    "perdure.gateway.request",
    HISTOGRAM,
    "s",
    "from a request of the gateway's API to its answer, or to the first event of a live view",
    ("namespace", "endpoint", "status"),
)
GATEWAY_STREAMS = Metric(
    "perdure.gateway.streams", GAUGE, "1", "live views that are open", ("namespace",)
)
GATEWAY_SIGN_INS = Metric(
    "perdure.gateway.sign_ins",
    COUNTER,
    "1",
    "sign-ins by outcome: ok, refused, or limited because too many had failed",
    ("namespace", "outcome"),
)
TRIGGER_LAG = Metric(
    "perdure.triggers.lag",
    GAUGE,
    "1",
    "records of a trigger's topic that are not done with",
    ("triggers", "topic", "partition"),
)
TRIGGER_RECORDS = Metric(
    "perdure.triggers.records",
    COUNTER,
    "1",
    "records of a trigger's topic by outcome: done, or buried as a dead letter",
    ("triggers", "topic", "outcome"),
)

METRICS = (
    *(WORKFLOW_LATENCY, WORKFLOW_BLOCKED, ACTIVITY_LATENCY, SCHEDULE_TO_START, ATTEMPT_LATENCY),
    *(TIMER_LATENESS, TRANSITION_LATENCY, TRANSITIONS, ACTIVATIONS, CACHE_HITS, REPLAYS),
    *(
        REPLAYED_EVENTS,
        PARTITIONS,
        RUNS,
        PENDING,
        TAKEOVERS,
        STALE,
        LAG,
        INPUTS,
        UNACKED,
        TABLE_SIZE,
    ),
    *(SLOTS, TASKS, SPANS, GATEWAY_REQUESTS, GATEWAY_STREAMS, GATEWAY_SIGN_INS),
    *(TRIGGER_LAG, TRIGGER_RECORDS),
)


def histogram(meter: Meter, metric: Metric) -> Histogram:
    """The instrument of a distribution of times."""
    return meter.create_histogram(
        metric.name,
        unit=metric.unit,
        description=metric.what,
        explicit_bucket_boundaries_advisory=BUCKETS_S,
    )


def counter(meter: Meter, metric: Metric) -> Counter:
    """The instrument of what is counted where it happens."""
    return meter.create_counter(metric.name, unit=metric.unit, description=metric.what)


def up_and_down(meter: Meter, metric: Metric) -> UpDownCounter:
    """The instrument of a gauge that is changed where the change happens."""
    return meter.create_up_down_counter(metric.name, unit=metric.unit, description=metric.what)


def observed(meter: Meter, metric: Metric, callback: Any) -> None:
    """The instrument of what is asked for when somebody wants to know."""
    make: Any = (
        meter.create_observable_counter if metric.kind == COUNTER else meter.create_observable_gauge
    )
    make(metric.name, callbacks=[callback], unit=metric.unit, description=metric.what)
