"""An attempt as whoever runs it is told: a worker by its topic, or this host. Data only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypedDict

from perdure_schemas.tasks import ActivityTask
from perdure_schemas.tracing import TRACEPARENT, TRACESTATE, attempt_span_id

if TYPE_CHECKING:
    from perdure_actors.core.decision import RunLocal, SendTask
    from perdure_topics.ports import Headers

DURATION_MS_MAX: Final = 1000 * 365 * 24 * 3600 * 1000
"""A thousand years: more is no duration, and no clock takes it. `timedelta.max` means never."""


class ReportHeader(TypedDict):
    """What every report says of the attempt that it is about, and of who reports it."""

    workflow_id: str
    run_id: str
    activity_id: str
    attempt: int
    token: bytes
    worker_id: str
    identity: str


def report_header(task: ActivityTask, *, worker_id: str = "", identity: str = "") -> ReportHeader:
    """The header of reports about the attempt of a task."""
    return ReportHeader(
        workflow_id=task.workflow_id,
        run_id=task.run_id,
        activity_id=task.activity_id,
        attempt=task.attempt,
        token=task.token,
        worker_id=worker_id,
        identity=identity,
    )


class Home(NamedTuple):
    """The partition that a run lives in, and so where its attempts are reported."""

    namespace: str
    commands_topic: str
    partition: int


def task_record(
    effect: SendTask | RunLocal, *, token: bytes, home: Home, wants_claim: bool = False
) -> ActivityTask:
    """The task of an attempt."""
    activity = effect.activity
    scheduled = activity.scheduled
    return ActivityTask(
        workflow_id=effect.workflow_id,
        run_id=effect.run_id,
        workflow_type=effect.workflow_type,
        activity_id=scheduled.activity_id,
        activity_type=scheduled.activity_type,
        attempt=activity.attempt,
        token=token,
        commands_topic=home.commands_topic,
        partition=home.partition,
        input=scheduled.input,
        header=scheduled.header,
        schedule_to_close_ms=min(scheduled.schedule_to_close_ms, DURATION_MS_MAX),
        start_to_close_ms=min(scheduled.start_to_close_ms, DURATION_MS_MAX),
        heartbeat_ms=min(scheduled.heartbeat_ms, DURATION_MS_MAX),
        retry_policy=scheduled.retry_policy,
        priority=scheduled.priority,
        scheduled_ms=activity.scheduled_ms,
        attempt_scheduled_ms=activity.attempt_ms,
        heartbeat_details=activity.heartbeat_details,
        wants_claim=wants_claim,
        namespace=home.namespace,
        task_queue=scheduled.task_queue,
        schedule_to_start_ms=min(scheduled.schedule_to_start_ms, DURATION_MS_MAX),
        local=scheduled.local,
    )


def trace_headers(effect: SendTask | RunLocal) -> Headers:
    """The span of the attempt, so that what its code records is found beneath it."""
    if effect.trace is None:
        return ()
    activity = effect.activity
    span_id = attempt_span_id(effect.run_id, activity.scheduled_seq, activity.attempt)
    place = effect.trace._replace(span_id=span_id)
    headers = ((TRACEPARENT, place.header().encode()),)
    return (*headers, (TRACESTATE, place.state.encode())) if place.state else headers
