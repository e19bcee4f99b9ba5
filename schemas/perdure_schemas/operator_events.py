"""What people did to activities, and activities that wait for them. Pure data only."""

from __future__ import annotations

from perdure_schemas.payloads import Failure, Record, RetryPolicy


class ActivityPaused(Record, frozen=True, kw_only=True, gc=False):
    """No further attempt starts until somebody lets it."""

    activity_id: str
    reason: str = ""
    identity: str = ""
    failure: Failure | None = None
    attempt: int = 0


class ActivityUnpaused(Record, frozen=True, kw_only=True, gc=False):
    """A paused activity goes on."""

    activity_id: str
    reset_attempts: bool = False
    reset_heartbeat: bool = False
    due_ms: int = 0
    identity: str = ""


class ActivityReset(Record, frozen=True, kw_only=True, gc=False):
    """An activity starts over."""

    activity_id: str
    reset_heartbeat: bool = False
    keep_paused: bool = False
    due_ms: int = 0
    identity: str = ""


class ActivityOptionsUpdated(Record, frozen=True, kw_only=True, gc=False):
    """Times and policy of a pending activity changed."""

    activity_id: str
    task_queue: str = ""
    schedule_to_close_ms: int = 0
    schedule_to_start_ms: int = 0
    start_to_close_ms: int = 0
    heartbeat_ms: int = 0
    retry_policy: RetryPolicy | None = None
    identity: str = ""


class ActivityDetached(Record, frozen=True, kw_only=True, gc=False):
    """An attempt went on outside its worker: somebody else will report it."""

    activity_id: str
    attempt: int
    identity: str = ""


OperatorEvent = (
    ActivityPaused | ActivityUnpaused | ActivityReset | ActivityOptionsUpdated | ActivityDetached
)
"""What people and other processes did to activities; the run's code does not see it."""
