"""What may be asked of a host: one record a command. Pure data only; no rule lives here."""

from __future__ import annotations

from typing import ClassVar

from perdure_schemas.payloads import (
    EffectId,
    ExternalCall,
    Failure,
    Payload,
    Priority,
    Record,
    ReplyTo,
    RetryPolicy,
    RunRef,
    SignalInput,
    UpdateInput,
)


class StartWorkflow(Record, frozen=True, kw_only=True, gc=False):
    """Starts a workflow.

    Key the record with workflow_id, partitioned by murmur2 (partitioner=murmur2 in librdkafka).
    """

    workflow_id: str
    workflow_type: str
    input: list[Payload] = []
    request_id: str = ""
    first_sent_ms: int = 0
    reply: ReplyTo | None = None
    source: EffectId | None = None
    identity: str = ""
    id_reuse_policy: str = "allow_duplicate"
    id_conflict_policy: str = "fail"
    execution_timeout_ms: int = 0
    run_timeout_ms: int = 0
    task_timeout_ms: int = 0
    retry_policy: RetryPolicy | None = None
    cron_schedule: str = ""
    start_delay_ms: int = 0
    memo: dict[str, Payload] = {}
    search_attributes: dict[str, Payload] = {}
    header: dict[str, Payload] = {}
    static_summary: Payload | None = None
    static_details: Payload | None = None
    priority: Priority | None = None
    signals: list[SignalInput] = []
    update: UpdateInput | None = None
    parent: RunRef | None = None
    parent_initiated_seq: int = 0
    root: RunRef | None = None
    parent_close_policy: str = ""
    child_id: str = ""
    external: ExternalCall | None = None
    last_result: Payload | None = None
    last_failure: Failure | None = None


class CancelWorkflow(Record, frozen=True, kw_only=True, gc=False):
    """Asks a run to cancel itself."""

    workflow_id: str
    run_id: str = ""
    first_run_id: str = ""
    reason: str = ""
    child_of: RunRef | None = None
    request_id: str = ""
    first_sent_ms: int = 0
    reply: ReplyTo | None = None
    source: EffectId | None = None
    identity: str = ""
    external: ExternalCall | None = None


class TerminateWorkflow(Record, frozen=True, kw_only=True, gc=False):
    """Ends a run at once; its code is not asked."""

    workflow_id: str
    run_id: str = ""
    first_run_id: str = ""
    reason: str = ""
    details: list[Payload] = []
    request_id: str = ""
    first_sent_ms: int = 0
    reply: ReplyTo | None = None
    source: EffectId | None = None
    identity: str = ""
    child_of: RunRef | None = None


class ClaimActivity(Record, frozen=True, kw_only=True, gc=False):
    """A worker runs, or wants to run, an attempt: the report that promotes a long activity."""

    workflow_id: str
    run_id: str
    activity_id: str
    attempt: int
    token: bytes
    worker_id: str
    reply: ReplyTo | None = None
    wants_grant: bool = False
    identity: str = ""
    started_ms: int = 0


class CompleteActivity(Record, frozen=True, kw_only=True, gc=False):
    """The result of an attempt."""

    workflow_id: str
    run_id: str
    activity_id: str
    attempt: int
    token: bytes
    result: Payload | None = None
    worker_id: str = ""
    identity: str = ""
    started_ms: int = 0
    reply: ReplyTo | None = None

    first_sent_ms: ClassVar[int] = 0

    @property
    def request_id(self) -> str:
        """An asker sends again what it has no answer to; it is taken once."""
        return self.reply.correlation_id if self.reply is not None else ""


class FailActivity(Record, frozen=True, kw_only=True, gc=False):
    """The failure of an attempt."""

    workflow_id: str
    run_id: str
    activity_id: str
    attempt: int
    token: bytes
    failure: Failure
    worker_id: str = ""
    identity: str = ""
    started_ms: int = 0
    reply: ReplyTo | None = None

    first_sent_ms: ClassVar[int] = 0

    @property
    def request_id(self) -> str:
        """An asker sends again what it has no answer to; it is taken once."""
        return self.reply.correlation_id if self.reply is not None else ""


class ConfirmActivityCanceled(Record, frozen=True, kw_only=True, gc=False):
    """An attempt ended because it was asked to cancel."""

    workflow_id: str
    run_id: str
    activity_id: str
    attempt: int
    token: bytes
    details: list[Payload] = []
    worker_id: str = ""
    identity: str = ""
    started_ms: int = 0
    reply: ReplyTo | None = None

    first_sent_ms: ClassVar[int] = 0

    @property
    def request_id(self) -> str:
        """An asker sends again what it has no answer to; it is taken once."""
        return self.reply.correlation_id if self.reply is not None else ""


class HeartbeatActivity(Record, frozen=True, kw_only=True, gc=False):
    """An attempt is alive, and may leave details for the next one."""

    workflow_id: str
    run_id: str
    activity_id: str
    attempt: int
    token: bytes
    details: list[Payload] = []
    worker_id: str = ""
    identity: str = ""
    reply: ReplyTo | None = None


class HandBackActivity(Record, frozen=True, kw_only=True, gc=False):
    """A worker had no slot, or is stopping: the attempt goes to another, uncounted."""

    workflow_id: str
    run_id: str
    activity_id: str
    attempt: int
    token: bytes
    worker_id: str = ""
    identity: str = ""
    reason: str = ""


class WorkerLease(Record, frozen=True, kw_only=True, gc=False):
    """A worker is alive; sent to every partition of the queue."""

    worker_id: str
    task_queue: str
    reply_partition: int
    lease_ms: int
    identity: str = ""
    slots: int = 0
    slots_used: int = 0
    activity_types: list[str] = []
    version: str = ""
    stopping: bool = False
    waiting: int = 0


class AwaitResult(Record, frozen=True, kw_only=True, gc=False):
    """Asks for the result of a run, answered when it has closed."""

    workflow_id: str
    run_id: str = ""
    follow_runs: bool = True
    reply: ReplyTo


class DescribeWorkflow(Record, frozen=True, kw_only=True, gc=False):
    """Asks how a run stands."""

    workflow_id: str
    run_id: str = ""
    reply: ReplyTo
    page_token: bytes = b""


class ReadHistory(Record, frozen=True, kw_only=True, gc=False):
    """Asks for the events of a run from a seq on."""

    workflow_id: str
    run_id: str = ""
    from_seq: int = 1
    max_bytes: int = 1000000
    wait_new: bool = False
    reply: ReplyTo


class ListWorkflows(Record, frozen=True, kw_only=True, gc=False):
    """Asks a partition for its runs, newest first."""

    partition: int
    query: str = ""
    page_size: int = 100
    page_token: bytes = b""
    count_only: bool = False
    reply: ReplyTo


class DescribeTaskQueue(Record, frozen=True, kw_only=True, gc=False):
    """Asks a partition how its task queue stands."""

    partition: int
    reply: ReplyTo


class DetachActivity(Record, frozen=True, kw_only=True, gc=False):
    """The attempt returned without a result: somebody else will report it."""

    workflow_id: str
    run_id: str
    activity_id: str
    attempt: int
    token: bytes
    worker_id: str = ""
    identity: str = ""
    started_ms: int = 0
