"""What a person asks of a pending activity, of an input, or of what is kept. Pure data only."""

from __future__ import annotations

from perdure_schemas.command_headers import ActivityOperation, Command
from perdure_schemas.payloads import Failure, ReplyTo, RetryPolicy


class PauseActivity(ActivityOperation, frozen=True, kw_only=True, gc=False):
    """Asks that no further attempt of a pending activity be started."""

    reason: str = ""


class UnpauseActivity(ActivityOperation, frozen=True, kw_only=True, gc=False):
    """Lets a paused activity go on, at once."""

    reset_attempts: bool = False
    reset_heartbeat: bool = False
    jitter_ms: int = 0


class ResetActivity(ActivityOperation, frozen=True, kw_only=True, gc=False):
    """Starts a pending activity over from attempt 1."""

    keep_paused: bool = False
    reset_heartbeat: bool = False
    jitter_ms: int = 0


class RetryActivityNow(ActivityOperation, frozen=True, kw_only=True, gc=False):
    """Starts the next attempt of an activity that is backing off or out of attempts, at once."""


class FailActivityNow(ActivityOperation, frozen=True, kw_only=True, gc=False):
    """Fails a pending activity for good, as its code would have."""

    failure: Failure


class UpdateActivityOptions(ActivityOperation, frozen=True, kw_only=True, gc=False):
    """Changes times and policy of a pending activity from its next attempt on."""

    task_queue: str = ""
    schedule_to_close_ms: int = -1
    schedule_to_start_ms: int = -1
    start_to_close_ms: int = -1
    heartbeat_ms: int = -1
    retry_policy: RetryPolicy | None = None
    restore_original: bool = False


class SkipInput(Command, frozen=True, kw_only=True, gc=False):
    """Puts one input that holds its partition up with the dead letters, undecided."""

    partition: int
    offset: int
    reason: str = ""
    request_id: str = ""
    reply: ReplyTo | None = None
    identity: str = ""


class SetRetention(Command, frozen=True, kw_only=True, gc=False):
    """Sets how long a partition keeps closed runs."""

    partition: int
    keep_ms: int
    by_status: dict[str, int] = {}
    request_id: str = ""
    reply: ReplyTo | None = None
    identity: str = ""
    cut: str = ""


class RunRetention(Command, frozen=True, kw_only=True, gc=False):
    """Asks a partition to look now which closed runs it may forget."""

    partition: int
    request_id: str = ""
    reply: ReplyTo | None = None
    identity: str = ""
