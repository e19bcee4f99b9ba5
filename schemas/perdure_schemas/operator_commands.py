"""What a person or a program asks of one pending activity, or of one input. Pure data only."""

from __future__ import annotations

from perdure_schemas.payloads import EffectId, Failure, Record, ReplyTo, RetryPolicy


class PauseActivity(Record, frozen=True, kw_only=True, gc=False):
    """Asks that no further attempt of a pending activity be started."""

    workflow_id: str
    run_id: str = ""
    activity_id: str = ""
    activity_type: str = ""
    reason: str = ""
    request_id: str = ""
    first_sent_ms: int = 0
    reply: ReplyTo | None = None
    source: EffectId | None = None
    identity: str = ""


class UnpauseActivity(Record, frozen=True, kw_only=True, gc=False):
    """Lets a paused activity go on, at once."""

    workflow_id: str
    run_id: str = ""
    activity_id: str = ""
    activity_type: str = ""
    reset_attempts: bool = False
    reset_heartbeat: bool = False
    jitter_ms: int = 0
    request_id: str = ""
    first_sent_ms: int = 0
    reply: ReplyTo | None = None
    source: EffectId | None = None
    identity: str = ""


class ResetActivity(Record, frozen=True, kw_only=True, gc=False):
    """Starts a pending activity over from attempt 1."""

    workflow_id: str
    run_id: str = ""
    activity_id: str = ""
    activity_type: str = ""
    keep_paused: bool = False
    reset_heartbeat: bool = False
    jitter_ms: int = 0
    request_id: str = ""
    first_sent_ms: int = 0
    reply: ReplyTo | None = None
    source: EffectId | None = None
    identity: str = ""


class RetryActivityNow(Record, frozen=True, kw_only=True, gc=False):
    """Starts the next attempt of an activity that is backing off or out of attempts, at once."""

    workflow_id: str
    run_id: str = ""
    activity_id: str = ""
    activity_type: str = ""
    request_id: str = ""
    first_sent_ms: int = 0
    reply: ReplyTo | None = None
    source: EffectId | None = None
    identity: str = ""


class FailActivityNow(Record, frozen=True, kw_only=True, gc=False):
    """Fails a pending activity for good, as its code would have."""

    workflow_id: str
    run_id: str = ""
    activity_id: str = ""
    activity_type: str = ""
    failure: Failure
    request_id: str = ""
    first_sent_ms: int = 0
    reply: ReplyTo | None = None
    source: EffectId | None = None
    identity: str = ""


class UpdateActivityOptions(Record, frozen=True, kw_only=True, gc=False):
    """Changes times and policy of a pending activity from its next attempt on."""

    workflow_id: str
    run_id: str = ""
    activity_id: str = ""
    activity_type: str = ""
    task_queue: str = ""
    schedule_to_close_ms: int = -1
    schedule_to_start_ms: int = -1
    start_to_close_ms: int = -1
    heartbeat_ms: int = -1
    retry_policy: RetryPolicy | None = None
    restore_original: bool = False
    request_id: str = ""
    first_sent_ms: int = 0
    reply: ReplyTo | None = None
    source: EffectId | None = None
    identity: str = ""


class SkipInput(Record, frozen=True, kw_only=True, gc=False):
    """Puts one input that holds its partition up with the dead letters, undecided."""

    partition: int
    offset: int
    reason: str = ""
    request_id: str = ""
    reply: ReplyTo | None = None
    identity: str = ""
