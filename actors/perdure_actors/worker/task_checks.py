"""Whether a record among the tasks is one: anybody may have written it, and none ends a worker."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from perdure_actors.task_records import DURATION_MS_MAX
from perdure_schemas.avro import UnreadableRecordError, decode_as
from perdure_schemas.tasks import ActivityTask
from perdure_topics.names import PARTITIONS_MAX, role_of

if TYPE_CHECKING:
    from perdure_topics.ports import StoredRecord

logger = logging.getLogger(__name__)
TOKEN_BYTES_MAX: Final = 64
_DURATIONS: Final = (
    "schedule_to_close_ms",
    "start_to_close_ms",
    "schedule_to_start_ms",
    "heartbeat_ms",
    "scheduled_ms",
    "attempt_scheduled_ms",
)


def read_task(record: StoredRecord) -> ActivityTask | None:
    """The task that a record holds; None, and said, when it is none that can be run."""
    try:
        task = decode_as(ActivityTask, record.value)
        problem = problem_of(task)
    except UnreadableRecordError as error:
        problem = str(error)
    if not problem:
        return task
    logger.error(
        "skipped a record of %s, partition %d, offset %d, that is no activity task: %s",
        record.topic,
        record.partition,
        record.offset,
        problem,
    )
    return None


def problem_of(task: ActivityTask) -> str:
    """What no host would have written; empty when a host may have."""
    if role_of(task.commands_topic) != "commands":
        return f"its host would be told on topic {task.commands_topic[:250]!r}, which is no host's"
    if not 0 <= task.partition < PARTITIONS_MAX:
        return f"its host would be told on partition {task.partition}"
    if not 1 <= task.attempt < 1 << 31:
        return f"it is attempt {task.attempt}"
    if not 0 < len(task.token) <= TOKEN_BYTES_MAX:
        return f"its token has {len(task.token)} bytes"
    for name in _DURATIONS:
        if not 0 <= getattr(task, name) <= DURATION_MS_MAX:
            return f"its {name} is {getattr(task, name)}"
    return ""
