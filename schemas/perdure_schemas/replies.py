"""What is answered to an asker. Pure data only."""

from __future__ import annotations

from typing import Final

from perdure_schemas.payloads import Failure, Payload, Record, RetryPolicy, RunRef


class Reply(Record, frozen=True, kw_only=True, gc=False):
    """An answer on the replies topic; body is a framed record."""

    correlation_id: str
    partition: int = -1
    offset: int = -1
    body: bytes
    part: int = 1
    parts: int = 1


class Accepted(Record, frozen=True, kw_only=True, gc=False):
    """A command was taken."""

    workflow_id: str = ""
    run_id: str = ""
    first_run_id: str = ""
    started: bool = False


class Refused(Record, frozen=True, kw_only=True, gc=False):
    """A command was refused."""

    code: str
    message: str
    run_id: str = ""
    status: str = ""


class RunClosed(Record, frozen=True, kw_only=True, gc=False):
    """How a run ended."""

    workflow_id: str
    run_id: str
    status: str
    result: Payload | None = None
    failure: Failure | None = None
    next_run_id: str = ""
    close_ms: int = 0


NEW_OWNER: Final = "new_owner"
"""The code of a notice that is for every asker: a partition of the topic that its message names
has another owner. Its reply has no correlation id, and the partition's number."""


class Notice(Record, frozen=True, kw_only=True, gc=False):
    """Something a waiting asker should know; it is not the answer."""

    code: str
    message: str


class PendingActivity(Record, frozen=True, kw_only=True, gc=False):
    """An activity without an outcome."""

    activity_id: str
    activity_type: str
    state: str
    attempt: int
    maximum_attempts: int = 0
    scheduled_ms: int = 0
    started_ms: int = 0
    next_attempt_ms: int = 0
    last_failure: Failure | None = None
    heartbeat_ms: int = 0
    heartbeat_details: list[Payload] = []
    worker_id: str = ""
    identity: str = ""
    task_queue: str = ""
    local: bool = False
    paused_ms: int = 0
    pause_reason: str = ""
    pause_identity: str = ""


class PendingTimer(Record, frozen=True, kw_only=True, gc=False):
    """A timer that has not fired."""

    timer_id: str
    due_ms: int


class PendingChild(Record, frozen=True, kw_only=True, gc=False):
    """A child that has not ended."""

    child_id: str
    workflow_id: str
    run_id: str = ""
    workflow_type: str = ""
    task_queue: str = ""
    parent_close_policy: str = ""


class Block(Record, frozen=True, kw_only=True, gc=False):
    """Why a run is blocked."""

    cause: str
    message: str
    stack_trace: str = ""
    recorded: str = ""
    produced: str = ""
    since_ms: int = 0
    code_version: str = ""


class Trouble(Record, frozen=True, kw_only=True, gc=False):
    """What is wrong with a run, in a line."""

    kind: str
    message: str = ""
    activity_id: str = ""
    activity_type: str = ""
    attempt: int = 0
    maximum_attempts: int = 0
    next_ms: int = 0
    since_ms: int = 0
    activities: int = 0


class RunSummary(Record, frozen=True, kw_only=True, gc=False):
    """A run as a list shows it."""

    workflow_id: str
    run_id: str
    workflow_type: str
    status: str
    start_ms: int
    close_ms: int = 0
    history_length: int = 0
    task_queue: str = ""
    partition: int = -1
    memo: dict[str, Payload] = {}
    search_attributes: dict[str, Payload] = {}
    block: Block | None = None
    first_run_id: str = ""
    parent: RunRef | None = None
    attempt: int = 1
    trouble: Trouble | None = None


class RunDescription(Record, frozen=True, kw_only=True, gc=False):
    """How a run stands."""

    summary: RunSummary
    history_size: int = 0
    execution_ms: int = 0
    input: list[Payload] = []
    pending_activities: list[PendingActivity] = []
    pending_timers: list[PendingTimer] = []
    cancel_requested: bool = False
    notices: list[Notice] = []
    run_timeout_ms: int = 0
    execution_timeout_ms: int = 0
    task_timeout_ms: int = 0
    retry_policy: RetryPolicy | None = None
    cron_schedule: str = ""
    static_summary: Payload | None = None
    static_details: Payload | None = None
    root: RunRef | None = None
    identity: str = ""
    pending_children: list[PendingChild] = []
    next_page_token: bytes = b""


class HistoryBatch(Record, frozen=True, kw_only=True, gc=False):
    """The events of one transition."""

    offset: int
    pseq: int
    time_ms: int
    seq: int
    code_version: str = ""
    events: list[bytes] = []


class HistoryPage(Record, frozen=True, kw_only=True, gc=False):
    """A part of a history."""

    run_id: str
    status: str
    batches: list[HistoryBatch] = []
    next_seq: int
    more: bool = False


class RunGroup(Record, frozen=True, kw_only=True, gc=False):
    """How many runs of a partition share some values."""

    values: list[Payload] = []
    count: int


class RunPage(Record, frozen=True, kw_only=True, gc=False):
    """A part of a partition's runs."""

    runs: list[bytes] = []
    next_page_token: bytes = b""
    count: int = 0
    ranks: list[bytes] = []
    groups: list[RunGroup] = []


class WorkerInfo(Record, frozen=True, kw_only=True, gc=False):
    """A worker that holds a lease."""

    worker_id: str
    identity: str
    task_queue: str
    slots: int
    slots_used: int
    last_seen_ms: int
    version: str = ""


class TaskQueueInfo(Record, frozen=True, kw_only=True, gc=False):
    """How a partition of a task queue stands."""

    partition: int
    epoch: int
    pseq: int
    upto: int
    owner: str = ""
    workers: list[WorkerInfo] = []
    open_runs: int = 0
    blocked_runs: int = 0
    pending_activities: int = 0
    retrying_runs: int = 0
    exhausted_runs: int = 0
    pending_by_type: dict[str, int] = {}
    oldest_task_ms: int = 0


class RetentionInfo(Record, frozen=True, kw_only=True, gc=False):
    """What a partition keeps, and for how long."""

    partition: int
    keep_ms: int
    by_status: dict[str, int] = {}
    is_default: bool = False
    closed_runs: int = 0
    due_runs: int = 0
    is_more: bool = False
    oldest_ms: int = 0
    table_bytes: int = 0
    cut: str = ""


class CanceledAttempt(Record, frozen=True, kw_only=True, gc=False):
    """An attempt that should stop."""

    token: bytes
    reason: str = ""


class WorkerOrders(Record, frozen=True, kw_only=True, gc=False):
    """What a host tells a worker about its attempts."""

    token: bytes = b""
    granted: bool = False
    reason: str = ""
    canceled: list[CanceledAttempt] = []
    elsewhere: int = 0


class QueryAnswer(Record, frozen=True, kw_only=True, gc=False):
    """What a query returned."""

    run_id: str = ""
    result: Payload | None = None
    failure: Failure | None = None
    rejected_status: str = ""


class UpdateAnswer(Record, frozen=True, kw_only=True, gc=False):
    """How far an update is."""

    update_id: str
    run_id: str = ""
    stage: str
    result: Payload | None = None
    failure: Failure | None = None
