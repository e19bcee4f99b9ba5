"""What insights found, for people and alerts. Pure data only."""

from __future__ import annotations

from perdure_schemas.payloads import Record


class Finding(Record, frozen=True, kw_only=True, gc=False):
    """Something about a workflow or a task queue that a person should know."""

    finding_id: str
    kind: str
    task_queue: str
    workflow_id: str = ""
    run_id: str = ""
    time_ms: int
    message: str
    cause: str = ""
    remedy: str = ""
