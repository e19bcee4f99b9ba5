"""What an activity worker is told to run. Pure data only."""

from __future__ import annotations

from perdure_schemas.payloads import Payload, Priority, Record, RetryPolicy


class ActivityTask(Record, frozen=True, kw_only=True, gc=False):
    """An attempt of an activity to run."""

    workflow_id: str
    run_id: str
    workflow_type: str = ""
    activity_id: str
    activity_type: str
    attempt: int
    token: bytes
    commands_topic: str
    partition: int
    input: list[Payload] = []
    header: dict[str, Payload] = {}
    schedule_to_close_ms: int = 0
    start_to_close_ms: int = 0
    heartbeat_ms: int = 0
    retry_policy: RetryPolicy | None = None
    priority: Priority | None = None
    scheduled_ms: int = 0
    attempt_scheduled_ms: int = 0
    heartbeat_details: list[Payload] = []
    wants_claim: bool = False
    namespace: str = ""
    task_queue: str = ""
    schedule_to_start_ms: int = 0
    local: bool = False
